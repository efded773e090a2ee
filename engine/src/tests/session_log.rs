//! What is written of connections and sessions, and that the kernel looks for silent endpoints.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::access_log::{Folder, Reader};
use super::harness::{Client, Engine, PATIENCE, closed_port};
use super::tls;

/// An engine with one Listener of that protocol, which logs.
fn engine(name: &str, listener: Value, endpoint: u16) -> (Engine, u16, Reader, Folder) {
    let folder = Folder::new(name);
    let mut engine = Engine::start_with(1, Some(folder.0.join("stats.sock")));
    let udp = listener["protocol"] == "udp";
    let port = if udp { engine.datagram_socket("s") } else { engine.socket("s") };
    let mut l = json!({"id": "l", "sockets": ["s"], "backend": "b", "http": {"access_log": {}}});
    l.as_object_mut().unwrap().extend(listener.as_object().unwrap().clone());
    let protocol = if udp { "udp" } else { "tcp" };
    let timeouts = json!({"idle_seconds": if udp { 0.1 } else { 0.0 }});
    engine.apply(json!({"type": "structure", "full": true, "listeners": [l],
        "backends": [{"id": "b", "protocol": protocol, "timeouts": timeouts}]}));
    engine.endpoints("b", &[endpoint]);
    let log = Reader::open(&folder);
    (engine, port, log, folder)
}

fn assert_line(line: &Value, wanted: &Value) {
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(&line[name], value, "{name} {line}");
    }
    assert!(line["time"].as_str().unwrap().ends_with('Z') && line["seconds"].as_f64().unwrap() < 10.0);
}

#[test]
fn a_tcp_connection_has_a_line_when_it_has_ended() {
    let echo = tls::line_echo("one");
    let (mut engine, port, mut log, _folder) = engine("log-tcp", json!({"protocol": "tcp"}), echo);
    let mut client = Client::connect(port);
    client.send("hello\n");
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = client.rest();
    let own = client.0.local_addr().unwrap().port();
    drop(client);
    assert_line(
        &log.next(),
        &json!({"listener": "l", "client": "127.0.0.1", "client_port": own, "protocol": "tcp",
        "bytes_in": 6, "bytes_out": answer.len(), "backend": "b", "endpoint": format!("127.0.0.1:{echo}"), "attempts": 1,
        "reason": Value::Null}),
    );
    engine.endpoints("b", &[closed_port()]);
    Client::connect(port).rest();
    assert_line(&log.next(), &json!({"bytes_out": 0, "attempts": 4, "reason": "no endpoint could be connected to"}));
}

#[test]
fn a_passed_through_tls_connection_tells_its_name_and_a_share_is_drawn() {
    let made = tls::make(&["a.test"]);
    let backend = tls::tls_backend(&made);
    let listener = json!({"protocol": "tls", "http": {"access_log": {"share": 0.0}}});
    let (mut engine, port, mut log, _folder) = engine("log-tls", listener, backend);
    let visit = || {
        let mut stream = tls::connect(port, "a.test", &tls::client(&[&made], None, &[]));
        let sent = stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").is_ok();
        sent && stream.read(&mut [0; 4]).is_ok_and(|n| n > 0)
    };
    assert!(visit());
    engine.endpoints("b", &[]);
    assert!(!visit());
    assert_line(
        &log.next(),
        &json!({"protocol": "tls", "name": "a.test", "reason": "no endpoint could be connected to"}),
    );
}

#[test]
fn a_udp_session_has_a_line_when_it_has_ended() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (_engine, port, mut log, _folder) =
        engine("log-udp", json!({"protocol": "udp"}), server.local_addr().unwrap().port());
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..2 {
        client.send_to(b"abc", ("127.0.0.1", port)).unwrap();
        let (_, from) = server.recv_from(&mut [0; 10]).unwrap();
        server.send_to(b"answer", from).unwrap();
        client.recv(&mut [0; 10]).unwrap();
    }
    let own = client.local_addr().unwrap().port();
    assert_line(&log.next(), &json!({"protocol": "udp", "client_port": own, "bytes_in": 6, "bytes_out": 12}));
}

/// The kernel has a timer for probes on a connection to that port that is not one of a client's (/proc/net/tcp).
fn is_probed(port: u16) -> bool {
    let text = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to = format!("0100007F:{port:04X}");
    text.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.nth(2) == Some(to.as_str()) && words.nth(2).is_some_and(|timer| timer.starts_with("02:"))
    })
}

#[test]
fn the_kernel_looks_for_an_endpoint_on_whose_connection_nothing_is_said() {
    let echo = tls::line_echo("one");
    let (_engine, port, _log, _folder) = engine("keep", json!({"protocol": "tcp"}), echo);
    let mut client = Client::connect(port);
    client.send("hello\n");
    client.0.read_exact(&mut [0; 5]).unwrap();
    let until = Instant::now() + PATIENCE;
    while !is_probed(echo) {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    client.0.write_all(b"again\n").unwrap();
    assert!(client.0.set_read_timeout(Some(Duration::from_secs(5))).is_ok());
    client.0.read_exact(&mut [0; 5]).unwrap();
}
