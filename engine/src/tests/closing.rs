//! Doors that close under load: whoever came in is answered, whoever comes later is refused, nobody is reset.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

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

/// Two doors to a backend that answers `/held` when it is told to.
fn two_doors() -> (Engine, Backend, Sender<()>, u16, u16) {
    let (release, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |request, stream| {
        if request.head.contains("/held") {
            wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb").is_ok()
    });
    let mut engine = Engine::start(2);
    let inner = engine.simple(&[backend.port], json!({}));
    let outer = engine.socket("outer");
    let http = json!({"h2c": true});
    engine.apply(json!({"type": "structure",
        "listeners": [{"id": "outer", "protocol": "http", "sockets": ["outer"], "http": http}]}));
    (engine, backend, release, inner, outer)
}

#[test]
fn who_came_in_by_one_door_is_seen_out_while_the_others_stay() {
    let (mut engine, backend, release, inner, outer) = two_doors();
    let mut inside = Client::connect(inner);
    let (mut asking, mut idle, mut silent) = (Client::connect(outer), Client::connect(outer), Client::connect(outer));
    let mut held = Client::connect(outer);
    for client in [&mut inside, &mut asking, &mut idle] {
        assert_eq!(client.get("/").text(), "b");
    }
    held.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    (0..4).for_each(|_| drop(backend.next()));
    engine.apply(json!({"type": "structure", "removed": {"listeners": ["outer"]}}));
    engine.apply(json!({"type": "drain", "id": "d", "listeners": ["outer"]}));
    assert!(TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, outer))).is_err());
    assert_eq!(asking.get("/").header("connection"), Some("close"));
    assert!(asking.rest().is_empty());
    assert!(idle.rest().is_empty());
    assert!(silent.rest().is_empty());
    assert_eq!(inside.get("/").header("connection"), None);
    engine.send(&json!({"type": "ping", "id": 1}));
    engine.wait_for("pong");
    assert!(engine.events.is_empty(), "a request is in flight: {:?}", engine.events);
    release.send(()).unwrap();
    assert_eq!(held.receive().text(), "b");
    assert!(held.rest().is_empty());
    assert_eq!(engine.wait_for("drained")["id"], json!("d"));
    engine.apply(json!({"type": "undrain", "id": "d"}));
    assert_eq!(inside.get("/").text(), "b");
}

#[test]
fn a_door_by_which_nobody_came_in_is_drained_at_once() {
    let (mut engine, _, _, _, _) = two_doors();
    engine.apply(json!({"type": "structure", "removed": {"listeners": ["outer"]}}));
    engine.apply(json!({"type": "drain", "id": "d", "listeners": ["outer", "never-was"]}));
    engine.wait_for("drained");
}
