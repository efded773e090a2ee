//! Backends that are told by the PROXY protocol who their client is.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use serde_json::json;

use super::harness::{Client, Engine, PATIENCE};

/// A server that reads a PROXY header of version 1 and one request, and answers; it tells the header's line.
fn server(connections: usize) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, lines) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(connections) {
            let mut stream = stream.unwrap();
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"\r\n\r\n") && !bytes.ends_with(b"ping\r\n") {
                let mut piece = [0u8; 4096];
                let n = stream.read(&mut piece).unwrap();
                if n == 0 {
                    break;
                }
                bytes.extend_from_slice(&piece[..n]);
            }
            let text = String::from_utf8(bytes).unwrap();
            let _ = told.send(text.lines().next().unwrap_or("").to_owned());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    (port, lines)
}

#[test]
fn each_request_has_a_connection_in_its_clients_name() {
    let mut engine = Engine::start(1);
    let (backend, lines) = server(2);
    let port = engine.simple(&[backend], json!({"proxy_protocol": 1}));
    let mut client = Client::connect(port);
    let own = client.0.local_addr().unwrap().port();
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), "ok");
        assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), format!("PROXY TCP4 127.0.0.1 127.0.0.1 {own} {port}"));
    }
}

#[test]
fn a_tcp_connection_begins_with_the_header_and_checks_say_that_they_are_ours() {
    let mut engine = Engine::start(1);
    let (backend, lines) = server(2);
    let port = engine.socket("t");
    engine.apply(json!({"type": "structure", "full": true,
        "listeners": [{"id": "l", "protocol": "tcp", "sockets": ["t"], "backend": "b"}],
        "backends": [{"id": "b", "protocol": "tcp", "proxy_protocol": 1, "health": {"kind": "http", "interval_seconds": 1000.0}}]}));
    engine.endpoints("b", &[backend]);
    assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), "PROXY UNKNOWN");
    let mut client = Client::connect(port);
    let own = client.0.local_addr().unwrap().port();
    client.send("ping\r\n");
    assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), format!("PROXY TCP4 127.0.0.1 127.0.0.1 {own} {port}"));
    let nacks = engine.change(json!({"type": "structure", "backends": [{"id": "1", "proxy_protocol": 3}, {"id": "2", "protocol": "h2c", "proxy_protocol": 2}]}));
    let paths: Vec<_> = nacks.iter().map(|n| n["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["proxy_protocol", "proxy_protocol"]);
}
