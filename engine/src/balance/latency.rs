//! What an endpoint's responses took: the usual, and peak-EWMA.
//!
//! Promises: written by any thread without a lock; a lost update between two threads costs one sample. The usual is a mean
//! of logarithms: a request that takes a thousand times as long moves it by a third, so neither a few long requests nor
//! those that a stall held up change what is usual. It follows the samples while there are many, and believes a sample
//! the more the longer there was none, for want of requests: an endpoint that was avoided for being slow is seen as it
//! is after two or three tries.

use super::algorithm::Measure;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The time after which a peak has lost two thirds of its weight.
const DECAY_NANOS: f64 = 2e9;
/// A sample's least weight in the usual, the time without requests for which it would be all of it, and its most.
const LEAST_WEIGHT: f64 = 1.0 / 32.0;
const FORGET_NANOS: f64 = 5e8;
const MOST_WEIGHT: f64 = 0.5;
/// Digits of a logarithm behind the point, in bits.
const DIGITS: u32 = 24;

#[derive(Default)]
pub struct Latency {
    peak: AtomicU64,
    /// The logarithm; 0: nothing was measured.
    usual: AtomicU64,
    at: AtomicU64,
}

fn remainder(nanos: u64) -> f64 {
    (-(nanos as f64) / DECAY_NANOS).exp()
}

/// To the base of two, linear between its powers: an exact inverse, and no floating point for each response.
fn logarithm(nanos: u64) -> u64 {
    let nanos = nanos.max(2);
    let whole = nanos.ilog2();
    let part = ((u128::from(nanos) << DIGITS) >> whole) as u64;
    (u64::from(whole) << DIGITS) + (part - (1 << DIGITS))
}

fn power(logarithm: u64) -> u64 {
    let part = (1u128 << DIGITS) | u128::from(logarithm & ((1 << DIGITS) - 1));
    ((part << (logarithm >> DIGITS)) >> DIGITS) as u64
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
        let (before, sample) = (self.usual.load(Relaxed) as f64, logarithm(took_nanos) as f64);
        // While it was at work nobody had forgotten it.
        let unasked = age_nanos.saturating_sub(took_nanos);
        let weight = (unasked as f64 / FORGET_NANOS).clamp(LEAST_WEIGHT, MOST_WEIGHT);
        let mixed = if before == 0.0 { sample } else { before + (sample - before) * weight };
        self.usual.store(mixed as u64, Relaxed);
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
        match self.usual.load(Relaxed) {
            0 => 0,
            logarithm => power(logarithm),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_usual_follows_many_samples_and_believes_one_after_a_pause() {
        let latency = Latency::default();
        (0..400).for_each(|i| latency.observe(if i % 2 == 0 { 4 * MS } else { 6 * MS }, i * MS));
        assert!((4 * MS..6 * MS).contains(&latency.usual_nanos()));
        latency.observe(40 * MS, 5000 * MS);
        assert!((12 * MS..18 * MS).contains(&latency.usual_nanos()), "half of the way, after a pause");
        (0..200).for_each(|i| latency.observe(40 * MS, (5001 + i) * MS));
        assert!((38 * MS..=40 * MS).contains(&latency.usual_nanos()));
    }

    #[test]
    fn a_long_request_and_a_stall_are_not_usual() {
        let latency = Latency::default();
        (0..200).for_each(|i| latency.observe(4 * MS, i * 5 * MS));
        latency.observe(4000 * MS, 1001 * MS);
        assert!(latency.usual_nanos() < 6 * MS, "a thousand times as long");
        (0..4).for_each(|i| latency.observe((300 - i) * MS, 1301 * MS + i));
        assert!(latency.usual_nanos() < 10 * MS, "it was at work all the time, so no sample counts for more");
    }

    #[test]
    fn a_logarithm_has_an_inverse() {
        for nanos in (2..200).chain((0..62).map(|i| 3 << i)).chain([u64::MAX, u64::MAX / 3]) {
            let back = power(logarithm(nanos));
            assert!(back <= nanos && nanos - back <= nanos >> (DIGITS - 1), "{nanos}: {back}");
        }
        assert!((2..5000).all(|i| logarithm(i) < logarithm(i + 1)));
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
