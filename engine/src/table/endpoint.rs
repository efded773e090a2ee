//! One endpoint of one Backend: its state and counts, shared by all threads and kept across table changes.
//!
//! Promises: `in_flight` counts requests (L7) or connections (L4) from the choice until before the response's last byte
//! is written; `connections` counts open sockets to it, pooled ones included. Whoever watches for the end of a drain is
//! notified when both have become 0.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};

use tokio::sync::Notify;

use super::waiting::Waiting;
use crate::balance::latency::Latency;
use crate::balance::near::Place;
use crate::balance::{self, flags, random};
use crate::control::objects;
use crate::stats::connects::Connects;
use crate::stats::counters::{Codes, Counter, Histogram};
use crate::stats::ejections::Ejections;
use crate::worker::age::Age;
use crate::worker::clock;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Where this engine is, for a Backend that prefers what is near.
#[derive(Debug, Clone, Default)]
pub struct Here {
    pub zone: String,
    pub node: String,
}

impl Here {
    pub fn is_anywhere(&self) -> bool {
        self.zone.is_empty() && self.node.is_empty()
    }
}

/// Hashes of the endpoint's zone and node, and whether they are ours.
#[derive(Default)]
struct Places {
    zone: AtomicU64,
    node: AtomicU64,
    own_zone: AtomicBool,
    own_node: AtomicBool,
}

fn hash_of(name: &str) -> u64 {
    if name.is_empty() { 0 } else { random::hash_bytes(name.as_bytes()) }
}

pub struct Endpoint {
    pub id: u64,
    pub address: SocketAddr,
    pub name: String,
    pub hostname: Box<str>,
    identity: u64,
    places: Places,
    weight: AtomicU32,
    flags: AtomicU32,
    in_flight: AtomicU32,
    connections: AtomicU32,
    pub codes: Codes,
    pub latency: Histogram,
    pub estimate: Latency,
    pub connects: Connects,
    pub ejections: Ejections,
    /// Connections that it was given at layer 4.
    pub carried: Counter,
    /// When it came, and how long it then starts slowly.
    since_nanos: u64,
    slow_start_nanos: AtomicU64,
    max_requests: AtomicU32,
    max_connections: AtomicU32,
    /// How long its connections live, as the bits of seconds; 0: no end.
    age_seconds_bits: AtomicU64,
    idle: Arc<Notify>,
    waiting: Arc<Waiting>,
}

impl Endpoint {
    pub fn new(address: SocketAddr, name: String, hostname: &str, idle: Arc<Notify>, waiting: Arc<Waiting>) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            address,
            name,
            hostname: hostname.into(),
            identity: random::hash_bytes(address.to_string().as_bytes()),
            places: Places::default(),
            weight: AtomicU32::new(1),
            flags: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            codes: Codes::default(),
            latency: Histogram::default(),
            connects: Connects::default(),
            ejections: Ejections::default(),
            carried: Counter::default(),
            estimate: Latency::default(),
            since_nanos: clock::now_nanos(),
            slow_start_nanos: AtomicU64::new(0),
            max_requests: AtomicU32::new(0),
            max_connections: AtomicU32::new(0),
            age_seconds_bits: AtomicU64::new(0),
            idle,
            waiting,
        }
    }

    pub fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Relaxed);
    }

    pub fn set_place(&self, zone: &str, node: &str, here: &Here) {
        self.places.zone.store(hash_of(zone), Relaxed);
        self.places.node.store(hash_of(node), Relaxed);
        self.set_here(here);
    }

    pub fn set_here(&self, here: &Here) {
        let is = |place: &AtomicU64, own: &str| !own.is_empty() && place.load(Relaxed) == hash_of(own);
        self.places.own_zone.store(is(&self.places.zone, &here.zone), Relaxed);
        self.places.own_node.store(is(&self.places.node, &here.node), Relaxed);
    }

    pub fn set_connection_age(&self, seconds: f64) {
        self.age_seconds_bits.store(seconds.to_bits(), Relaxed);
    }

    pub fn set_policy(&self, slow_start_seconds: f64, limits: Option<&objects::Limits>) {
        self.slow_start_nanos.store((slow_start_seconds * 1e9) as u64, Relaxed);
        self.max_requests.store(limits.map_or(0, |l| l.endpoint_requests), Relaxed);
        self.max_connections.store(limits.map_or(0, |l| l.endpoint_connections), Relaxed);
    }

    fn full(&self) -> bool {
        let reached = |limit: &AtomicU32, now: u32| (1..=now).contains(&limit.load(Relaxed));
        reached(&self.max_requests, self.in_flight.load(Relaxed))
            || reached(&self.max_connections, self.in_flight.load(Relaxed))
    }

    pub fn raise(&self, flag: u32) {
        self.flags.fetch_or(flag, AcqRel);
    }

    pub fn lower(&self, flag: u32) {
        self.flags.fetch_and(!flag, AcqRel);
    }

    pub fn set_flag(&self, flag: u32, on: bool) {
        if on { self.raise(flag) } else { self.lower(flag) }
    }

    pub fn has(&self, flag: u32) -> bool {
        self.flags.load(Acquire) & flag != 0
    }

    /// May an idle connection to it be kept?
    pub fn keeps_connections(&self) -> bool {
        !self.has(flags::DRAINING | flags::HELD | flags::GONE)
    }

    pub fn in_flight_now(&self) -> u32 {
        self.in_flight.load(Acquire)
    }

    pub fn connections_now(&self) -> u32 {
        self.connections.load(Acquire)
    }

    fn tell_if_idle(&self) {
        if self.has(flags::HELD) && self.in_flight_now() == 0 && self.connections_now() == 0 {
            self.idle.notify_one();
        }
    }
}

impl balance::Candidate for Arc<Endpoint> {
    fn id(&self) -> u64 {
        self.id
    }
    fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }
    fn flags(&self) -> u32 {
        let mut all = self.flags.load(Acquire);
        if self.full() {
            all |= flags::FULL;
        }
        if self.weight.load(Relaxed) == 0 {
            all |= flags::DRAINING;
        }
        all
    }
    fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }
    fn identity(&self) -> u64 {
        self.identity
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
        Place {
            own_node: self.places.own_node.load(Relaxed),
            own_zone: self.places.own_zone.load(Relaxed),
            zone: self.places.zone.load(Relaxed),
        }
    }
    fn warmth(&self, now_nanos: u64) -> f64 {
        balance::warmth(now_nanos.saturating_sub(self.since_nanos), self.slow_start_nanos.load(Relaxed))
    }
}

/// A request or L4 connection that is counted at its endpoint until this is finished or dropped.
pub struct InFlight(Option<Arc<Endpoint>>);

impl InFlight {
    pub fn begin(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, AcqRel);
        Self(Some(endpoint))
    }

    pub fn finish(&mut self) {
        if let Some(endpoint) = self.0.take() {
            endpoint.in_flight.fetch_sub(1, AcqRel);
            endpoint.waiting.one_may_go();
            endpoint.tell_if_idle();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.finish();
    }
}

/// An open socket to an endpoint, made under a Backend's `transport`.
pub struct Opened {
    endpoint: Arc<Endpoint>,
    age: Age,
    transport: u64,
}

impl Opened {
    pub fn new(endpoint: Arc<Endpoint>, transport: u64) -> Self {
        endpoint.connections.fetch_add(1, AcqRel);
        let seconds = f64::from_bits(endpoint.age_seconds_bits.load(Relaxed));
        let drawn = || {
            let now = clock::now_nanos();
            (now, now ^ endpoint.id)
        };
        Self { age: Age::begin(seconds, drawn), endpoint, transport }
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// May it have another request?
    pub fn goes_on(&self) -> bool {
        self.endpoint.keeps_connections() && !self.age.is_over(clock::now_nanos)
    }

    /// May it carry requests of a Backend as it is now?
    pub fn fits(&self, transport: u64) -> bool {
        self.transport == transport && self.goes_on()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.endpoint.connections.fetch_sub(1, AcqRel);
        self.endpoint.tell_if_idle();
    }
}
