//! How connecting to an endpoint goes: how often it failed, and whether it fails now, and why.
//!
//! Promises: success costs one read while all is well. What has failed last is told until something succeeds.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::counters::Counter;

/// A reason that is longer is cut: it may be a TLS library's.
const MOST_CHARACTERS: usize = 120;

#[derive(Default)]
pub struct Connects {
    failures: Counter,
    in_a_row: AtomicU32,
    why: Mutex<String>,
}

impl Connects {
    pub fn failed(&self, error: &io::Error) {
        self.failures.add(1);
        self.in_a_row.fetch_add(1, Relaxed);
        let why = match error.kind() {
            io::ErrorKind::TimedOut => "it took too long".to_owned(),
            _ => error.to_string(),
        };
        let why = why.split(" (os error").next().unwrap_or_default().chars().take(MOST_CHARACTERS).collect();
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    pub fn succeeded(&self) {
        if self.in_a_row.load(Relaxed) != 0 {
            self.in_a_row.store(0, Relaxed);
        }
    }

    pub fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// How many have failed since the last that did not, and why the last did.
    pub fn trouble(&self) -> Option<(u32, String)> {
        let times = Some(self.in_a_row.load(Relaxed)).filter(|times| *times > 0)?;
        Some((times, self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_told_until_it_does_not() {
        let connects = Connects::default();
        assert_eq!(connects.trouble(), None);
        connects.failed(&io::ErrorKind::TimedOut.into());
        connects.failed(&io::Error::from_raw_os_error(111));
        assert_eq!(connects.trouble(), Some((2, "Connection refused".to_owned())));
        connects.succeeded();
        assert_eq!((connects.trouble(), connects.failures()), (None, 2));
        connects.failed(&io::Error::other("x".repeat(1000)));
        assert_eq!(connects.trouble().map(|(times, why)| (times, why.len())), Some((1, MOST_CHARACTERS)));
    }
}
