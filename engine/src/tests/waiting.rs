//! Requests that wait for an endpoint, and endpoints that come.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use serde_json::json;

use super::harness::{Backend, Client, Engine, PATIENCE, tally};

#[test]
fn an_empty_backend_holds_requests_asks_for_endpoints_and_serves_them() {
    let mut engine = Engine::start(2);
    let backend = Backend::named("up");
    let port = engine.simple(&[], json!({"hold": true}));
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(port)).collect();
    clients.iter_mut().for_each(|c| c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
    while engine.wait_for("demand")["waiting"] != json!(3) {}
    engine.endpoints("b", &[backend.port]);
    clients.iter_mut().for_each(|c| assert_eq!(c.receive().text(), "up"));
    assert!((0..3).all(|_| backend.next().body == b"hi"));
}

#[test]
fn a_full_backend_lets_so_many_wait_and_refuses_the_next() {
    let mut engine = Engine::start(1);
    let (release, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |_, stream| {
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").is_ok()
    });
    let port = engine.simple(&[backend.port], json!({"limits": {"endpoint_requests": 1, "max_waiting": 1}}));
    let mut clients: Vec<_> = (0..2).map(|_| Client::connect(port)).collect();
    clients[0].send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    backend.next();
    clients[1].send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    // One thread sees what came first first: the second waits when the third is accepted.
    let third = Client::connect(port).get("/").status;
    assert_eq!(third, 503);
    release.send(()).unwrap();
    release.send(()).unwrap();
    clients.iter_mut().for_each(|c| assert_eq!(c.receive().text(), "x"));
}

#[test]
fn an_endpoint_that_comes_gets_its_share_of_kept_connections_at_once() {
    let mut engine = Engine::start(1);
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let port = engine.simple(&[one.port], json!({}));
    let mut clients: Vec<_> = (0..10).map(|_| Client::connect(port)).collect();
    clients.iter_mut().for_each(|c| assert_eq!(c.get("/").text(), "one"));
    engine.endpoints("b", &[one.port, two.port]);
    let texts: Vec<_> = clients.iter_mut().map(|c| c.get("/").text()).collect();
    assert_eq!(tally(texts), [("one", 5), ("two", 5)].map(|(n, c)| (n.to_owned(), c)).into());
}
