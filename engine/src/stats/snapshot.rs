//! The counters as JSON: one object per listener, route, backend and endpoint.

use serde_json::{Map, Value, json};

use super::counters::{Codes, Histogram};
use crate::balance::flags;
use crate::table::backend::Backend;
use crate::table::endpoint::Endpoint;
use crate::table::route::Route;
use crate::table::store::Store;

fn codes(codes: &Codes) -> Value {
    let [none, c1, c2, c3, c4, c5] = codes.snapshot();
    json!({"none": none, "1xx": c1, "2xx": c2, "3xx": c3, "4xx": c4, "5xx": c5})
}

/// Buckets as [upper bound in microseconds, count], empty ones left out.
fn latency(histogram: &Histogram) -> Value {
    let (buckets, sum_micros) = histogram.snapshot();
    let filled: Vec<_> =
        buckets.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, n)| json!([1u64 << i, n])).collect();
    json!({"buckets": filled, "sum_us": sum_micros})
}

pub fn state(endpoint: &Endpoint) -> &'static str {
    if endpoint.has(flags::HELD | flags::DRAINING) {
        "draining"
    } else if endpoint.has(flags::EJECTED) {
        "ejected"
    } else if endpoint.has(flags::UNHEALTHY) {
        "unhealthy"
    } else {
        "ready"
    }
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let trouble = endpoint.connects.trouble().map(|(times, reason)| json!({"in_a_row": times, "reason": reason}));
    json!({
        "name": endpoint.name,
        "state": state(endpoint),
        "in_flight": endpoint.in_flight_now(),
        "connections": endpoint.connections_now(),
        "requests": endpoint.codes.total(),
        "codes": codes(&endpoint.codes),
        "connect_failures": endpoint.connects.failures(),
        "connect_trouble": trouble,
        "ejections": endpoint.ejections.snapshot(),
        "carried": endpoint.carried.get(),
        "latency": latency(&endpoint.latency),
    })
}

pub fn route(route: &Route) -> Value {
    let c = &route.counters;
    json!({"object": route.spec.info.object, "rule": route.spec.info.rule, "requests": c.codes.total(),
        "codes": codes(&c.codes), "latency": latency(&c.latency)})
}

pub fn backend(backend: &Backend) -> Value {
    let endpoints: Map<_, _> =
        backend.shared.endpoints().iter().map(|e| (e.address.to_string(), endpoint(e))).collect();
    json!({"object": backend.spec.info.object, "retries": backend.shared.retries.get(),
        "no_endpoint": backend.shared.no_endpoint.get(), "waiting": backend.shared.waiting.now(), "endpoints": endpoints})
}

pub fn listeners(store: &Store) -> Value {
    store
        .listeners()
        .map(|(spec, c)| {
            let value = json!({"connections": c.connections.get(), "requests": c.codes.total(),
                "codes": codes(&c.codes), "bad_requests": c.bad_requests.get(),
                "trailers_dropped": c.trailers_dropped.get(), "evicted": c.evicted.get()});
            (spec.id.clone(), value)
        })
        .collect()
}

pub fn take(store: &Store) -> Value {
    let routes: Map<_, _> = store.routes().map(|r| (r.spec.id.clone(), route(r))).collect();
    let backends: Map<_, _> = store.backends().map(|b| (b.spec.id.clone(), backend(b))).collect();
    json!({"listeners": listeners(store), "routes": routes, "backends": backends, "refused": store.refused()})
}

/// What differs from `before`, in the same shape; `None` when nothing does.
pub fn changed(before: &Value, now: &Value) -> Option<Value> {
    match (before, now) {
        (Value::Object(old), Value::Object(new)) => {
            let mut different: Map<_, _> = new
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), changed(old.get(key).unwrap_or(&Value::Null), value)?)))
                .collect();
            different.extend(old.keys().filter(|k| !new.contains_key(*k)).map(|k| (k.clone(), Value::Null)));
            (!different.is_empty()).then_some(Value::Object(different))
        }
        _ => (before != now).then(|| now.clone()),
    }
}
