//! What is tried again, and what must not be.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::{Backend, Client, Engine, PATIENCE, closed_port};

#[test]
fn a_failed_connect_is_tried_on_another_endpoint_whatever_the_method() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("alive");
    let port = engine.simple(&[closed_port(), backend.port], json!({}));
    let mut client = Client::connect(port);
    for _ in 0..4 {
        let response = client.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(response.text(), "alive");
        assert_eq!(backend.next().body, b"hello");
    }
}

#[test]
fn nobody_to_connect_to_is_a_502() {
    let mut engine = Engine::start(1);
    let port = engine.simple(&[closed_port()], json!({}));
    assert_eq!(Client::connect(port).get("/").status, 502);
}

#[test]
fn an_idempotent_request_without_a_response_is_tried_again_and_another_is_not() {
    let mut engine = Engine::start(1);
    let dying = Backend::start(|_, _| false);
    let backend = Backend::named("alive");
    let port = engine.simple(&[dying.port, backend.port], json!({}));
    let mut client = Client::connect(port);
    let put = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(client.ask(put).text(), "alive");
    assert_eq!(dying.next().body, b"hello");
    assert_eq!(backend.next().body, b"hello");
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(client.ask(post).status, 502);
    assert_eq!((dying.count(), backend.count()), (2, 1));
}

#[test]
fn a_kept_connection_that_the_backend_closed_costs_nothing() {
    let mut engine = Engine::start(1);
    // Answers once per connection and closes without saying so.
    let (closed, wait) = std::sync::mpsc::channel();
    let backend = Backend::start(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
        closed.send(()).is_err()
    });
    let port = engine.simple(&[backend.port], json!({}));
    let mut client = Client::connect(port);
    for _ in 0..50 {
        // A GET may meet the close half way; a POST must not be sent twice, so here it comes after it.
        assert_eq!(client.get("/").text(), "ok");
        assert_eq!(client.get("/").text(), "ok");
        (0..2).for_each(|_| wait.recv_timeout(PATIENCE).unwrap());
        assert_eq!(client.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").text(), "ok");
        wait.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn a_response_that_breaks_off_breaks_off_for_the_client() {
    let mut engine = Engine::start(1);
    let broken = Backend::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
        false
    });
    let backend = Backend::named("alive");
    let port = engine.simple(&[broken.port, backend.port], json!({}));
    let mut client = Client::connect(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.rest().ends_with(b"half"));
    assert_eq!(backend.count(), 0);
}

#[test]
fn named_statuses_are_tried_again() {
    let mut engine = Engine::start(1);
    let failing = Backend::scripted(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
    let backend = Backend::named("alive");
    let retry = json!({"retry": {"attempts": 2, "on": ["connect", "gateway-error"]}});
    let port = engine.simple(&[failing.port, backend.port], retry);
    let mut client = Client::connect(port);
    assert_eq!(client.get("/").text(), "alive");
    assert_eq!(failing.count(), 1);
    engine.endpoints("b", &[failing.port]);
    assert_eq!(client.get("/").text(), "busy");
    assert_eq!(failing.count(), 3);
}

#[test]
fn a_further_try_waits_as_long_as_the_policy_says() {
    let mut engine = Engine::start(1);
    let failing = Backend::scripted(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
    let retry = |seconds: f64| json!({"retry": {"attempts": 3, "on": ["503"], "backoff_seconds": seconds}});
    let port = engine.simple(&[failing.port], retry(0.05));
    let begun = Instant::now();
    assert_eq!(Client::connect(port).get("/").text(), "busy");
    assert_eq!(failing.count(), 3);
    assert!(begun.elapsed() >= Duration::from_millis(150), "50 ms, then 100: {:?}", begun.elapsed());

    let mut short = retry(60.0);
    short["timeouts"] = json!({"request_seconds": 5.0});
    let mut engine = Engine::start(1);
    let port = engine.simple(&[failing.port], short);
    let begun = Instant::now();
    assert_eq!(Client::connect(port).get("/").status, 503, "a pause that is longer than the request may take");
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(failing.count(), 4);
}

#[test]
fn an_endpoint_that_takes_too_long_is_a_504() {
    let mut engine = Engine::start(1);
    let backend = Backend::start(|_, stream| {
        let _ = std::io::copy(stream, &mut std::io::sink());
        false
    });
    let port = engine.simple(&[backend.port], json!({"timeouts": {"backend_request_seconds": 0.1}}));
    assert_eq!(Client::connect(port).get("/").status, 504);
}

#[test]
fn a_body_that_stalls_is_a_408_and_a_backend_that_takes_its_time_is_none() {
    let mut engine = Engine::start(1);
    let backend = Backend::start(|_, stream| {
        // Longer than the client may be idle.
        let never = std::sync::mpsc::channel::<()>();
        let _ = never.1.recv_timeout(std::time::Duration::from_millis(400));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let port = engine.simple(&[backend.port], json!({}));
    engine.apply(json!({"type": "structure", "listeners":
        [{"id": "l", "protocol": "http", "sockets": ["s"], "http": {"idle_timeout_seconds": 0.2}}]}));
    assert_eq!(Client::connect(port).get("/").text(), "ok");
    let mut client = Client::connect(port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
    assert!(client.rest().starts_with(b"HTTP/1.1 408 "));
}

#[test]
fn a_response_may_take_longer_than_the_idle_time_in_pieces_and_between_them() {
    let mut engine = Engine::start(1);
    let backend = Backend::start(|_, stream| {
        let never = std::sync::mpsc::channel::<()>();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").unwrap();
        (0..4).all(|_| {
            let _ = never.1.recv_timeout(std::time::Duration::from_millis(150));
            stream.write_all(b"x").is_ok()
        })
    });
    let port = engine.simple(&[backend.port], json!({}));
    engine.apply(json!({"type": "structure", "listeners":
        [{"id": "l", "protocol": "http", "sockets": ["s"], "http": {"idle_timeout_seconds": 0.1}}]}));
    assert_eq!(Client::connect(port).get("/").text(), "xxxx");
}

#[test]
fn a_silent_endpoint_is_a_504_after_the_listeners_time_but_not_for_calls_and_streams() {
    let mut engine = Engine::start(1);
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::start(move |seen, stream| {
        let (head, late) = match seen.header("x-way") {
            Some("body") => ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhe", "re"),
            Some("chunks") => ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "2\r\nok\r\n0\r\n\r\n"),
            _ => ("", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        };
        stream.write_all(head.as_bytes()).unwrap();
        wait.lock().unwrap().recv().is_ok() && stream.write_all(late.as_bytes()).is_ok()
    });
    let port = engine.simple(&[backend.port], json!({}));
    let http = json!({"response_timeout_seconds": 0.1});
    engine.apply(
        json!({"type": "structure", "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"], "http": http}]}),
    );
    let patient = [
        "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc+proto\r\nContent-Length: 1\r\n\r\nx",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Way: chunks\r\n\r\n",
    ];
    let mut clients: Vec<_> = patient.map(|request| (Client::connect(port), request)).into();
    for (client, request) in &mut clients {
        client.send(request.as_bytes());
        backend.next();
    }
    // By then their time is over, too.
    for _ in 0..3 {
        assert_eq!(Client::connect(port).get("/").status, 504);
        go_on.send(()).unwrap();
    }
    (0..3).for_each(|_| go_on.send(()).unwrap());
    assert!(clients.iter_mut().all(|(client, _)| client.receive().text().contains("ok")));
    // What the Backend says of itself counts; what it began goes on no longer than it may.
    engine.apply(json!({"type": "structure", "backends": [{"id": "b", "timeouts": {"backend_request_seconds": 5}}]}));
    go_on.send(()).unwrap();
    assert_eq!(Client::connect(port).get("/").status, 200);
    engine.apply(json!({"type": "structure", "backends": [{"id": "b"}]}));
    let mut client = Client::connect(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Way: body\r\n\r\n");
    assert!(client.rest().ends_with(b"\r\n\r\nhe"));
    go_on.send(()).unwrap();
}

#[test]
fn a_route_or_a_backend_may_say_never() {
    let mut engine = Engine::start(1);
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::start(move |seen, stream| {
        let head = if seen.line().contains("body") { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" } else { "" };
        let late = if head.is_empty() { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" } else { "ok" };
        stream.write_all(head.as_bytes()).unwrap();
        wait.lock().unwrap().recv().is_ok() && stream.write_all(late.as_bytes()).is_ok()
    });
    let port = engine.simple(&[backend.port], json!({}));
    let route = |path: &str, timeouts: serde_json::Value| json!({"id": path, "match": {"path": {"value": path}}, "backends": [{"backend": "b"}], "timeouts": timeouts});
    engine.apply(json!({"type": "structure",
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"], "http": {"response_timeout_seconds": 0.1}}],
        "routes": [route("/request", json!({"request_seconds": 0})), route("/head", json!({"backend_request_seconds": 0})),
            route("/idle", json!({"idle_seconds": 0})), route("/default", json!({"connect_seconds": 1}))]}));
    let paths = ["/request", "/request/body", "/head", "/head/body", "/idle", "/idle/body"];
    let mut clients = paths.map(|path| {
        let mut client = Client::connect(port);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        backend.next();
        client
    });
    assert_eq!(Client::connect(port).get("/default").status, 504, "by now the others' time is over, too");
    (0..=paths.len()).for_each(|_| go_on.send(()).unwrap());
    assert!(clients.iter_mut().all(|client| client.receive().text() == "ok"));
    engine.apply(json!({"type": "structure", "backends": [{"id": "b", "timeouts": {"request_seconds": 0}}]}));
    let mut client = Client::connect(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(Client::connect(port).get("/default").status, 504);
    (0..2).for_each(|_| go_on.send(()).unwrap());
    assert_eq!(client.receive().text(), "ok");
}

#[test]
fn a_client_that_went_away_holds_no_request_for_ever_and_one_that_half_closed_is_answered() {
    let mut engine = Engine::start(1);
    let (ended, wait) = std::sync::mpsc::channel();
    let backend = Backend::start(move |seen, stream| {
        if seen.line().starts_with("GET /never ") {
            let _ = stream.read(&mut [0u8; 1]); // until the engine lets go
            let _ = ended.send(());
            return false;
        }
        let never = std::sync::mpsc::channel::<()>();
        let _ = never.1.recv_timeout(std::time::Duration::from_millis(100));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let outlier = json!({"consecutive_errors": 1, "ejection_seconds": 60});
    let port = engine.simple(&[backend.port], json!({"outlier": outlier}));
    engine.apply(json!({"type": "structure", "listeners":
        [{"id": "l", "protocol": "http", "sockets": ["s"], "http": {"idle_timeout_seconds": 0.3}}]}));
    let mut half = Client::connect(port);
    half.send("GET /soon HTTP/1.1\r\nHost: a\r\n\r\n");
    half.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(half.rest().ends_with(b"ok"));
    let mut gone = Client::connect(port);
    gone.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
    backend.next();
    backend.next();
    drop(gone);
    wait.recv_timeout(PATIENCE).expect("the request is given up");
    engine.send(&json!({"type": "ping", "id": 1}));
    engine.wait_for("pong");
    assert!(engine.events.is_empty(), "the endpoint is not to blame: {:?}", engine.events);
}
