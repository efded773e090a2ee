use super::*;
use crate::balance::fake::{Fake, ask, fake, fakes};
use crate::balance::random::Random;

fn settled(algorithm: Algorithm, set: &[Fake]) -> Chooser {
    let mut chooser = Chooser::new(algorithm);
    chooser.settle(set);
    chooser
}

/// Shares of `n` choices with random keys, nothing in flight.
fn shares(algorithm: Algorithm, set: &[Fake], n: u64) -> Vec<f64> {
    let mut chooser = settled(algorithm, set);
    let mut random = Random::new(7);
    let mut counts = vec![0u64; set.len()];
    for i in 0..n {
        let ask = Ask { hash: random.draw(), random: random.draw(), now_nanos: i * 1_000_000, ..ask(&[]) };
        counts[chooser.choose(set, &ask).unwrap()] += 1;
    }
    counts.iter().map(|c| *c as f64 / n as f64).collect()
}

const ALL: [Algorithm; 21] = {
    use Algorithm::*;
    [
        RoundRobin,
        WeightedRoundRobin,
        InterleavedRoundRobin,
        Random,
        LeastRequest,
        ShortestExpectedDelay,
        LeastConnection,
        WeightedLeastConnection,
        NeverQueue,
        PowerOfTwo,
        TwoByWeight,
        Ewma,
        Prequal,
        IpHash,
        Hash,
        Maglev,
        RingHash,
        Failover,
        Overflow,
        Locality,
        LocalityReplicated,
    ]
};

#[test]
fn without_overlap_these_are_exact_round_robin() {
    use Algorithm::*;
    let counted = [LeastRequest, ShortestExpectedDelay, LeastConnection, WeightedLeastConnection, NeverQueue];
    for algorithm in counted.into_iter().chain([RoundRobin, WeightedRoundRobin]) {
        let set = fakes(&[1, 1, 1]);
        set[1].latency.set(90_000_000);
        let mut chooser = settled(algorithm, &set);
        let chosen: Vec<_> = (0..6).map(|_| chooser.choose(&set, &ask(&[])).unwrap()).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2], "{algorithm:?}");
    }
}

#[test]
fn smooth_weighted_round_robin_spreads_the_heavy_one() {
    let set = fakes(&[5, 1, 1]);
    let mut chooser = settled(Algorithm::WeightedRoundRobin, &set);
    let chosen: Vec<_> = (0..7).map(|_| chooser.choose(&set, &ask(&[])).unwrap()).collect();
    assert_eq!(chosen, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn least_request_takes_the_idle_endpoint_and_honours_weights() {
    let set = fakes(&[1, 4]);
    set[0].in_flight.set(1);
    set[1].in_flight.set(3);
    let mut chooser = settled(Algorithm::LeastRequest, &set);
    assert_eq!(chooser.choose(&set, &ask(&[])), Some(1)); // 2/1 against 4/4
    set[1].in_flight.set(8);
    assert_eq!(chooser.choose(&set, &ask(&[])), Some(0)); // 2/1 against 9/4
}

#[test]
fn draining_endpoints_are_the_last_resort_before_sick_ones() {
    let set = fakes(&[1, 1, 1]);
    set[0].flags.set(flags::DRAINING);
    set[1].flags.set(flags::EJECTED);
    let mut chooser = settled(Algorithm::RoundRobin, &set);
    assert_eq!(chooser.choose(&set, &ask(&[])), Some(2));
    set[2].flags.set(flags::GONE);
    assert_eq!(chooser.choose(&set, &ask(&[])), Some(0));
    assert_eq!(chooser.choose(&set, &ask(&[0])), Some(1));
    set[0].flags.set(flags::FULL);
    set[1].flags.set(flags::FULL);
    assert_eq!(chooser.choose(&set, &ask(&[])), None);
}

#[test]
fn every_algorithm_avoids_what_failed_and_what_may_not_be_used() {
    for algorithm in ALL {
        let set = fakes(&[1, 1, 1]);
        let mut chooser = settled(algorithm, &set);
        set[0].flags.set(flags::UNHEALTHY);
        for random in 0..50 {
            let ask = Ask { random, hash: random, ..ask(&[1]) };
            assert_eq!(chooser.choose(&set, &ask), Some(2), "{algorithm:?}");
        }
        assert!(chooser.choose(&set, &ask(&[0, 1, 2])).is_some(), "{algorithm:?}: better one that failed than none");
    }
}

#[test]
fn under_the_panic_threshold_health_is_ignored() {
    let set = fakes(&[1, 1, 1, 1]);
    (0..3).for_each(|i| set[i].flags.set(flags::UNHEALTHY));
    let mut chooser = settled(Algorithm::RoundRobin, &set);
    let calm = Ask { panic_threshold: 20.0, ..ask(&[]) };
    assert!((0..4).all(|_| chooser.choose(&set, &calm) == Some(3)));
    let panic = Ask { panic_threshold: 50.0, ..ask(&[]) };
    let chosen: std::collections::BTreeSet<_> = (0..4).map(|_| chooser.choose(&set, &panic).unwrap()).collect();
    assert_eq!(chosen.len(), 4);
    set[3].flags.set(flags::EJECTED);
    assert!(chooser.choose(&set, &calm).is_some(), "open: better one that is not healthy than none");
    let closed = Ask { panic_threshold: -1.0, ..ask(&[]) };
    assert_eq!(chooser.choose(&set, &closed), None);
    set[3].flags.set(flags::DRAINING);
    assert_eq!(chooser.choose(&set, &closed), Some(3), "it is healthy, if leaving");
}

#[test]
fn equal_endpoints_get_even_shares() {
    use Algorithm::*;
    for algorithm in ALL {
        if matches!(algorithm, Failover | Overflow | Locality | LocalityReplicated) {
            continue;
        }
        let set = fakes(&[1; 5]);
        for share in shares(algorithm, &set, 15_000) {
            assert!((0.17..0.23).contains(&share), "{algorithm:?}: {share}");
        }
    }
}

#[test]
fn weights_are_shares() {
    use Algorithm::*;
    for algorithm in
        [WeightedRoundRobin, InterleavedRoundRobin, LeastRequest, Random, TwoByWeight, IpHash, Hash, Maglev, RingHash]
    {
        let set = fakes(&[1, 2, 5]);
        let got = shares(algorithm, &set, 40_000);
        for (share, wanted) in got.iter().zip([0.125, 0.25, 0.625]) {
            assert!((share - wanted).abs() < 0.05, "{algorithm:?}: {got:?}");
        }
    }
}

#[test]
fn hashing_moves_few_keys_when_an_endpoint_goes() {
    for algorithm in [Algorithm::Hash, Algorithm::Maglev, Algorithm::RingHash] {
        let before = fakes(&[1; 10]);
        let after: Vec<_> = (0..9).map(|id| fake(id, 1)).collect();
        let (mut old, mut new) = (settled(algorithm, &before), settled(algorithm, &after));
        let mut random = Random::new(3);
        let (mut moved, n) = (0, 20_000);
        for _ in 0..n {
            let ask = Ask { hash: random.draw(), ..ask(&[]) };
            let was = old.choose(&before, &ask).unwrap();
            if was != 9 && new.choose(&after, &ask) != Some(was) {
                moved += 1;
            }
        }
        assert!(moved * 100 < n * 4, "{algorithm:?} moved {moved} of {n} keys that need not move");
    }
}

#[test]
fn slow_latencies_lose_requests_but_are_not_starved() {
    for algorithm in [Algorithm::Ewma, Algorithm::Prequal] {
        let set = fakes(&[1; 5]);
        (0..4).for_each(|i| set[i].latency.set(2_000_000));
        set[4].latency.set(40_000_000);
        let got = shares(algorithm, &set, 16_000);
        assert!((0.001..0.03).contains(&got[4]), "{algorithm:?}: {got:?}");
        assert!(got[..4].iter().all(|s| (0.2..0.28).contains(s)), "{algorithm:?}: {got:?}");
    }
}

#[test]
fn a_request_in_flight_at_a_slow_endpoint_counts_as_many_times_as_it_is_slower() {
    let set = fakes(&[1; 5]);
    set.iter().for_each(|e| e.in_flight.set(2));
    [2, 5, 0, 3, 40].iter().zip(&set).for_each(|(ms, e)| e.latency.set(ms * 1_000_000));
    for algorithm in [Algorithm::LeastRequest, Algorithm::Prequal] {
        let mut chooser = settled(algorithm, &set);
        let chosen: Vec<_> = (0..8).map(|i| chooser.choose(&set, &Ask { random: i, ..ask(&[]) }).unwrap()).collect();
        assert_eq!(chosen, [0, 1, 2, 3, 0, 1, 2, 3], "{algorithm:?}: up to three times as long and unknown are alike");
        set[4].in_flight.set(0);
        set[..4].iter().for_each(|e| e.in_flight.set(10));
        assert_ne!(
            chooser.choose(&set, &ask(&[])),
            Some(4),
            "{algorithm:?}: idle, but 13 times slower in a rush of 11"
        );
        set[..4].iter().for_each(|e| e.in_flight.set(14));
        assert_eq!(chooser.choose(&set, &ask(&[])), Some(4), "{algorithm:?}");
        set.iter().for_each(|e| e.in_flight.set(2));
    }
}

#[test]
fn the_slow_one_is_tried_again_at_times() {
    let set = fakes(&[1; 4]);
    set[..3].iter().for_each(|e| e.in_flight.set(2));
    [2, 2, 2, 80].iter().zip(&set).for_each(|(ms, e)| e.latency.set(ms * 1_000_000));
    let mut chooser = settled(Algorithm::LeastRequest, &set);
    let mut at = |ms: u64| {
        set[..3].iter().for_each(|e| e.answered.set(ms * 1_000_000));
        chooser.choose(&set, &Ask { now_nanos: ms * 1_000_000, ..ask(&[]) }) == Some(3)
    };
    let slow = (1..=10_000).filter(|&ms| at(ms)).count();
    assert!((15..=20).contains(&slow), "every half second: {slow}");
}

#[test]
fn who_answers_at_once_because_it_fails_does_not_make_the_others_slow() {
    let set = fakes(&[1; 4]);
    [1, 50, 60, 70].iter().zip(&set).for_each(|(ms, e)| e.latency.set(ms * 1_000_000));
    set.iter().for_each(|e| e.in_flight.set(1));
    let mut chooser = settled(Algorithm::LeastRequest, &set);
    let chosen: Vec<_> = (0..8).map(|_| chooser.choose(&set, &ask(&[])).unwrap()).collect();
    assert_eq!(chosen, [0, 1, 2, 3, 0, 1, 2, 3]);
}

#[test]
fn one_that_has_work_and_is_silent_is_left_for_a_while() {
    for algorithm in [Algorithm::LeastRequest, Algorithm::Prequal] {
        let set = fakes(&[1; 3]);
        let mut chooser = settled(algorithm, &set);
        let at = |ms: u64, random: u64| Ask { now_nanos: ms * 1_000_000, random, ..ask(&[]) };
        let first = chooser.choose(&set, &at(1000, 1)).unwrap();
        set.iter().for_each(|e| e.in_flight.set(1));
        let unknown = (0..60).filter(|&i| chooser.choose(&set, &at(1050, i)) == Some(first)).count();
        assert!(unknown > 10, "{algorithm:?}: connections tell no latencies: {unknown}");
        set.iter().for_each(|e| e.latency.set(2_000_000));
        set[first].latency.set(0);
        let (now, others) = (1_100_000_000, (0..3).filter(|&i| i != first));
        others.for_each(|i| set[i].answered.set(now));
        let silent = (0..60).filter(|&i| chooser.choose(&set, &at(1100, i)) == Some(first)).count();
        assert_eq!(silent, 0, "{algorithm:?}: 100 ms without an answer, where 2 ms are usual");
        let later = (0..60).filter(|&i| chooser.choose(&set, &at(1351, i)) == Some(first)).count();
        assert_eq!(later, 1, "{algorithm:?}: once more after a quarter of a second");
        set[first].answered.set(1_360_000_000);
        let again = (0..60).filter(|&i| chooser.choose(&set, &at(1361, i)) == Some(first)).count();
        assert!(again > 10, "{algorithm:?}: it has answered: {again}");
    }
}

#[test]
fn a_starting_endpoint_takes_part_in_as_many_choices_as_it_is_warm() {
    let mut set = fakes(&[1, 1]);
    set[1].warmth = 0.2;
    let got = shares(Algorithm::LeastRequest, &set, 10_000);
    assert!((0.08..0.22).contains(&got[1]), "{got:?}");
}

#[test]
fn clients_and_cookies_keep_their_endpoint_while_it_is_good() {
    let set = fakes(&[1, 1, 1]);
    let mut chooser = settled(Algorithm::RoundRobin, &set);
    let client = Some(("10.0.0.1".parse().unwrap(), 1000));
    let at = |now_nanos| Ask { now_nanos, client, ..ask(&[]) };
    let first = chooser.choose(&set, &at(0)).unwrap();
    assert_eq!(chooser.choose(&set, &at(900)), Some(first));
    assert_eq!(chooser.choose(&set, &at(1800)), Some(first), "heard in between");
    assert_ne!(chooser.choose(&set, &at(3000)), Some(first), "silent for too long");
    let cookie = Ask { identity: Some(set[2].identity()), ..ask(&[]) };
    assert!((0..5).all(|_| chooser.choose(&set, &cookie) == Some(2)));
    set[2].flags.set(flags::DRAINING);
    assert_ne!(chooser.choose(&set, &cookie), Some(2));
}
