//! IPVS's weighted round robin (`ip_vs_wrr`): rounds fall from the largest weight to the greatest common divisor by that
//! divisor; in each round, every endpoint whose weight is at least the round's has its turn.
//!
//! Promises: over a whole cycle every endpoint gets exactly its weight's share. The heaviest goes alone at the beginning
//! of a cycle; `weighted-round-robin` is the smooth one.

use super::Candidate;

#[derive(Default)]
pub struct Interleaved {
    /// The endpoint to look at next, and the round's weight; 0: a new cycle begins.
    at: usize,
    round: u64,
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

impl Interleaved {
    pub fn next<C: Candidate>(&mut self, set: &[C], usable: impl Fn(usize) -> bool) -> Option<usize> {
        let weight = |i: usize| u64::from(set[i].weight().max(1));
        let weights = || (0..set.len()).filter(|&i| usable(i)).map(weight);
        let (heaviest, step) = (weights().max()?, weights().fold(0, divisor));
        self.round = self.round.min(heaviest);
        loop {
            if self.at >= set.len() || self.round == 0 {
                self.at = 0;
                self.round = if self.round <= step { heaviest } else { self.round - step };
            }
            let found = (self.at..set.len()).find(|&i| usable(i) && weight(i) >= self.round);
            self.at = found.map_or(set.len(), |i| i + 1);
            if found.is_some() {
                return found;
            }
        }
    }
}
