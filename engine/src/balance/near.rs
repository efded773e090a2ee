//! Preference for endpoints that are near, without overloading them.
//!
//! Zones follow Envoy's zone aware routing: traffic is taken to begin in equal parts in every zone that has endpoints.
//! A zone whose endpoints are at least its part of all keeps its own traffic whole; one with fewer keeps what they are of
//! its part, and the rest goes to the zones that have endpoints to spare, each by how many. Where an engine in each zone
//! does so, every endpoint gets the same load. An endpoint of the own node goes before the zone (Kubernetes'
//! PreferSameNode, KEP-3015), without a part of its own.
//!
//! Over all that stands a bound for traffic that begins elsewhere than thought: the near ones are left when the least
//! busy of them is more than `spill_factor` times as busy, (in flight + 1) / weight, as the least busy one further away.

use super::random::{mix, unit};
use super::{Ask, Candidate};

/// Where an endpoint is, seen from here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    pub own_node: bool,
    pub own_zone: bool,
    /// A hash of the zone's name.
    pub zone: u64,
}

/// Which endpoints a choice is made among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    All,
    OwnNode,
    Zone(u64),
}

impl Among {
    pub fn has(self, place: Place) -> bool {
        match self {
            Self::All => true,
            Self::OwnNode => place.own_node,
            Self::Zone(zone) => place.zone == zone,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub spill_factor: f64,
    /// The same key goes to the same zone.
    pub by_hash: bool,
}

/// Zones with endpoints that may be used, and the sum of their weights.
type Zones = smallvec::SmallVec<[(u64, u64); 8]>;

#[derive(Default)]
pub struct Nearness {
    /// How much of a request the own zone is owed; exact shares instead of lots.
    owed: f64,
}

impl Nearness {
    pub fn among<C: Candidate>(
        &mut self,
        set: &[C],
        ask: &Ask<'_>,
        policy: Policy,
        usable: impl Fn(usize) -> bool,
    ) -> Among {
        let bearable = |among: Among| bearable(set, policy.spill_factor, &usable, among);
        if bearable(Among::OwnNode) {
            return Among::OwnNode;
        }
        let mut zones = Zones::new();
        let mut own = None;
        for candidate in (0..set.len()).filter(|&i| usable(i)).map(|i| &set[i]) {
            let (place, weight) = (candidate.place(), u64::from(candidate.weight().max(1)));
            own = own.or(place.own_zone.then_some(place.zone));
            match zones.iter_mut().find(|(zone, _)| *zone == place.zone) {
                Some((_, sum)) => *sum += weight,
                None => zones.push((place.zone, weight)),
            }
        }
        let Some(own) = own.filter(|_| zones.len() > 1) else { return Among::All };
        let lot = if policy.by_hash { mix(ask.hash ^ own) } else { mix(ask.random ^ own) };
        let zone = self.zone(&zones, own, lot, policy.by_hash);
        if bearable(Among::Zone(zone)) { Among::Zone(zone) } else { Among::All }
    }

    fn zone(&mut self, zones: &Zones, own: u64, lot: u64, by_hash: bool) -> u64 {
        let total: u64 = zones.iter().map(|(_, weight)| weight).sum();
        let count = zones.len() as u64;
        let mine = zones.iter().find(|(zone, _)| *zone == own).map_or(0, |(_, weight)| *weight);
        // A zone's part is 1 / count; what it can take of it is mine / total.
        let kept = (count * mine) as f64 / total as f64;
        let lot = unit(lot);
        let stays = if by_hash { lot < kept } else { self.owe(kept) };
        if kept >= 1.0 || stays {
            return own;
        }
        let spare = |weight: u64| (count * weight).saturating_sub(total);
        let spared: u64 = zones.iter().map(|(_, weight)| spare(*weight)).sum();
        let lot = if by_hash { (lot - kept) / (1.0 - kept) } else { lot };
        let mut at = (lot * spared as f64) as u64;
        for (zone, weight) in zones {
            match at.checked_sub(spare(*weight)) {
                Some(rest) => at = rest,
                None => return *zone,
            }
        }
        own
    }

    fn owe(&mut self, kept: f64) -> bool {
        self.owed += kept.min(1.0);
        let stays = self.owed >= 1.0;
        if stays {
            self.owed -= 1.0;
        }
        stays
    }
}

/// Is there one among these, and is the least busy of them not too much busier than the least busy of the others?
fn bearable<C: Candidate>(set: &[C], factor: f64, usable: impl Fn(usize) -> bool, among: Among) -> bool {
    let load = |c: &C| f64::from(c.in_flight() + 1) / f64::from(c.weight().max(1));
    let (mut near, mut far) = (f64::INFINITY, f64::INFINITY);
    for candidate in (0..set.len()).filter(|&i| usable(i)).map(|i| &set[i]) {
        let side = if among.has(candidate.place()) { &mut near } else { &mut far };
        *side = side.min(load(candidate));
    }
    near.is_finite() && (factor <= 0.0 || near <= factor * far)
}

#[cfg(test)]
#[path = "near_tests.rs"]
mod tests;
