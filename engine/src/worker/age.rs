//! How long an HTTP connection lives before it is closed gently, so that whoever balances connections in front of it (or
//! behind it) can choose anew.
//!
//! Promises: each connection ends within a tenth before or after its age, so that those opened together do not end
//! together; nothing in flight is cut. 0 is no end.

use crate::balance::random::{mix, unit};

/// When a connection shall end; `u64::MAX`: never.
#[derive(Debug, Clone, Copy)]
pub struct Age {
    ends_nanos: u64,
}

impl Age {
    /// `drawn`: the time, and something uniform for this connection; asked only where there is an end.
    pub fn begin(seconds: f64, drawn: impl FnOnce() -> (u64, u64)) -> Self {
        if seconds <= 0.0 {
            return Self { ends_nanos: u64::MAX };
        }
        let (now_nanos, random) = drawn();
        let jitter = 0.9 + 0.2 * unit(mix(random));
        Self { ends_nanos: now_nanos.saturating_add((seconds * jitter * 1e9) as u64) }
    }

    /// The clock is asked only where there is an end.
    pub fn is_over(self, now_nanos: impl FnOnce() -> u64) -> bool {
        self.ends_nanos != u64::MAX && now_nanos() >= self.ends_nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn ends_are_spread_by_a_tenth_around_the_age() {
        let ends: Vec<u64> =
            (0..500).map(|random| Age::begin(100.0, || (SECOND, random)).ends_nanos / SECOND).collect();
        assert!(ends.iter().all(|end| (91..=111).contains(end)));
        let early = ends.iter().filter(|end| **end < 96).count();
        assert!((80..170).contains(&early), "a quarter of them in each quarter: {early}");
    }

    #[test]
    fn without_an_age_the_clock_is_not_asked() {
        assert!(!Age::begin(0.0, || panic!("asked")).is_over(|| panic!("asked")));
        assert!(Age::begin(1.0, || (0, 1)).is_over(|| 2 * SECOND));
    }
}
