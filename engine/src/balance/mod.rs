//! Which endpoint gets the next request: every algorithm as pure code.
//!
//! Promises: no I/O, no clock, no global randomness; `Ask` brings the time and the random source, so that a simulator
//! runs this very code. A choice looks only at what `Candidate` tells. Refuses: nothing; `None` means that no candidate
//! may be used at all.

mod affinity;
pub mod algorithm;
mod bounded;
pub mod budget;
pub mod chooser;
mod cursor;
#[cfg(test)]
mod fake;
mod floor;
pub mod hashing;
mod interleaved;
pub mod latency;
mod least;
mod local;
pub mod near;
pub mod outlier;
mod pace;
pub mod random;
mod sampled;
mod start;

pub use algorithm::Algorithm;
pub use chooser::{Chooser, Tuning};
pub use start::warmth;

/// What may stand against an endpoint. A choice is tried with fewer and fewer of them forgiven.
pub mod flags {
    /// Terminating but serving, or held out by a drain: the last resort.
    pub const DRAINING: u32 = 1;
    pub const HELD: u32 = 2;
    /// Thrown out by outlier detection or by an active health check.
    pub const EJECTED: u32 = 4;
    pub const UNHEALTHY: u32 = 8;
    /// No longer an endpoint of its Backend.
    pub const GONE: u32 = 16;
    /// It has as many connections or requests as its limit allows. Never forgiven.
    pub const FULL: u32 = 32;

    /// Which flags are forgiven, step by step. Healthy draining endpoints come before sick ready ones.
    pub const STEPS: [u32; 4] = [0, DRAINING | HELD, EJECTED | UNHEALTHY, DRAINING | HELD | EJECTED | UNHEALTHY];
    /// Who is not healthy gets nothing, whatever happens.
    pub const CLOSED_STEPS: [u32; 2] = [0, DRAINING | HELD];
    /// When too few are healthy: health is not looked at.
    pub const PANIC_STEPS: [u32; 2] = [EJECTED | UNHEALTHY, DRAINING | HELD | EJECTED | UNHEALTHY];
}

/// What a choice needs to know of an endpoint.
pub trait Candidate {
    /// Stays the same for the endpoint's life, differs between endpoints.
    fn id(&self) -> u64;
    fn weight(&self) -> u32;
    fn flags(&self) -> u32;
    fn in_flight(&self) -> u32;
    /// Hash of the address and port: the same in every process and life.
    fn identity(&self) -> u64;
    /// Peak-EWMA of the latency, in nanoseconds; 0 when nothing was measured.
    fn peak_nanos(&self, now_nanos: u64) -> u64;
    /// What a response usually takes, in nanoseconds; 0 when nothing was measured.
    fn usual_nanos(&self) -> u64;
    /// When the last response was measured.
    fn answered_nanos(&self) -> u64;
    /// Where it is; all are at one place unless something says otherwise.
    fn place(&self) -> near::Place {
        near::Place::default()
    }
    /// Share of its weight that a starting endpoint already has, 0.0 to 1.0.
    fn warmth(&self, now_nanos: u64) -> f64;
}

/// One choice's circumstances.
pub struct Ask<'a> {
    pub now_nanos: u64,
    /// Ids of endpoints that already failed this request.
    pub avoid: &'a [u64],
    /// What the hashing algorithms hash, already hashed.
    pub hash: u64,
    /// Uniform in 0..=u64::MAX, drawn by the caller once per choice.
    pub random: u64,
    /// The endpoint that the request's cookie names.
    pub identity: Option<u64>,
    /// The client's address and the timeout of its affinity, where the Backend has one.
    pub client: Option<(std::net::IpAddr, u64)>,
    /// Per cent of healthy endpoints under which health is ignored.
    pub panic_threshold: f64,
}

#[cfg(test)]
mod affinity_tests;
#[cfg(test)]
mod bounded_tests;
#[cfg(test)]
mod ipvs_tests;
