//! One Backend's state of choosing: cursors and what else an algorithm remembers.
//!
//! Promises: with equal endpoints and requests that do not overlap, `LeastRequest` is exact round robin; a choice with
//! `avoid` falls back to an avoided endpoint only when there is no other. The caller holds the Backend's lock while it
//! chooses and counts the chosen endpoint in before it lets go, so that threads never choose alike by accident.

use super::{Algorithm, Ask, Candidate, flags};

pub struct Chooser {
    algorithm: Algorithm,
    cursor: usize,
}

impl Chooser {
    pub fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, cursor: 0 }
    }

    /// Told when the set of endpoints has changed.
    pub fn settle<C: Candidate>(&mut self, set: &[C]) {
        if self.cursor >= set.len() {
            self.cursor = 0;
        }
    }

    /// The index of the endpoint that gets the request.
    pub fn choose<C: Candidate>(&mut self, set: &[C], ask: &Ask<'_>) -> Option<usize> {
        for forgiven in flags::STEPS {
            let usable = |c: &C| c.flags() & !forgiven == 0 && !ask.avoid.contains(&c.id());
            if let Some(index) = self.choose_among(set, ask, usable) {
                return Some(index);
            }
        }
        if ask.avoid.is_empty() {
            return None;
        }
        self.choose(set, &Ask { avoid: &[], ..*ask })
    }

    fn choose_among<C: Candidate>(&mut self, set: &[C], _ask: &Ask<'_>, usable: impl Fn(&C) -> bool) -> Option<usize> {
        match self.algorithm {
            Algorithm::RoundRobin => self.next(set, usable),
            Algorithm::LeastRequest => self.least(set, usable),
        }
    }

    fn next<C: Candidate>(&mut self, set: &[C], usable: impl Fn(&C) -> bool) -> Option<usize> {
        let start = self.cursor.min(set.len());
        let found = (start..set.len()).chain(0..start).find(|&i| usable(&set[i]))?;
        self.cursor = if found + 1 >= set.len() { 0 } else { found + 1 };
        Some(found)
    }

    /// The smallest (requests in flight + 1) / weight, the first of equals from the cursor on.
    fn least<C: Candidate>(&mut self, set: &[C], usable: impl Fn(&C) -> bool) -> Option<usize> {
        let start = self.cursor.min(set.len());
        let mut best: Option<(usize, u64, u64)> = None;
        for i in (start..set.len()).chain(0..start) {
            let candidate = &set[i];
            if !usable(candidate) {
                continue;
            }
            let load = u64::from(candidate.in_flight()) + 1;
            let weight = u64::from(candidate.weight().max(1));
            if best.is_none_or(|(_, l, w)| load * w < l * weight) {
                best = Some((i, load, weight));
            }
        }
        let (found, ..) = best?;
        self.cursor = if found + 1 >= set.len() { 0 } else { found + 1 };
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Fake {
        id: u64,
        weight: u32,
        flags: Cell<u32>,
        in_flight: Cell<u32>,
    }

    impl Candidate for Fake {
        fn id(&self) -> u64 {
            self.id
        }
        fn weight(&self) -> u32 {
            self.weight
        }
        fn flags(&self) -> u32 {
            self.flags.get()
        }
        fn in_flight(&self) -> u32 {
            self.in_flight.get()
        }
        fn identity(&self) -> u64 {
            self.id
        }
        fn latency_nanos(&self, _: u64) -> u64 {
            0
        }
        fn warmth(&self, _: u64) -> f64 {
            1.0
        }
    }

    fn fakes(weights: &[u32]) -> Vec<Fake> {
        (0..)
            .zip(weights)
            .map(|(id, &weight)| Fake { id, weight, flags: Cell::new(0), in_flight: Cell::new(0) })
            .collect()
    }

    fn ask(avoid: &[u64]) -> Ask<'_> {
        Ask { now_nanos: 0, avoid, hash: 0, random: 0, panic_threshold: 0.0 }
    }

    #[test]
    fn least_request_without_overlap_is_exact_round_robin() {
        let set = fakes(&[1, 1, 1]);
        let mut chooser = Chooser::new(Algorithm::LeastRequest);
        let chosen: Vec<_> = (0..6).map(|_| chooser.choose(&set, &ask(&[])).unwrap()).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn least_request_takes_the_idle_endpoint_and_honours_weights() {
        let set = fakes(&[1, 4]);
        set[0].in_flight.set(1);
        set[1].in_flight.set(3);
        let mut chooser = Chooser::new(Algorithm::LeastRequest);
        assert_eq!(chooser.choose(&set, &ask(&[])), Some(1)); // 2/1 against 4/4
        set[1].in_flight.set(8);
        assert_eq!(chooser.choose(&set, &ask(&[])), Some(0)); // 2/1 against 9/4
    }

    #[test]
    fn draining_endpoints_are_the_last_resort_before_sick_ones() {
        let set = fakes(&[1, 1, 1]);
        set[0].flags.set(flags::DRAINING);
        set[1].flags.set(flags::EJECTED);
        let mut chooser = Chooser::new(Algorithm::RoundRobin);
        assert_eq!(chooser.choose(&set, &ask(&[])), Some(2));
        set[2].flags.set(flags::GONE);
        assert_eq!(chooser.choose(&set, &ask(&[])), Some(0));
        assert_eq!(chooser.choose(&set, &ask(&[0])), Some(1));
        set[0].flags.set(flags::FULL);
        set[1].flags.set(flags::FULL);
        assert_eq!(chooser.choose(&set, &ask(&[])), None);
    }

    #[test]
    fn an_avoided_endpoint_is_taken_only_when_there_is_no_other() {
        let set = fakes(&[1, 1]);
        let mut chooser = Chooser::new(Algorithm::RoundRobin);
        assert_eq!(chooser.choose(&set, &ask(&[0])), Some(1));
        assert_eq!(chooser.choose(&set, &ask(&[0])), Some(1));
        assert!(chooser.choose(&set, &ask(&[0, 1])).is_some());
    }
}
