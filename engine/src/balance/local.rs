//! IPVS's locality-based least connection, without (`lblc`) and with replication (`lblcr`).
//!
//! A destination stays with its endpoint (or its set of endpoints) until that is overloaded, meaning more requests in
//! flight than its weight, while another has fewer than half of its own weight; then the least loaded takes over or
//! joins. A set that has not changed for a day (`lblcr_expiration`) loses its most loaded member. At most `MAX_KEYS` are remembered.

use std::collections::HashMap;

use super::Candidate;

const MAX_KEYS: usize = 16384;
const SHRINK_NANOS: u64 = 86_400_000_000_000;

#[derive(Default)]
pub struct Locality {
    keys: HashMap<u64, Members>,
}

struct Members {
    ids: Vec<u64>,
    changed_nanos: u64,
}

fn load<C: Candidate>(c: &C) -> (u64, u64) {
    (u64::from(c.in_flight()), u64::from(c.weight().max(1)))
}

fn least<C: Candidate>(set: &[C], usable: impl Fn(usize) -> bool) -> Option<usize> {
    (0..set.len()).filter(|&i| usable(i)).min_by(|&a, &b| {
        let ((l1, w1), (l2, w2)) = (load(&set[a]), load(&set[b]));
        (l1 * w2).cmp(&(l2 * w1))
    })
}

impl Locality {
    pub fn choose<C: Candidate>(
        &mut self,
        set: &[C],
        key: u64,
        now_nanos: u64,
        replicate: bool,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mine = self.keys.get(&key);
        let member = |i: usize| usable(i) && mine.is_some_and(|m| m.ids.contains(&set[i].id()));
        let current = least(set, member);
        let overloaded = current.is_none_or(|i| {
            let (in_flight, weight) = load(&set[i]);
            in_flight > weight
                && (0..set.len()).any(|o| {
                    let (in_flight, weight) = load(&set[o]);
                    usable(o) && in_flight * 2 < weight
                })
        });
        let found = if overloaded { least(set, &usable)? } else { current? };
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(&key) {
            self.keys.clear();
        }
        let members = self.keys.entry(key).or_insert(Members { ids: Vec::new(), changed_nanos: now_nanos });
        if overloaded {
            if !replicate {
                members.ids.clear();
            }
            members.ids.push(set[found].id());
            members.ids.dedup();
            members.changed_nanos = now_nanos;
        } else if members.ids.len() > 1 && now_nanos.saturating_sub(members.changed_nanos) > SHRINK_NANOS {
            let busiest = members
                .ids
                .iter()
                .copied()
                .max_by_key(|id| set.iter().find(|c| c.id() == *id).map_or(u64::MAX, |c| u64::from(c.in_flight())));
            members.ids.retain(|id| Some(*id) != busiest);
            members.changed_nanos = now_nanos;
        }
        Some(found)
    }
}
