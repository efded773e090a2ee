//! IPVS's schedulers by their names, in tables: what is in flight at endpoints of some weights, and who is next.
//! Follows net/netfilter/ipvs/ip_vs_*.c of Linux 6.18; where equals go in turn here, the kernel takes the first.

use super::fake::{Fake, ask, fakes};
use super::{Algorithm, Ask, Chooser, flags};

fn set(weights: &[u32], in_flight: &[u32]) -> Vec<Fake> {
    let set = fakes(weights);
    set.iter().zip(in_flight).for_each(|(endpoint, n)| endpoint.in_flight.set(*n));
    set
}

fn named(word: &str, set: &[Fake]) -> Chooser {
    let mut chooser = Chooser::new(Algorithm::parse(word, false).unwrap());
    chooser.settle(set);
    chooser
}

#[test]
fn every_name_of_ipvs_is_an_algorithm_at_both_layers() {
    for word in ["rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"] {
        assert!(Algorithm::parse(word, true).is_some() && Algorithm::parse(word, false).is_some(), "{word}");
    }
}

#[test]
fn one_choice_by_load_and_weight() {
    let table: &[(&str, &[u32], &[u32], usize)] = &[
        ("lc", &[1, 9, 1], &[2, 3, 1], 2),  // weights do not count
        ("wlc", &[1, 4, 2], &[1, 3, 2], 1), // 1, 3/4, 1
        ("wlc", &[1, 4, 2], &[0, 3, 2], 0),
        ("sed", &[1, 4, 2], &[0, 3, 2], 0),  // 1, 1, 3/2: the first of equals
        ("sed", &[1, 4, 2], &[1, 3, 2], 1),  // 2, 1, 3/2
        ("sed", &[1, 10, 2], &[0, 5, 1], 1), // 1, 6/10, 1: a fast one goes before an idle one
        ("nq", &[1, 10, 2], &[0, 5, 1], 0),  // an idle one goes before a fast one
        ("nq", &[1, 10, 2], &[1, 5, 1], 1),  // none is idle: as sed
        ("fo", &[1, 3, 2], &[0, 99, 0], 1),  // the heaviest, whatever it carries
        ("ovf", &[1, 3, 2], &[0, 3, 0], 1),  // not more than its weight
        ("ovf", &[1, 3, 2], &[0, 4, 0], 2),  // more: the next heaviest
        ("ovf", &[1, 3, 2], &[0, 4, 3], 0),
        ("ovf", &[1, 3, 2], &[2, 4, 3], 1), // all overflow: IPVS refuses here, we use the heaviest
    ];
    for (word, weights, in_flight, wanted) in table {
        let set = set(weights, in_flight);
        let found = named(word, &set).choose(&set, &ask(&[]));
        assert_eq!(found, Some(*wanted), "{word} {weights:?} {in_flight:?}");
    }
}

#[test]
fn rounds_of_rr_and_wrr() {
    let table: &[(&str, &[u32], &[usize])] = &[
        ("rr", &[5, 1, 1], &[0, 1, 2, 0, 1, 2]),
        ("wrr", &[4, 3, 2], &[0, 0, 1, 0, 1, 2, 0, 1, 2]), // the example of the LVS documentation: AABABCABC
        ("wrr", &[6, 2], &[0, 0, 0, 1, 0, 0, 0, 1]),       // by the common divisor
        ("wrr", &[1, 1, 1], &[0, 1, 2, 0, 1, 2]),
    ];
    for (word, weights, wanted) in table {
        let set = fakes(weights);
        let mut chooser = named(word, &set);
        let found: Vec<_> = wanted.iter().map(|_| chooser.choose(&set, &ask(&[])).unwrap()).collect();
        assert_eq!(found, *wanted, "{word} {weights:?}");
    }
}

#[test]
fn wrr_goes_on_when_the_heaviest_goes() {
    let set = fakes(&[8, 1, 1]);
    let mut chooser = named("wrr", &set);
    assert_eq!(chooser.choose(&set, &ask(&[])), Some(0));
    set[0].flags.set(flags::UNHEALTHY);
    let found: Vec<_> = (0..4).map(|_| chooser.choose(&set, &ask(&[])).unwrap()).collect();
    assert_eq!(found, [1, 2, 1, 2]);
}

#[test]
fn failover_follows_health() {
    let set = fakes(&[1, 3, 2]);
    let mut chooser = named("fo", &set);
    set[1].flags.set(flags::EJECTED);
    assert_eq!(chooser.choose(&set, &ask(&[])), Some(2));
    set[1].flags.set(0);
    assert_eq!(chooser.choose(&set, &ask(&[])), Some(1));
}

#[test]
fn twos_draws_by_weight_and_takes_the_less_loaded() {
    let set = set(&[1, 1], &[5, 0]);
    let mut chooser = named("twos", &set);
    let busy = (0..4000).filter(|&random| chooser.choose(&set, &Ask { random, ..ask(&[]) }) == Some(0)).count();
    // Only when both draws are the busy one: a quarter.
    assert!((800..1200).contains(&busy), "{busy}");
}

#[test]
fn sh_dh_and_mh_keep_a_key_at_its_endpoint() {
    for word in ["sh", "dh", "mh"] {
        let set = set(&[1, 1, 1, 1], &[0, 7, 3, 1]);
        let mut chooser = named(word, &set);
        for hash in (0..200).map(super::random::mix) {
            let key = Ask { hash, ..ask(&[]) };
            let first = chooser.choose(&set, &key).unwrap();
            assert_eq!(chooser.choose(&set, &key), Some(first));
            set[first].flags.set(flags::UNHEALTHY);
            let other = chooser.choose(&set, &key).unwrap();
            assert_ne!(other, first, "{word}: sh-fallback and mh-fallback are on");
            set[first].flags.set(0);
        }
    }
}

#[test]
fn lblc_stays_until_it_is_overloaded_while_another_is_half_idle() {
    let table: &[(&[u32], usize)] = &[
        (&[4, 2, 2], 0), // not more than its weight
        (&[5, 2, 2], 0), // more, but nobody is under half of its weight
        (&[5, 1, 2], 1), // the least connected takes over, and keeps it
        (&[0, 1, 2], 1),
    ];
    let set = fakes(&[4, 4, 4]);
    let mut chooser = named("lblc", &set);
    assert_eq!(chooser.choose(&set, &ask(&[])), Some(0));
    for (in_flight, wanted) in table {
        set.iter().zip(*in_flight).for_each(|(endpoint, n)| endpoint.in_flight.set(*n));
        assert_eq!(chooser.choose(&set, &ask(&[])), Some(*wanted), "{in_flight:?}");
    }
}

#[test]
fn lblcr_adds_to_the_set_of_a_destination_and_takes_the_busiest_out_after_a_day() {
    let set = set(&[4, 4, 4], &[0, 1, 2]);
    let mut chooser = named("lblcr", &set);
    let at = |hours: u64| Ask { now_nanos: hours * 3_600_000_000_000, ..ask(&[]) };
    assert_eq!(chooser.choose(&set, &at(0)), Some(0));
    set[0].in_flight.set(5);
    assert_eq!(chooser.choose(&set, &at(1)), Some(1), "joins");
    set[0].in_flight.set(0);
    assert_eq!(chooser.choose(&set, &at(2)), Some(0), "the least connected of both");
    set[1].in_flight.set(4);
    assert_eq!(chooser.choose(&set, &at(26)), Some(0));
    set[0].in_flight.set(3);
    set[1].in_flight.set(0);
    assert_eq!(chooser.choose(&set, &at(27)), Some(0), "the other was the busiest then, and is out");
}
