use super::world::{Config, Outcome, Step, World};
use super::{converse, server};

/// The scenario of the benchmark `tail`: ten endpoints with two workers, one ten times slower, one that stalls.
fn tail(algorithm: &str, seconds: f64, seed: u64) -> Outcome {
    let costs: Vec<f64> = include_str!("../../../bench/data/costs.txt")
        .lines()
        .filter_map(|line| Some(line.rsplit_once('=')?.1.parse::<f64>().ok()? / 1e6))
        .collect();
    let mean = costs.iter().sum::<f64>() / costs.len() as f64;
    let endpoint = |i: usize| server::Spec {
        name: format!("10.0.0.{i}:80"),
        workers: 2,
        slowness: if i == 3 { 10.0 } else { 1.0 },
        stall_every_seconds: if i == 6 { 3.0 } else { 0.0 },
        stall_for_seconds: if i == 6 { 0.3 } else { 0.0 },
        ..server::Spec::default()
    };
    let endpoints: Vec<_> = (0..10).map(endpoint).collect();
    let rate = 0.7 * (8.0 + 0.9 + 0.1) * 2.0 / mean;
    let config = Config { algorithm: algorithm.to_owned(), costs, seed, ..Config::default() };
    World::new(config).unwrap().step(&Step { seconds, rate, endpoints, finish: true, ..Step::default() }).unwrap()
}

/// p99 and p99.9 in milliseconds, means over some seeds.
fn tails(algorithm: &str, seconds: f64) -> (f64, f64) {
    let found: Vec<_> = (1..=3).map(|seed| tail(algorithm, seconds, seed)).collect();
    let mean = |of: fn(&Outcome) -> f64| found.iter().map(of).sum::<f64>() / found.len() as f64 * 1e3;
    (mean(|o| o.p99_seconds), mean(|o| o.p999_seconds))
}

const PEERS: [&str; 4] = ["haproxy-leastconn", "nginx-least-conn", "nginx-random-two", "envoy-least-request"];

/// The benchmark's goals are 1.0 and 0.8 of the best peer.
#[test]
fn slow_and_stalling_endpoints_cost_less_than_with_the_peers_rules() {
    let peers = PEERS.map(|peer| tails(peer, 8.0));
    let best = |of: fn(&(f64, f64)) -> f64| peers.iter().map(of).fold(f64::INFINITY, f64::min);
    let (p99, p999) = (best(|p| p.0), best(|p| p.1));
    for algorithm in ["least-request", "prequal"] {
        let (own, own9) = tails(algorithm, 8.0);
        println!("{algorithm}: {own:.1} / {own9:.1} ms of {p99:.1} / {p999:.1} ms");
        assert!(own <= 0.72 * p99 && own9 <= 0.6 * p999, "{algorithm}: {own} {own9}, peers {p99} {p999}");
    }
}

#[test]
fn the_oracle_is_the_benchmarks_and_nobody_is_better() {
    let (p99, p999) = (tail("oracle", 4.0, 7).p99_seconds, tail("oracle", 4.0, 7).p999_seconds);
    assert!((p99 - 0.029_824).abs() < 1e-5 && (p999 - 0.074_939).abs() < 1e-5, "as bench/oracle.py says: {p99} {p999}");
    assert!(PEERS.iter().all(|peer| tail(peer, 4.0, 7).p99_seconds > p99));
}

#[test]
fn one_that_stalls_at_times_is_used_again_afterwards() {
    for algorithm in ["least-request", "prequal"] {
        let found = tail(algorithm, 30.0, 1);
        let share = |i: usize| found.endpoints[i].requests as f64 / found.answered as f64;
        assert!(share(6) > 0.08, "{algorithm}: it stalls a tenth of the time: {}", share(6));
        assert!((0.0005..0.005).contains(&share(3)), "{algorithm}: ten times slower, and yet known: {}", share(3));
    }
}

/// The scenario of the benchmark `fair`, for the algorithms that do not hash.
#[test]
fn equal_endpoints_get_even_shares_of_overlapping_requests() {
    let words =
        ["round-robin", "weighted-round-robin", "wrr", "random", "least-request", "sed", "lc", "wlc", "nq", "twos"];
    for algorithm in words.into_iter().chain(["power-of-two", "ewma", "prequal"]) {
        for (rate, cost) in [(1000.0, 0.005), (1000.0, 0.0009), (300.0, 0.05)] {
            let endpoint = |i: usize| server::Spec { name: format!("{i}"), workers: 100, ..server::Spec::default() };
            let endpoints = (0..5).map(endpoint).collect();
            let costs = (0..97).map(|i| cost * (0.5 + f64::from(i) / 97.0)).collect();
            let config = Config { algorithm: algorithm.to_owned(), costs, ..Config::default() };
            let step = Step { seconds: 1500.0 / rate, rate, endpoints, finish: true, ..Step::default() };
            let found = World::new(config).unwrap().step(&step).unwrap();
            for endpoint in &found.endpoints {
                let share = endpoint.requests as f64 / found.answered as f64;
                assert!((0.10..0.30).contains(&share), "{algorithm} {rate}: {share}");
            }
        }
    }
}

#[test]
fn a_conversation_is_one_answer_for_each_step() {
    let input = concat!(
        "{\"algorithm\":\"round-robin\",\"poisson\":false,\"costs\":[0.001]}\n",
        "{\"seconds\":1,\"rate\":100,\"endpoints\":[{\"name\":\"a\"},{\"name\":\"b\"}]}\n",
        "{\"seconds\":1,\"rate\":100,\"endpoints\":[{\"name\":\"b\"}]}\n",
        "{\"seconds\":1,\"rate\":100,\"endpoints\":[]}\n",
        "{\"seconds\":1,\"endpoints\":[{\"name\":\"c\"}],\"finish\":true}\n",
    );
    let mut output = Vec::new();
    converse(input.as_bytes(), &mut output).unwrap();
    let answers: Vec<serde_json::Value> =
        String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let counts = |i: usize| -> Vec<u64> {
        answers[i]["endpoints"].as_array().unwrap().iter().map(|e| e["requests"].as_u64().unwrap()).collect()
    };
    assert_eq!((counts(0), counts(1), counts(3)), (vec![50, 49], vec![100], vec![100]));
    assert_eq!(answers[2]["waiting"], 100, "nobody is there: they wait, and then are answered");
    assert_eq!(answers[3]["answered"], 100);
    assert!(answers[0]["p99_seconds"].as_f64().unwrap() < 0.0011);
}

#[test]
fn a_step_tells_what_was_worked_on_within_it_and_what_waits() {
    let config = Config { poisson: false, costs: vec![1.0], ..Config::default() };
    let mut world = World::new(config).unwrap();
    let endpoints = vec![server::Spec { name: "a".to_owned(), workers: 2, ..server::Spec::default() }];
    // Due at 0.25, 0.5, 0.75, ...: eight requests of a second each for two workers.
    let first = world
        .step(&Step { seconds: 2.1, rate: 4.0, endpoints: endpoints.clone(), finish: false, ..Step::default() })
        .unwrap();
    let share = &first.endpoints[0];
    assert_eq!((first.arrived, first.answered, share.in_flight, share.queued), (8, 2, 6, 4));
    assert!((share.worked_seconds - (2.1 - 0.25 + 2.1 - 0.5)).abs() < 1e-6, "{share:?}");
    let rest = world.step(&Step { seconds: 10.0, rate: 0.0, endpoints, finish: false, ..Step::default() }).unwrap();
    assert_eq!((rest.answered, rest.endpoints[0].in_flight), (6, 0));
    assert!((share.worked_seconds + rest.endpoints[0].worked_seconds - 8.0).abs() < 1e-6);
}

#[test]
fn what_cannot_be_is_refused_with_its_line() {
    for (input, wanted) in [
        ("", "line 1"),
        ("{\"algorithm\":\"magic\"}\n", "line 1: algorithm"),
        ("{\"costs\":[]}\n", "line 1: costs"),
        ("{}\n{\"speed\":1}\n", "line 2: unknown field"),
        ("{}\n{\"rate\":-1}\n", "line 2: seconds, rate"),
    ] {
        let reason = converse(input.as_bytes(), Vec::new()).unwrap_err();
        assert!(reason.starts_with(wanted), "{reason}");
    }
}

#[test]
fn a_starting_endpoint_gets_its_share_little_by_little_whatever_the_algorithm() {
    let words = ["round-robin", "weighted-round-robin", "random", "least-request", "lc", "prequal", "ewma"];
    for algorithm in words.into_iter().chain(["power-of-two", "twos"]) {
        let endpoint = |i: usize| server::Spec { name: format!("{i}"), workers: 4, ..server::Spec::default() };
        let config = Config {
            algorithm: algorithm.to_owned(),
            costs: (0..97).map(|i| 0.005 * (0.5 + f64::from(i) / 97.0)).collect(),
            slow_start_seconds: 5.0,
            ..Config::default()
        };
        let mut world = World::new(config).unwrap();
        let mut share = |seconds: f64, count: usize| {
            let endpoints: Vec<_> = (0..count).map(endpoint).collect();
            let step = Step { seconds, rate: 4000.0, endpoints, ..Step::default() };
            let found = world.step(&step).unwrap();
            let all: u64 = found.endpoints.iter().map(|e| e.requests).sum();
            let of = |i: usize| found.endpoints[i].requests as f64 * count as f64 / all as f64;
            (of(0), of(count - 1))
        };
        let together = share(0.5, 9);
        share(5.0, 9);
        let begin = share(0.5, 10).1;
        share(1.75, 10);
        let (middle, late) = (share(0.5, 10).1, [share(2.5, 10).1, share(0.5, 10).1][1]);
        println!("{algorithm}: {together:.2?} {begin:.2} {middle:.2} {late:.2}");
        assert!((0.8..1.2).contains(&together.0), "{algorithm}: all start together: {together:?}");
        assert!((0.03..0.3).contains(&begin), "{algorithm}: in its first tenth {begin}");
        assert!((0.25..0.8).contains(&middle), "{algorithm}: half way {middle}");
        assert!((0.8..1.2).contains(&late), "{algorithm}: afterwards {late}");
    }
}

/// Each of them is idle for longer than a floor of exploration allows, and none may be forgotten for that.
#[test]
fn of_many_endpoints_that_have_little_to_do_none_is_forgotten_and_weights_count() {
    for algorithm in ["least-request", "prequal", "ewma"] {
        let endpoint =
            |i: usize| server::Spec { name: format!("{i}"), weight: 1 + (i as u32 % 2), ..Default::default() };
        let config = Config { algorithm: algorithm.to_owned(), costs: vec![0.05], ..Config::default() };
        let endpoints: Vec<_> = (0..300).map(endpoint).collect();
        let step = Step { seconds: 20.0, rate: 300.0, endpoints, ..Step::default() };
        let found = World::new(config).unwrap().step(&step).unwrap();
        let least = found.endpoints.iter().map(|e| e.requests).min().unwrap();
        let heavy: u64 = found.endpoints.iter().skip(1).step_by(2).map(|e| e.requests).sum();
        assert!(least >= 4, "{algorithm}: {least}");
        if algorithm == "least-request" {
            let share = heavy as f64 / found.arrived as f64;
            assert!((0.63..0.7).contains(&share), "two of three: {share}");
        }
    }
}
