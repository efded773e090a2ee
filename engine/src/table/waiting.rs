//! Requests that wait for an endpoint: of an empty Backend that holds them (scale to zero), or until one has room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use tokio::sync::Notify;

/// How long an empty Backend holds a request or connection, and how many unless it says so itself.
pub const HOLD_SECONDS: f64 = 60.0;
pub const MOST_HELD: u32 = 1024;

#[derive(Default)]
pub struct Waiting {
    count: AtomicU32,
    turn: Notify,
}

/// One that waits, counted until this is dropped.
pub struct Waiter(Arc<Waiting>);

impl Waiting {
    /// Joins those that wait, unless that many do already; also how many do now.
    pub fn join(self: &Arc<Self>, most: u32) -> Option<(Waiter, u32)> {
        let now = self.count.fetch_add(1, SeqCst) + 1;
        let waiter = Waiter(self.clone());
        (now <= most).then_some((waiter, now))
    }

    pub fn now(&self) -> u32 {
        self.count.load(SeqCst)
    }

    /// One endpoint has room for one more.
    pub fn one_may_go(&self) {
        if self.count.load(SeqCst) > 0 {
            self.turn.notify_one();
        }
    }

    /// The set of endpoints has changed.
    pub fn all_may_look(&self) {
        self.turn.notify_waiters();
    }
}

impl Waiter {
    pub fn turn(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.turn.notified()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, SeqCst);
    }
}
