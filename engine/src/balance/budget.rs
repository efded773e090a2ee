//! The budget of retries: a share of the requests, and some a second whatever they are, so that a failing backend does
//! not get a multiple of its load.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

const MOST: i64 = 100_000;
const PER_SECOND: f64 = 10_000.0;

/// In thousandths of a retry.
pub struct Budget {
    left: AtomicI64,
    refilled_nanos: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: AtomicI64::new(MOST / 10), refilled_nanos: AtomicU64::new(0) }
    }
}

impl Budget {
    /// A first try at a request.
    pub fn earn(&self, percent: f64) {
        if self.left.load(Relaxed) < MOST {
            self.left.fetch_add((percent * 10.0) as i64, Relaxed);
        }
    }

    /// May one more retry be made?
    pub fn spend(&self, now_nanos: u64) -> bool {
        let since = now_nanos.saturating_sub(self.refilled_nanos.swap(now_nanos, Relaxed));
        let refill = (since as f64 / 1e9 * PER_SECOND).min(MOST as f64 / 10.0) as i64;
        let before = self.left.fetch_add(refill - 1000, Relaxed);
        if before + refill < 1000 {
            self.left.fetch_add(1000, Relaxed);
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_requests_and_some_a_second() {
        let budget = Budget::default();
        let now = 5_000_000_000;
        assert!((0..20).filter(|_| budget.spend(now)).count() == 20, "the reserve and a second's worth");
        assert!(!budget.spend(now));
        (0..50).for_each(|_| budget.earn(20.0));
        assert_eq!((0..20).filter(|_| budget.spend(now)).count(), 10);
        assert!(budget.spend(now + 200_000_000));
    }
}
