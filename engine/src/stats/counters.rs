//! Counters that any thread may raise: relaxed atomics, never a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Responses by class: index 0 is "no response", 1 to 5 the status' first digit.
#[derive(Default)]
pub struct Codes([Counter; 6]);

impl Codes {
    pub fn count(&self, status: u16) {
        let class = usize::from(status / 100);
        self.0[if class < 6 { class } else { 0 }].add(1);
    }

    pub fn snapshot(&self) -> [u64; 6] {
        std::array::from_fn(|i| self.0[i].get())
    }

    pub fn total(&self) -> u64 {
        self.0.iter().map(Counter::get).sum()
    }
}

/// Latencies in buckets of powers of two microseconds: bucket i holds those below 2^i us.
pub const BUCKETS: usize = 26;

pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_micros: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::default()), sum_micros: Counter::default() }
    }
}

impl Histogram {
    pub fn record(&self, nanos: u64) {
        let micros = nanos / 1000;
        let bucket = (64 - micros.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].add(1);
        self.sum_micros.add(micros);
    }

    pub fn snapshot(&self) -> ([u64; BUCKETS], u64) {
        (std::array::from_fn(|i| self.buckets[i].get()), self.sum_micros.get())
    }
}
