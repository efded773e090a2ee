//! The rules by which others choose, as their sources have them, and an oracle: what our algorithms are compared with.
//!
//! HAProxy's `leastconn` (lb_fwlc.c): a tree by requests in flight in which a server that had one more or one fewer goes
//! behind its new equals. nginx's `least_conn`: fewest in flight / weight, smooth weighted round robin among equals; and
//! its `random two least_conn`: two different ones, the second unless it has more. Envoy's `LEAST_REQUEST` with equal
//! weights: two draws, which may be the same, the first unless the second has fewer. The oracle knows what each request
//! costs, each queue, slowness and stall, and takes who is finished first.

use super::server::Server;
use crate::balance::Candidate;
use crate::balance::random::Random;

pub enum Peer {
    /// Where each server stands among its equals.
    HaproxyLeastconn(Vec<u64>),
    /// Current weights.
    NginxLeastConn(Vec<i64>),
    NginxRandomTwo,
    EnvoyLeastRequest,
    Oracle,
}

impl Peer {
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "haproxy-leastconn" => Self::HaproxyLeastconn(Vec::new()),
            "nginx-least-conn" => Self::NginxLeastConn(Vec::new()),
            "nginx-random-two" => Self::NginxRandomTwo,
            "envoy-least-request" => Self::EnvoyLeastRequest,
            "oracle" => Self::Oracle,
            _ => return None,
        })
    }

    /// `turn`: a number that grows with each choice and each answer.
    pub fn choose(&mut self, set: &[Server], random: u64, cost_nanos: u64, now_nanos: u64, turn: u64) -> Option<usize> {
        let all = 0..set.len();
        let busy = |i: usize| u64::from(set[i].in_flight());
        let mut random = Random::new(random);
        let mut draw = |bound: usize| random.below(bound as u64) as usize;
        match self {
            Self::HaproxyLeastconn(places) => {
                places.resize(set.len(), 0);
                let found = all.min_by_key(|&i| (busy(i), places[i]))?;
                places[found] = turn;
                Some(found)
            }
            Self::NginxLeastConn(current) => {
                current.resize(set.len(), 0);
                let weight = |i: usize| u64::from(set[i].weight().max(1));
                let best = all.clone().min_by(|&a, &b| (busy(a) * weight(b)).cmp(&(busy(b) * weight(a))))?;
                let equals: Vec<_> = all.filter(|&i| busy(i) * weight(best) == busy(best) * weight(i)).collect();
                if equals.len() == 1 {
                    return Some(best);
                }
                equals.iter().for_each(|&i| current[i] += weight(i) as i64);
                let most = equals.iter().map(|&i| current[i]).max()?;
                let found = equals.iter().copied().find(|&i| current[i] == most)?;
                current[found] -= equals.iter().map(|&i| weight(i) as i64).sum::<i64>();
                Some(found)
            }
            Self::NginxRandomTwo | Self::EnvoyLeastRequest if set.is_empty() => None,
            Self::NginxRandomTwo => {
                let first = draw(set.len());
                let second = (set.len() > 1).then(|| (first + 1 + draw(set.len() - 1)) % set.len());
                Some(second.filter(|&i| busy(i) <= busy(first)).unwrap_or(first))
            }
            Self::EnvoyLeastRequest => {
                let (first, second) = (draw(set.len()), draw(set.len()));
                Some(if busy(second) < busy(first) { second } else { first })
            }
            Self::Oracle => all.min_by_key(|&i| set[i].would_be_done(cost_nanos, now_nanos)),
        }
    }

    /// That server has answered.
    pub fn answered(&mut self, index: usize, turn: u64) {
        if let Self::HaproxyLeastconn(places) = self
            && let Some(place) = places.get_mut(index)
        {
            *place = turn;
        }
    }
}
