//! Doors that close under load: whoever came in is answered, whoever comes later is refused, nobody is reset.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::harness::{Backend, Client, Engine, PATIENCE, read_message};

const DOORS: usize = 8;
const ENOUGH: usize = 400;

/// Asks on ever new connections until one is refused. What else befalls it is its answer.
fn hammer(port: u16, answered: &AtomicUsize) -> Result<(), String> {
    loop {
        let mut stream = match TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
            Err(error) => return Err(format!("to connect: {error}")),
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").map_err(|error| format!("to ask: {error}"))?;
        let (head, _) = read_message(&mut stream).ok_or("no answer")?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(head);
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_door_that_closes_under_load_answers_or_refuses() {
    let mut engine = Engine::start(2);
    let backend = Backend::named("b");
    engine.simple(&[backend.port], json!({})); // a door that stays
    let names: Vec<_> = (0..DOORS).map(|n| format!("door-{n}")).collect();
    let ports: Vec<_> = names.iter().map(|name| engine.socket(name)).collect();
    let listeners: Vec<_> =
        names.iter().map(|name| json!({"id": name, "protocol": "http", "sockets": [name]})).collect();
    engine.apply(json!({"type": "structure", "listeners": listeners}));
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = ports
        .iter()
        .flat_map(|port| [*port; 2])
        .map(|port| {
            let answered = answered.clone();
            std::thread::spawn(move || hammer(port, &answered))
        })
        .collect();
    while answered.load(Ordering::Relaxed) < ENOUGH {
        std::thread::yield_now();
    }
    engine.apply(json!({"type": "structure", "removed": {"listeners": names}}));
    let outcomes: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert_eq!(outcomes, vec![Ok(()); 2 * DOORS]);
    assert_eq!(backend.count(), answered.load(Ordering::Relaxed), "each request that came through was answered");
}

#[test]
fn when_the_last_door_closes_clients_may_ask_once_more_and_idle_ones_are_let_go() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("b");
    let port = engine.simple(&[backend.port], json!({}));
    let (mut asking, mut idle) = (Client::connect(port), Client::connect(port));
    assert_eq!((asking.get("/").text(), idle.get("/").text()), ("b".to_owned(), "b".to_owned()));
    engine.send(&json!({"type": "structure", "removed": {"listeners": ["l"]}, "epoch": 1, "seq": 3}));
    while asking.get("/").header("connection") != Some("close") {}
    assert!(asking.rest().is_empty());
    assert!(idle.rest().is_empty(), "closed, and in good time");
    assert_eq!(engine.wait_for("ack")["seq"], json!(3), "when the time to ask is over");
}

#[test]
fn doors_that_open_again_are_doors_as_before() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("b");
    engine.simple(&[backend.port], json!({}));
    engine.apply(json!({"type": "structure", "removed": {"listeners": ["l"]}}));
    let port = engine.socket("s");
    engine.apply(json!({"type": "structure", "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"]}]}));
    let mut client = Client::connect(port);
    assert_eq!(client.get("/").header("connection"), None);
    assert_eq!(client.get("/").text(), "b");
}
