//! Algorithms that remember where they are: round robin, smooth weighted round robin, and the least of something.

use super::Candidate;
use super::interleaved::Interleaved;

/// A place in the set, and the smooth weighted round robin's current weights.
#[derive(Default)]
pub struct Cursor {
    at: usize,
    pub interleaved: Interleaved,
    /// (id, current weight), in the set's order.
    current: Vec<(u64, i64)>,
}

impl Cursor {
    pub fn settle<C: Candidate>(&mut self, set: &[C]) {
        if self.at >= set.len() {
            self.at = 0;
        }
        let old = std::mem::take(&mut self.current);
        let before = |id: u64| old.iter().find(|(i, _)| *i == id).map_or(0, |(_, w)| *w);
        self.current = set.iter().map(|c| (c.id(), before(c.id()))).collect();
    }

    fn order(&self, len: usize) -> impl Iterator<Item = usize> {
        let start = self.at.min(len);
        (start..len).chain(0..start)
    }

    fn step_behind(&mut self, found: usize, len: usize) {
        self.at = if found + 1 >= len { 0 } else { found + 1 };
    }

    pub fn next(&mut self, len: usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let found = self.order(len).find(|&i| usable(i))?;
        self.step_behind(found, len);
        Some(found)
    }

    /// The smallest load / weight, the first of equals from the cursor on.
    pub fn least(
        &mut self,
        len: usize,
        usable: impl Fn(usize) -> bool,
        load: impl Fn(usize) -> (u64, u64),
    ) -> Option<usize> {
        let mut best: Option<(usize, u64, u64)> = None;
        for i in self.order(len).filter(|&i| usable(i)) {
            let (load, weight) = load(i);
            let better = |(_, l, w): (usize, u64, u64)| load.saturating_mul(w) < l.saturating_mul(weight);
            if best.is_none_or(better) {
                best = Some((i, load, weight));
            }
        }
        let (found, ..) = best?;
        self.step_behind(found, len);
        Some(found)
    }

    /// Round robin, smoothly weighted where weights differ.
    pub fn turn<C: Candidate>(&mut self, set: &[C], usable: impl Fn(usize) -> bool) -> Option<usize> {
        let mut weights = (0..set.len()).filter(|&i| usable(i)).map(|i| set[i].weight());
        let first = weights.next()?;
        if weights.all(|weight| weight == first) { self.next(set.len(), usable) } else { self.weighted(set, usable) }
    }

    /// nginx's smooth weighted round robin: each gains its weight, the largest is taken and loses the total.
    pub fn weighted<C: Candidate>(&mut self, set: &[C], usable: impl Fn(usize) -> bool) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<usize> = None;
        for (i, candidate) in set.iter().enumerate().filter(|(i, _)| usable(*i)) {
            let weight = i64::from(candidate.weight().max(1));
            self.current[i].1 += weight;
            total += weight;
            if best.is_none_or(|b| self.current[i].1 > self.current[b].1) {
                best = Some(i);
            }
        }
        let found = best?;
        self.current[found].1 -= total;
        Some(found)
    }
}
