//! The objects as the controller last sent them, and the Table that follows from them.
//!
//! Promises: an object that is refused leaves its earlier version in place and is named in a nack (a Route leaves a closed
//! door: what it would guard is not open); everything else of the message is taken. Endpoints may come before their Backend. Removing never fails.

mod assembly;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use serde_json::Value;
use tokio::sync::Notify;

use super::backend::{self, Backend, Shared};
use super::endpoint::Endpoint;
use super::names::Names;
use super::route::Route;
use super::rules::Kept;
use super::{ListenerCounters, carried};
use crate::balance::flags;
use crate::control::objects::{self, Refusal};
use crate::control::wire::{self, Nack};
use crate::dns::zone::Zone;
use crate::health::Report;
use crate::http::claim::Trust;
use crate::stats::access_log::{self, Lines};
use crate::tls::upstream::{self, Upstream};
use crate::tls::{self, Identity};

use assembly::{Assembly, Changed};

static NEXT_TRANSPORT: AtomicU64 = AtomicU64::new(1);

pub struct Store {
    listeners: BTreeMap<String, (objects::Listener, Arc<ListenerCounters>)>,
    routes: BTreeMap<String, Arc<Route>>,
    backends: BTreeMap<String, Arc<Backend>>,
    certificates: BTreeMap<String, Arc<Identity>>,
    names: Names,
    shared: HashMap<String, Arc<Shared>>,
    /// Endpoints that are gone while something is in flight to them; a drain counts them, too.
    gone: Vec<Weak<Endpoint>>,
    drains: BTreeMap<String, (IpAddr, Option<u16>)>,
    kept: Kept,
    /// What was not taken as it is now (`KIND/ID`), and why.
    refused: BTreeMap<String, String>,
    changed: Changed,
    assembly: Assembly,
    /// Of the access log.
    lines: Arc<Lines>,
    idle: Arc<Notify>,
    report: Report,
}

impl Store {
    /// `idle` is notified when an endpoint that a drain holds has become idle; ejections go to `report`.
    pub fn new(idle: Arc<Notify>, report: Report) -> Self {
        Self {
            listeners: BTreeMap::new(),
            routes: BTreeMap::new(),
            backends: BTreeMap::new(),
            certificates: BTreeMap::new(),
            names: Names::default(),
            shared: HashMap::new(),
            gone: Vec::new(),
            drains: BTreeMap::new(),
            kept: Kept::default(),
            refused: BTreeMap::new(),
            changed: Changed::default(),
            assembly: Assembly::default(),
            lines: Arc::default(),
            idle,
            report,
        }
    }

    pub fn apply_structure(&mut self, message: &wire::Structure) -> Vec<Nack> {
        let mut nacks = Vec::new();
        self.changed.note(message);
        if message.full {
            keep_named(&mut self.listeners, &message.listeners);
            keep_named(&mut self.routes, &message.routes);
            keep_named(&mut self.backends, &message.backends);
            keep_named(&mut self.certificates, &message.certificates);
        }
        self.names.begin(message);
        message.removed.listeners.iter().for_each(|id| drop(self.listeners.remove(id)));
        message.removed.routes.iter().for_each(|id| drop(self.routes.remove(id)));
        message.removed.backends.iter().for_each(|id| drop(self.backends.remove(id)));
        message.removed.certificates.iter().for_each(|id| drop(self.certificates.remove(id)));
        let mut each = |kind: &str, list: &wire::Objects, take: &mut dyn FnMut(&Value) -> Result<(), Refusal>| {
            for object in &list.0 {
                if let Err(refusal) = take(object) {
                    let object = format!("{kind}/{}", wire::object_id(object));
                    nacks.push(Nack { object, path: refusal.path, message: refusal.message });
                }
            }
        };
        each("certificate", &message.certificates, &mut |object| self.take_certificate(object));
        each("listener", &message.listeners, &mut |object| self.take_listener(object));
        self.renew_upstreams(&message.certificates);
        each("backend", &message.backends, &mut |object| self.take_backend(object));
        each("route", &message.routes, &mut |object| self.take_route(object));
        each("name", &message.names, &mut |object| self.names.take(object));
        nacks.extend(self.missing_certificates(&message.listeners));
        if message.full || !message.removed.backends.is_empty() || self.shared.len() > self.backends.len() {
            self.forget_unused();
        }
        self.kept.limiters.retain(|_, limiter| Arc::strong_count(limiter) > 1);
        self.note_refused(message, &nacks);
        nacks
    }

    fn note_refused(&mut self, message: &wire::Structure, nacks: &[Nack]) {
        if message.full {
            self.refused.clear();
        }
        if !self.refused.is_empty() {
            let removed = &message.removed;
            for (kind, changed, removed) in [
                ("listener", &message.listeners, &removed.listeners),
                ("route", &message.routes, &removed.routes),
                ("backend", &message.backends, &removed.backends),
                ("certificate", &message.certificates, &removed.certificates),
                ("name", &message.names, &removed.names),
            ] {
                let ids = changed.0.iter().map(wire::object_id).chain(removed.iter().map(String::as_str));
                ids.for_each(|id| drop(self.refused.remove(&format!("{kind}/{id}"))));
            }
        }
        for nack in nacks {
            let why = [nack.path.as_str(), &nack.message].join(": ");
            self.refused.insert(nack.object.clone(), why.trim_start_matches(": ").to_owned());
        }
    }

    pub fn refused(&self) -> &BTreeMap<String, String> {
        &self.refused
    }

    fn take_listener(&mut self, object: &Value) -> Result<(), Refusal> {
        let spec: objects::Listener = objects::parse(object)?;
        carried::listener(&spec)?;
        if let Some(http) = &spec.http {
            Trust::compile(http)?;
            http.access_log.as_ref().map_or(Ok(()), access_log::check)?;
        }
        if !spec.client_ca.is_empty() {
            tls::roots(&spec.client_ca, "client_ca")?;
        }
        let counters = self.listeners.get(&spec.id).map(|(_, c)| c.clone()).unwrap_or_default();
        self.listeners.insert(spec.id.clone(), (spec, counters));
        Ok(())
    }

    fn take_route(&mut self, object: &Value) -> Result<(), Refusal> {
        let id = wire::object_id(object).to_owned();
        let counters = self.routes.get(&id).map(|r| r.counters.clone()).unwrap_or_default();
        let compiled = objects::parse(object).and_then(|spec| Route::compile(spec, counters.clone(), &mut self.kept));
        match compiled {
            Ok(route) => drop(self.routes.insert(id, Arc::new(route))),
            Err(refusal) => {
                if let Some(door) = Route::closed(object, counters) {
                    self.routes.insert(id, Arc::new(door));
                }
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn take_backend(&mut self, object: &Value) -> Result<(), Refusal> {
        let spec: objects::Backend = objects::parse(object)?;
        let (algorithm, hash_on) = carried::backend(&spec)?;
        let before = self.backends.get(&spec.id).filter(|b| b.spec.tls == spec.tls && b.spec.protocol == spec.protocol);
        let (upstream, transport) = match before {
            Some(same) => (same.upstream.clone(), same.transport), // and its sessions can be resumed
            None => (self.upstream(&spec)?, NEXT_TRANSPORT.fetch_add(1, Relaxed)),
        };
        let shared = self.shared_of(&spec.id);
        shared.set_policy(algorithm, &spec);
        let backend = Backend { spec, algorithm, hash_on, upstream, transport, shared };
        self.backends.insert(backend.spec.id.clone(), Arc::new(backend));
        Ok(())
    }

    /// Backends that show a certificate which has changed show the new one.
    fn renew_upstreams(&mut self, changed: &wire::Objects) {
        let changed: Vec<&str> = changed.0.iter().map(wire::object_id).collect();
        let shows = |backend: &Backend| {
            let own = backend.spec.tls.as_ref().map_or("", |tls| tls.certificate.as_str());
            !own.is_empty() && changed.contains(&own)
        };
        let stale: Vec<_> = self.backends.values().filter(|backend| shows(backend)).cloned().collect();
        for old in stale {
            let Ok(upstream) = self.upstream(&old.spec) else { continue };
            let new = Backend {
                spec: old.spec.clone(),
                algorithm: old.algorithm,
                hash_on: old.hash_on.clone(),
                upstream,
                transport: NEXT_TRANSPORT.fetch_add(1, Relaxed),
                shared: old.shared.clone(),
            };
            self.changed.backends.insert(new.spec.id.clone());
            self.backends.insert(new.spec.id.clone(), Arc::new(new));
        }
    }

    /// TLS to the endpoints, where the protocol or `tls` says so. The protocol `tls` alone is passed through as it is.
    fn upstream(&self, spec: &objects::Backend) -> Result<Option<Upstream>, Refusal> {
        use objects::BackendProtocol::{H2, Https};
        let tls = match (&spec.tls, spec.protocol) {
            (Some(tls), _) => tls.clone(),
            (None, H2 | Https) => objects::BackendTls::default(),
            (None, _) => return Ok(None),
        };
        let own = match tls.certificate.as_str() {
            "" => None,
            id => Some(
                self.certificates
                    .get(id)
                    .ok_or_else(|| Refusal::new("tls.certificate", format!("there is no certificate {id:?}")))?,
            ),
        };
        upstream::build(&tls, own.map(Arc::as_ref), spec.protocol == H2).map(Some)
    }

    fn take_certificate(&mut self, object: &Value) -> Result<(), Refusal> {
        let spec: objects::Certificate = objects::parse(object)?;
        self.certificates.insert(spec.id.clone(), Arc::new(Identity::parse(&spec)?));
        Ok(())
    }

    /// A Listener lives without a certificate that is not there; it is said.
    fn missing_certificates(&self, listeners: &wire::Objects) -> Vec<Nack> {
        let known = |object: &Value| self.listeners.get(wire::object_id(object)).map(|(spec, _)| spec);
        let missing = |spec: &objects::Listener| {
            let found = spec.certificates.iter().enumerate().filter(|(_, id)| !self.certificates.contains_key(*id));
            let nack = |(i, id): (usize, &String)| Nack {
                object: format!("listener/{}", spec.id),
                path: format!("certificates[{i}]"),
                message: format!("there is no certificate {id:?}"),
            };
            found.map(nack).collect::<Vec<_>>()
        };
        listeners.0.iter().filter_map(known).flat_map(missing).collect()
    }

    fn shared_of(&mut self, id: &str) -> Arc<Shared> {
        let make = || Arc::new(Shared::new(id.to_owned(), self.report.clone()));
        self.shared.entry(id.to_owned()).or_insert_with(make).clone()
    }

    /// Backends that were removed lose their endpoints.
    fn forget_unused(&mut self) {
        let unused: Vec<_> = self.shared.keys().filter(|id| !self.backends.contains_key(*id)).cloned().collect();
        for id in unused {
            if let Some(shared) = self.shared.remove(&id) {
                self.gone.extend(shared.replace(&[], held(&self.drains), &self.idle).iter().map(Arc::downgrade));
            }
        }
    }

    pub fn apply_endpoints(&mut self, message: &wire::Endpoints) -> Vec<Nack> {
        let mut nacks = Vec::new();
        for set in &message.backends {
            let (good, refused) = backend::parse_endpoints(&set.endpoints);
            let object = format!("backend/{}", set.backend);
            nacks.extend(refused.into_iter().map(|r| Nack {
                object: object.clone(),
                path: r.path,
                message: r.message,
            }));
            // A name's addresses are ours to find.
            if self.backends.get(&set.backend).is_some_and(|b| !b.spec.resolve.is_empty()) {
                continue;
            }
            let shared = self.shared_of(&set.backend);
            let gone = shared.replace(&good, held(&self.drains), &self.idle);
            self.gone.extend(gone.iter().map(Arc::downgrade));
        }
        self.gone.retain(|weak| weak.strong_count() > 0);
        nacks
    }

    /// What a Backend's name leads to.
    pub fn set_resolved(&mut self, backend: &str, endpoints: &[objects::Endpoint]) {
        if let Some(found) = self.backends.get(backend) {
            let gone = found.shared.replace(endpoints, held(&self.drains), &self.idle);
            self.gone.extend(gone.iter().map(Arc::downgrade));
            self.gone.retain(|weak| weak.strong_count() > 0);
        }
    }

    pub fn lines(&self) -> Arc<Lines> {
        self.lines.clone()
    }

    pub fn zone(&self) -> Arc<Zone> {
        self.names.zone(&self.shared)
    }

    /// Holds an address out, or lets it back in.
    pub fn set_drain(&mut self, id: &str, target: Option<(IpAddr, Option<u16>)>) {
        match target {
            Some(target) => drop(self.drains.insert(id.to_owned(), target)),
            None => drop(self.drains.remove(id)),
        }
        let is_held = held(&self.drains);
        for endpoint in self.every_endpoint() {
            endpoint.set_flag(flags::HELD, is_held(endpoint.address));
        }
    }

    /// What is open to an address: requests in flight, or connections where there are more.
    pub fn open_to(&self, address: IpAddr, port: Option<u16>) -> u64 {
        self.every_endpoint()
            .filter(|e| e.address.ip() == address && port.is_none_or(|p| p == e.address.port()))
            .map(|e| u64::from(e.in_flight_now().max(e.connections_now())))
            .sum()
    }

    fn every_endpoint(&self) -> impl Iterator<Item = Arc<Endpoint>> {
        self.shared.values().flat_map(|s| s.endpoints()).chain(self.gone.iter().filter_map(Weak::upgrade))
    }

    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.backends.values()
    }

    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values()
    }

    pub fn listeners(&self) -> impl Iterator<Item = &(objects::Listener, Arc<ListenerCounters>)> {
        self.listeners.values()
    }
}

fn held(drains: &BTreeMap<String, (IpAddr, Option<u16>)>) -> impl Fn(SocketAddr) -> bool {
    let drains: Vec<_> = drains.values().copied().collect();
    move |address| drains.iter().any(|(ip, port)| *ip == address.ip() && port.is_none_or(|p| p == address.port()))
}

fn keep_named<V>(map: &mut BTreeMap<String, V>, objects: &wire::Objects) {
    let named: std::collections::HashSet<&str> = objects.0.iter().map(wire::object_id).collect();
    map.retain(|id, _| named.contains(id.as_str()));
}
