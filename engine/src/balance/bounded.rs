//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, SODA 2018).
//!
//! Promises: with a bound c of 1 or more no endpoint that may be used gets a request when it then had more than
//! ceil(c x m x its share of the weights) of the m requests in flight, the new one counted; the key goes to the next
//! endpoint of its own order that has room. There is always one. 0 is no bound.

use super::Candidate;

#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// c times the requests in flight, the new one counted, for each unit of weight.
    per_weight: f64,
}

impl Bound {
    pub fn of<C: Candidate>(set: &[C], c: f64, usable: impl Fn(usize) -> bool) -> Self {
        if c < 1.0 {
            return Self { per_weight: f64::INFINITY };
        }
        let (mut busy, mut weights) = (1u64, 0u64);
        for candidate in (0..set.len()).filter(|&i| usable(i)).map(|i| &set[i]) {
            busy += u64::from(candidate.in_flight());
            weights += u64::from(candidate.weight().max(1));
        }
        Self { per_weight: c * busy as f64 / weights.max(1) as f64 }
    }

    pub fn has_room<C: Candidate>(&self, candidate: &C) -> bool {
        // A rounding error must not close the last endpoint with room.
        let most = (self.per_weight * f64::from(candidate.weight().max(1)) * (1.0 - 1e-12)).ceil();
        f64::from(candidate.in_flight()) + 1.0 <= most
    }
}
