//! What an endpoint's responses took: the usual, and peak-EWMA.
//!
//! Promises: written by any thread without a lock; a lost update between two threads costs one sample. The usual follows
//! the samples while there are many, and believes a sample the more the longer there was none: an endpoint that was
//! avoided for being slow is seen as it is after a few tries.

use super::algorithm::Measure;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The time after which a peak has lost two thirds of its weight.
const DECAY_NANOS: f64 = 2e9;
/// A sample's least weight in the usual, the age of the last one at which it would be all of it, and its most.
const LEAST_WEIGHT: f64 = 1.0 / 16.0;
const FORGET_NANOS: f64 = 5e8;
const MOST_WEIGHT: f64 = 0.8;

#[derive(Default)]
pub struct Latency {
    peak: AtomicU64,
    usual: AtomicU64,
    at: AtomicU64,
}

fn remainder(nanos: u64) -> f64 {
    (-(nanos as f64) / DECAY_NANOS).exp()
}

impl Latency {
    pub fn measure(&self, measure: Measure, took_nanos: u64, now_nanos: u64) {
        match measure {
            Measure::Nothing => {}
            Measure::Usual => self.observe(took_nanos, now_nanos),
            Measure::Peak => self.observe_peak(took_nanos, now_nanos),
        }
    }

    fn observe(&self, took_nanos: u64, now_nanos: u64) {
        let age = now_nanos.saturating_sub(self.at.swap(now_nanos, Relaxed));
        self.observe_usual(took_nanos, age);
    }

    /// The same, and the peak; it costs a bit more.
    fn observe_peak(&self, took_nanos: u64, now_nanos: u64) {
        let age = now_nanos.saturating_sub(self.at.swap(now_nanos, Relaxed));
        let (before, kept) = (self.peak.load(Relaxed), remainder(age));
        let mixed = (before as f64 * kept + took_nanos as f64 * (1.0 - kept)) as u64;
        self.peak.store(took_nanos.max(mixed).max(1), Relaxed);
        self.observe_usual(took_nanos, age);
    }

    fn observe_usual(&self, took_nanos: u64, age_nanos: u64) {
        let before = self.usual.load(Relaxed);
        let weight = (age_nanos as f64 / FORGET_NANOS).clamp(LEAST_WEIGHT, MOST_WEIGHT);
        let mixed = (before as f64 * (1.0 - weight) + took_nanos as f64 * weight) as u64;
        self.usual.store(if before == 0 { took_nanos.max(1) } else { mixed.max(1) }, Relaxed);
    }

    /// Rises at once, falls slowly, also while nothing comes.
    pub fn peak_nanos(&self, now_nanos: u64) -> u64 {
        let age = now_nanos.saturating_sub(self.at.load(Relaxed));
        (self.peak.load(Relaxed) as f64 * remainder(age)) as u64
    }

    /// When the last sample came.
    pub fn at_nanos(&self) -> u64 {
        self.at.load(Relaxed)
    }

    /// 0: nothing was measured.
    pub fn usual_nanos(&self) -> u64 {
        self.usual.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_usual_is_a_mean_under_load_and_the_last_sample_after_a_pause() {
        let latency = Latency::default();
        (0..200).for_each(|i| latency.observe(if i % 2 == 0 { 4 * MS } else { 6 * MS }, i * MS));
        assert!((4 * MS..6 * MS).contains(&latency.usual_nanos()));
        latency.observe(300 * MS, 201 * MS);
        assert!((20 * MS..30 * MS).contains(&latency.usual_nanos()), "one in sixteen");
        latency.observe(5 * MS, 2000 * MS);
        assert!(latency.usual_nanos() < 11 * MS, "after a second and more it is four fifths");
    }

    #[test]
    fn a_peak_rises_at_once_and_falls_slowly() {
        let latency = Latency::default();
        latency.observe_peak(5 * MS, 0);
        latency.observe_peak(100 * MS, MS);
        assert_eq!(latency.peak_nanos(MS), 100 * MS);
        latency.observe_peak(5 * MS, 2 * MS);
        assert!(latency.peak_nanos(2 * MS) > 99 * MS && latency.peak_nanos(4002 * MS) < 14 * MS);
    }
}
