//! What a run is told: JSON objects whose unknown fields are refused, so that a misspelt option cannot be a silent
//! default. Python's side is `bench/load.py`.

use serde::Deserialize;
use std::io;
use std::net::SocketAddr;

/// One simulated server per port.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// How many ports, each its own server, on `address`.
    pub servers: usize,
    #[serde(default = "loopback")]
    pub address: String,
    /// Fixed ports instead of ephemeral ones.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Size of the answer to `/`.
    #[serde(default = "small")]
    pub answer_bytes: usize,
    /// Requests that one server works on at a time at `/cost?us=N`; the others queue, first come first served.
    #[serde(default = "one")]
    pub workers: usize,
    /// Factor on the cost, by server; missing ones are 1.
    #[serde(default)]
    pub slowness: Vec<f64>,
    #[serde(default)]
    pub stalls: Vec<Stall>,
    /// What `x-pod` says; else `b` and the server's number.
    #[serde(default)]
    pub name: String,
}

/// A pod's backend, from its environment: it listens on $HOST:$PORT (0.0.0.0:8080) after $START_MS and answers with the
/// name of its pod, $HOSTNAME. It dies at once on SIGTERM.
pub fn pod() -> io::Result<Backend> {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
    let number = |name: &str, default: &str| variable(name, default).parse::<u16>().map_err(io::Error::other);
    std::thread::sleep(std::time::Duration::from_millis(u64::from(number("START_MS", "0")?)));
    Ok(Backend {
        servers: 1,
        address: variable("HOST", "0.0.0.0"),
        ports: vec![number("PORT", "8080")?],
        answer_bytes: small(),
        workers: usize::from(number("WORKERS", "1")?),
        slowness: Vec::new(),
        stalls: Vec::new(),
        name: variable("HOSTNAME", "pod"),
    })
}

/// Server `server` begins no work in the first `for_seconds` of every `every_seconds`.
#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub struct Stall {
    pub server: usize,
    pub every_seconds: f64,
    pub for_seconds: f64,
}

/// What both generators share.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Connections are dealt over these addresses in turn.
    pub addresses: Vec<SocketAddr>,
    #[serde(default = "host")]
    pub host: String,
    #[serde(default = "get")]
    pub method: String,
    /// Used in order, again and again.
    #[serde(default = "root")]
    pub paths: Vec<String>,
    /// A file with one path a line, instead of `paths`.
    #[serde(default)]
    pub paths_file: String,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub body_bytes: usize,
    /// Answers are counted by the value of this header.
    #[serde(default = "pod_header")]
    pub count_header: String,
    #[serde(default = "ten")]
    pub timeout_seconds: f64,
    /// Source addresses (127.0.1.1 and on) to connect from in turn, so that ports do not run out; 0: the system's choice.
    #[serde(default)]
    pub sources: u8,
    /// A new connection for each request.
    #[serde(default)]
    pub new_connections: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    pub target: Target,
    pub connections: usize,
    pub seconds: f64,
    /// Ends after so many requests, too (0: no such end).
    #[serde(default)]
    pub requests: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    pub target: Target,
    pub rate: f64,
    pub seconds: f64,
    #[serde(default)]
    pub seed: u64,
    /// Poisson arrivals; else evenly spaced ones.
    #[serde(default)]
    pub poisson: bool,
    /// At most so many connections at once; further requests wait, and their waiting counts.
    pub connections: usize,
    /// Latencies before this are counted but not measured.
    #[serde(default)]
    pub warmup_seconds: f64,
    /// A line of JSON per second: `{second, answered, failed, p99_ms}`.
    #[serde(default)]
    pub timeline: bool,
    /// A file that each answer goes to, at the end: when it was due (seconds since 1970) and its milliseconds, as two
    /// little-endian doubles. "": none.
    #[serde(default)]
    pub record: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    pub target: Target,
    pub connections: usize,
    pub seconds: f64,
    /// Upgrade to a WebSocket-like echo and say something on each connection once a period (0: stay idle after the
    /// first request).
    #[serde(default)]
    pub upgrade: bool,
    #[serde(default)]
    pub period_seconds: f64,
}

/// See `abuse`.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub enum AbuseKind {
    Idle,
    Headers,
    Bodies,
    Readers,
    Resets,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abuse {
    pub target: Target,
    pub kind: AbuseKind,
    pub connections: usize,
    pub seconds: f64,
    /// Connections that are opened and reset a second (`resets` only).
    #[serde(default)]
    pub per_second: f64,
}

fn loopback() -> String {
    "127.0.0.1".into()
}
fn small() -> usize {
    128
}
fn one() -> usize {
    1
}
fn host() -> String {
    "bench.test".into()
}
fn get() -> String {
    "GET".into()
}
fn root() -> Vec<String> {
    vec!["/".into()]
}
fn pod_header() -> String {
    "x-pod".into()
}
fn ten() -> f64 {
    10.0
}

pub fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> io::Result<T> {
    serde_json::from_str(text).map_err(io::Error::from)
}
