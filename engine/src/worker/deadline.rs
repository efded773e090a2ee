//! Deadlines that cost nothing per request: connections set a number, one sweeper per thread wakes those that are late.
//!
//! Promises: a deadline is noticed at most `TICK` late; no timer is armed while nothing is registered.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub const TICK: Duration = Duration::from_millis(50);

pub struct Deadlines {
    started: Instant,
    now_ms: Cell<u64>,
    entries: RefCell<slab::Slab<Rc<Entry>>>,
    some: Notify,
}

struct Entry {
    at_ms: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

/// One task's deadline.
pub struct Deadline {
    owner: Rc<Deadlines>,
    entry: Rc<Entry>,
    key: usize,
}

impl Deadlines {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            started: Instant::now(),
            now_ms: Cell::new(0),
            entries: RefCell::default(),
            some: Notify::new(),
        })
    }

    fn read_clock(&self) {
        self.now_ms.set(self.started.elapsed().as_millis() as u64);
    }

    pub fn register(self: &Rc<Self>) -> Deadline {
        let entry = Rc::new(Entry { at_ms: Cell::new(u64::MAX), waker: RefCell::new(None) });
        let mut entries = self.entries.borrow_mut();
        if entries.is_empty() {
            self.read_clock(); // nobody did while nothing was registered
            self.some.notify_one();
        }
        let key = entries.insert(entry.clone());
        Deadline { owner: self.clone(), entry, key }
    }

    /// Runs for the thread's life.
    pub async fn sweep(self: Rc<Self>) {
        loop {
            self.read_clock();
            if self.entries.borrow().is_empty() {
                self.some.notified().await;
                self.read_clock();
            }
            tokio::time::sleep(TICK).await;
            self.read_clock();
            let now = self.now_ms.get();
            for (_, entry) in self.entries.borrow().iter() {
                if entry.at_ms.get() <= now
                    && let Some(waker) = entry.waker.borrow().as_ref()
                {
                    waker.wake_by_ref();
                }
            }
        }
    }
}

impl Deadlines {
    /// Wakes every task that has waited, so that it looks at what has changed.
    pub fn wake_all(&self) {
        for (_, entry) in self.entries.borrow().iter() {
            if let Some(waker) = entry.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        }
    }
}

impl Deadline {
    /// Sets it to that many seconds from now; 0 is none.
    pub fn set(&self, seconds: f64) {
        let at = if seconds > 0.0 { self.owner.now_ms.get() + (seconds * 1000.0) as u64 } else { u64::MAX };
        self.entry.at_ms.set(at);
    }

    /// Sets it to that many seconds from now, unless it is earlier.
    pub fn hurry(&self, seconds: f64) {
        let before = self.entry.at_ms.get();
        self.set(seconds);
        self.entry.at_ms.set(before.min(self.entry.at_ms.get()));
    }

    /// Late now? If not, the task is woken when it is.
    pub fn passed(&self, task: &Task<'_>) -> bool {
        let at = self.entry.at_ms.get();
        if at == u64::MAX {
            return false;
        }
        if at <= self.owner.now_ms.get() {
            return true;
        }
        let mut waker = self.entry.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(task.waker())) {
            *waker = Some(task.waker().clone());
        }
        false
    }
}

impl Deadline {
    /// Waits for `work`, but not beyond the deadline: then it is an error of the kind `TimedOut`.
    /// It is pinned by the caller, because here it would be kept twice.
    pub async fn bound<T>(&self, mut work: Pin<&mut impl Future<Output = io::Result<T>>>) -> io::Result<T> {
        std::future::poll_fn(|task| match work.as_mut().poll(task) {
            Poll::Pending if self.passed(task) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            polled => polled,
        })
        .await
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.owner.entries.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_idle_time_a_deadline_counts_from_now() {
        let mut idle = Rc::try_unwrap(Deadlines::new()).ok().unwrap();
        idle.started = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        let idle = Rc::new(idle);
        let first = idle.register();
        first.set(10.0);
        assert!(first.entry.at_ms.get() >= 70_000, "not from when the sweeper last looked");
    }
}
