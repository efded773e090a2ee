//! DNS from the table's Names, over a worker's sockets.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::Engine;
use crate::dns::packet;

fn start(names: Value) -> (Engine, u16) {
    let mut engine = Engine::start(2);
    let port = engine.datagram_socket("d");
    engine.apply(json!({"type": "structure", "full": true,
        "listeners": [{"id": "dns", "protocol": "dns", "sockets": ["d"]}],
        "backends": [{"id": "default/db:sql", "protocol": "tcp"}],
        "names": names}));
    (engine, port)
}

/// The addresses (as they are in the records) and the code.
fn resolve(port: u16, name: &str) -> (u8, Vec<Vec<u8>>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut message = vec![0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(packet::question_of(name, packet::A).unwrap());
    socket.send_to(&message, (Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut piece = [0; 1500];
    let length = socket.recv(&mut piece).unwrap();
    let answer = &piece[..length];
    let mut place = message.len();
    let mut found = Vec::new();
    for _ in 0..answer[7] {
        let (record, end) = packet::read_record(answer, place).unwrap();
        found.push(answer[record.data].to_vec());
        place = end;
    }
    found.sort();
    (answer[3] & 15, found)
}

#[test]
fn a_headless_name_follows_its_endpoints_and_a_service_has_its_address() {
    let (mut engine, port) = start(json!([
        {"id": "z", "name": "cluster.local"},
        {"id": "a", "name": "web.default.svc.cluster.local", "values": ["10.96.0.5"]},
        {"id": "b", "name": "db.default.svc.cluster.local", "backend": "default/db:sql"},
    ]));
    assert_eq!(resolve(port, "web.default.svc.cluster.local"), (0, vec![vec![10, 96, 0, 5]]));
    assert_eq!(resolve(port, "db.default.svc.cluster.local"), (0, vec![]));
    let set = |addresses: &[(&str, &str)]| {
        let list: Vec<Value> = addresses
            .iter()
            .map(|(address, state)| json!({"address": address, "port": 5432, "state": state}))
            .collect();
        json!({"type": "endpoints", "backends": [{"backend": "default/db:sql", "endpoints": list}]})
    };
    engine.apply(set(&[("10.244.0.7", "ready"), ("10.244.0.8", "ready"), ("10.244.0.9", "draining")]));
    let name = "db.default.svc.cluster.local";
    assert_eq!(resolve(port, name), (0, vec![vec![10, 244, 0, 7], vec![10, 244, 0, 8]]));
    engine.apply(set(&[("10.244.0.8", "ready")]));
    assert_eq!(resolve(port, name), (0, vec![vec![10, 244, 0, 8]]));
    engine.apply(json!({"type": "structure", "removed": {"names": ["a"]}}));
    assert_eq!(resolve(port, "web.default.svc.cluster.local"), (3, vec![]));
}

#[test]
fn names_that_cannot_be_are_nacked_and_hurt_no_other() {
    let (mut engine, port) = start(json!([{"id": "a", "name": "web.cluster.local", "values": ["10.0.0.1"]}]));
    let nacks = engine.change(json!({"type": "structure", "names": [
        {"id": "x", "name": "a..b"},
        {"id": "y", "name": "y.cluster.local", "values": ["10.0.0.2", "nonsense"]},
        {"id": "v", "name": "v.cluster.local", "values": ["10.0.0.3"]},
    ]}));
    let named: Vec<_> =
        nacks.iter().map(|nack| (nack["object"].as_str().unwrap(), nack["path"].as_str().unwrap())).collect();
    assert_eq!(named, [("name/x", "name"), ("name/y", "values[1]")]);
    assert_eq!(resolve(port, "web.cluster.local").0, 0);
    assert_eq!(resolve(port, "v.cluster.local"), (0, vec![vec![10, 0, 0, 3]]));
}
