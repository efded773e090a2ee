//! The counters in Prometheus' text format.

use std::fmt::Write;

use super::counters::{BUCKETS, Codes, Histogram};
use crate::balance::flags;
use crate::table::store::Store;

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn codes(out: &mut String, name: &str, labels: &str, codes: &Codes) {
    for (class, n) in CLASSES.iter().zip(codes.snapshot()) {
        let _ = writeln!(out, "{name}{{{labels},code=\"{class}\"}} {n}");
    }
}

fn histogram(out: &mut String, name: &str, labels: &str, histogram: &Histogram) {
    let (buckets, sum_micros) = histogram.snapshot();
    let mut total = 0;
    for (i, n) in buckets.iter().enumerate().take(BUCKETS - 1) {
        total += n;
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{}\"}} {total}", (1u64 << i) as f64 / 1e6);
    }
    total += buckets[BUCKETS - 1];
    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}");
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", sum_micros as f64 / 1e6);
    let _ = writeln!(out, "{name}_count{{{labels}}} {total}");
}

pub fn render(store: &Store) -> String {
    let mut out = String::new();
    family(&mut out, "fairlead_listener_connections_total", "counter", "Client connections accepted.");
    for (spec, c) in store.listeners() {
        let id = quoted(&spec.id);
        let _ = writeln!(out, "fairlead_listener_connections_total{{listener=\"{id}\"}} {}", c.connections.get());
    }
    family(&mut out, "fairlead_listener_bad_requests_total", "counter", "Requests refused as malformed or too large.");
    for (spec, c) in store.listeners() {
        let id = quoted(&spec.id);
        let _ = writeln!(out, "fairlead_listener_bad_requests_total{{listener=\"{id}\"}} {}", c.bad_requests.get());
    }
    family(
        &mut out,
        "fairlead_listener_trailers_dropped_total",
        "counter",
        "Requests whose unannounced trailers had no place in HTTP/1.1.",
    );
    for (spec, c) in store.listeners() {
        let (id, dropped) = (quoted(&spec.id), c.trailers_dropped.get());
        let _ = writeln!(out, "fairlead_listener_trailers_dropped_total{{listener=\"{id}\"}} {dropped}");
    }
    family(
        &mut out,
        "fairlead_listener_sessions_evicted_total",
        "counter",
        "UDP sessions that made room for new clients.",
    );
    for (spec, c) in store.listeners() {
        let id = quoted(&spec.id);
        let _ = writeln!(out, "fairlead_listener_sessions_evicted_total{{listener=\"{id}\"}} {}", c.evicted.get());
    }
    family(&mut out, "fairlead_listener_requests_total", "counter", "Requests by the class of their response.");
    for (spec, c) in store.listeners() {
        codes(&mut out, "fairlead_listener_requests_total", &format!("listener=\"{}\"", quoted(&spec.id)), &c.codes);
    }
    let lines = store.lines();
    family(&mut out, "fairlead_access_log_lines_total", "counter", "Lines of the access log.");
    let _ = writeln!(out, "fairlead_access_log_lines_total {}", lines.written.get());
    family(&mut out, "fairlead_access_log_dropped_total", "counter", "Lines that nobody read in time.");
    let _ = writeln!(out, "fairlead_access_log_dropped_total {}", lines.dropped.get());
    routes(&mut out, store);
    backends(&mut out, store);
    endpoints(&mut out, store);
    out
}

fn routes(out: &mut String, store: &Store) {
    family(out, "fairlead_route_requests_total", "counter", "Requests by Route and class of the response.");
    for r in store.routes() {
        codes(out, "fairlead_route_requests_total", &format!("route=\"{}\"", quoted(&r.spec.id)), &r.counters.codes);
    }
    family(out, "fairlead_route_request_seconds", "histogram", "Time from a request's head to its response's end.");
    for r in store.routes() {
        let labels = format!("route=\"{}\"", quoted(&r.spec.id));
        histogram(out, "fairlead_route_request_seconds", &labels, &r.counters.latency);
    }
}

fn backends(out: &mut String, store: &Store) {
    family(out, "fairlead_backend_retries_total", "counter", "Tries on another endpoint.");
    for b in store.backends() {
        let id = quoted(&b.spec.id);
        let _ = writeln!(out, "fairlead_backend_retries_total{{backend=\"{id}\"}} {}", b.shared.retries.get());
    }
    family(out, "fairlead_backend_no_endpoint_total", "counter", "Requests that found no endpoint.");
    for b in store.backends() {
        let id = quoted(&b.spec.id);
        let _ = writeln!(out, "fairlead_backend_no_endpoint_total{{backend=\"{id}\"}} {}", b.shared.no_endpoint.get());
    }
}

fn endpoints(out: &mut String, store: &Store) {
    let mut requests = String::new();
    let mut gauges = String::new();
    family(&mut requests, "fairlead_endpoint_requests_total", "counter", "Requests by endpoint and class.");
    family(&mut gauges, "fairlead_endpoint_in_flight", "gauge", "Requests or connections in flight.");
    let mut out_now = String::new();
    family(&mut out_now, "fairlead_endpoint_ejected", "gauge", "1 while an endpoint is thrown out or unhealthy.");
    let mut ejections = String::new();
    family(
        &mut ejections,
        "fairlead_endpoint_ejections_total",
        "counter",
        "Times an endpoint was thrown out, by cause.",
    );
    let mut connects = String::new();
    family(&mut connects, "fairlead_endpoint_connect_failures_total", "counter", "Connections that failed to open.");
    let mut seconds = String::new();
    family(&mut seconds, "fairlead_endpoint_request_seconds", "histogram", "Time of requests by endpoint.");
    for b in store.backends() {
        for e in b.shared.endpoints() {
            let labels =
                format!("backend=\"{}\",endpoint=\"{}\",name=\"{}\"", quoted(&b.spec.id), e.address, quoted(&e.name));
            codes(&mut requests, "fairlead_endpoint_requests_total", &labels, &e.codes);
            let _ = writeln!(gauges, "fairlead_endpoint_in_flight{{{labels}}} {}", e.in_flight_now());
            let ejected = u8::from(e.has(flags::EJECTED | flags::UNHEALTHY));
            let _ = writeln!(out_now, "fairlead_endpoint_ejected{{{labels}}} {ejected}");
            let failures = e.connects.failures();
            let _ = writeln!(connects, "fairlead_endpoint_connect_failures_total{{{labels}}} {failures}");
            for (cause, n) in e.ejections.counts() {
                let _ = writeln!(ejections, "fairlead_endpoint_ejections_total{{{labels},reason=\"{cause}\"}} {n}");
            }
            histogram(&mut seconds, "fairlead_endpoint_request_seconds", &labels, &e.latency);
        }
    }
    out.push_str(&requests);
    out.push_str(&gauges);
    out.push_str(&out_now);
    out.push_str(&ejections);
    out.push_str(&connects);
    out.push_str(&seconds);
}
