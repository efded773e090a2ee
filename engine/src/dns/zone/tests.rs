//! Names as Kubernetes' DNS specification has them.

use std::sync::RwLock;

use serde_json::json;

use super::*;
use crate::dns::packet::{A, AAAA, ANY, CNAME, PTR, SRV, TXT};

#[derive(Default)]
struct Fake(RwLock<Vec<(IpAddr, u16, String)>>);

impl Endpoints for Fake {
    fn ready(&self) -> Vec<(IpAddr, u16, String)> {
        self.0.read().unwrap().clone()
    }
}

fn zone() -> (Zone, Arc<Fake>) {
    let backend = Arc::new(Fake::default());
    let db = |last: u8, name: &str| (IpAddr::from([10, 244, 0, last]), 5432, name.to_owned());
    *backend.0.write().unwrap() = vec![db(7, "default/db-0"), db(8, "default/db-1")];
    let mut zone = Zone::default();
    for (name, values, headless) in [
        ("cluster.local", vec![], false),
        ("Web.default.svc.cluster.local.", vec!["10.96.0.5", "fd00::5"], false),
        ("_http._tcp.web.default.svc.cluster.local", vec!["srv:0 100 80 web.default.svc.cluster.local"], false),
        ("db.default.svc.cluster.local", vec![], true),
        ("_sql._tcp.db.default.svc.cluster.local", vec![], true),
        ("out.default.svc.cluster.local", vec!["cname:example.org"], false),
        ("in.default.svc.cluster.local", vec!["cname:web.default.svc.cluster.local"], false),
        ("round.default.svc.cluster.local", vec!["cname:round.default.svc.cluster.local"], false),
    ] {
        let backend_id = if headless { "default/db:sql" } else { "" };
        let spec = serde_json::from_value(json!({"id": name, "name": name, "values": values, "backend": backend_id}));
        zone.add(&spec.unwrap(), headless.then(|| backend.clone() as Arc<dyn Endpoints>));
    }
    (zone, backend)
}

fn values(zone: &Zone, name: &str, kind: u16) -> Vec<String> {
    match zone.lookup(name, kind) {
        Lookup::Found { answers, .. } => answers.iter().map(|found| text(&found.value)).collect(),
        other => vec![format!("{other:?}")],
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Address(address) => address.to_string(),
        Value::Alias(name) | Value::Pointer(name) | Value::Text(name) => name.clone(),
        Value::Service { priority, weight, port, target } => format!("{priority} {weight} {port} {target}"),
        Value::Minimal => "RFC8482".to_owned(),
    }
}

#[test]
fn every_record_of_the_specification_is_found() {
    let (zone, _) = zone();
    let web = "web.default.svc.cluster.local";
    for (name, kind, expected) in [
        (web, A, vec!["10.96.0.5"]),
        (web, AAAA, vec!["fd00::5"]),
        (web, ANY, vec!["RFC8482"]),
        ("_http._tcp.web.default.svc.cluster.local", SRV, vec!["0 100 80 web.default.svc.cluster.local"]),
        ("db.default.svc.cluster.local", A, vec!["10.244.0.7", "10.244.0.8"]),
        ("db-1.db.default.svc.cluster.local", A, vec!["10.244.0.8"]),
        ("10-244-0-7.db.default.svc.cluster.local", A, vec!["10.244.0.7"]),
        (
            "_sql._tcp.db.default.svc.cluster.local",
            SRV,
            vec!["0 100 5432 db-0.db.default.svc.cluster.local", "0 100 5432 db-1.db.default.svc.cluster.local"],
        ),
        ("1-2-3-4.default.pod.cluster.local", A, vec!["1.2.3.4"]),
        ("fd00--7.default.pod.cluster.local", AAAA, vec!["fd00::7"]),
        ("5.0.96.10.in-addr.arpa", PTR, vec![web]),
        ("7.0.244.10.in-addr.arpa", PTR, vec!["db-0.db.default.svc.cluster.local"]),
        ("5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", PTR, vec![web]),
        ("dns-version.cluster.local", TXT, vec!["1.1.0"]),
        ("out.default.svc.cluster.local", CNAME, vec!["example.org"]),
        ("in.default.svc.cluster.local", A, vec![web, "10.96.0.5"]),
    ] {
        assert_eq!(values(&zone, name, kind), expected, "{name}");
    }
}

#[test]
fn what_is_not_there_is_told_apart() {
    let (zone, _) = zone();
    for name in
        ["nothing.default.svc.cluster.local", "x.web.default.svc.cluster.local", "9-9-9-9.db.default.svc.cluster.local"]
    {
        assert_eq!(zone.lookup(name, A), Lookup::NoSuchName, "{name}");
    }
    for (name, kind) in [
        ("web.default.svc.cluster.local", TXT),
        ("db.default.svc.cluster.local", AAAA),
        ("default.svc.cluster.local", A),
        ("svc.cluster.local", A),
        ("cluster.local", A),
        ("1-2-3-4.default.pod.cluster.local", AAAA),
    ] {
        assert_eq!(zone.lookup(name, kind), Lookup::NoData, "{name}");
    }
    for (name, kind) in [("example.org", A), ("notcluster.local", A), ("", A), ("9.9.9.9.in-addr.arpa", PTR)] {
        assert_eq!(zone.lookup(name, kind), Lookup::NotOurs, "{name}");
    }
}

#[test]
fn an_alias_to_others_says_where_to_go_on_and_a_circle_ends() {
    let (zone, _) = zone();
    let Lookup::Elsewhere { answers, target } = zone.lookup("out.default.svc.cluster.local", A) else {
        panic!("it is elsewhere");
    };
    assert_eq!((answers.len(), target.as_str()), (1, "example.org"));
    assert_eq!(values(&zone, "round.default.svc.cluster.local", A).len(), 8);
}

#[test]
fn srv_brings_the_addresses_of_its_targets() {
    let (zone, _) = zone();
    let Lookup::Found { more, .. } = zone.lookup("_sql._tcp.db.default.svc.cluster.local", SRV) else {
        panic!("it is there");
    };
    assert_eq!(more.iter().map(|found| text(&found.value)).collect::<Vec<_>>(), ["10.244.0.7", "10.244.0.8"]);
}

#[test]
fn answers_follow_the_endpoints_at_once() {
    let (zone, backend) = zone();
    backend.0.write().unwrap().remove(0);
    assert_eq!(values(&zone, "db.default.svc.cluster.local", A), ["10.244.0.8"]);
    assert_eq!(zone.lookup("db-0.db.default.svc.cluster.local", A), Lookup::NoSuchName);
    backend.0.write().unwrap().clear();
    assert_eq!(zone.lookup("db.default.svc.cluster.local", A), Lookup::NoData);
}

#[test]
fn without_a_zone_of_its_own_cluster_local_is_ours() {
    let zone = Zone::default();
    assert_eq!(zone.lookup("a.b.cluster.local", A), Lookup::NoSuchName);
    assert_eq!(zone.lookup("a.b.example", A), Lookup::NotOurs);
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for text in ["", "name", "cname:", "cname:a..b", "srv:1 2 3", "srv:1 2 x y", "srv:1 2 70000 y", "10.0.0.256"] {
        assert!(parse_value(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_name_of_two_backends_has_the_endpoints_of_both_families() {
    let (mut zone, _) = zone();
    let six = Arc::new(Fake::default());
    *six.0.write().unwrap() = vec![("fd00::7".parse().unwrap(), 5432, "default/db-0".to_owned())];
    let name = "db.default.svc.cluster.local";
    let spec =
        serde_json::from_value(json!({"id": "db/IPv6", "name": name, "backend": "default/db:sql/IPv6"})).unwrap();
    zone.add(&spec, Some(six as Arc<dyn Endpoints>));
    assert_eq!(values(&zone, name, A), ["10.244.0.7", "10.244.0.8"]);
    assert_eq!(values(&zone, name, AAAA), ["fd00::7"]);
    assert_eq!(values(&zone, "db-0.db.default.svc.cluster.local", AAAA), ["fd00::7"]);
    assert_eq!(values(&zone, "db-0.db.default.svc.cluster.local", A), ["10.244.0.7"]);
}
