//! The exploration floor of algorithms that avoid what seems slow: nobody is forgotten.
//!
//! Promises: an endpoint that may be used and is idle gets a request when it has had none for half a second and for 128
//! choices, or for ten seconds. So one that is slow costs 1 request in 128 at most (fewer than 1 in 1,000 from 2,000
//! requests a second on), and one that has recovered is known again within a second or two. It also knows for how long an
//! endpoint with work has been silent.

use super::Candidate;

const PAUSE_NANOS: u64 = 500_000_000;
const CHOICES: u64 = 128;
const STILL_NANOS: u64 = 2_000_000_000;
const LONG_NANOS: u64 = 10_000_000_000;

#[derive(Clone, Copy)]
struct Last {
    id: u64,
    at_nanos: u64,
    choice: u64,
    /// When it was given a request while it had none.
    busy_nanos: u64,
}

#[derive(Default)]
pub struct Floor {
    choices: u64,
    last: Vec<Last>,
    /// When to look again; between looks a choice costs nothing.
    look_nanos: u64,
}

impl Floor {
    /// An endpoint whose turn is overdue.
    pub fn due<C: Candidate>(&mut self, set: &[C], now_nanos: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        self.choices += 1;
        if now_nanos < self.look_nanos && self.last.len() == set.len() {
            return None;
        }
        self.follow(set, now_nanos);
        let late = |last: &Last| {
            let pause = now_nanos.saturating_sub(last.at_nanos);
            (pause > PAUSE_NANOS && self.choices - last.choice > CHOICES) || pause > LONG_NANOS
        };
        let found = (0..set.len()).find(|&i| usable(i) && set[i].in_flight() == 0 && late(&self.last[i]));
        if found.is_none() {
            self.look_nanos = now_nanos + PAUSE_NANOS / 64;
        }
        found
    }

    /// That one was chosen.
    pub fn note<C: Candidate>(&mut self, set: &[C], found: usize, now_nanos: u64) {
        if let Some(last) = self.last.get_mut(found).filter(|last| last.id == set[found].id()) {
            let busy_nanos = if set[found].in_flight() == 0 { now_nanos } else { last.busy_nanos };
            *last = Last { at_nanos: now_nanos, choice: self.choices, busy_nanos, ..*last };
        }
    }

    /// For how long one that has work has answered nothing. Longer than `STILL_NANOS` is no stall but a long request.
    pub fn silence_nanos<C: Candidate>(&self, candidate: &C, at: usize, now_nanos: u64) -> u64 {
        let Some(last) = self.last.get(at).filter(|last| last.id == candidate.id()) else { return 0 };
        let silent = now_nanos.saturating_sub(last.busy_nanos.max(candidate.answered_nanos()));
        if candidate.in_flight() == 0 || silent > STILL_NANOS { 0 } else { silent }
    }

    /// One entry for each endpoint, in the set's order.
    fn follow<C: Candidate>(&mut self, set: &[C], now_nanos: u64) {
        let same = self.last.len() == set.len() && self.last.iter().zip(set).all(|(last, c)| last.id == c.id());
        if same {
            return;
        }
        let old = std::mem::take(&mut self.last);
        let entry = |c: &C| {
            let new = Last { id: c.id(), at_nanos: now_nanos, choice: self.choices, busy_nanos: now_nanos };
            old.iter().find(|last| last.id == c.id()).copied().unwrap_or(new)
        };
        self.last = set.iter().map(entry).collect();
    }
}
