//! What a generator saw. `due` is every request that should have been made; each is answered or has failed, and a
//! failure has one reason. An answer below 200 or from 400 on is a failure, too.

use crate::histogram::{Histogram, Summary};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const FAILURES_TOLD: usize = 200;

#[derive(Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    Connect,
    Reset,
    Timeout,
    Malformed,
    Status,
    /// The run ended before the answer did.
    Unanswered,
}

#[derive(Serialize)]
pub struct Pod {
    pub answers: u64,
    /// Seconds since 1970.
    pub first: f64,
    pub last: f64,
}

#[derive(Serialize)]
pub struct Outcome {
    pub due: u64,
    pub answered: u64,
    pub failed: u64,
    pub failures: BTreeMap<Failure, u64>,
    pub statuses: BTreeMap<u16, u64>,
    pub pods: BTreeMap<String, Pod>,
    pub body_bytes: u64,
    pub seconds: f64,
    pub latency_ms: Summary,
    /// How long after its due time a request was written: the generator's own slowness and waiting for a connection.
    pub late_ms: Summary,
    pub connections_opened: u64,
    /// Keep-alive connections that the other side closed while no request was in flight.
    pub closed_idle: u64,
    /// The first failures: seconds since 1970, reason, detail.
    pub failed_at: Vec<(f64, Failure, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Second>,
    #[serde(skip)]
    latency: Histogram,
    #[serde(skip)]
    late: Histogram,
    #[serde(skip)]
    clock: WallClock,
    #[serde(skip)]
    seconds_seen: Vec<SecondCounts>,
    #[serde(skip)]
    recorded: Vec<[f64; 2]>,
}

#[derive(Serialize)]
pub struct Second {
    pub second: usize,
    pub answered: u64,
    pub failed: u64,
    pub p99_ms: f64,
}

#[derive(Default)]
struct SecondCounts {
    answered: u64,
    failed: u64,
    latency: Histogram,
}

/// Translates instants to seconds since 1970 by one reading of both clocks.
#[derive(Clone, Copy)]
pub struct WallClock {
    pub begin: Instant,
    epoch_seconds: f64,
}

impl WallClock {
    pub fn now() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { begin: Instant::now(), epoch_seconds: epoch.as_secs_f64() }
    }

    fn at(&self, when: Instant) -> f64 {
        self.epoch_seconds + when.saturating_duration_since(self.begin).as_secs_f64()
    }
}

impl Outcome {
    pub fn new(clock: WallClock) -> Self {
        Self {
            due: 0,
            answered: 0,
            failed: 0,
            failures: BTreeMap::new(),
            statuses: BTreeMap::new(),
            pods: BTreeMap::new(),
            body_bytes: 0,
            seconds: 0.0,
            latency_ms: Summary::default(),
            late_ms: Summary::default(),
            connections_opened: 0,
            closed_idle: 0,
            failed_at: Vec::new(),
            timeline: Vec::new(),
            latency: Histogram::default(),
            late: Histogram::default(),
            clock,
            seconds_seen: Vec::new(),
            recorded: Vec::new(),
        }
    }

    pub fn answer(&mut self, due: Instant, now: Instant, status: u16, pod: &str, measured: bool) {
        *self.statuses.entry(status).or_default() += 1;
        if !(200..400).contains(&status) {
            self.fail(due, now, Failure::Status, &status.to_string());
            return;
        }
        self.answered += 1;
        if measured {
            self.latency.record(now - due);
        }
        if !pod.is_empty() {
            self.count_pod(pod, now);
        }
    }

    fn count_pod(&mut self, name: &str, now: Instant) {
        let at = self.clock.at(now);
        match self.pods.get_mut(name) {
            Some(pod) => {
                pod.answers += 1;
                pod.last = at;
            }
            None => {
                self.pods.insert(name.into(), Pod { answers: 1, first: at, last: at });
            }
        }
    }

    /// Puts the answer into the second in which it was due.
    pub fn timeline_answer(&mut self, due: Instant, now: Instant) {
        let second = self.second(due);
        second.answered += 1;
        second.latency.record(now - due);
    }

    pub fn record(&mut self, due: Instant, now: Instant) {
        self.recorded.push([self.clock.at(due), (now - due).as_secs_f64() * 1e3]);
    }

    pub fn write_record(&self, path: &str) -> std::io::Result<()> {
        let bytes: Vec<u8> = self.recorded.as_flattened().iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(path, bytes)
    }

    fn second(&mut self, due: Instant) -> &mut SecondCounts {
        let index = due.saturating_duration_since(self.clock.begin).as_secs() as usize;
        if self.seconds_seen.len() <= index {
            self.seconds_seen.resize_with(index + 1, SecondCounts::default);
        }
        &mut self.seconds_seen[index]
    }

    pub fn fail(&mut self, due: Instant, now: Instant, failure: Failure, detail: &str) {
        self.failed += 1;
        *self.failures.entry(failure).or_default() += 1;
        self.second(due).failed += 1;
        if self.failed_at.len() < FAILURES_TOLD {
            self.failed_at.push((self.clock.at(now), failure, detail.into()));
        }
    }

    pub fn late(&mut self, by: Duration) {
        self.late.record(by);
    }

    /// Prints the whole as one line of JSON.
    pub fn print(mut self, timeline: bool) -> std::io::Result<()> {
        self.seconds = self.clock.begin.elapsed().as_secs_f64();
        self.latency_ms = self.latency.summary();
        self.late_ms = self.late.summary();
        if timeline {
            let seconds = self.seconds_seen.iter().enumerate();
            self.timeline = seconds.map(|(second, seen)| seen.summary(second)).collect();
        }
        println!("{}", serde_json::to_string(&self)?);
        Ok(())
    }
}

impl SecondCounts {
    fn summary(&self, second: usize) -> Second {
        Second { second, answered: self.answered, failed: self.failed, p99_ms: self.latency.quantile_ms(0.99) }
    }
}
