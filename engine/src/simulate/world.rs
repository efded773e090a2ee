//! Requests, servers and a chooser under virtual time: a discrete-event simulation, one step after another.
//!
//! Promises: the choices are made by the very code that carries traffic; the same input gives the same output. A request
//! that finds no server waits until there is one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use serde::{Deserialize, Serialize};

use super::peers::Peer;
use super::server::{Server, Share, Spec};
use crate::balance::random::{Random, mix};
use crate::balance::{Algorithm, Ask, Candidate, Chooser, Tuning};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// One of ours, or a name of `peers`.
    pub algorithm: String,
    pub seed: u64,
    /// Exponential gaps between arrivals, else equal ones.
    pub poisson: bool,
    /// Seconds of work of each request, over and over.
    pub costs: Vec<f64>,
    /// What the hashing algorithms hash, over and over; empty: every request has its own.
    pub keys: Vec<String>,
    pub load_bound: f64,
    pub slow_start_seconds: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            algorithm: String::new(),
            seed: 7,
            poisson: true,
            costs: vec![0.01],
            keys: Vec::new(),
            load_bound: 0.0,
            slow_start_seconds: 0.0,
        }
    }
}

/// So many seconds with that rate and those servers; one that is named again is the same.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    pub seconds: f64,
    pub rate: f64,
    pub endpoints: Vec<Spec>,
    /// Go on without arrivals until everything is answered.
    pub finish: bool,
    /// Latencies are not told yet but with the next step's.
    pub more: bool,
}

#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    pub at_seconds: f64,
    pub arrived: u64,
    pub answered: u64,
    /// Without a server.
    pub waiting: u64,
    pub mean_seconds: f64,
    pub p50_seconds: f64,
    pub p99_seconds: f64,
    pub p999_seconds: f64,
    pub endpoints: Vec<Share>,
}

/// What a seed is moved by so that the arrivals are those of bench/loadgen/src/open.rs for the same seed.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// When it is done; then its number, so that the order is total.
type Done = Reverse<(u64, u64)>;

struct Open {
    arrived_nanos: u64,
    sent_nanos: u64,
    server: u64,
}

pub struct World {
    config: Config,
    chooser: Chooser,
    algorithm: Algorithm,
    /// Chooses instead.
    peer: Option<Peer>,
    turn: u64,
    random: Random,
    arrivals: Random,
    next_nanos: f64,
    pub now_nanos: u64,
    set: Vec<Server>,
    /// Gone, but with requests to finish.
    gone: Vec<Server>,
    ids: u64,
    heap: BinaryHeap<Done>,
    open: std::collections::HashMap<u64, Open>,
    arrived: u64,
    waiting: VecDeque<(u64, u64)>,
    latencies: Vec<u64>,
}

impl World {
    pub fn new(config: Config) -> Result<Self, String> {
        let peer = Peer::parse(&config.algorithm);
        let algorithm = Algorithm::parse(if peer.is_some() { "lc" } else { &config.algorithm }, true)
            .ok_or_else(|| format!("algorithm: there is no algorithm {:?}", config.algorithm))?;
        if config.costs.is_empty() || config.costs.iter().any(|cost| !cost.is_finite() || *cost < 0.0) {
            return Err("costs: must be a list of seconds, none negative".to_owned());
        }
        let mut chooser = Chooser::new(algorithm);
        chooser.tune(Tuning { load_bound: config.load_bound, spill_factor: None });
        Ok(Self {
            chooser,
            algorithm,
            peer,
            turn: 0,
            random: Random::new(mix(config.seed)),
            arrivals: Random::new(config.seed.wrapping_sub(STEP)),
            config,
            next_nanos: -1.0,
            now_nanos: 0,
            set: Vec::new(),
            gone: Vec::new(),
            ids: 0,
            heap: BinaryHeap::new(),
            open: std::collections::HashMap::new(),
            arrived: 0,
            waiting: VecDeque::new(),
            latencies: Vec::new(),
        })
    }

    pub fn step(&mut self, step: &Step) -> Result<Outcome, String> {
        if !(0.0..=1e9).contains(&step.seconds) || !(0.0..=1e9).contains(&step.rate) {
            return Err("seconds, rate: must be numbers from 0 on".to_owned());
        }
        self.settle(&step.endpoints);
        let before = self.arrived;
        let begin = self.now_nanos;
        let end = begin + (step.seconds * 1e9) as u64;
        if step.rate > 0.0 {
            self.arrive_until(end, step.rate);
        } else {
            self.next_nanos = -1.0;
        }
        self.answer_until(if step.finish { u64::MAX } else { end });
        self.now_nanos = self.now_nanos.max(end);
        Ok(self.outcome(self.arrived - before, begin, step.more))
    }

    fn settle(&mut self, wanted: &[Spec]) {
        let mut old = std::mem::take(&mut self.set);
        for spec in wanted {
            match old.iter().position(|s| s.spec.name == spec.name) {
                Some(index) => {
                    let mut server = old.remove(index);
                    server.spec = spec.clone();
                    self.set.push(server);
                }
                None => {
                    self.ids += 1;
                    let slow = self.config.slow_start_seconds;
                    self.set.push(Server::new(spec.clone(), self.ids, slow, self.now_nanos));
                }
            }
        }
        self.gone.extend(old);
        self.gone.retain(|server| server.open() > 0);
        self.chooser.settle(&self.set);
        for (number, arrived_nanos) in std::mem::take(&mut self.waiting) {
            self.send(number, arrived_nanos, self.now_nanos);
        }
    }

    fn arrive_until(&mut self, end: u64, rate: f64) {
        if self.next_nanos < 0.0 {
            self.next_nanos = self.now_nanos as f64 + self.gap(rate);
        }
        while self.next_nanos < end as f64 {
            let at = self.next_nanos as u64;
            self.next_nanos += self.gap(rate);
            self.answer_until(at);
            self.now_nanos = at;
            self.send(self.arrived, at, at);
            self.arrived += 1;
        }
    }

    fn gap(&mut self, rate: f64) -> f64 {
        if !self.config.poisson {
            return 1e9 / rate;
        }
        -(1.0 - self.arrivals.unit()).ln() * 1e9 / rate
    }

    fn send(&mut self, number: u64, arrived_nanos: u64, now_nanos: u64) {
        let random = self.random.draw();
        let key = match self.config.keys.as_slice() {
            _ if !self.algorithm.hashes() => 0,
            [] => mix(number),
            keys => crate::balance::random::hash_bytes(keys[number as usize % keys.len()].as_bytes()),
        };
        let ask = Ask { now_nanos, avoid: &[], hash: key, random, identity: None, client: None, panic_threshold: 0.0 };
        let cost_nanos = (self.config.costs[number as usize % self.config.costs.len()] * 1e9) as u64;
        self.turn += 1;
        let chosen = match &mut self.peer {
            Some(peer) => peer.choose(&self.set, random, cost_nanos, now_nanos, self.turn),
            None => self.chooser.choose(&self.set, &ask),
        };
        let Some(index) = chosen else {
            return self.waiting.push_back((number, arrived_nanos));
        };
        let server = &mut self.set[index];
        let done = server.take(cost_nanos, now_nanos);
        self.heap.push(Reverse((done, number)));
        self.open.insert(number, Open { arrived_nanos, sent_nanos: now_nanos, server: server.id() });
    }

    fn answer_until(&mut self, end: u64) {
        while let Some(&Reverse((done, number))) = self.heap.peek()
            && done <= end
        {
            self.heap.pop();
            let Some(open) = self.open.remove(&number) else { continue };
            self.now_nanos = self.now_nanos.max(done);
            self.turn += 1;
            if let Some((index, server)) =
                self.set.iter().chain(&self.gone).enumerate().find(|(_, s)| s.id() == open.server)
            {
                server.done(self.algorithm.measures(), done - open.sent_nanos, done);
                self.peer.iter_mut().for_each(|peer| peer.answered(index, self.turn));
            }
            self.latencies.push(done - open.arrived_nanos);
        }
    }

    fn outcome(&mut self, arrived: u64, begin_nanos: u64, more: bool) -> Outcome {
        let mut latencies = if more { Vec::new() } else { std::mem::take(&mut self.latencies) };
        latencies.sort_unstable();
        let at = |q: f64| match latencies.len() {
            0 => 0.0,
            n => latencies[((q * n as f64).ceil() as usize).clamp(1, n) - 1] as f64 / 1e9,
        };
        let end_nanos = self.now_nanos;
        Outcome {
            at_seconds: self.now_nanos as f64 / 1e9,
            arrived,
            answered: latencies.len() as u64,
            waiting: self.waiting.len() as u64,
            mean_seconds: latencies.iter().sum::<u64>() as f64 / 1e9 / latencies.len().max(1) as f64,
            p50_seconds: at(0.5),
            p99_seconds: at(0.99),
            p999_seconds: at(0.999),
            endpoints: self.set.iter_mut().map(|server| server.share(begin_nanos, end_nanos)).collect(),
        }
    }
}
