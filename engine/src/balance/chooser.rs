//! One Backend's state of choosing: cursors and what else an algorithm remembers.
//!
//! Promises: with equal endpoints and requests that do not overlap, `LeastRequest` is exact round robin; a choice with
//! `avoid` falls back to an avoided endpoint only when there is no other; an endpoint that starts slowly takes part in some
//! choices only (`start`); a key or cookie that already has its endpoint keeps it while it may be used. The caller
//! holds the Backend's lock while it chooses and counts the chosen endpoint in before it lets go, so that threads never
//! choose alike by accident.

use super::affinity::Clients;
use super::bounded::Bound;
use super::cursor::Cursor;
use super::hashing::{self, Maglev, Ring};
use super::least;
use super::local::Locality;
use super::near::{self, Among, Nearness};
use super::pace::Pace;
use super::sampled::{self, Sampler};
use super::start::Start;
use super::{Algorithm, Ask, Candidate, flags};

/// What of a Backend's policy bends its algorithm.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tuning {
    /// For the hashing algorithms: no endpoint over so many times its share of what is in flight; 0: no bound.
    pub load_bound: f64,
    /// Endpoints that are near are preferred; `None`: all are alike.
    pub spill_factor: Option<f64>,
}

pub struct Chooser {
    algorithm: Algorithm,
    tuning: Tuning,
    nearness: Nearness,
    /// The turns among those of one place; a cursor that served several would favour the first of each.
    places: Vec<(Among, Cursor)>,
    /// A key has this many endpoints, one of which is drawn; 0: one.
    pub subset: usize,
    cursor: Cursor,
    pace: Pace,
    sampler: Sampler,
    maglev: Maglev,
    ring: Ring,
    locality: Locality,
    clients: Clients,
}

impl Chooser {
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            tuning: Tuning::default(),
            nearness: Nearness::default(),
            places: Vec::new(),
            subset: 0,
            cursor: Cursor::default(),
            pace: Pace::default(),
            sampler: Sampler::default(),
            maglev: Maglev::default(),
            ring: Ring::default(),
            locality: Locality::default(),
            clients: Clients::default(),
        }
    }

    pub fn tune(&mut self, tuning: Tuning) {
        self.tuning = tuning;
    }

    /// Told when the set of endpoints or their weights have changed.
    pub fn settle<C: Candidate>(&mut self, set: &[C]) {
        self.cursor.settle(set);
        self.places.clear();
        match self.algorithm {
            Algorithm::Maglev => self.maglev = Maglev::build(set),
            Algorithm::RingHash => self.ring = Ring::build(set),
            _ => {}
        }
    }

    /// The index of the endpoint that gets the request.
    pub fn choose<C: Candidate>(&mut self, set: &[C], ask: &Ask<'_>) -> Option<usize> {
        if let Some(kept) = self.kept(set, ask) {
            return Some(kept);
        }
        let found = self.choose_freely(set, ask)?;
        if let Some((client, timeout_nanos)) = ask.client {
            self.clients.remember(client, set[found].id(), ask.now_nanos, timeout_nanos);
        }
        Some(found)
    }

    /// The endpoint that a cookie or the client's address is bound to, while it is in good health.
    fn kept<C: Candidate>(&mut self, set: &[C], ask: &Ask<'_>) -> Option<usize> {
        let good = |c: &C| c.flags() == 0 && !ask.avoid.contains(&c.id());
        if let Some(identity) = ask.identity {
            return set.iter().position(|c| c.identity() == identity && good(c));
        }
        let (client, timeout_nanos) = ask.client?;
        let id = self.clients.find(client, ask.now_nanos, timeout_nanos)?;
        set.iter().position(|c| c.id() == id && good(c))
    }

    fn choose_freely<C: Candidate>(&mut self, set: &[C], ask: &Ask<'_>) -> Option<usize> {
        for forgiven in self.steps(set, ask) {
            let usable = |i: usize| set[i].flags() & !forgiven == 0 && !ask.avoid.contains(&set[i].id());
            let among = self.near(set, ask, usable);
            let usable = |i: usize| usable(i) && (among == Among::All || among.has(set[i].place()));
            let start = Start::of(set, ask, self.algorithm.takes_idle(), usable);
            let own = self.turns_of(among, set);
            let warm = start.and_then(|start| {
                let warm = |i: usize| usable(i) && start.lets_in(&set[i], ask);
                self.choose_among(set, ask, warm)
            });
            let found = warm.or_else(|| self.choose_among(set, ask, usable));
            if let Some(index) = own {
                std::mem::swap(&mut self.cursor, &mut self.places[index].1);
            }
            if found.is_some() {
                return found;
            }
        }
        if ask.avoid.is_empty() {
            return None;
        }
        self.choose_freely(set, &Ask { avoid: &[], ..*ask })
    }

    /// Brings a place's own cursor in; the index under which the other one is kept meanwhile.
    fn turns_of<C: Candidate>(&mut self, among: Among, set: &[C]) -> Option<usize> {
        if among == Among::All {
            return None;
        }
        let index = self.places.iter().position(|(place, _)| *place == among).unwrap_or_else(|| {
            let mut cursor = Cursor::default();
            cursor.settle(set);
            self.places.push((among, cursor));
            self.places.len() - 1
        });
        std::mem::swap(&mut self.cursor, &mut self.places[index].1);
        Some(index)
    }

    fn near<C: Candidate>(&mut self, set: &[C], ask: &Ask<'_>, usable: impl Fn(usize) -> bool) -> Among {
        let Some(spill_factor) = self.tuning.spill_factor else { return Among::All };
        let policy = near::Policy { spill_factor, by_hash: self.algorithm.hashes() };
        self.nearness.among(set, ask, policy, usable)
    }

    /// Which flags are forgiven, step by step; under the panic threshold health is not looked at, with a negative one always.
    fn steps<C: Candidate>(&self, set: &[C], ask: &Ask<'_>) -> &'static [u32] {
        if ask.panic_threshold < 0.0 {
            return &flags::CLOSED_STEPS;
        }
        if ask.panic_threshold == 0.0 {
            return &flags::STEPS;
        }
        let ready = |c: &&C| c.flags() & (flags::DRAINING | flags::HELD | flags::GONE) == 0;
        let all = set.iter().filter(ready).count();
        let good = set.iter().filter(ready).filter(|c| c.flags() & (flags::EJECTED | flags::UNHEALTHY) == 0).count();
        if (good as f64) * 100.0 < ask.panic_threshold * all as f64 { &flags::PANIC_STEPS } else { &flags::STEPS }
    }

    fn choose_among<C: Candidate>(
        &mut self,
        set: &[C],
        ask: &Ask<'_>,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let len = set.len();
        let weight = |i: usize| u64::from(set[i].weight().max(1));
        let busy = |i: usize| u64::from(set[i].in_flight());
        let delay = |i: usize| (busy(i) + 1, weight(i));
        if self.subset > 0 && self.algorithm.hashes() {
            let bound = Bound::of(set, self.tuning.load_bound, &usable);
            return hashing::subset(set, ask, self.subset, &usable, |i| bound.has_room(&set[i]));
        }
        match self.algorithm {
            Algorithm::RoundRobin => self.cursor.next(len, usable),
            Algorithm::WeightedRoundRobin => self.cursor.weighted(set, usable),
            Algorithm::InterleavedRoundRobin => self.cursor.interleaved.next(set, usable),
            Algorithm::LeastRequest => least::least_request(&mut self.pace, &mut self.cursor, set, ask, usable),
            Algorithm::ShortestExpectedDelay => self.cursor.least(len, usable, delay),
            Algorithm::LeastConnection => self.cursor.least(len, usable, |i| (busy(i), 1)),
            Algorithm::WeightedLeastConnection => self.cursor.least(len, usable, |i| (busy(i), weight(i))),
            Algorithm::NeverQueue => {
                let idle = self.cursor.next(len, |i| usable(i) && busy(i) == 0);
                idle.or_else(|| self.cursor.least(len, usable, delay))
            }
            Algorithm::Failover => self.cursor.least(len, usable, |i| (u64::from(u32::MAX) - weight(i), 1)),
            Algorithm::Overflow => {
                let free = |i: usize| usable(i) && busy(i) <= weight(i);
                let heaviest = |i: usize| (u64::from(u32::MAX) - weight(i), 1);
                self.cursor.least(len, free, heaviest).or_else(|| self.cursor.least(len, &usable, heaviest))
            }
            Algorithm::Random => sampled::random(set, ask, usable),
            Algorithm::PowerOfTwo => sampled::power_of_two(set, ask, usable),
            Algorithm::TwoByWeight => sampled::two_by_weight(set, ask, usable),
            Algorithm::Ewma => sampled::ewma(&mut self.pace.floor, &mut self.cursor, set, ask, usable),
            Algorithm::Prequal => self.sampler.prequal(&mut self.pace, &mut self.cursor, set, ask, usable),
            Algorithm::Locality => self.locality.choose(set, ask.hash, ask.now_nanos, false, usable),
            Algorithm::LocalityReplicated => self.locality.choose(set, ask.hash, ask.now_nanos, true, usable),
            Algorithm::IpHash | Algorithm::Hash | Algorithm::Maglev | Algorithm::RingHash => {
                let bound = Bound::of(set, self.tuning.load_bound, &usable);
                self.by_hash(set, ask.hash, |i| usable(i) && bound.has_room(&set[i]))
            }
        }
    }

    fn by_hash<C: Candidate>(&self, set: &[C], hash: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        match self.algorithm {
            Algorithm::Maglev => self.maglev.find(hash, usable),
            Algorithm::RingHash => self.ring.find(hash, usable),
            _ => hashing::rendezvous(set, hash, usable),
        }
    }
}

#[cfg(test)]
#[path = "chooser_tests.rs"]
mod tests;
