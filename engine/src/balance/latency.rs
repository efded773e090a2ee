//! What an endpoint's responses took: peak-EWMA, and by the number of requests that were in flight.
//!
//! Promises: written by any thread without a lock; a lost update between two threads costs one sample.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The time after which a sample has lost two thirds of its weight.
const DECAY_NANOS: f64 = 2e9;
/// Classes of requests in flight: 0, 1, 2 to 3, 4 to 7, and so on.
const CLASSES: usize = 10;

#[derive(Default)]
pub struct Latency {
    peak: AtomicU64,
    peak_at: AtomicU64,
    by_class: [AtomicU64; CLASSES],
}

fn class(in_flight: u32) -> usize {
    ((32 - in_flight.leading_zeros()) as usize).min(CLASSES - 1)
}

fn decayed(value: u64, nanos: u64) -> f64 {
    value as f64 * (-(nanos as f64) / DECAY_NANOS).exp()
}

impl Latency {
    pub fn observe(&self, took_nanos: u64, in_flight: u32, now_nanos: u64) {
        let age = now_nanos.saturating_sub(self.peak_at.swap(now_nanos, Relaxed));
        let before = self.peak.load(Relaxed);
        let kept = (-(age as f64) / DECAY_NANOS).exp();
        let peak = if took_nanos > before {
            took_nanos
        } else {
            (before as f64 * kept + took_nanos as f64 * (1.0 - kept)) as u64
        };
        self.peak.store(peak.max(1), Relaxed);
        let slot = &self.by_class[class(in_flight)];
        let before = slot.load(Relaxed);
        let value = if before == 0 { took_nanos } else { before - before / 8 + took_nanos / 8 };
        slot.store(value.max(1), Relaxed);
    }

    /// Peak-EWMA: rises at once, falls slowly, also while nothing comes.
    pub fn peak_nanos(&self, now_nanos: u64) -> u64 {
        decayed(self.peak.load(Relaxed), now_nanos.saturating_sub(self.peak_at.load(Relaxed))) as u64
    }

    /// The estimate for that many in flight: of its class, or of the nearest that has one.
    pub fn at_nanos(&self, in_flight: u32) -> u64 {
        let wanted = class(in_flight);
        (0..CLASSES)
            .flat_map(|d| [wanted.checked_sub(d), Some(wanted + d)])
            .flatten()
            .filter_map(|c| self.by_class.get(c))
            .map(|slot| slot.load(Relaxed))
            .find(|value| *value > 0)
            .unwrap_or(0)
    }
}
