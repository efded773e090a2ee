//! The exploration floor of algorithms that avoid what seems slow, and who is silent.
//!
//! Promises: an endpoint that may be used and is idle gets a request when it has had none for half a second and for 128
//! choices, or for ten seconds. So one that is slow costs 1 request in 128 at most (fewer than 1 in 1,000 from 2,000
//! requests a second on), and one that has recovered is known again within a second or two. One that is silent is so
//! only until it was given nothing for a quarter of a second; then it may show again what it is.

use super::Candidate;

const PAUSE_NANOS: u64 = 500_000_000;
const CHOICES: u64 = 128;
const LONG_NANOS: u64 = 10_000_000_000;
const RETRY_NANOS: u64 = 250_000_000;

#[derive(Clone, Copy)]
struct Last {
    id: u64,
    at_nanos: u64,
    choice: u64,
    /// When it was given the first request after its last answer.
    since_nanos: u64,
}

#[derive(Default)]
pub struct Floor {
    choices: u64,
    last: Vec<Last>,
    /// When to look again; between looks a choice costs nothing.
    look_nanos: u64,
}

impl Floor {
    /// The endpoint whose turn is most overdue.
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
        let idle = (0..set.len()).filter(|&i| usable(i) && set[i].in_flight() == 0);
        let found = idle.filter(|&i| late(&self.last[i])).min_by_key(|&i| self.last[i].at_nanos);
        if found.is_none() {
            self.look_nanos = now_nanos + PAUSE_NANOS / 64;
        }
        found
    }

    /// That one was chosen.
    pub fn note<C: Candidate>(&mut self, set: &[C], found: usize, now_nanos: u64) {
        let candidate = &set[found];
        if let Some(last) = self.last.get_mut(found).filter(|last| last.id == candidate.id()) {
            let first = candidate.in_flight() == 0 || candidate.answered_nanos() >= last.since_nanos;
            let since_nanos = if first { now_nanos } else { last.since_nanos };
            *last = Last { at_nanos: now_nanos, choice: self.choices, since_nanos, ..*last };
        }
    }

    /// For how long it has answered nothing of what it was given since its last answer. What it had before may be one long
    /// request, which says nothing about the next.
    pub fn silence_nanos<C: Candidate>(&self, candidate: &C, at: usize, now_nanos: u64) -> u64 {
        let Some(last) = self.last.get(at).filter(|last| last.id == candidate.id()) else { return 0 };
        let answered = candidate.in_flight() == 0 || candidate.answered_nanos() >= last.since_nanos;
        let forgotten = now_nanos.saturating_sub(last.at_nanos) > RETRY_NANOS;
        if answered || forgotten { 0 } else { now_nanos.saturating_sub(last.since_nanos) }
    }

    /// One entry for each endpoint, in the set's order.
    fn follow<C: Candidate>(&mut self, set: &[C], now_nanos: u64) {
        let same = self.last.len() == set.len() && self.last.iter().zip(set).all(|(last, c)| last.id == c.id());
        if same {
            return;
        }
        let old = std::mem::take(&mut self.last);
        let entry = |c: &C| {
            let new = Last { id: c.id(), at_nanos: now_nanos, choice: self.choices, since_nanos: 0 };
            old.iter().find(|last| last.id == c.id()).copied().unwrap_or(new)
        };
        self.last = set.iter().map(entry).collect();
    }
}
