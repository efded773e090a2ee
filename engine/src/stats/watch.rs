//! What one reader of `GET /stats?watch=` has been told, and what is new to it.
//!
//! Promises: of thousands of routes and backends only those that carried something, or are others than before, are written
//! out again: a look at one at rest reads its counters and allocates nothing, so that changes of the table, which wait for the
//! same thread, do not wait for statistics.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::counters::Histogram;
use super::snapshot;
use crate::table::backend::Backend;
use crate::table::endpoint::Endpoint;
use crate::table::route::Route;
use crate::table::store::Store;

/// Of the kinds that there are thousands of, each object; the others are few.
#[derive(Default)]
pub struct Told {
    turn: u64,
    routes: HashMap<String, Seen<Arc<Route>>>,
    backends: HashMap<String, Seen<Whole>>,
    others: Value,
}

/// With the endpoints: while they are kept, no new one has the address in memory that tells an old one apart.
type Whole = (Arc<Backend>, Vec<Arc<Endpoint>>);

struct Seen<T> {
    _kept: T,
    stamp: u64,
    turn: u64,
    value: Value,
}

impl Told {
    /// What differs from what was told before, in the shape of `/stats`; `None` when nothing does.
    pub fn news(&mut self, store: &Store) -> Option<Value> {
        self.turn += 1;
        let mut news = Map::new();
        let others = json!({"listeners": snapshot::listeners(store), "refused": store.refused()});
        if let Some(Value::Object(changed)) = snapshot::changed(&self.others, &others) {
            news.extend(changed);
        }
        self.others = others;
        let mut routes = Map::new();
        for route in store.routes() {
            let (id, stamp) = (&route.spec.id, of_route(route));
            if let Some(new) =
                look(&mut self.routes, id, (self.turn, stamp), || (route.clone(), snapshot::route(route)))
            {
                routes.insert(id.clone(), new);
            }
        }
        let mut backends = Map::new();
        for backend in store.backends() {
            let endpoints = backend.shared.endpoints();
            let (id, stamp) = (&backend.spec.id, of_backend(backend, &endpoints));
            let fresh = || ((backend.clone(), endpoints), snapshot::backend(backend));
            if let Some(new) = look(&mut self.backends, id, (self.turn, stamp), fresh) {
                backends.insert(id.clone(), new);
            }
        }
        forget(&mut self.routes, self.turn, store.routes().count(), &mut routes);
        forget(&mut self.backends, self.turn, store.backends().count(), &mut backends);
        for (name, changed) in [("routes", routes), ("backends", backends)] {
            if !changed.is_empty() || self.turn == 1 {
                news.insert(name.to_owned(), Value::Object(changed));
            }
        }
        (!news.is_empty()).then_some(Value::Object(news))
    }
}

/// What is new of one object, which is written out only if its stamp is another.
fn look<T>(
    seen: &mut HashMap<String, Seen<T>>,
    id: &str,
    (turn, stamp): (u64, u64),
    fresh: impl FnOnce() -> (T, Value),
) -> Option<Value> {
    if let Some(known) = seen.get_mut(id) {
        known.turn = turn;
        if known.stamp == stamp {
            return None;
        }
        let (kept, value) = fresh();
        let changed = snapshot::changed(&known.value, &value);
        *known = Seen { _kept: kept, stamp, turn, value };
        return changed;
    }
    let (kept, value) = fresh();
    seen.insert(id.to_owned(), Seen { _kept: kept, stamp, turn, value: value.clone() });
    Some(value)
}

/// Objects that were not met in this turn are gone.
fn forget<T>(seen: &mut HashMap<String, Seen<T>>, turn: u64, there: usize, news: &mut Map<String, Value>) {
    if seen.len() > there {
        news.extend(seen.iter().filter(|(_, one)| one.turn != turn).map(|(id, _)| (id.clone(), Value::Null)));
        seen.retain(|_, one| one.turn == turn);
    }
}

fn of_route(route: &Arc<Route>) -> u64 {
    let mut hasher = DefaultHasher::new();
    Arc::as_ptr(route).hash(&mut hasher);
    route.counters.codes.total().hash(&mut hasher);
    latencies(&route.counters.latency, &mut hasher);
    hasher.finish()
}

fn of_backend(backend: &Arc<Backend>, endpoints: &[Arc<Endpoint>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let shared = &backend.shared;
    Arc::as_ptr(backend).hash(&mut hasher);
    (shared.retries.get(), shared.no_endpoint.get(), shared.waiting.now()).hash(&mut hasher);
    for one in endpoints {
        Arc::as_ptr(one).hash(&mut hasher);
        snapshot::state(one).hash(&mut hasher);
        (one.in_flight_now(), one.connections_now(), one.codes.total()).hash(&mut hasher);
        (one.connects.failures(), one.connects.trouble(), one.carried.get(), one.ejections.counts()).hash(&mut hasher);
        latencies(&one.latency, &mut hasher);
    }
    hasher.finish()
}

/// Counters only rise: their sums tell.
fn latencies(histogram: &Histogram, hasher: &mut DefaultHasher) {
    let (buckets, micros) = histogram.snapshot();
    (buckets.iter().sum::<u64>(), micros).hash(hasher);
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::control::wire;

    fn given(store: &mut Store, message: &Value) {
        let message: wire::Structure = serde_json::from_value(message.clone()).unwrap();
        assert!(store.apply_structure(&message).is_empty());
    }

    #[test]
    fn each_object_is_told_once_and_then_what_differs() {
        let mut store = Store::new(Arc::default(), mpsc::unbounded_channel().0);
        let routes = json!([{"id": "a", "listeners": [], "respond": {"status": 204}},
            {"id": "b", "listeners": [], "respond": {"status": 204}}]);
        given(&mut store, &json!({"routes": routes, "backends": [{"id": "x"}]}));
        let mut told = Told::default();
        let first = told.news(&store).unwrap();
        assert_eq!(first, snapshot::take(&store));
        assert_eq!(told.news(&store), None);
        store.routes().next().unwrap().counters.codes.count(200);
        store.backends().next().unwrap().shared.retries.add(2);
        let news = json!({"routes": {"a": {"requests": 1, "codes": {"2xx": 1}}}, "backends": {"x": {"retries": 2}}});
        assert_eq!(told.news(&store), Some(news));
        given(&mut store, &json!({"removed": {"routes": ["b"], "backends": ["x"]}}));
        assert_eq!(told.news(&store), Some(json!({"routes": {"b": null}, "backends": {"x": null}})));
        assert_eq!(told.news(&store), None);
    }

    #[test]
    fn a_route_that_is_another_under_the_same_id_is_looked_at_again() {
        let mut store = Store::new(Arc::default(), mpsc::unbounded_channel().0);
        let route = |object: &str| {
            json!({"routes": [{"id": "a", "listeners": [], "respond": {"status": 204},
            "info": {"object": object}}]})
        };
        given(&mut store, &route("Ingress/default/one"));
        let mut told = Told::default();
        told.news(&store);
        given(&mut store, &route("Ingress/default/two"));
        assert_eq!(told.news(&store), Some(json!({"routes": {"a": {"object": "Ingress/default/two"}}})));
    }
}
