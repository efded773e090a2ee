//! Which of a connection's places have something to do.
//!
//! Wakers may be used by any thread, so this is made of atomics (a mark and a rest must see each other, hence one order
//! for all); the connection's own task is woken once for all of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Wake, Waker};

/// Places that a connection may have.
pub const PLACES: usize = 128;

#[derive(Default)]
pub struct Ready {
    bits: [AtomicU64; PLACES / 64],
    /// The task is at work, or has been woken.
    awake: AtomicBool,
    task: Mutex<Option<Waker>>,
}

struct One {
    all: Arc<Ready>,
    place: usize,
}

impl Ready {
    pub fn waker(self: &Arc<Self>, place: usize) -> Waker {
        Arc::new(One { all: self.clone(), place }).into()
    }

    pub fn mark(&self, place: usize) {
        self.bits[place / 64].fetch_or(1 << (place % 64), SeqCst);
        if !self.awake.load(SeqCst)
            && !self.awake.swap(true, SeqCst)
            && let Ok(task) = self.task.lock()
            && let Some(waker) = &*task
        {
            waker.wake_by_ref();
        }
    }

    /// The task works now.
    pub fn attend(&self, task: &Task<'_>) {
        self.awake.store(true, SeqCst);
        if let Ok(mut kept) = self.task.lock()
            && !kept.as_ref().is_some_and(|w| w.will_wake(task.waker()))
        {
            *kept = Some(task.waker().clone());
        }
    }

    /// The task is about to wait; false when it must not.
    pub fn rest(&self) -> bool {
        self.awake.swap(false, SeqCst);
        self.bits.iter().all(|word| word.load(SeqCst) == 0)
    }

    /// Takes the marks of 64 places.
    pub fn take(&self, word: usize) -> u64 {
        if self.bits[word].load(SeqCst) == 0 { 0 } else { self.bits[word].swap(0, SeqCst) }
    }
}

impl Wake for One {
    fn wake(self: Arc<Self>) {
        self.all.mark(self.place);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.all.mark(self.place);
    }
}
