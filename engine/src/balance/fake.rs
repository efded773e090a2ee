//! A candidate whose every fact a test sets.

use std::cell::Cell;

use super::near::Place;
use super::random::hash_bytes;
use super::{Ask, Candidate};

pub struct Fake {
    pub id: u64,
    pub weight: u32,
    pub flags: Cell<u32>,
    pub in_flight: Cell<u32>,
    pub latency: Cell<u64>,
    pub answered: Cell<u64>,
    pub warmth: f64,
    pub zone: u64,
    pub own_zone: bool,
    pub own_node: bool,
}

impl Candidate for Fake {
    fn id(&self) -> u64 {
        self.id
    }
    fn weight(&self) -> u32 {
        self.weight
    }
    fn flags(&self) -> u32 {
        self.flags.get()
    }
    fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }
    fn identity(&self) -> u64 {
        hash_bytes(&self.id.to_be_bytes())
    }
    fn peak_nanos(&self, _: u64) -> u64 {
        self.latency.get()
    }
    fn answered_nanos(&self) -> u64 {
        self.answered.get()
    }
    fn usual_nanos(&self) -> u64 {
        self.latency.get()
    }
    fn place(&self) -> Place {
        Place { own_node: self.own_node, own_zone: self.own_zone, zone: self.zone }
    }
    fn warmth(&self, _: u64) -> f64 {
        self.warmth
    }
}

pub fn fake(id: u64, weight: u32) -> Fake {
    Fake {
        id,
        weight,
        flags: Cell::new(0),
        in_flight: Cell::new(0),
        latency: Cell::new(0),
        answered: Cell::new(0),
        warmth: 1.0,
        zone: 0,
        own_zone: false,
        own_node: false,
    }
}

pub fn fakes(weights: &[u32]) -> Vec<Fake> {
    (0..).zip(weights).map(|(id, &weight)| fake(id, weight)).collect()
}

pub fn ask(avoid: &[u64]) -> Ask<'_> {
    Ask { now_nanos: 0, avoid, hash: 0, random: 0, identity: None, client: None, panic_threshold: 0.0 }
}
