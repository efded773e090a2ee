//! Slow start: an endpoint that has just come gets its share little by little.
//!
//! Promises: a starting endpoint gets no more than about its warmth of what it will get, a tenth of that at first; endpoints
//! that start together get equal parts, as if none were starting. Algorithms that take the least busy would give an idle
//! newcomer every request that it takes part in, so there it takes part in its share of the choices only.

use super::random::{mix, unit};
use super::{Ask, Candidate};

/// A starting endpoint has at least this share of its weight.
const COLDEST: f64 = 0.1;

/// The share that an endpoint of that age has of its weight, where it starts slowly.
pub fn warmth(age_nanos: u64, slow_start_nanos: u64) -> f64 {
    if age_nanos >= slow_start_nanos { 1.0 } else { (age_nanos as f64 / slow_start_nanos as f64).max(COLDEST) }
}

/// Who takes part in a choice while somebody is starting.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    warmest: f64,
    /// The sum of the weights, where an idle newcomer would get everything; else 0.
    weights: f64,
}

impl Start {
    /// `None`: nobody is starting, or all alike.
    pub fn of<C: Candidate>(
        set: &[C],
        ask: &Ask<'_>,
        takes_idle: bool,
        usable: impl Fn(usize) -> bool,
    ) -> Option<Self> {
        let all = || (0..set.len()).filter(|&i| usable(i)).map(|i| &set[i]);
        let (mut coldest, mut warmest) = (1.0, 0.0);
        for warmth in all().map(|c| c.warmth(ask.now_nanos)) {
            (coldest, warmest) = (f64::min(coldest, warmth), f64::max(warmest, warmth));
        }
        if coldest >= warmest {
            return None;
        }
        let overlap = takes_idle && all().any(|c| c.in_flight() > 0);
        let weights = if overlap { all().map(|c| f64::from(c.weight().max(1))).sum() } else { 0.0 };
        Some(Self { warmest, weights })
    }

    pub fn lets_in<C: Candidate>(&self, candidate: &C, ask: &Ask<'_>) -> bool {
        let warmth = candidate.warmth(ask.now_nanos) / self.warmest;
        if warmth >= 1.0 {
            return true;
        }
        let share = if self.weights > 0.0 { f64::from(candidate.weight().max(1)) / self.weights } else { 1.0 };
        unit(mix(ask.random ^ candidate.id())) < warmth * share
    }
}
