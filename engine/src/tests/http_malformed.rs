//! Ambiguous and malformed requests: each has its answer, the connection is closed, and no backend sees anything.

use std::io::Write;

use serde_json::json;

use super::harness::{Backend, Client, Engine};
use super::table_of::{self, Text};

/// A row of tests/golden/malformed/requests.json, which Python's tests send to real servers, too.
#[derive(serde::Deserialize)]
struct Row {
    what: String,
    send: Text,
    answers: Vec<u16>,
    #[serde(default)]
    reaches: Option<Vec<String>>,
}

#[test]
fn each_is_answered_and_none_reaches_a_backend() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("seen");
    let port = engine.simple(&[backend.port], json!({}));
    let mut wrong = Vec::new();
    let rows: Vec<Row> = table_of::rows("requests");
    let refused: Vec<_> = rows.iter().filter(|row| row.reaches.is_none()).collect();
    assert!(refused.len() > 100);
    for Row { what, send, answers, .. } in refused {
        let mut client = Client::connect(port);
        let mut bytes = send.bytes();
        bytes.extend_from_slice(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let _ = client.0.write_all(&bytes); // it may be closed before all is written
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        let good = answer.starts_with(&format!("HTTP/1.1 {} ", answers[0]))
            && answer.matches("HTTP/1.1 ").count() == 1
            && answer.contains("Connection: close\r\n");
        if !good || backend.count() > 0 {
            wrong.push(format!("{what}: {answer:?} {:?}", std::mem::take(&mut *backend.seen.lock().unwrap())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(Client::connect(port).get("/").text(), "seen");
}

#[test]
fn a_malformed_chunked_body_is_answered_and_breaks_the_backends_request_off() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("seen");
    let port = engine.simple(&[backend.port], json!({}));
    for body in
        ["5\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n"]
    {
        let mut client = Client::connect(port);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer:?}");
    }
    assert_eq!(backend.count(), 0);
}

#[test]
fn oversized_heads_are_refused() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("seen");
    let port = engine.simple(&[backend.port], json!({}));
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200));
    for request in [long, many] {
        let mut client = Client::connect(port);
        client.send(&request);
        assert!(client.rest().starts_with(b"HTTP/1.1 431 "));
    }
    let fits = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(60_000));
    assert_eq!(Client::connect(port).ask(fits).status, 200);
}

#[test]
fn a_client_that_sends_all_of_a_body_over_the_limit_reads_the_answer() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("seen");
    let port = engine.simple(&[backend.port], json!({}));
    engine.apply(json!({"type": "structure",
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"], "http": {"max_body_bytes": 4}}]}));
    let body = vec![b'x'; 16 << 20];
    for head in ["Content-Length: 16777216\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1000000\r\n"] {
        let mut client = Client::connect(port);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}"));
        client.send(&body);
        assert!(client.rest().starts_with(b"HTTP/1.1 413 "));
    }
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("seen");
    let port = engine.simple(&[backend.port], json!({}));
    engine.apply(json!({"type": "structure",
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"], "http": {"max_body_bytes": 4}}]}));
    let mut client = Client::connect(port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert!(client.rest().starts_with(b"HTTP/1.1 413 "));
    let mut client = Client::connect(port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert!(client.rest().starts_with(b"HTTP/1.1 413 "));
    assert_eq!(Client::connect(port).ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhell").status, 200);
}
