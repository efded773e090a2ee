//! Limits of a Route's requests: so many a second with a burst, and so many in flight, of one key each.
//!
//! Promises: Routes of one scope count together, all threads count together, a change of the table does not start over.
//! At most `MAX_KEYS` keys are kept; those with nothing to remember are forgotten first, then all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

const MAX_KEYS: usize = 65536;

#[derive(Default)]
pub struct Limiter {
    keys: Mutex<HashMap<u64, Key>>,
}

struct Key {
    tokens: f64,
    at_nanos: u64,
    in_flight: u32,
}

/// What a limit allows.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    pub requests_per_second: f64,
    pub burst: u32,
    pub connections: u32,
}

/// A request that counts as in flight until this is dropped.
pub struct Taken {
    limiter: Arc<Limiter>,
    key: u64,
}

impl Limiter {
    /// `None`: over the limit.
    pub fn take(self: &Arc<Self>, key: u64, allowed: Allowed, now_nanos: u64) -> Option<Taken> {
        let burst = f64::from(allowed.burst.max(1));
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MAX_KEYS {
            let rate = allowed.requests_per_second;
            keys.retain(|_, k| k.in_flight > 0 || k.tokens + seconds(now_nanos, k.at_nanos) * rate < burst);
            if keys.len() >= MAX_KEYS {
                keys.clear();
            }
        }
        let entry = keys.entry(key).or_insert(Key { tokens: burst, at_nanos: now_nanos, in_flight: 0 });
        if allowed.requests_per_second > 0.0 {
            let refill = seconds(now_nanos, entry.at_nanos) * allowed.requests_per_second;
            entry.tokens = (entry.tokens + refill).min(burst);
            entry.at_nanos = now_nanos;
        }
        let slow = allowed.requests_per_second > 0.0 && entry.tokens < 1.0;
        if slow || (allowed.connections > 0 && entry.in_flight >= allowed.connections) {
            return None;
        }
        if allowed.requests_per_second > 0.0 {
            entry.tokens -= 1.0;
        }
        entry.in_flight += 1;
        Some(Taken { limiter: self.clone(), key })
    }
}

fn seconds(now_nanos: u64, then_nanos: u64) -> f64 {
    now_nanos.saturating_sub(then_nanos) as f64 / 1e9
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut keys = self.limiter.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = keys.get_mut(&self.key) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_decides() {
        let limiter = Arc::new(Limiter::default());
        let allowed = Allowed { requests_per_second: 10.0, burst: 3, connections: 0 };
        let passed = |now| (0..10).filter(|_| limiter.take(1, allowed, now).is_some()).count();
        assert_eq!((passed(0), passed(100_000_000), passed(100_000_000)), (3, 1, 0));
        assert!(limiter.take(2, allowed, 0).is_some(), "another key");
        assert_eq!(passed(60_000_000_000), 3, "no more than the burst is saved");
    }

    #[test]
    fn so_many_may_be_in_flight() {
        let limiter = Arc::new(Limiter::default());
        let allowed = Allowed { requests_per_second: 0.0, burst: 1, connections: 2 };
        let (_first, second) = (limiter.take(1, allowed, 0).unwrap(), limiter.take(1, allowed, 0).unwrap());
        assert!(limiter.take(1, allowed, 0).is_none());
        drop(second);
        assert!(limiter.take(1, allowed, 0).is_some());
    }
}
