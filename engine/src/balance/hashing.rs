//! Algorithms that give the same endpoint for the same key: rendezvous, Maglev and ring hashing.
//!
//! Promises: when an endpoint comes or goes, (nearly) only the keys that it gets or had move. Weights are shares of the
//! keys. An endpoint that may not be used passes its keys on to the next of the same order, and has them again later.
//! Maglev: Eisenbud et al., NSDI 2016, table of 65537 (65521 endpoints at most use it well). Ring: 160 points per unit
//! of weight, scaled down when there would be too many.

use super::random::mix;
use super::{Ask, Candidate};

const MAGLEV_SIZE: usize = 65537;
const POINTS: usize = 160;
const MAX_POINTS: usize = 1 << 17;

fn score<C: Candidate>(candidate: &C, hash: u64) -> f64 {
    let drawn = mix(hash ^ candidate.identity()) >> 11;
    let uniform = (drawn as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(candidate.weight().max(1)) / uniform.ln()
}

/// Highest random weight: the endpoint with the largest -weight / ln(hash).
pub fn rendezvous<C: Candidate>(set: &[C], hash: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
    (0..set.len())
        .filter(|&i| usable(i))
        .map(|i| (i, score(&set[i], hash)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|b| b.0)
}

/// One of the `size` endpoints with the highest random weights that has room, drawn; if none of them has, the next of the
/// key's order that has. When an endpoint goes, only the keys that had it among theirs get another in its place.
pub fn subset<C: Candidate>(
    set: &[C],
    ask: &Ask<'_>,
    size: usize,
    usable: impl Fn(usize) -> bool,
    has_room: impl Fn(usize) -> bool,
) -> Option<usize> {
    let mut ranked: Vec<_> = (0..set.len()).filter(|&i| usable(i)).map(|i| (i, score(&set[i], ask.hash))).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (own, others) = ranked.split_at(size.min(ranked.len()));
    let open: Vec<usize> = own.iter().map(|(i, _)| *i).filter(|&i| has_room(i)).collect();
    let place = (u128::from(mix(ask.random)) * open.len() as u128) >> 64;
    let drawn = open.get(place as usize).copied();
    drawn.or_else(|| others.iter().map(|(i, _)| *i).find(|&i| has_room(i)))
}

/// Slot to index.
#[derive(Default)]
pub struct Maglev {
    slots: Vec<u32>,
}

impl Maglev {
    pub fn build<C: Candidate>(set: &[C]) -> Self {
        if set.is_empty() {
            return Self::default();
        }
        let size = MAGLEV_SIZE as u64;
        let heaviest = set.iter().map(|c| c.weight().max(1)).max().unwrap_or(1);
        let mut order: Vec<usize> = (0..set.len()).collect();
        order.sort_by_key(|&i| set[i].identity());
        let mut places: Vec<(u64, u64, f64)> =
            order.iter().map(|&i| (set[i].identity() % size, mix(set[i].identity()) % (size - 1) + 1, 0.0)).collect();
        let mut slots = vec![u32::MAX; MAGLEV_SIZE];
        let mut filled = 0;
        while filled < MAGLEV_SIZE {
            for (place, &i) in places.iter_mut().zip(&order) {
                // A lighter endpoint takes its turn only in its share of the rounds.
                place.2 += f64::from(set[i].weight().max(1)) / f64::from(heaviest);
                if place.2 < 1.0 || filled == MAGLEV_SIZE {
                    continue;
                }
                place.2 -= 1.0;
                while slots[place.0 as usize] != u32::MAX {
                    place.0 = (place.0 + place.1) % size;
                }
                slots[place.0 as usize] = i as u32;
                filled += 1;
            }
        }
        Self { slots }
    }

    pub fn find(&self, hash: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let start = (hash % MAGLEV_SIZE as u64) as usize;
        let mut steps = (start..self.slots.len()).chain(0..start.min(self.slots.len()));
        steps.find_map(|s| Some(self.slots[s] as usize).filter(|&i| usable(i)))
    }
}

/// Points on a circle, each with the index of its endpoint.
#[derive(Default)]
pub struct Ring {
    points: Vec<(u64, u32)>,
}

impl Ring {
    pub fn build<C: Candidate>(set: &[C]) -> Self {
        let total: usize = set.iter().map(|c| c.weight().max(1) as usize * POINTS).sum();
        let scale = (total / MAX_POINTS + 1) as f64;
        let mut points = Vec::new();
        for (i, candidate) in set.iter().enumerate() {
            let count = (f64::from(candidate.weight().max(1)) * POINTS as f64 / scale).ceil() as u64;
            points.extend((0..count).map(|n| (mix(candidate.identity() ^ mix(n)), i as u32)));
        }
        points.sort_unstable();
        Self { points }
    }

    pub fn find(&self, hash: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let start = self.points.partition_point(|(at, _)| *at < hash);
        let mut steps = (start..self.points.len()).chain(0..start);
        steps.find_map(|p| Some(self.points[p].1 as usize).filter(|&i| usable(i)))
    }
}
