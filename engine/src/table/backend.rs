//! A Backend: its policy, and what outlives changes of the policy (endpoints, cursors, counts).
//!
//! Promises: choosing and counting in are one step under the Backend's lock, so all threads share one exact order.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::Notify;

use super::endpoint::{Endpoint, Here, InFlight};
use super::route::RouteCounters;
use super::template::HashOn;
use super::waiting::{MOST_HELD, Waiting};
use crate::balance::budget::Budget;
use crate::balance::outlier::{self, Outcome};
use crate::balance::{Algorithm, Ask, Candidate, Chooser, Tuning, flags};
use crate::control::objects::{self, Refusal};
use crate::control::wire::Event;
use crate::health::Report;
use crate::http::sticky::{self, Session};
use crate::stats::counters::Counter;
use crate::tls::upstream::Upstream;

/// One Backend as the table of the moment sees it.
pub struct Backend {
    pub spec: objects::Backend,
    pub algorithm: Algorithm,
    pub hash_on: HashOn,
    /// TLS to its endpoints.
    pub upstream: Option<Upstream>,
    /// The same as long as `upstream` and the protocol are; connections made under another are not used.
    pub transport: u64,
    pub shared: Arc<Shared>,
}

impl Backend {
    pub fn speaks_h2(&self) -> bool {
        matches!(self.spec.protocol, objects::BackendProtocol::H2 | objects::BackendProtocol::H2c)
    }

    /// The name of the affinity's cookie.
    pub fn cookie(&self) -> Option<&str> {
        let affinity = self.spec.affinity.as_ref().filter(|a| a.kind == objects::AffinityKind::Cookie)?;
        Some(if affinity.cookie.is_empty() { "fairlead" } else { &affinity.cookie })
    }

    /// Is a session's endpoint found by its key?
    pub fn balanced(&self) -> bool {
        self.cookie().is_some() && self.spec.affinity.as_ref().is_some_and(|a| a.balanced)
    }

    /// Is the session one of this Backend's endpoints, or keys?
    pub fn has(&self, session: Session) -> bool {
        match session {
            Session::Endpoint(identity) => !self.balanced() && self.shared.knows(identity),
            Session::Key { backend, .. } => self.balanced() && backend == sticky::backend_hash(&self.spec.id),
        }
    }

    /// How many may wait for an endpoint: as many as it says, else a bounded number where it holds them when it is empty.
    pub fn most_waiting(&self) -> u32 {
        match self.spec.limits.as_ref().map_or(0, |limits| limits.max_waiting) {
            0 if self.spec.hold => MOST_HELD,
            most => most,
        }
    }

    /// The timeout of the client's address affinity.
    pub fn client_timeout_nanos(&self) -> Option<u64> {
        let affinity = self.spec.affinity.as_ref().filter(|a| a.kind == objects::AffinityKind::Client)?;
        Some((affinity.timeout_seconds * 1e9) as u64)
    }
}

/// What all versions of one Backend share.
pub struct Shared {
    pub id: String,
    report: Report,
    pub budget: Budget,
    pub waiting: Arc<Waiting>,
    inner: Mutex<Inner>,
    /// Of requests that came by the Backend's own address.
    pub route_counters: Arc<RouteCounters>,
    pub retries: Counter,
    pub no_endpoint: Counter,
}

struct Inner {
    set: Vec<Arc<Endpoint>>,
    algorithm: Algorithm,
    chooser: Chooser,
    here: Here,
    slow_start_seconds: f64,
    connection_age_seconds: f64,
    limits: Option<objects::Limits>,
    outlier: Option<objects::Outlier>,
    records: HashMap<u64, outlier::Record>,
    ejected: usize,
}

pub fn layer7(protocol: objects::BackendProtocol) -> bool {
    use objects::BackendProtocol::*;
    matches!(protocol, Http | H2 | H2c | Https)
}

impl Shared {
    pub fn new(id: String, report: Report) -> Self {
        let algorithm = Algorithm::LeastRequest;
        let inner = Inner {
            set: Vec::new(),
            algorithm,
            chooser: Chooser::new(algorithm),
            here: Here::default(),
            slow_start_seconds: 0.0,
            connection_age_seconds: 0.0,
            limits: None,
            outlier: None,
            records: HashMap::new(),
            ejected: 0,
        };
        Self {
            id,
            report,
            budget: Budget::default(),
            waiting: Arc::default(),
            inner: Mutex::new(inner),
            route_counters: Arc::default(),
            retries: Counter::default(),
            no_endpoint: Counter::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change of the policy; what the algorithm remembers is kept when it stays the same.
    pub fn set_policy(&self, algorithm: Algorithm, spec: &objects::Backend) {
        let inner = &mut *self.inner();
        if inner.algorithm != algorithm {
            inner.algorithm = algorithm;
            inner.chooser = Chooser::new(algorithm);
            inner.chooser.settle(&inner.set);
        }
        inner.here = Here { zone: spec.zone.clone(), node: spec.node.clone() };
        inner.chooser.tune(Tuning {
            load_bound: spec.load_bound,
            spill_factor: (!inner.here.is_anywhere()).then_some(spec.spill_factor),
        });
        inner.set.iter().for_each(|e| e.set_here(&inner.here));
        inner.chooser.subset = spec.subset as usize;
        inner.connection_age_seconds = spec.timeouts.as_ref().map_or(0.0, |t| t.connection_age_seconds);
        inner.set.iter().for_each(|e| e.set_connection_age(inner.connection_age_seconds));
        inner.slow_start_seconds = spec.slow_start_seconds;
        inner.limits = spec.limits.clone();
        inner.outlier = spec.outlier.clone();
        if inner.outlier.is_none() {
            inner.set.iter().for_each(|e| e.lower(flags::EJECTED));
            inner.records.clear();
            inner.ejected = 0;
        }
        inner.set.iter().for_each(|e| e.set_policy(inner.slow_start_seconds, inner.limits.as_ref()));
    }

    pub fn choose(&self, ask: &Ask<'_>) -> Option<(Arc<Endpoint>, InFlight)> {
        let inner = &mut *self.inner();
        if inner.ejected > 0 {
            self.let_back(inner, ask.now_nanos);
        }
        let index = inner.chooser.choose(&inner.set, ask)?;
        let endpoint = inner.set[index].clone();
        Some((endpoint.clone(), InFlight::begin(endpoint)))
    }

    /// Notes what a try came to, where the Backend ejects outliers.
    pub fn note(&self, endpoint: &Arc<Endpoint>, outcome: Outcome, now_nanos: u64) {
        let inner = &mut *self.inner();
        let Some(policy) = &inner.outlier else { return };
        let record = inner.records.entry(endpoint.id).or_default();
        let Some(cause) = record.note(outcome, policy, now_nanos) else { return };
        let known = inner.set.iter().any(|e| e.id == endpoint.id) && !endpoint.has(flags::EJECTED);
        if known && outlier::room(policy, inner.ejected, inner.set.len()) {
            record.eject(policy, now_nanos);
            inner.ejected += 1;
            endpoint.raise(flags::EJECTED);
            endpoint.ejections.note(cause, cause.text(), Some(record.seconds_out(now_nanos)));
            self.tell(endpoint, "ejected", cause.text());
        }
    }

    fn let_back(&self, inner: &mut Inner, now_nanos: u64) {
        for endpoint in inner.set.iter().filter(|e| e.has(flags::EJECTED)) {
            if inner.records.get(&endpoint.id).is_none_or(|r| r.may_return(now_nanos)) {
                endpoint.lower(flags::EJECTED);
                inner.ejected -= 1;
                self.tell(endpoint, "returned", "its time is over");
            }
        }
    }

    /// Requests wait for an endpoint.
    pub fn demand(&self, waiting: u32) {
        let _ = self.report.send(Event::Demand { backend: self.id.clone(), waiting: waiting.into() });
    }

    fn tell(&self, endpoint: &Endpoint, state: &str, reason: &str) {
        let (address, port) = (endpoint.address.ip().to_string(), endpoint.address.port());
        let (state, reason) = (state.to_owned(), reason.to_owned());
        let _ = self.report.send(Event::Endpoint { backend: self.id.clone(), address, port, state, reason });
    }

    /// Whether one of its endpoints has that identity.
    pub fn knows(&self, identity: u64) -> bool {
        self.inner().set.iter().any(|endpoint| endpoint.identity() == identity)
    }

    pub fn is_empty(&self) -> bool {
        self.inner().set.is_empty()
    }

    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.inner().set.clone()
    }

    /// Replaces the set; endpoints that stay keep their counts. `held` says which addresses a drain holds out. Returns
    /// the endpoints that are gone.
    pub fn replace(
        &self,
        endpoints: &[objects::Endpoint],
        held: impl Fn(SocketAddr) -> bool,
        idle: &Arc<Notify>,
    ) -> Vec<Arc<Endpoint>> {
        let mut inner = self.inner();
        let mut old = std::mem::take(&mut inner.set);
        for wanted in endpoints {
            let Some(address) = socket_address(wanted) else { continue };
            if inner.set.iter().any(|e| e.address == address) {
                continue;
            }
            let endpoint = match old.iter().position(|e| e.address == address && e.name == wanted.name) {
                Some(index) => old.swap_remove(index),
                None => {
                    let name = wanted.name.clone();
                    Arc::new(Endpoint::new(address, name, &wanted.hostname, idle.clone(), self.waiting.clone()))
                }
            };
            endpoint.set_weight(wanted.weight);
            endpoint.set_connection_age(inner.connection_age_seconds);
            endpoint.set_place(&wanted.zone, &wanted.node, &inner.here);
            endpoint.set_policy(inner.slow_start_seconds, inner.limits.as_ref());
            endpoint.set_flag(flags::DRAINING, wanted.state == objects::EndpointState::Draining);
            endpoint.set_flag(flags::HELD, held(address));
            inner.set.push(endpoint);
        }
        for endpoint in &old {
            endpoint.set_flag(flags::HELD, held(endpoint.address));
            endpoint.raise(flags::GONE);
        }
        let inner = &mut *inner;
        inner.chooser.settle(&inner.set);
        inner.records.retain(|id, _| inner.set.iter().any(|e| e.id == *id));
        inner.ejected = inner.set.iter().filter(|e| e.has(flags::EJECTED)).count();
        self.waiting.all_may_look();
        old
    }
}

pub fn socket_address(endpoint: &objects::Endpoint) -> Option<SocketAddr> {
    Some(SocketAddr::new(endpoint.address.parse::<IpAddr>().ok()?, endpoint.port))
}

/// Endpoints as they are on the wire; those that are wrong are left out and said.
pub fn parse_endpoints(list: &[Value]) -> (Vec<objects::Endpoint>, Vec<Refusal>) {
    let mut good = Vec::with_capacity(list.len());
    let mut refused = Vec::new();
    for (i, value) in list.iter().enumerate() {
        match objects::parse::<objects::Endpoint>(value) {
            Ok(endpoint) if socket_address(&endpoint).is_none() => refused.push(Refusal::new(
                format!("endpoints[{i}].address"),
                format!("{:?} is not an IP address", endpoint.address),
            )),
            Ok(endpoint) => good.push(endpoint),
            Err(refusal) => refused.push(Refusal::new(format!("endpoints[{i}].{}", refusal.path), refusal.message)),
        }
    }
    (good, refused)
}
