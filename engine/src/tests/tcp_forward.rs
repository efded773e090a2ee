//! TCP at layer 4.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};

use serde_json::json;

use super::harness::{Client, Engine, closed_port, tally};

/// Says its name, then echoes until the client's end, then says goodbye.
pub fn echo(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                stream.write_all(name.as_bytes()).unwrap();
                let mut back = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut stream, &mut back);
                let _ = back.write_all(b"bye");
            });
        }
    });
    port
}

fn listen(engine: &mut Engine, ports: &[u16]) -> u16 {
    listen_with(engine, ports, json!({"id": "b", "protocol": "tcp"}))
}

fn listen_with(engine: &mut Engine, ports: &[u16], backend: serde_json::Value) -> u16 {
    let port = engine.socket("t");
    engine.apply(json!({"type": "structure", "full": true,
        "listeners": [{"id": "t", "protocol": "tcp", "sockets": ["t"], "backend": "b"}],
        "backends": [backend]}));
    engine.endpoints("b", ports);
    port
}

#[test]
fn an_empty_backend_that_holds_keeps_connections_and_what_they_say() {
    let mut engine = Engine::start(2);
    let holding = json!({"id": "b", "protocol": "tcp", "hold": true, "limits": {"max_waiting": 3}});
    let port = listen_with(&mut engine, &[], holding);
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(port)).collect();
    clients.iter_mut().for_each(|c| c.send("hello"));
    while engine.wait_for("demand")["waiting"] != json!(3) {}
    let mut fourth = Client::connect(port);
    assert!(fourth.0.read(&mut [0u8; 1]).map_or(true, |n| n == 0), "more than may wait are refused");
    engine.endpoints("b", &[echo("1")]);
    for mut client in clients {
        client.0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.rest(), b"1hellobye");
    }
}

#[test]
fn a_connection_that_is_held_and_given_up_makes_room() {
    let mut engine = Engine::start(1);
    let holding = json!({"id": "b", "protocol": "tcp", "hold": true, "limits": {"max_waiting": 1}});
    let port = listen_with(&mut engine, &[], holding);
    let first = Client::connect(port);
    engine.wait_for("demand");
    socket2::SockRef::from(&first.0).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(first);
    // The engine learns of the reset at some time: until then the second is refused.
    loop {
        let mut second = Client::connect(port);
        second.send("hello");
        engine.endpoints("b", &[echo("1")]);
        second.0.shutdown(Shutdown::Write).unwrap();
        if second.rest() == b"1hellobye" {
            return;
        }
        engine.endpoints("b", &[]);
    }
}

#[test]
fn connections_go_in_turn_and_half_close_is_passed_on() {
    let mut engine = Engine::start(2);
    let port = listen(&mut engine, &[echo("1"), echo("2"), echo("3")]);
    let texts = (0..30).map(|_| {
        let mut client = Client::connect(port);
        let mut name = [0u8; 1];
        client.0.read_exact(&mut name).unwrap();
        client.send("hello");
        client.0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.rest(), b"hellobye");
        String::from_utf8(name.to_vec()).unwrap()
    });
    assert_eq!(tally(texts), [("1", 10), ("2", 10), ("3", 10)].map(|(n, c)| (n.to_owned(), c)).into());
}

#[test]
fn much_goes_through_both_ways_at_once() {
    let mut engine = Engine::start(1);
    let port = listen(&mut engine, &[echo("")]);
    let mut client = Client::connect(port);
    let data: Vec<u8> = (0..4_000_000u32).map(|i| (i % 241) as u8).collect();
    let (mut writer, copy) = (client.0.try_clone().unwrap(), data.clone());
    let sending = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let received = client.rest();
    sending.join().unwrap();
    assert_eq!(received.len(), data.len() + 3);
    assert!(received.starts_with(&data));
}

#[test]
fn a_failed_connect_goes_to_another_endpoint_and_nobody_means_a_reset() {
    let mut engine = Engine::start(1);
    let port = listen(&mut engine, &[closed_port(), echo("x")]);
    for _ in 0..4 {
        let mut client = Client::connect(port);
        client.0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.rest(), b"xbye");
    }
    engine.endpoints("b", &[closed_port()]);
    let mut client = Client::connect(port);
    assert!(client.0.read(&mut [0u8; 1]).is_err(), "a reset");
}

#[test]
fn a_drain_waits_for_the_connection() {
    let mut engine = Engine::start(1);
    let port = listen(&mut engine, &[echo("x")]);
    let mut client = Client::connect(port);
    client.0.read_exact(&mut [0u8; 1]).unwrap();
    engine.apply(json!({"type": "drain", "id": "d", "address": "127.0.0.1"}));
    engine.send(&json!({"type": "ping", "id": 1}));
    engine.wait_for("pong");
    assert!(engine.events.is_empty());
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"bye");
    engine.wait_for("drained");
}
