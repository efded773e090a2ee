use super::*;
use crate::balance::fake::{Fake, ask, fake};
use crate::balance::random::Random;
use crate::balance::{Algorithm, Chooser, Tuning};

/// Endpoints by zone; zone z begins with 1, the node of each is its own zone's first endpoint's.
fn zones(counts: &[usize], weights: impl Fn(usize) -> u32) -> Vec<Fake> {
    let at = counts.iter().enumerate().flat_map(|(zone, count)| std::iter::repeat_n(zone as u64 + 1, *count));
    at.enumerate().map(|(id, zone)| Fake { zone, ..fake(id as u64, weights(id)) }).collect()
}

fn seen_from(set: &mut [Fake], zone: u64) {
    set.iter_mut().for_each(|e| e.own_zone = e.zone == zone);
}

fn chooser(algorithm: Algorithm, spill_factor: f64, set: &[Fake]) -> Chooser {
    let mut chooser = Chooser::new(algorithm);
    chooser.tune(Tuning { spill_factor: Some(spill_factor), ..Tuning::default() });
    chooser.settle(set);
    chooser
}

#[test]
fn engines_in_every_zone_load_every_endpoint_alike_and_keep_all_that_fits() {
    let mut random = Random::new(11);
    for case in 0..40 {
        let counts: Vec<usize> = (0..2 + random.below(4)).map(|_| 1 + random.below(9) as usize).collect();
        let mut set = zones(&counts, |_| 1);
        let (each, mut shares, mut stayed) = (4000, vec![0u64; set.len()], 0u64);
        for zone in 1..=counts.len() as u64 {
            seen_from(&mut set, zone);
            let mut chooser = chooser(Algorithm::RoundRobin, 0.0, &set);
            for _ in 0..each {
                let found = chooser.choose(&set, &Ask { random: random.draw(), ..ask(&[]) }).unwrap();
                shares[found] += 1;
                stayed += u64::from(set[found].own_zone);
            }
        }
        let sent = (each * counts.len()) as f64;
        for share in &shares {
            let wanted = sent / set.len() as f64;
            assert!((*share as f64 / wanted - 1.0).abs() < 0.15, "{case} {counts:?}: {share} of {wanted}");
        }
        let part = |count: &usize| (1.0 / counts.len() as f64).min(*count as f64 / set.len() as f64);
        let wanted = counts.iter().map(part).sum::<f64>();
        assert!((stayed as f64 / sent - wanted).abs() < 0.01, "{case} {counts:?}: {stayed} of {sent} stayed");
    }
}

#[test]
fn a_near_endpoint_is_never_busier_than_the_bound_allows() {
    let mut random = Random::new(5);
    for factor in [1.0, 2.0, 10.0] {
        let mut set = zones(&[2, 3, 4], |id| 1 + id as u32 % 3);
        seen_from(&mut set, 1);
        let mut chooser = chooser(Algorithm::ShortestExpectedDelay, factor, &set);
        for _ in 0..3000 {
            let found = chooser.choose(&set, &Ask { random: random.draw(), ..ask(&[]) }).unwrap();
            let load = |e: &Fake| f64::from(e.in_flight.get() + 1) / f64::from(e.weight);
            let far = set.iter().filter(|e| !e.own_zone).map(load).fold(f64::INFINITY, f64::min);
            assert!(!set[found].own_zone || load(&set[found]) <= factor * far);
            set[found].in_flight.set(set[found].in_flight.get() + 1);
            let done = random.below(9) as usize;
            set[done].in_flight.set(set[done].in_flight.get().saturating_sub(random.below(2) as u32));
        }
    }
}

#[test]
fn the_own_node_goes_before_the_zone_until_it_is_too_busy() {
    let mut set = zones(&[3, 3], |_| 1);
    seen_from(&mut set, 1);
    set[1].own_node = true;
    let mut chooser = chooser(Algorithm::LeastRequest, 4.0, &set);
    for expected in [1, 1, 1, 1, 0, 2] {
        let found = chooser.choose(&set, &ask(&[])).unwrap();
        assert_eq!(found, expected);
        set[found].in_flight.set(set[found].in_flight.get() + 1);
    }
}

#[test]
fn what_may_not_be_used_near_is_replaced_from_afar() {
    let mut set = zones(&[2, 2], |_| 1);
    seen_from(&mut set, 1);
    (0..2).for_each(|i| set[i].flags.set(crate::balance::flags::UNHEALTHY));
    let mut chooser = chooser(Algorithm::RoundRobin, 0.0, &set);
    assert!((0..10).all(|_| chooser.choose(&set, &ask(&[])).unwrap() >= 2));
}

#[test]
fn a_key_keeps_its_zone_and_its_endpoint() {
    let mut set = zones(&[1, 4, 4], |_| 1);
    seen_from(&mut set, 1);
    for algorithm in [Algorithm::Maglev, Algorithm::RingHash, Algorithm::Hash] {
        let mut chooser = chooser(algorithm, 0.0, &set);
        let mut random = Random::new(2);
        let keys: Vec<u64> = (0..2000).map(|_| random.draw()).collect();
        let mut all = || -> Vec<usize> {
            keys.iter().map(|&hash| chooser.choose(&set, &Ask { hash, ..ask(&[]) }).unwrap()).collect()
        };
        let first = all();
        assert_eq!(first, all(), "{algorithm:?}");
        let stayed = first.iter().filter(|i| **i == 0).count() as f64 / 2000.0;
        assert!((stayed - 1.0 / 3.0).abs() < 0.05, "{algorithm:?}: {stayed}");
    }
}
