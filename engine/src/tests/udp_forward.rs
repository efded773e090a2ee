//! UDP at layer 4.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::json;

use super::checks::stats;
use super::harness::{Engine, tally};

const PATIENCE: Duration = Duration::from_secs(10);

/// Answers each datagram with its name and the datagram; ends when the socket is dropped by `stop`.
struct Echo {
    port: u16,
    stop: Option<UdpSocket>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Echo {
    fn start(name: &'static str) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let mut piece = [0; 65_535];
            while let Ok((length, client)) = socket.recv_from(&mut piece) {
                if &piece[..length] == b"stop" {
                    return;
                }
                let _ = socket.send_to(&[name.as_bytes(), &piece[..length]].concat(), client);
            }
        });
        Self { port, stop: Some(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()), thread: Some(thread) }
    }

    /// The port is closed when this returns.
    fn end(&mut self) {
        if let (Some(socket), Some(thread)) = (self.stop.take(), self.thread.take()) {
            socket.send_to(b"stop", (Ipv4Addr::LOCALHOST, self.port)).unwrap();
            thread.join().unwrap();
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.end();
    }
}

fn listen(engine: &mut Engine, ports: &[u16], backend: serde_json::Value) -> u16 {
    let port = engine.datagram_socket("u");
    let mut b = json!({"id": "b", "protocol": "udp"});
    b.as_object_mut().unwrap().extend(backend.as_object().unwrap().clone());
    engine.apply(json!({"type": "structure", "full": true,
        "listeners": [{"id": "u", "protocol": "udp", "sockets": ["u"], "backend": "b"}], "backends": [b]}));
    engine.endpoints("b", ports);
    port
}

fn client(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn ask(socket: &UdpSocket, text: &str) -> String {
    let mut piece = [0; 65_535];
    socket.send(text.as_bytes()).unwrap();
    let length = socket.recv(&mut piece).unwrap();
    String::from_utf8_lossy(&piece[..length]).into_owned()
}

#[test]
fn clients_are_spread_and_each_keeps_its_endpoint() {
    let mut engine = Engine::start(2);
    let servers = [Echo::start("1"), Echo::start("2"), Echo::start("3")];
    let port = listen(&mut engine, &servers.each_ref().map(|server| server.port), json!({}));
    let names = (0..30).map(|_| {
        let client = client(port);
        let first = ask(&client, "hello");
        for _ in 0..5 {
            assert_eq!(ask(&client, "hello"), first);
        }
        first
    });
    let expected = ["1hello", "2hello", "3hello"].map(|name| (name.to_owned(), 10));
    assert_eq!(tally(names), expected.into());
}

#[test]
fn a_large_datagram_arrives_whole() {
    let mut engine = Engine::start(1);
    let server = Echo::start("");
    let port = listen(&mut engine, &[server.port], json!({}));
    let text = "x".repeat(60_000);
    assert_eq!(ask(&client(port), &text), text);
}

#[test]
fn a_client_with_one_socket_is_answered_by_the_pod_that_replaces_its_own() {
    let mut engine = Engine::start(1);
    let (mut old, new) = (Echo::start("old "), Echo::start("new "));
    let port = listen(&mut engine, &[old.port], json!({}));
    let client = client(port);
    assert_eq!(ask(&client, "a"), "old a");
    engine.endpoints("b", &[new.port]);
    let before = Instant::now();
    assert_eq!(ask(&client, "b"), "new b");
    assert!(before.elapsed() < Duration::from_secs(1));
    old.end();
}

#[test]
fn an_endpoint_whose_port_is_closed_is_left_after_one_datagram() {
    let mut engine = Engine::start(1);
    let (mut gone, here) = (Echo::start("gone "), Echo::start("here "));
    let port = listen(&mut engine, &[gone.port, here.port], json!({}));
    let socket = client(port);
    let first = ask(&socket, "a");
    let socket = if first == "gone a" { socket } else { client(port) };
    assert_eq!(ask(&socket, "a"), "gone a");
    gone.end();
    // The datagram that finds the port closed is lost, as it is without a balancer; then round robin comes to the other.
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let answered = (0..10).find_map(|_| {
        socket.send(b"b").unwrap();
        let mut piece = [0; 100];
        let length = socket.recv(&mut piece).ok()?;
        Some(String::from_utf8_lossy(&piece[..length]).into_owned())
    });
    assert_eq!(answered.as_deref(), Some("here b"));
}

#[test]
fn a_new_client_takes_the_place_of_the_longest_silent_one() {
    let path = std::env::temp_dir().join(format!("fairlead-udp-{}.sock", std::process::id()));
    let mut engine = Engine::start_with(1, Some(path.clone()));
    let server = Echo::start("1");
    let port = listen(&mut engine, &[server.port], json!({}));
    // Under test a listener has 64 places.
    let clients: Vec<UdpSocket> = (0..200)
        .map(|_| {
            let client = client(port);
            assert_eq!(ask(&client, "x"), "1x");
            client
        })
        .collect();
    // Whoever had to go is a new client like others.
    assert_eq!(ask(&clients[0], "y"), "1y");
    let seen: serde_json::Value = serde_json::from_str(&stats(&path, "/stats")).unwrap();
    assert_eq!(seen["listeners"]["u"]["evicted"], json!(200 - 64 + 1));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_drain_of_an_endpoint_ends_soon_after_its_last_datagram() {
    let mut engine = Engine::start(1);
    let (one, two) = (Echo::start("1"), Echo::start("2"));
    let port = listen(&mut engine, &[one.port, two.port], json!({}));
    let clients: Vec<UdpSocket> = (0..4).map(|_| client(port)).collect();
    clients.iter().for_each(|client| drop(ask(client, "x")));
    engine.apply(json!({"type": "drain", "id": "d", "address": "127.0.0.1", "port": one.port}));
    for client in &clients {
        assert_eq!(ask(client, "y"), "2y");
    }
    assert_eq!(engine.wait_for("drained")["in_flight"], 0);
}

#[test]
fn a_session_ends_when_it_is_idle() {
    let mut engine = Engine::start(1);
    let server = Echo::start("1");
    let port = listen(&mut engine, &[server.port], json!({"timeouts": {"idle_seconds": 0.05}}));
    ask(&client(port), "x");
    // Nothing is open to the endpoint once the session is over; a drain says so.
    engine.apply(json!({"type": "drain", "id": "d", "address": "127.0.0.1"}));
    engine.wait_for("drained");
}

#[test]
fn a_socket_of_the_wrong_transport_is_refused() {
    let mut engine = Engine::start(1);
    engine.datagram_socket("u");
    let nacks = engine.change(json!({"type": "structure", "full": true,
        "listeners": [{"id": "t", "protocol": "tcp", "sockets": ["u"]}]}));
    assert_eq!((nacks[0]["object"].clone(), nacks[0]["path"].clone()), (json!("listener/t"), json!("sockets")));
}
