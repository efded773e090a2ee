//! Deadlines that cost nothing per request: connections set a number, one sweeper per thread wakes those that are late.
//!
//! Promises: a deadline is noticed about `TICK` late; no timer is armed while nothing is registered; however many connections
//! there are, the thread is others' between some of them.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub const TICK: Duration = Duration::from_millis(50);
/// So many deadlines are looked at before others on this thread have their turn; each is a place in memory of its own.
const AT_ONCE: usize = 2048;

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
            let mut from = 0;
            while self.wake_late(from) {
                from += AT_ONCE;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Wakes who is late among so many; false when there are no more behind them.
    fn wake_late(&self, from: usize) -> bool {
        let (now, entries) = (self.now_ms.get(), self.entries.borrow());
        for entry in (from..from + AT_ONCE).filter_map(|key| entries.get(key)) {
            if entry.at_ms.get() <= now
                && let Some(waker) = entry.waker.borrow().as_ref()
            {
                waker.wake_by_ref();
            }
        }
        from + AT_ONCE < entries.capacity()
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
    fn many_are_looked_at_in_portions_and_the_last_is_woken_too() {
        let options = tokio::runtime::LocalOptions::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(options).unwrap();
        runtime.block_on(async {
            let deadlines = Deadlines::new();
            let mut all: Vec<_> = (0..AT_ONCE * 3).map(|_| deadlines.register()).collect();
            let portions = std::iter::successors(Some(0), |from| Some(from + AT_ONCE));
            assert!(portions.map(|from| deadlines.wake_late(from)).take_while(|more| *more).count() >= 2);
            let last = all.pop().unwrap();
            last.set(0.001);
            let sweeping = tokio::task::spawn_local(deadlines.clone().sweep());
            let waited: io::Result<()> = last.bound(std::pin::pin!(std::future::pending())).await;
            assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::TimedOut);
            sweeping.abort();
        });
    }

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
