//! Doors other than plain HTTP and TCP: the PROXY protocol, TLS passed through, UDP.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::json;

use super::harness::{Backend, Client, Engine, PATIENCE, tally};
use super::tls;

#[test]
fn a_proxy_before_us_names_the_client() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("b");
    let port = engine.simple(&[backend.port], json!({}));
    engine.apply(json!({"type": "structure",
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"], "proxy_protocol_in": true}]}));
    let mut client = Client::connect(port);
    client.send("PROXY TCP4 9.8.7.6 1.1.1.1 1000 80\r\n");
    assert_eq!(client.get("/").text(), "b");
    assert_eq!(backend.next().header("x-forwarded-for"), Some("9.8.7.6"));
    let mut client = Client::connect(port);
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x05\x06\x07\x08\x01\x01\x01\x01\x03\xe8\0\x50".to_vec();
    binary.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.ask(binary).text(), "b");
    assert_eq!(backend.next().header("x-forwarded-for"), Some("5.6.7.8"));
    let mut client = Client::connect(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.rest().is_empty(), "no header, no service");
    assert_eq!(backend.count(), 2);
}

#[test]
fn tls_is_passed_through_by_name() {
    let (one, two) = (tls::make(&["one.test"]), tls::make(&["sub.two.test"]));
    let ports = [&one, &two].map(tls::tls_backend);
    let mut engine = Engine::start(1);
    let port = engine.socket("s");
    engine.apply(json!({"type": "structure", "full": true,
        "listeners": [{"id": "l", "protocol": "tls", "sockets": ["s"]}],
        "routes": [{"id": "1", "hosts": ["one.test"], "backends": [{"backend": "1"}]},
                   {"id": "2", "hosts": ["*.two.test"], "backends": [{"backend": "2"}]}],
        "backends": [{"id": "1", "protocol": "tls"}, {"id": "2", "protocol": "tls"}]}));
    engine.endpoints("1", &ports[..1]);
    engine.endpoints("2", &ports[1..]);
    for (name, made) in [("one.test", &one), ("sub.two.test", &two)] {
        let config = tls::client(&[made], None, &[]);
        let connection = ClientConnection::new(Arc::clone(&config), ServerName::try_from(name).unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, Client::connect(port).0);
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut bytes = [0u8; 256];
        let n = stream.read(&mut bytes).unwrap();
        assert!(bytes[..n].starts_with(b"HTTP/1.1 200"), "{name}");
    }
    let connection =
        ClientConnection::new(tls::client(&[&one], None, &[]), ServerName::try_from("three.test").unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, Client::connect(port).0);
    assert!(stream.write_all(b"x").and_then(|()| stream.flush()).is_err(), "nobody has that name");
}

/// Answers each datagram with its name and the datagram.
fn udp_echo(name: &'static str) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut bytes = [0u8; 65536];
        while let Ok((n, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&[name.as_bytes(), &bytes[..n]].concat(), from);
        }
    });
    port
}

#[test]
fn udp_clients_keep_their_endpoint_and_are_spread() {
    let mut engine = Engine::start(2);
    let ports = [udp_echo("1"), udp_echo("2"), udp_echo("3")];
    let port = engine.datagram_socket("u");
    engine.apply(json!({"type": "structure", "full": true,
        "listeners": [{"id": "u", "protocol": "udp", "sockets": ["u"], "backend": "b"}],
        "backends": [{"id": "b", "protocol": "udp"}]}));
    engine.endpoints("b", &ports);
    let ask = |client: &UdpSocket, text: &str| {
        client.send(text.as_bytes()).unwrap();
        let mut bytes = [0u8; 65536];
        let n = client.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    };
    let clients: Vec<_> = (0..9)
        .map(|_| {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.connect(("127.0.0.1", port)).unwrap();
            client
        })
        .collect();
    let first: Vec<_> = clients.iter().map(|c| ask(c, "a")).collect();
    assert_eq!(tally(first.clone()), [("1a", 3), ("2a", 3), ("3a", 3)].map(|(n, c)| (n.to_owned(), c)).into());
    for (client, first) in clients.iter().zip(&first) {
        (0..3).for_each(|_| assert_eq!(&ask(client, "a"), first));
    }
    assert_eq!(ask(&clients[0], &"x".repeat(9000)).len(), 9001);
    engine.endpoints("b", &ports[1..]);
    assert!(clients.iter().all(|c| !ask(c, "b").starts_with('1')), "an endpoint that is gone has no sessions");
}

#[test]
fn tls_that_ends_here_goes_on_as_tcp_by_its_name() {
    let mut engine = Engine::start(1);
    let made = super::tls::make(&["a.test", "b.test", "other.test"]);
    let (a, b) = (super::tls::line_echo("a"), super::tls::line_echo("b"));
    let port = engine.socket("s");
    engine.apply(json!({"type": "structure", "full": true, "certificates": [super::tls::certificate("1", &made)],
        "listeners": [{"id": "l", "protocol": "tls", "sockets": ["s"], "certificates": ["1"]}],
        "routes": [{"id": "a", "hosts": ["a.test"], "backends": [{"backend": "a"}]}, {"id": "b", "hosts": ["b.test"], "backends": [{"backend": "b"}]}],
        "backends": [{"id": "a", "protocol": "tcp"}, {"id": "b", "protocol": "tcp"}]}));
    engine.endpoints("a", &[a]);
    engine.endpoints("b", &[b]);
    let config = super::tls::client(&[&made], None, &[]);
    for (name, wanted) in [("a.test", "a: hello"), ("b.test", "b: hello"), ("other.test", "")] {
        let mut stream = super::tls::connect(port, name, &config);
        let mut text = String::new();
        let _ = stream.write_all(b"hello\n").and_then(|()| std::io::Read::read_to_string(&mut stream, &mut text));
        assert_eq!(text, wanted, "{name}");
    }
}

#[test]
fn tls_of_some_names_is_passed_on_and_that_of_others_ends_here() {
    let mut engine = Engine::start(1);
    let (ours, theirs) = (tls::make(&["a.test", "b.test"]), tls::make(&["b.passed.test"]));
    let (a, b) = (tls::line_echo("a"), tls::tls_backend(&theirs));
    let port = engine.socket("s");
    engine.apply(json!({"type": "structure", "full": true, "certificates": [tls::certificate("1", &ours)],
        "listeners": [{"id": "l", "protocol": "tls", "sockets": ["s"], "certificates": ["1"],
            "passthrough": ["*.passed.test"]}],
        "routes": [{"id": "a", "hosts": ["a.test"], "backends": [{"backend": "a"}]},
                   {"id": "b", "hosts": ["*.passed.test"], "backends": [{"backend": "b"}]}],
        "backends": [{"id": "a", "protocol": "tcp"}, {"id": "b", "protocol": "tls"}]}));
    engine.endpoints("a", &[a]);
    engine.endpoints("b", &[b]);
    let ask = |name: &str, made: &tls::Made, said: &[u8]| {
        let mut stream = tls::connect(port, name, &tls::client(&[made], None, &[]));
        let mut bytes = [0u8; 256];
        let n = stream.write_all(said).and_then(|()| stream.read(&mut bytes)).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    };
    assert_eq!(ask("a.test", &ours, b"hello\n"), "a: hello");
    assert!(ask("b.passed.test", &theirs, b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
    assert_eq!(ask("b.test", &ours, b"hello\n"), "", "no Route has that name");
}
