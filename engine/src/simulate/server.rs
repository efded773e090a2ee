//! A simulated endpoint: `workers` requests are worked on at a time, the others wait in line, first come first served. No
//! work begins in a stall. The same model as the benchmarks' backend (bench/loadgen/src/simulate.rs).

use std::cell::Cell;

use serde::Deserialize;

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
    pub requests: u64,
    pub busy_nanos: u64,
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
            busy_nanos: 0,
        }
    }

    /// Takes a request in; when it will be done.
    pub fn take(&mut self, cost_nanos: u64, now_nanos: u64) -> u64 {
        self.in_flight.set(self.in_flight.get() + 1);
        self.requests += 1;
        let took = (cost_nanos as f64 * self.spec.slowness) as u64;
        self.busy_nanos += took;
        let (every, last) = (self.spec.stall_every_seconds, self.spec.stall_for_seconds);
        let Some(worker) = self.free.iter_mut().min() else { return now_nanos };
        *worker = after_stall(now_nanos.max(*worker), every, last) + took;
        *worker
    }

    /// A request is done; what an exchange of the engine notes then.
    pub fn done(&self, took_nanos: u64, found_in_flight: u32, now_nanos: u64) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.estimate.observe(took_nanos, found_in_flight, now_nanos);
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
    fn latency_nanos(&self, now_nanos: u64) -> u64 {
        self.estimate.peak_nanos(now_nanos)
    }
    fn latency_now(&self, _now_nanos: u64) -> u64 {
        self.estimate.at_nanos(self.in_flight.get())
    }
    fn place(&self) -> Place {
        Place::default()
    }
    fn warmth(&self, now_nanos: u64) -> f64 {
        balance::warmth(now_nanos.saturating_sub(self.since_nanos), self.slow_start_nanos)
    }
}
