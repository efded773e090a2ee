//! Ambiguous and malformed requests: each has its answer, the connection is closed, and no backend sees anything.

use serde_json::json;

use super::harness::{Backend, Client, Engine};

const CASES: &[(&str, &str, u16)] = &[
    (
        "both lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("conflicting lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
    ("a plus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
    ("an underscore", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\nabc", 400),
    ("a minus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    ("hexadecimal", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", 400),
    ("an endless length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
    ("an empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", 400),
    ("two codings", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("an odd coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("a coding in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (
        "a coding with a vertical tab",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    ("space before a length's colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc", 400),
    ("a folded line", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
    ("a folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    ("a bare line feed", "GET / HTTP/1.1\nHost: a\n\n", 400),
    ("a bare line feed in a field", "GET / HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n", 400),
    ("a bare carriage return", "GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n", 400),
    ("an empty name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
    ("no colon", "GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", 400),
    ("a zero byte", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
    ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("a host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    ("a host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ("an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("another authority", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a user in the target", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("no slash", "GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a byte over ASCII", "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("dot segments", "GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("encoded dot segments", "GET /a/.%2E/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a dot segment at the end", "GET /a/. HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("version 2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("a version in small letters", "GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    ("a long version", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    ("no version", "GET /\r\nHost: a\r\n\r\n", 400),
    ("a method that is none", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("another expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\na", 417),
    ("Connection that names Host", "GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", 400),
    (
        "Connection that names the length",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 1\r\n\r\na",
        400,
    ),
    ("a TLS hello", "\x16\x03\x01\x02\x00\x01", 400),
];

#[test]
fn each_is_answered_and_none_reaches_a_backend() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("seen");
    let port = engine.simple(&[backend.port], json!({}));
    for (what, request, status) in CASES {
        let mut client = Client::connect(port);
        client.send(format!("{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{what}: one answer only, {answer:?}");
        assert!(answer.contains("Connection: close\r\n"), "{what}");
    }
    assert_eq!(backend.count(), 0, "{:?}", backend.seen.lock().unwrap());
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

#[test]
fn malformed_responses_become_a_502() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        b"nonsense\r\n\r\n",
    ] {
        let mut engine = Engine::start(1);
        let backend = Backend::scripted(bytes);
        let port = engine.simple(&[backend.port], json!({}));
        assert_eq!(Client::connect(port).get("/").status, 502, "{}", String::from_utf8_lossy(bytes));
    }
}
