//! Clients that take all the time or all the turns that they can get: limits end them, and others are served meanwhile.

use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::time::Instant;

use serde_json::{Value, json};

use super::harness::{Backend, Client, Engine, PATIENCE};

fn listen(engine: &mut Engine, backend: u16, http: Value) -> u16 {
    let port = engine.simple(&[backend], json!({}));
    engine.apply(json!({"type": "structure", "full": false,
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"], "http": http}]}));
    port
}

/// Others ask, one after the other, until `over` says that the abuse has ended.
fn served_until(port: u16, mut over: impl FnMut() -> bool) {
    let began = Instant::now();
    let mut kept = Client::connect(port);
    while !over() {
        assert!(began.elapsed() < PATIENCE, "it is never ended");
        assert_eq!(kept.get("/").text(), "x", "on a kept connection");
        assert_eq!(Client::connect(port).get("/").text(), "x", "on a new one");
    }
}

/// What has come so far, and whether the connection has ended.
fn peek(client: &mut Client, seen: &mut Vec<u8>) -> bool {
    client.0.set_nonblocking(true).unwrap();
    let mut piece = [0u8; 4096];
    loop {
        match client.0.read(&mut piece) {
            Ok(0) => return true,
            Ok(n) => seen.extend_from_slice(&piece[..n]),
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_gets_no_more_time_for_each_of_them() {
    let backend = Backend::named("x");
    let mut engine = Engine::start(1);
    let port =
        listen(&mut engine, backend.port, json!({"request_header_timeout_seconds": 0.3, "idle_timeout_seconds": 60.0}));
    let mut slow: Vec<_> = (0..50).map(|_| (Client::connect(port), Vec::new())).collect();
    slow.iter_mut().for_each(|(client, _)| client.send("GET / HTTP/1.1\r\nHost: a.test\r\nX-Slow: "));
    served_until(port, || {
        slow.retain_mut(|(client, seen)| {
            let _ = client.0.write(b"a");
            let ended = peek(client, seen);
            assert!(!ended || seen.starts_with(b"HTTP/1.1 408 "), "{:?}", String::from_utf8_lossy(seen));
            !ended
        });
        slow.is_empty()
    });
    assert!(backend.seen.lock().unwrap().iter().all(|seen| seen.header("x-slow").is_none()));
}

#[test]
fn idle_connections_are_closed_in_time_and_cost_others_nothing() {
    let backend = Backend::named("x");
    let mut engine = Engine::start(1);
    let port = listen(&mut engine, backend.port, json!({"idle_timeout_seconds": 0.3}));
    let mut idle: Vec<_> = (0..300).map(|_| (Client::connect(port), Vec::new())).collect();
    served_until(port, || {
        idle.retain_mut(|(client, seen)| !peek(client, seen));
        assert!(idle.iter().all(|(_, seen)| seen.is_empty()), "nobody asked for anything");
        idle.is_empty()
    });
}

#[test]
fn a_client_that_does_not_read_is_given_up_and_its_backend_is_free() {
    let (given_up, told) = channel();
    let backend = Backend::start(move |seen, stream| {
        if seen.line().contains("/large") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
            let piece = vec![b'l'; 1 << 20];
            while stream.write_all(&piece).is_ok() {}
            let _ = given_up.send(());
            return false;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").is_ok()
    });
    let mut engine = Engine::start(1);
    let port = listen(&mut engine, backend.port, json!({"idle_timeout_seconds": 0.3}));
    let mut slow: Vec<_> = (0..10).map(|_| Client::connect(port)).collect();
    slow.iter_mut().for_each(|client| client.send("GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    let mut freed = 0;
    served_until(port, || {
        freed += told.try_iter().count();
        freed == slow.len()
    });
}

/// HEADERS of `GET / http a.test` that end the stream, and its reset.
fn asked_and_taken_back(stream: u32) -> Vec<u8> {
    let block = b"\x82\x86\x84\x41\x06a.test";
    let mut frames = vec![0, 0, block.len() as u8, 1, 5];
    frames.extend_from_slice(&stream.to_be_bytes());
    frames.extend_from_slice(block);
    frames.extend_from_slice(&[0, 0, 4, 3, 0]);
    frames.extend_from_slice(&stream.to_be_bytes());
    frames.extend_from_slice(&8u32.to_be_bytes());
    frames
}

#[test]
fn rapid_resets_end_their_connection_and_nobody_elses() {
    let backend = Backend::named("x");
    let mut engine = Engine::start(1);
    let port = listen(&mut engine, backend.port, json!({"h2c": true}));
    let mut abuser = Client::connect(port);
    abuser.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00");
    let (mut stream, mut seen) = (1, Vec::new());
    served_until(port, || {
        let burst: Vec<u8> = (0..200).flat_map(|at| asked_and_taken_back(stream + 2 * at)).collect();
        stream += 400;
        // The connection may be over within the burst.
        let _ = abuser.0.write(&burst);
        peek(&mut abuser, &mut seen)
    });
    let goaway = seen.windows(4).any(|w| w == 11u32.to_be_bytes());
    assert!(goaway, "ENHANCE_YOUR_CALM: {seen:?}");
}
