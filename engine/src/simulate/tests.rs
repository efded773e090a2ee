use super::world::{Config, Outcome, Step, World};
use super::{converse, server};

/// The scenario of the benchmark `tail`: ten endpoints with two workers, one ten times slower, one that stalls.
pub fn tail(algorithm: &str, seconds: f64) -> Outcome {
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
    let config = Config { algorithm: algorithm.to_owned(), costs, ..Config::default() };
    World::new(config).unwrap().step(&Step { seconds, rate, endpoints, finish: true }).unwrap()
}

#[test]
#[ignore = "prints a table"]
fn show_tail() {
    for algorithm in ["least-request", "prequal", "ewma", "power-of-two", "lc", "random"] {
        let found = tail(algorithm, 60.0);
        let slow: Vec<_> = found.endpoints.iter().map(|e| e.requests).collect();
        println!(
            "{algorithm:15} mean {:6.2} p50 {:6.2} p99 {:7.2} p999 {:7.2} {slow:?}",
            found.mean_seconds * 1e3,
            found.p50_seconds * 1e3,
            found.p99_seconds * 1e3,
            found.p999_seconds * 1e3
        );
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
