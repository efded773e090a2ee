//! A simulated endpoint: `workers` requests are worked on at a time, the others wait in line, first come first served. No
//! work begins in a stall. The same model as the benchmarks' backend (bench/loadgen/src/simulate.rs).

use std::cell::Cell;

use serde::{Deserialize, Serialize};

use crate::balance::algorithm::Measure;
use crate::balance::latency::Latency;
use crate::balance::near::Place;
use crate::balance::random::hash_bytes;
use crate::balance::{self, flags};

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    pub name: String,
    pub workers: usize,
    /// How many times as long everything takes.
    pub slowness: f64,
    pub weight: u32,
    /// Every so many seconds no work begins for so many.
    pub stall_every_seconds: f64,
    pub stall_for_seconds: f64,
    /// Takes no new request while another can.
    pub draining: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            name: String::new(),
            workers: 1,
            slowness: 1.0,
            weight: 1,
            stall_every_seconds: 0.0,
            stall_for_seconds: 0.0,
            draining: false,
        }
    }
}

pub struct Server {
    pub spec: Spec,
    id: u64,
    since_nanos: u64,
    slow_start_nanos: u64,
    /// When each worker is free again.
    free: Vec<u64>,
    in_flight: Cell<u32>,
    estimate: Latency,
    requests: u64,
    /// Those that had not ended when the last share was taken.
    jobs: Vec<Job>,
}

struct Job {
    sent: u64,
    begun: u64,
    done: u64,
}

/// What one endpoint had of a step.
#[derive(Debug, Serialize)]
pub struct Share {
    pub name: String,
    pub requests: u64,
    pub in_flight: u32,
    /// Of those, not yet begun.
    pub queued: u32,
    pub mean_in_flight: f64,
    /// Time that its workers worked, all together.
    pub worked_seconds: f64,
}

impl Server {
    pub fn new(spec: Spec, id: u64, slow_start_seconds: f64, now_nanos: u64) -> Self {
        Self {
            free: vec![now_nanos; spec.workers.max(1)],
            spec,
            id,
            since_nanos: now_nanos,
            slow_start_nanos: (slow_start_seconds * 1e9) as u64,
            in_flight: Cell::new(0),
            estimate: Latency::default(),
            requests: 0,
            jobs: Vec::new(),
        }
    }

    /// Takes a request in; when it will be done.
    pub fn take(&mut self, cost_nanos: u64, now_nanos: u64) -> u64 {
        self.in_flight.set(self.in_flight.get() + 1);
        self.requests += 1;
        let begun = self.would_begin(now_nanos);
        let done = begun + self.would_take(cost_nanos);
        if let Some(worker) = self.free.iter_mut().min() {
            *worker = done;
        }
        self.jobs.push(Job { sent: now_nanos, begun, done });
        done
    }

    /// When a request would be done that came now.
    pub fn would_be_done(&self, cost_nanos: u64, now_nanos: u64) -> u64 {
        self.would_begin(now_nanos) + self.would_take(cost_nanos)
    }

    fn would_begin(&self, now_nanos: u64) -> u64 {
        let free = self.free.iter().min().copied().unwrap_or(now_nanos);
        after_stall(now_nanos.max(free), self.spec.stall_every_seconds, self.spec.stall_for_seconds)
    }

    fn would_take(&self, cost_nanos: u64) -> u64 {
        (cost_nanos as f64 * self.spec.slowness) as u64
    }

    /// Its share of the step between the two times; the next one begins at `end`.
    pub fn share(&mut self, begin: u64, end: u64) -> Share {
        let within = |from: u64, to: u64| to.min(end).saturating_sub(from.max(begin));
        let sum = |from: fn(&Job) -> u64| self.jobs.iter().map(|job| within(from(job), job.done)).sum::<u64>() as f64;
        let (open, worked) = (sum(|job| job.sent), sum(|job| job.begun));
        self.jobs.retain(|job| job.done > end);
        Share {
            name: self.spec.name.clone(),
            requests: std::mem::take(&mut self.requests),
            in_flight: self.open(),
            queued: self.jobs.iter().filter(|job| job.begun > end).count() as u32,
            mean_in_flight: open / end.saturating_sub(begin).max(1) as f64,
            worked_seconds: worked / 1e9,
        }
    }

    /// A request is done; what an exchange of the engine notes then.
    pub fn done(&self, measure: Measure, took_nanos: u64, now_nanos: u64) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.estimate.measure(measure, took_nanos, now_nanos);
    }

    pub fn open(&self) -> u32 {
        self.in_flight.get()
    }
}

fn after_stall(at: u64, every_seconds: f64, for_seconds: f64) -> u64 {
    let (every, stall) = ((every_seconds * 1e9) as u64, (for_seconds * 1e9) as u64);
    if every == 0 {
        return at;
    }
    at + stall.saturating_sub(at % every)
}

impl balance::Candidate for Server {
    fn id(&self) -> u64 {
        self.id
    }
    fn weight(&self) -> u32 {
        self.spec.weight
    }
    fn flags(&self) -> u32 {
        if self.spec.draining { flags::DRAINING } else { 0 }
    }
    fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }
    fn identity(&self) -> u64 {
        hash_bytes(self.spec.name.as_bytes())
    }
    fn peak_nanos(&self, now_nanos: u64) -> u64 {
        self.estimate.peak_nanos(now_nanos)
    }
    fn answered_nanos(&self) -> u64 {
        self.estimate.at_nanos()
    }
    fn usual_nanos(&self) -> u64 {
        self.estimate.usual_nanos()
    }
    fn place(&self) -> Place {
        Place::default()
    }
    fn warmth(&self, now_nanos: u64) -> f64 {
        balance::warmth(now_nanos.saturating_sub(self.since_nanos), self.slow_start_nanos)
    }
}
