//! Endpoints that are thrown out, checked and let back.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use serde_json::json;

use super::harness::{Backend, Client, Engine, closed_port};

#[test]
fn errors_in_a_row_eject_an_endpoint_and_it_comes_back() {
    let mut engine = Engine::start(1);
    let failing = Backend::scripted(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops");
    let good = Backend::named("good");
    let outlier = json!({"algorithm": "round-robin", "outlier": {"consecutive_errors": 3, "ejection_seconds": 0.2}});
    let port = engine.simple(&[failing.port, good.port], outlier);
    let mut client = Client::connect(port);
    (0..20).for_each(|_| drop(client.get("/")));
    assert_eq!(failing.count(), 3);
    let event = engine.wait_for("endpoint");
    assert_eq!((&event["state"], &event["port"]), (&json!("ejected"), &json!(failing.port)));
    assert_eq!(event["reason"], json!("errors in a row"));
    while failing.count() == 3 {
        client.get("/");
    }
    assert_eq!(engine.wait_for("endpoint")["state"], json!("returned"));
}

#[test]
fn endpoints_that_cannot_be_connected_to_are_ejected_but_never_too_many() {
    let mut engine = Engine::start(1);
    let good = Backend::named("good");
    let outlier = json!({"outlier": {"connect_failures": 1, "max_ejected_percent": 50}});
    let port = engine.simple(&[closed_port(), closed_port(), good.port], outlier);
    let mut client = Client::connect(port);
    (0..10).for_each(|_| assert_eq!(client.get("/").text(), "good"));
    engine.wait_for("endpoint");
    engine.send(&json!({"type": "ping", "id": 1}));
    engine.wait_for("pong");
    assert!(engine.events.is_empty(), "one of three is within half, two are not: {:?}", engine.events);
}

#[test]
fn a_failing_health_check_takes_an_endpoint_out_and_a_passing_one_brings_it_back() {
    let mut engine = Engine::start(1);
    let healthy = Arc::new(AtomicBool::new(false));
    let shown = healthy.clone();
    let checked = Backend::start(move |seen, stream| {
        let status = if seen.line().starts_with("GET /healthz") && !shown.load(SeqCst) { 503 } else { 200 };
        stream.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 1\r\n\r\nc").as_bytes()).is_ok()
    });
    let other = Backend::start(|_, stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\no").is_ok());
    let health = json!({"health": {"path": "/healthz", "interval_seconds": 0.02, "unhealthy_threshold": 2}});
    let port = engine.simple(&[checked.port, other.port], health);
    let event = engine.wait_for("endpoint");
    assert_eq!((&event["state"], &event["port"]), (&json!("ejected"), &json!(checked.port)), "{event}");
    assert_eq!(event["reason"], json!("health check: status 503"));
    let mut client = Client::connect(port);
    (0..6).for_each(|_| assert_eq!(client.get("/").text(), "o"));
    healthy.store(true, SeqCst);
    assert_eq!(engine.wait_for("endpoint")["state"], json!("returned"));
    assert!((0..2).any(|_| client.get("/").text() == "c"));
}

#[test]
fn a_port_that_nobody_listens_at_fails_a_tcp_check() {
    let mut engine = Engine::start(1);
    let other = Backend::named("other");
    let gone = closed_port();
    engine.simple(&[gone, other.port], json!({"health": {"kind": "tcp", "interval_seconds": 0.02}}));
    let event = engine.wait_for("endpoint");
    assert_eq!((&event["state"], &event["port"]), (&json!("ejected"), &json!(gone)), "{event}");
    let listener = std::net::TcpListener::bind(("127.0.0.1", gone)).unwrap();
    let event = engine.wait_for("endpoint");
    assert_eq!((&event["state"], &event["port"]), (&json!("returned"), &json!(gone)), "{event}");
    drop(listener);
}

#[test]
fn a_checked_server_may_finish_its_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut engine = Engine::start(1);
    engine.simple(&[port], json!({"health": {"path": "/healthz", "interval_seconds": 0.02}}));
    let (mut stream, _) = listener.accept().unwrap();
    let mut buffer = [0; 1024];
    assert!(stream.read(&mut buffer).unwrap() > 0, "the request");
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let early = stream.read(&mut buffer);
    assert!(early.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "closed before the answer was whole");
    stream.write_all(b"fine").unwrap();
    drop(stream);
}
