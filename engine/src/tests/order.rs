//! The control protocol as a controller sees it: acks, nacks, epochs, drains, swaps.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use serde_json::json;

use super::harness::{Backend, Client, Engine, PATIENCE};

/// A backend that answers when it is told to.
fn held() -> (Backend, std::sync::mpsc::Sender<()>) {
    let (release, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |_, stream| {
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nheld").is_ok()
    });
    (backend, release)
}

#[test]
fn what_is_not_carried_is_nacked_with_its_path_and_the_rest_is_applied() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("b");
    let port = engine.simple(&[backend.port], json!({}));
    let nacks = engine.change(json!({"type": "structure",
        "routes": [{"id": "odd", "match": {"path": {"type": "regex", "value": "("}}},
                   {"id": "odder", "hosts": ["odd.test"], "matches": []},
                   {"id": "good", "match": {"path": {"value": "/good"}}, "respond": {"status": 200, "body": "good"}}],
        "listeners": [{"id": "l2", "protocol": "http", "sockets": ["nowhere"]}]}));
    let named: Vec<_> = nacks.iter().map(|n| (n["object"].as_str().unwrap(), n["path"].as_str().unwrap())).collect();
    assert_eq!(named, [("route/odd", "match.path.value"), ("route/odder", "matches"), ("listener/l2", "sockets")]);
    let mut client = Client::connect(port);
    assert_eq!(client.get("/good").text(), "good");
    assert_eq!(client.get("/").text(), "b");
}

#[test]
fn an_older_epoch_is_an_error() {
    let mut engine = Engine::start(1);
    engine.send(&json!({"type": "structure", "epoch": 5, "seq": 1}));
    assert_eq!(engine.wait_for("ack")["epoch"], json!(5));
    engine.send(&json!({"type": "structure", "epoch": 4, "seq": 9}));
    let error = engine.wait_for("error");
    assert_eq!((&error["epoch"], &error["seq"]), (&json!(4), &json!(9)));
    engine.send(&json!({"type": "nonsense"}));
    engine.wait_for("error");
    engine.send(&json!({"type": "ping", "id": "x"}));
    assert_eq!(engine.wait_for("pong")["id"], json!("x"));
}

#[test]
fn a_drain_ends_when_the_request_in_flight_has_ended() {
    let mut engine = Engine::start(2);
    let (slow, release) = held();
    let port = engine.simple(&[slow.port], json!({}));
    let mut waiting = Client::connect(port);
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    slow.next();
    let other = Backend::named("other");
    engine.endpoints("b", &[slow.port, other.port]);
    engine.apply(json!({"type": "drain", "id": "d", "address": "127.0.0.1", "port": slow.port}));
    let mut client = Client::connect(port);
    (0..10).for_each(|_| assert_eq!(client.get("/").text(), "other"));
    engine.send(&json!({"type": "ping", "id": 1}));
    engine.wait_for("pong");
    assert!(engine.events.is_empty(), "not drained while a request is in flight: {:?}", engine.events);
    release.send(()).unwrap();
    assert_eq!(waiting.receive().text(), "held");
    let drained = engine.wait_for("drained");
    assert_eq!((&drained["id"], &drained["in_flight"]), (&json!("d"), &json!(0)));
    engine.apply(json!({"type": "undrain", "id": "d"}));
    release.send(()).unwrap();
    assert!((0..2).any(|_| client.get("/").text() == "held"));
}

#[test]
fn idle_connections_to_a_drained_address_are_closed() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("b");
    let port = engine.simple(&[backend.port], json!({}));
    let mut client = Client::connect(port);
    assert_eq!(client.get("/").text(), "b");
    engine.apply(json!({"type": "drain", "id": "d", "address": "127.0.0.1"}));
    engine.wait_for("drained");
    assert_eq!(client.get("/").text(), "b", "the last resort");
    assert_eq!(backend.seen.lock().unwrap().last().unwrap().connection, 1);
}

#[test]
fn removing_an_endpoint_lets_its_request_end_and_sends_it_no_other() {
    let mut engine = Engine::start(1);
    let (slow, release) = held();
    let other = Backend::named("other");
    let port = engine.simple(&[slow.port], json!({}));
    let mut waiting = Client::connect(port);
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    slow.next();
    engine.endpoints("b", &[other.port]);
    let mut client = Client::connect(port);
    (0..5).for_each(|_| assert_eq!(client.get("/").text(), "other"));
    release.send(()).unwrap();
    assert_eq!(waiting.receive().text(), "held");
    assert_eq!(waiting.get("/").text(), "other");
}

#[test]
fn a_table_swap_drops_no_connection() {
    let mut engine = Engine::start(2);
    let backend = Backend::named("b");
    let port = engine.simple(&[backend.port], json!({}));
    let mut client = Client::connect(port);
    for i in 0..50 {
        engine.apply(json!({"type": "structure", "routes": [{"id": format!("r{i}"), "hosts": [format!("h{i}.test")],
            "backends": [{"backend": "b"}]}]}));
        assert_eq!(client.get("/").text(), "b");
    }
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: h49.test\r\n\r\n").text(), "b");
}

#[test]
fn a_listener_that_is_removed_accepts_no_more() {
    let mut engine = Engine::start(2);
    let backend = Backend::named("b");
    let port = engine.simple(&[backend.port], json!({}));
    assert_eq!(Client::connect(port).get("/").text(), "b");
    engine.apply(json!({"type": "structure", "full": true}));
    let refused = (0..200).any(|_| std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(refused);
}

#[test]
fn a_shutdown_says_close_and_then_closes() {
    let mut engine = Engine::start(1);
    let (slow, release) = held();
    let port = engine.simple(&[slow.port], json!({}));
    let mut busy = Client::connect(port);
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    slow.next();
    engine.send(&json!({"type": "shutdown", "grace_seconds": 5}));
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {}
    release.send(()).unwrap();
    let response = busy.receive();
    assert_eq!((response.text().as_str(), response.header("connection")), ("held", Some("close")));
    assert!(busy.rest().is_empty());
}
