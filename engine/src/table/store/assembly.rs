//! The Table that follows from the objects, of which only what has changed is made anew.
//!
//! Promises: the Table is that of the objects, whatever way they came; what did not change is the very same in the next one: a
//! Route's Entry with its cursor, a host's paths, a Listener. The cost of one changed Route is that of its host's Routes.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::super::backend::Backend;
use super::super::route::Route;
use super::super::router::{self, Entry, Router};
use super::super::{Listener, ListenerCounters, Table, Virtuals};
use super::Store;
use crate::control::{objects, wire};
use crate::http::claim::Trust;
use crate::stats::access_log::Log;
use crate::tls::{self, Asks, peer};

/// Where more than one in so many Routes changed, everything is made anew.
const FEW: usize = 8;

/// What has changed since the last Table was made.
#[derive(Default)]
pub struct Changed {
    everything: bool,
    certificates: bool,
    listeners: HashSet<String>,
    routes: HashSet<String>,
    pub backends: HashSet<String>,
}

impl Changed {
    pub fn note(&mut self, message: &wire::Structure) {
        self.everything |= message.full;
        self.certificates |= !message.certificates.0.is_empty() || !message.removed.certificates.is_empty();
        for (noted, changed, removed) in [
            (&mut self.listeners, &message.listeners, &message.removed.listeners),
            (&mut self.routes, &message.routes, &message.removed.routes),
            (&mut self.backends, &message.backends, &message.removed.backends),
        ] {
            noted.extend(changed.0.iter().map(|object| wire::object_id(object).to_owned()));
            noted.extend(removed.iter().cloned());
        }
    }
}

/// The parts of the last Table.
#[derive(Default)]
pub struct Assembly {
    entries: HashMap<String, Arc<Entry>>,
    listeners: HashMap<String, Arc<Listener>>,
    virtuals: Arc<Virtuals>,
}

/// Entries that are no more, and those that have come.
#[derive(Default)]
struct Difference {
    gone: Vec<Arc<Entry>>,
    come: Vec<Arc<Entry>>,
}

impl Store {
    /// The Table of the objects as they are now.
    pub fn table(&mut self) -> Table {
        let mut assembly = std::mem::take(&mut self.assembly);
        let changed = std::mem::take(&mut self.changed);
        let table = assembly.make(self, &changed);
        self.assembly = assembly;
        table
    }

    fn log(&self, spec: &objects::Listener) -> Option<Arc<Log>> {
        let wanted = spec.http.as_ref()?.access_log.as_ref()?;
        Some(Arc::new(Log::new(wanted, &spec.id, &self.lines)))
    }

    /// What an https Listener shows, or a tls one that ends TLS. Certificates that are not there are left out.
    fn server_tls(&self, spec: &objects::Listener, asks: Asks<'_>) -> Option<Arc<rustls::ServerConfig>> {
        use objects::ListenerProtocol::{Https, Tls};
        if !matches!(spec.protocol, Https | Tls) {
            return None;
        }
        let identities: Vec<_> = spec.certificates.iter().filter_map(|id| self.certificates.get(id).cloned()).collect();
        tls::server(&identities, asks, spec.protocol == Https).ok().filter(|_| !identities.is_empty())
    }

    /// Where its Routes want client certificates, unless everybody must have one.
    fn asking<'a>(
        &self,
        spec: &objects::Listener,
        entries: impl Iterator<Item = &'a Arc<Entry>>,
    ) -> Option<(Arc<peer::Names>, Arc<rustls::ServerConfig>)> {
        let mut names = peer::Names::default();
        entries.filter(|e| e.route.rules.certificate.is_some()).for_each(|e| names.add(&e.route.spec.hosts));
        if names.is_empty() || !spec.client_ca.is_empty() {
            return None;
        }
        Some((Arc::new(names), self.server_tls(spec, Asks::Anybody)?))
    }

    fn listener(
        &self,
        spec: &objects::Listener,
        counters: &Arc<ListenerCounters>,
        entries: Vec<Arc<Entry>>,
    ) -> Listener {
        let asks = if spec.client_ca.is_empty() { Asks::Nobody } else { Asks::Signed(&spec.client_ca) };
        Listener {
            spec: Arc::new(spec.clone()),
            http: Arc::new(spec.http.clone().unwrap_or_default()),
            log: self.log(spec),
            trust: Arc::new(spec.http.as_ref().and_then(|http| Trust::compile(http).ok()).unwrap_or_default()),
            asking: self.asking(spec, entries.iter()),
            passing: passing(spec),
            router: Router::build(entries),
            backend: self.backends.get(&spec.backend).cloned(),
            tls: self.server_tls(spec, asks),
            counters: counters.clone(),
        }
    }

    fn entry(&self, route: &Arc<Route>) -> Arc<Entry> {
        let wanted = &route.spec.backends;
        let backends: Vec<_> = wanted.iter().map(|w| (self.backends.get(&w.backend).cloned(), w.weight)).collect();
        let total_weight = wanted.iter().map(|w| u64::from(w.weight)).sum();
        let stride = router::stride(total_weight);
        let fallback = self.backends.get(&route.spec.fallback).cloned();
        let mirrors = route.spec.mirrors.iter().map(|m| self.backends.get(&m.backend).cloned()).collect();
        let named = |id: Option<&String>| id.and_then(|id| self.backends.get(id)).cloned();
        let asked = named(route.rules.external.as_ref().map(|e| &e.spec.backend));
        let pages = named(route.spec.errors.as_ref().map(|e| &e.backend));
        let (route, turn) = (route.clone(), 0.into());
        Arc::new(Entry { route, backends, total_weight, stride, turn, fallback, mirrors, asked, pages })
    }
}

impl Assembly {
    fn make(&mut self, store: &Store, changed: &Changed) -> Table {
        let difference = self.update_entries(store, changed);
        let anew = changed.everything || difference.all().count() * FEW > self.entries.len();
        self.update_listeners(store, changed, (!anew).then_some(&difference));
        if changed.everything || !changed.backends.is_empty() {
            self.virtuals = Arc::new(virtuals(store));
        }
        let by_socket = self
            .listeners
            .values()
            .flat_map(|listener| listener.spec.sockets.iter().map(|socket| (socket.clone(), listener.clone())))
            .collect();
        Table { by_socket, virtuals: self.virtuals.clone(), zone: store.zone() }
    }

    /// Entries of Routes that have changed, or of which a Backend has, are made anew.
    fn update_entries(&mut self, store: &Store, changed: &Changed) -> Difference {
        if changed.everything {
            self.entries = store.routes.iter().map(|(id, route)| (id.clone(), store.entry(route))).collect();
            return Difference::default();
        }
        let mut stale = changed.routes.clone();
        if !changed.backends.is_empty() {
            let reads = |entry: &&Arc<Entry>| names_of(entry).any(|name| changed.backends.contains(name));
            stale.extend(self.entries.values().filter(reads).map(|entry| entry.route.spec.id.clone()));
        }
        let mut difference = Difference::default();
        for id in stale {
            difference.gone.extend(self.entries.remove(&id));
            if let Some(route) = store.routes.get(&id) {
                let entry = store.entry(route);
                difference.come.push(entry.clone());
                self.entries.insert(id, entry);
            }
        }
        difference
    }

    /// `difference`: what the Listeners' routers differ in; `None`: in everything.
    fn update_listeners(&mut self, store: &Store, changed: &Changed, difference: Option<&Difference>) {
        self.listeners.retain(|id, _| store.listeners.contains_key(id));
        let by_listener = std::cell::OnceCell::new();
        for (id, (spec, counters)) in &store.listeners {
            let stale = changed.everything
                || changed.listeners.contains(id)
                || changed.certificates
                || changed.backends.contains(&spec.backend);
            let known = self.listeners.get(id).filter(|_| !stale);
            let listener = match (known, difference) {
                (Some(known), Some(difference)) => {
                    let mine = difference.of(id);
                    if mine.gone.is_empty() && mine.come.is_empty() {
                        continue;
                    }
                    let router = known.router.renewed(&mine.gone, &mine.come);
                    let asking = if mine.all().any(|e| e.route.rules.certificate.is_some()) {
                        store.asking(spec, self.entries.values().filter(|entry| is_of(entry, id)))
                    } else {
                        known.asking.clone()
                    };
                    Listener { router, asking, ..Listener::clone(known) }
                }
                _ => {
                    let all = by_listener.get_or_init(|| by_listener_of(&self.entries));
                    let mine: Vec<_> =
                        [id.as_str(), ""].iter().filter_map(|id| all.get(id)).flatten().cloned().collect();
                    store.listener(spec, counters, mine)
                }
            };
            self.listeners.insert(id.clone(), Arc::new(listener));
        }
    }
}

impl Difference {
    fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.gone.iter().chain(&self.come)
    }

    /// The part of it that a Listener sees.
    fn of(&self, listener: &str) -> Self {
        let mine = |list: &[Arc<Entry>]| list.iter().filter(|entry| is_of(entry, listener)).cloned().collect();
        Self { gone: mine(&self.gone), come: mine(&self.come) }
    }
}

fn is_of(entry: &Entry, listener: &str) -> bool {
    let listeners = &entry.route.spec.listeners;
    listeners.is_empty() || listeners.iter().any(|id| id == listener)
}

/// The entries by Listener; those of every Listener are under "".
fn by_listener_of(entries: &HashMap<String, Arc<Entry>>) -> HashMap<&str, Vec<Arc<Entry>>> {
    let mut found: HashMap<&str, Vec<Arc<Entry>>> = HashMap::new();
    for entry in entries.values() {
        let listeners = &entry.route.spec.listeners;
        let names: HashSet<&str> = listeners.iter().map(String::as_str).collect();
        for name in names {
            found.entry(name).or_default().push(entry.clone());
        }
        if listeners.is_empty() {
            found.entry("").or_default().push(entry.clone());
        }
    }
    found
}

/// The Backends that an Entry looks up.
fn names_of(entry: &Entry) -> impl Iterator<Item = &str> {
    let (spec, rules) = (&entry.route.spec, &entry.route.rules);
    let weighted = spec.backends.iter().map(|one| &one.backend);
    let mirrors = spec.mirrors.iter().map(|one| &one.backend);
    let asked = rules.external.iter().map(|one| &one.spec.backend);
    let pages = spec.errors.iter().map(|one| &one.backend);
    weighted.chain(mirrors).chain(asked).chain(pages).chain([&spec.fallback]).map(String::as_str)
}

fn virtuals(store: &Store) -> Virtuals {
    let mut found = Virtuals::default();
    for backend in store.backends.values().filter(|b| !b.spec.virtuals.is_empty()) {
        let entry = entry_of(backend);
        for place in &backend.spec.virtuals {
            match place.address.parse::<IpAddr>() {
                Ok(address) => drop(found.by_address.insert(SocketAddr::new(address, place.port), entry.clone())),
                Err(_) => drop(found.by_node_port.insert(place.port, entry.clone())),
            }
        }
    }
    found
}

/// A Backend that is found by its address, as if one Route led to it.
fn entry_of(backend: &Arc<Backend>) -> Arc<Entry> {
    let id = format!("virtual/{}", backend.spec.id);
    let spec = objects::Route { id, info: backend.spec.info.clone(), ..objects::Route::default() };
    let route = Arc::new(Route::bare(spec, backend.shared.route_counters.clone()));
    let backends = vec![(Some(backend.clone()), 1)];
    Arc::new(Entry {
        route,
        backends,
        total_weight: 1,
        stride: 1,
        turn: 0.into(),
        fallback: None,
        mirrors: Vec::new(),
        asked: None,
        pages: None,
    })
}

fn passing(spec: &objects::Listener) -> Option<Arc<peer::Names>> {
    (!spec.passthrough.is_empty()).then(|| {
        let mut names = peer::Names::default();
        names.add(&spec.passthrough);
        Arc::new(names)
    })
}

#[cfg(test)]
#[path = "assembly_tests.rs"]
mod tests;
