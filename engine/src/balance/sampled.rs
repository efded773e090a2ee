//! Algorithms that draw lots or look at latencies: random, the better of two, peak-EWMA and Prequal.
//!
//! Prequal follows Wydrowski et al., "Load is not what you should balance" (NSDI 2024): probes of random endpoints are
//! kept in a pool, reused a few times and removed when old or worst; among them an endpoint whose requests in flight are
//! above a quantile of what was seen is hot, the cold one with the lowest latency is taken, and the one with the fewest
//! in flight when all are hot. One balancer sees all requests here, so a probe reads the counts at once, and there is no
//! request of its own to measure with. Ours: latencies within a band count as equal (`pace`), and then the fewest in
//! flight is taken; requests in flight at a slow endpoint count for more, so that it is not the only cold one in a rush;
//! one that was never measured is as good as the best; and `floor` keeps the latencies of the slow ones fresh.

use super::cursor::Cursor;
use super::floor::Floor;
use super::pace::{ALIKE, NOISE_NANOS, Pace};
use super::random::{Random, mix};
use super::{Ask, Candidate};

/// Costs up to this many quarters of the best are equal to it (peak-EWMA).
const BAND_QUARTERS: u64 = 6;

const POOL: usize = 16;
const PROBES_PER_CHOICE: u64 = 3;
const REUSE: u32 = 4;
const PROBE_AGE_NANOS: u64 = 1_000_000_000;
/// 2^-0.25 of the distribution of requests in flight, as in the paper.
const HOT_QUANTILE: f64 = 0.84;

#[derive(Default)]
pub struct Sampler {
    pool: Vec<Probe>,
    /// Requests in flight as probes saw them, the newest last.
    seen: std::collections::VecDeque<u32>,
}

struct Probe {
    id: u64,
    uses: u32,
    at_nanos: u64,
}

fn usable_indices(len: usize, usable: impl Fn(usize) -> bool) -> smallvec::SmallVec<[usize; 64]> {
    (0..len).filter(|&i| usable(i)).collect()
}

fn cost<C: Candidate>(candidate: &C, now_nanos: u64) -> u64 {
    let latency = candidate.peak_nanos(now_nanos).max(NOISE_NANOS);
    latency.saturating_mul(u64::from(candidate.in_flight()) + 1) / u64::from(candidate.weight().max(1))
}

pub fn random<C: Candidate>(set: &[C], ask: &Ask<'_>, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let weight = |i: usize| u64::from(set[i].weight().max(1));
    let total: u64 = (0..set.len()).filter(|&i| usable(i)).map(weight).sum();
    if total == 0 {
        return None;
    }
    let mut at = Random::new(ask.random).below(total);
    (0..set.len()).filter(|&i| usable(i)).find(|&i| match at.checked_sub(weight(i)) {
        Some(rest) => {
            at = rest;
            false
        }
        None => true,
    })
}

/// Two different ones at random; the smaller (requests in flight + 1) / weight.
pub fn power_of_two<C: Candidate>(set: &[C], ask: &Ask<'_>, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let indices = usable_indices(set.len(), usable);
    let mut random = Random::new(ask.random);
    let n = indices.len() as u64;
    let first = *indices.get(random.below(n.max(1)) as usize)?;
    if n == 1 {
        return Some(first);
    }
    let mut second = indices[random.below(n - 1) as usize];
    if second == first {
        second = indices[n as usize - 1];
    }
    let load = |i: usize| (u64::from(set[i].in_flight()) + 1, u64::from(set[i].weight().max(1)));
    let ((l1, w1), (l2, w2)) = (load(first), load(second));
    Some(if l1 * w2 <= l2 * w1 { first } else { second })
}

/// IPVS's `twos`: two draws by weight; the first unless the second has fewer requests in flight / weight.
pub fn two_by_weight<C: Candidate>(set: &[C], ask: &Ask<'_>, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let first = random(set, ask, &usable)?;
    let second = random(set, &Ask { random: mix(ask.random), ..*ask }, &usable)?;
    let load = |i: usize| (u64::from(set[i].in_flight()), u64::from(set[i].weight().max(1)));
    let ((l1, w1), (l2, w2)) = (load(first), load(second));
    Some(if l1 * w2 > l2 * w1 { second } else { first })
}

pub fn ewma<C: Candidate>(
    floor: &mut Floor,
    cursor: &mut Cursor,
    set: &[C],
    ask: &Ask<'_>,
    usable: impl Fn(usize) -> bool,
) -> Option<usize> {
    let found = match floor.due(set, ask.now_nanos, &usable) {
        Some(due) => due,
        None => {
            let costs: smallvec::SmallVec<[u64; 64]> = set.iter().map(|c| cost(c, ask.now_nanos)).collect();
            let best = (0..set.len()).filter(|&i| usable(i)).map(|i| costs[i]).min()?;
            let limit = best.saturating_mul(BAND_QUARTERS) / 4;
            cursor.next(set.len(), |i| costs[i] <= limit && usable(i))?
        }
    };
    floor.note(set, found, ask.now_nanos);
    Some(found)
}

impl Sampler {
    pub fn prequal<C: Candidate>(
        &mut self,
        pace: &mut Pace,
        cursor: &mut Cursor,
        set: &[C],
        ask: &Ask<'_>,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let indices = usable_indices(set.len(), &usable);
        if indices.is_empty() {
            return None;
        }
        self.probe(set, &indices, ask);
        pace.look(set, ask, &usable);
        let due = pace.due(set, ask, usable);
        let found = due.or_else(|| self.best_probe(set, &indices, pace, cursor))?;
        pace.note(set, found, ask);
        if let Some(at) = self.pool.iter().position(|p| p.id == set[found].id()) {
            self.pool[at].uses += 1;
            if self.pool[at].uses >= REUSE && self.pool.len() > POOL / 2 {
                self.pool.swap_remove(at);
            }
        }
        Some(found)
    }

    /// The hot/cold rule over the pool.
    fn best_probe<C: Candidate>(
        &self,
        set: &[C],
        indices: &[usize],
        pace: &Pace,
        cursor: &mut Cursor,
    ) -> Option<usize> {
        let in_pool = |i: &usize| self.pool.iter().any(|p| p.id == set[*i].id());
        let pooled: smallvec::SmallVec<[usize; POOL]> = indices.iter().copied().filter(in_pool).collect();
        let weight = |i: usize| u64::from(set[i].weight().max(1));
        let load = |i: usize| (u64::from(set[i].in_flight()) + 1) * pace.slowness(i);
        let threshold = (u64::from(self.hot_threshold()) + 1) * ALIKE;
        let cold = |i: usize| load(i) <= threshold.saturating_mul(weight(i));
        let cold: smallvec::SmallVec<[usize; POOL]> = pooled.iter().copied().filter(|&i| cold(i)).collect();
        let Some(quickest) = cold.iter().map(|&i| pace.slowness(i)).min() else {
            return cursor.least(set.len(), |i| pooled.contains(&i), |i| (load(i), weight(i)));
        };
        let quick = |i: usize| pace.slowness(i) == quickest && cold.contains(&i);
        let idle = cursor.turn(set, |i| set[i].in_flight() == 0 && quick(i));
        idle.or_else(|| cursor.least(set.len(), quick, |i| (load(i), weight(i))))
    }

    fn probe<C: Candidate>(&mut self, set: &[C], indices: &[usize], ask: &Ask<'_>) {
        let now = ask.now_nanos;
        // One that does not take part in this choice may in the next.
        self.pool.retain(|p| now.saturating_sub(p.at_nanos) < PROBE_AGE_NANOS && set.iter().any(|c| c.id() == p.id));
        let known = indices.iter().filter(|&&i| self.pool.iter().any(|p| p.id == set[i].id())).count();
        let mut random = Random::new(ask.random);
        let missing = (POOL.min(indices.len()) - known.min(POOL.min(indices.len()))) as u64;
        for _ in 0..PROBES_PER_CHOICE.max(missing) {
            let candidate = &set[indices[random.below(indices.len() as u64) as usize]];
            self.seen.push_back(candidate.in_flight());
            self.pool.retain(|p| p.id != candidate.id());
            self.pool.push(Probe { id: candidate.id(), uses: 0, at_nanos: now });
        }
        while self.pool.len() > POOL {
            self.pool.remove(0); // the oldest
        }
        while self.seen.len() > 8 * POOL {
            self.seen.pop_front();
        }
    }

    fn hot_threshold(&self) -> u32 {
        let mut sorted: smallvec::SmallVec<[u32; 8 * POOL]> = self.seen.iter().copied().collect();
        sorted.sort_unstable();
        let at = ((sorted.len() as f64 - 1.0) * HOT_QUANTILE) as usize;
        sorted.get(at).copied().unwrap_or(0)
    }
}
