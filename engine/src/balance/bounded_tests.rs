//! Bounded loads: the bound holds at every moment, whatever comes and goes, and costs no more moves than it must.

use super::fake::{Fake, ask, fakes};
use super::random::Random;
use super::{Algorithm, Ask, Chooser, Tuning};

const HASHING: [Algorithm; 4] = [Algorithm::Maglev, Algorithm::RingHash, Algorithm::Hash, Algorithm::IpHash];

fn bounded(algorithm: Algorithm, load_bound: f64, set: &[Fake]) -> Chooser {
    let mut chooser = Chooser::new(algorithm);
    chooser.tune(Tuning { load_bound, ..Tuning::default() });
    chooser.settle(set);
    chooser
}

fn most(c: f64, requests: u64, weight: u32, weights: u64) -> f64 {
    (c * requests as f64 * f64::from(weight) / weights as f64).ceil()
}

#[test]
fn no_endpoint_gets_more_than_the_bound() {
    let mut random = Random::new(1);
    for case in 0..60 {
        let weights: Vec<u32> = (0..1 + random.below(12)).map(|_| 1 + random.below(5) as u32).collect();
        let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        let set = fakes(&weights);
        let (algorithm, c) = (HASHING[case % 4], [1.0, 1.1, 1.25, 2.0][case / 4 % 4]);
        let mut chooser = bounded(algorithm, c, &set);
        chooser.subset = 2 * (case / 16 % 2);
        let mut open: Vec<usize> = Vec::new();
        for _ in 0..600 {
            if random.below(5) < 2 && !open.is_empty() {
                let gone = open.swap_remove(random.below(open.len() as u64) as usize);
                set[gone].in_flight.set(set[gone].in_flight.get() - 1);
                continue;
            }
            // A few keys are most of the traffic.
            let hash = super::random::mix(random.below(3 + random.clone().below(40)));
            let found = chooser.choose(&set, &Ask { hash, random: random.draw(), ..ask(&[]) });
            let found = found.expect("one has room always");
            set[found].in_flight.set(set[found].in_flight.get() + 1);
            open.push(found);
            let limit = most(c, open.len() as u64, set[found].weight, total);
            assert!(f64::from(set[found].in_flight.get()) <= limit, "{algorithm:?} {c} {weights:?}");
        }
    }
}

#[test]
fn without_a_bound_or_under_it_the_key_is_where_it_belongs() {
    for algorithm in HASHING {
        let set = fakes(&[1; 8]);
        let (mut free, mut bound) = (bounded(algorithm, 0.0, &set), bounded(algorithm, 1.25, &set));
        for hash in (0..500).map(super::random::mix) {
            let key = Ask { hash, ..ask(&[]) };
            assert_eq!(free.choose(&set, &key), bound.choose(&set, &key), "nothing is in flight");
        }
        set[3].in_flight.set(40);
        let moved: Vec<_> = (0..500)
            .map(super::random::mix)
            .filter(|&hash| {
                let key = Ask { hash, ..ask(&[]) };
                free.choose(&set, &key) != bound.choose(&set, &key)
            })
            .collect();
        for hash in moved {
            assert_eq!(free.choose(&set, &Ask { hash, ..ask(&[]) }), Some(3), "{algorithm:?}: only the hot one's keys");
        }
    }
}

#[test]
fn a_hot_key_spreads_in_its_own_order() {
    for algorithm in HASHING {
        let set = fakes(&[1; 5]);
        let mut chooser = bounded(algorithm, 1.25, &set);
        let key = Ask { hash: 77, ..ask(&[]) };
        for _ in 0..100 {
            let found = chooser.choose(&set, &key).unwrap();
            set[found].in_flight.set(set[found].in_flight.get() + 1);
        }
        let busiest = set.iter().map(|e| e.in_flight.get()).max().unwrap();
        assert_eq!(busiest, 25, "{algorithm:?}");
    }
}

#[test]
fn a_key_leaves_its_subset_only_for_want_of_room() {
    let set = fakes(&[1; 6]);
    let mut chooser = bounded(Algorithm::RingHash, 1.5, &set);
    chooser.subset = 2;
    let mut at = |random: u64| chooser.choose(&set, &Ask { hash: 5, random, ..ask(&[]) }).unwrap();
    let own: std::collections::BTreeSet<_> = (0..50).map(&mut at).collect();
    assert_eq!(own.len(), 2);
    let (first, second) = (*own.first().unwrap(), *own.last().unwrap());
    set[first].in_flight.set(9);
    assert!((0..50).all(|random| at(random) == second), "one of its own has room");
    set[second].in_flight.set(9);
    let next: std::collections::BTreeSet<_> = (0..50).map(&mut at).collect();
    assert!(next.len() == 1 && next.is_disjoint(&own), "the next of its order: {next:?}");
}
