//! HTTP/2's streams among each other: who gives up, who reads slowly, who refuses, who says goodbye.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::json;
use tokio::net::TcpListener;

use super::access_log::Folder;
use super::checks;
use super::harness::{Backend, Client, Engine, closed_port};
use super::http2::{ask, block_on, connect, h2c, to};

/// An HTTP/2 backend on a thread of its own; `each` gets its connections, counted from 0.
fn backend<F>(each: impl Fn(h2::server::Connection<tokio::net::TcpStream, Bytes>, usize) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            let mut nth = 0;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(each(h2::server::handshake(stream).await.unwrap(), nth));
                nth += 1;
            }
        });
    });
    port
}

fn answer(respond: &mut h2::server::SendResponse<Bytes>, text: &'static str) {
    let head = Response::builder().header("content-length", text.len()).body(()).unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    stream.send_data(Bytes::from_static(text.as_bytes()), true).unwrap();
}

#[test]
fn a_call_with_a_length_keeps_its_trailers() {
    let port = backend(|mut connection, _| async move {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let head = Response::builder().header("content-type", "application/grpc").header("content-length", 2);
            let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
            stream.send_data(Bytes::from_static(b"ok"), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        }
    });
    let mut engine = Engine::start(1);
    let port = h2c(&mut engine, &[port], json!({"protocol": "h2c"}));
    block_on(async {
        let sender = connect(port).await;
        let answer = ask(&sender, to("/").method("POST").body(()).unwrap(), Some(b"!".to_vec())).await;
        assert_eq!((answer.status, answer.body), (200, b"ok".to_vec()));
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    });
}

#[test]
fn a_request_with_a_length_keeps_its_trailers_where_it_tells_of_them_or_the_backend_speaks_http2() {
    let folder = Folder::new("trailers");
    let mut engine = Engine::start_with(1, Some(folder.0.join("stats.sock")));
    let one = Backend::named("one");
    let port = h2c(&mut engine, &[one.port], json!({}));
    let post = |path: &str| http::Request::post(format!("http://a.test{path}")).header("content-length", 2);
    let told = |path: &str| post(path).header("trailer", "x-sum").body(()).unwrap();
    block_on(async {
        let sender = connect(port).await;
        let grpc = post("/grpc").header("content-type", "application/grpc+proto").body(()).unwrap();
        for request in [told("/told"), post("/untold").body(()).unwrap(), grpc] {
            assert_eq!(ask(&sender, request, Some(b"ok".to_vec())).await.body, b"one");
        }
    });
    for nth in [0, 2] {
        let seen = one.seen.lock().unwrap()[nth].clone();
        assert_eq!((seen.header("content-length"), seen.header("transfer-encoding")), (None, Some("chunked")));
        assert_eq!(String::from_utf8(seen.body).unwrap(), "2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n");
    }
    let untold = one.seen.lock().unwrap()[1].clone();
    assert_eq!((untold.header("content-length"), &untold.body[..]), (Some("2"), &b"ok"[..]), "servers want it");
    let dropped = "fairlead_listener_trailers_dropped_total{listener=\"l\"} 1\n";
    assert!(checks::stats(&folder.0.join("stats.sock"), "/metrics").contains(dropped));
    let (sum, summed) = std::sync::mpsc::channel();
    let two = backend(move |mut connection, _| {
        let sum = sum.clone();
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let sum = sum.clone();
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    while let Some(data) = body.data().await {
                        assert_eq!(data.unwrap().as_ref(), b"ok");
                    }
                    let trailers = body.trailers().await.unwrap();
                    sum.send(trailers.and_then(|t| t.get("x-sum").cloned())).unwrap();
                    answer(&mut respond, "two");
                });
            }
        }
    });
    // Among endpoints that are not there, so that requests are sent again.
    let port = h2c(&mut engine, &[closed_port(), two], json!({"protocol": "h2c"}));
    let empty = http::Request::post("http://a.test/empty").header("content-length", 0);
    let told = || post("/told").header("trailer", "x-sum");
    for (request, body) in [(told(), "ok"), (post("/untold"), "ok"), (empty, "")] {
        let request = request.body(()).unwrap();
        block_on(async {
            let answer = ask(&connect(port).await, request, Some(body.into())).await;
            assert_eq!(answer.body, b"two");
        });
        assert_eq!(summed.recv().unwrap().unwrap(), "42");
    }
}

#[test]
fn a_request_that_is_ended_after_its_length_is_not_ended_before() {
    let (told, heard) = std::sync::mpsc::channel();
    let port = backend(move |mut connection, _| {
        let told = told.clone();
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let told = told.clone();
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    let data = body.data().await.unwrap().unwrap();
                    told.send((data, body.is_end_stream())).unwrap();
                    while let Some(end) = body.data().await {
                        assert_eq!(end.unwrap(), Bytes::new());
                    }
                    told.send((Bytes::new(), body.trailers().await.unwrap().is_none())).unwrap();
                    answer(&mut respond, "ended");
                });
            }
        }
    });
    let mut engine = Engine::start(1);
    let port = h2c(&mut engine, &[port], json!({"protocol": "h2c"}));
    block_on(async {
        let mut sender = connect(port).await.ready().await.unwrap();
        let request = http::Request::post("http://a.test/").header("content-length", 2).body(()).unwrap();
        let (response, mut stream) = sender.send_request(request, false).unwrap();
        stream.send_data(Bytes::from_static(b"ok"), false).unwrap();
        let waited = tokio::task::spawn_blocking(move || (heard.recv().unwrap(), heard));
        let (first, heard) = waited.await.unwrap();
        assert_eq!(first, (Bytes::from_static(b"ok"), false));
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        assert!(heard.recv().unwrap().1);
    });
}

#[test]
fn a_call_that_is_taken_back_ends_at_the_backend() {
    let (told, reset) = std::sync::mpsc::channel();
    let port = backend(move |mut connection, _| {
        let told = told.clone();
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                if request.uri().path() == "/quick" {
                    answer(&mut respond, "quick");
                    continue;
                }
                let told = told.clone();
                tokio::spawn(async move {
                    told.send(None).unwrap();
                    told.send(std::future::poll_fn(|task| respond.poll_reset(task)).await.ok()).unwrap();
                });
            }
        }
    });
    let mut engine = Engine::start(1);
    let port = h2c(&mut engine, &[port], json!({"protocol": "h2c"}));
    block_on(async {
        let sender = connect(port).await;
        let mut once = sender.clone().ready().await.unwrap();
        let (_response, mut stream) = once.send_request(to("/slow").body(()).unwrap(), true).unwrap();
        // Another request shows that the connection is carried on; by its end the first has arrived.
        assert_eq!(ask(&sender, to("/quick").body(()).unwrap(), None).await.body, b"quick");
        let waited = tokio::task::spawn_blocking(move || (reset.recv().unwrap(), reset));
        let (first, reset) = waited.await.unwrap();
        assert_eq!(first, None);
        stream.send_reset(h2::Reason::CANCEL);
        let told = tokio::task::spawn_blocking(move || reset.recv().unwrap());
        assert_eq!(told.await.unwrap(), Some(h2::Reason::CANCEL));
        assert_eq!(ask(&sender, to("/quick").body(()).unwrap(), None).await.body, b"quick");
    });
}

#[test]
fn an_http_1_backend_loses_the_connection_of_a_request_that_is_taken_back() {
    let (sender, closed) = std::sync::mpsc::channel();
    let slow = Backend::start(move |_, stream| {
        let ended = matches!(stream.read(&mut [0; 10]), Ok(0) | Err(_));
        sender.send(ended).unwrap();
        false
    });
    let mut engine = Engine::start(1);
    let port = h2c(&mut engine, &[slow.port], json!({}));
    block_on(async {
        let mut sender = connect(port).await.ready().await.unwrap();
        let (_response, mut stream) = sender.send_request(to("/slow").body(()).unwrap(), true).unwrap();
        let arrived = tokio::task::spawn_blocking(move || slow.next());
        arrived.await.unwrap();
        stream.send_reset(h2::Reason::CANCEL);
        assert!(tokio::task::spawn_blocking(move || closed.recv().unwrap()).await.unwrap());
    });
}

#[test]
fn a_refused_stream_is_tried_again_whatever_its_method() {
    let tries = Arc::new(AtomicUsize::new(0));
    let count = tries.clone();
    let port = backend(move |mut connection, _| {
        let count = count.clone();
        async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                if count.fetch_add(1, SeqCst) == 0 {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                } else {
                    answer(&mut respond, "second");
                }
            }
        }
    });
    let mut engine = Engine::start(1);
    let port = h2c(&mut engine, &[port], json!({"protocol": "h2c"}));
    let mut client = Client::connect(port);
    let response = client.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!((response.status, response.text().as_str()), (200, "second"));
    assert_eq!(tries.load(SeqCst), 2);
}

#[test]
fn a_backend_that_says_goodbye_loses_no_request() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let port = backend(move |mut connection, nth| {
        count.store(nth + 1, SeqCst);
        async move {
            let mut served = 0;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                answer(&mut respond, "served");
                served += 1;
                if served == 5 {
                    connection.graceful_shutdown();
                }
            }
        }
    });
    let mut engine = Engine::start(1);
    let port = h2c(&mut engine, &[port], json!({"protocol": "h2c"}));
    block_on(async {
        let sender = connect(port).await;
        for _ in 0..40 {
            assert_eq!(ask(&sender, to("/").method("POST").body(()).unwrap(), Some(Vec::new())).await.body, b"served");
        }
    });
    assert!(connections.load(SeqCst) >= 8);
}

#[test]
fn who_reads_slowly_holds_nobody_else_up() {
    let large = Backend::start(|seen, stream| {
        let length = if seen.line().contains("large") { 3_000_000 } else { 5 };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).is_ok() && stream.write_all(&vec![b'x'; length]).is_ok()
    });
    let mut engine = Engine::start(1);
    let port = h2c(&mut engine, &[large.port], json!({}));
    block_on(async {
        let sender = connect(port).await;
        let mut slow = Vec::new();
        for _ in 0..10 {
            let mut sender = sender.clone().ready().await.unwrap();
            let (response, _) = sender.send_request(to("/large").body(()).unwrap(), true).unwrap();
            slow.push(response.await.unwrap().into_body());
        }
        let quick = connect(port).await;
        assert_eq!(ask(&quick, to("/").body(()).unwrap(), None).await.body, b"xxxxx");
        // All of the first connection's window is taken; when it is read, all comes.
        let mut together = tokio::task::JoinSet::new();
        for mut body in slow {
            together.spawn(async move {
                let mut bytes = 0;
                while let Some(data) = body.data().await {
                    let data = data.unwrap();
                    bytes += data.len();
                    body.flow_control().release_capacity(data.len()).unwrap();
                }
                bytes
            });
        }
        while let Some(bytes) = together.join_next().await {
            assert_eq!(bytes.unwrap(), 3_000_000);
        }
    });
}

#[test]
fn an_answer_before_the_bodys_end_leaves_the_connection_usable() {
    let mut engine = Engine::start(1);
    let good = Backend::named("good");
    let port = h2c(&mut engine, &[good.port], json!({}));
    engine.apply(json!({"type": "structure", "routes": [
        {"id": "r", "hosts": ["a.test"], "backends": [{"backend": "b"}]}]}));
    block_on(async {
        let sender = connect(port).await;
        for _ in 0..3 {
            let mut once = sender.clone().ready().await.unwrap();
            let request = http::Request::post("http://unknown.test/").body(()).unwrap();
            let (response, mut stream) = once.send_request(request, false).unwrap();
            stream.send_data(Bytes::from_static(b"the beginning"), false).unwrap();
            assert_eq!(response.await.unwrap().status(), 404);
            assert_eq!(ask(&sender, to("/").body(()).unwrap(), None).await.body, b"good");
        }
    });
}

#[test]
fn an_idle_connection_is_told_and_closed() {
    let mut engine = Engine::start(1);
    let port = h2c(&mut engine, &[closed_port()], json!({}));
    engine.apply(json!({"type": "structure", "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"],
        "http": {"h2c": true, "idle_timeout_seconds": 0.1}}]}));
    block_on(async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (_sender, connection) = h2::client::handshake(stream).await.unwrap();
        assert!(connection.await.is_ok(), "GOAWAY, and then the end");
    });
}

fn impatient(engine: &mut Engine, ports: &[u16]) -> u16 {
    let port = h2c(engine, ports, json!({}));
    engine.apply(json!({"type": "structure", "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"],
        "http": {"h2c": true, "idle_timeout_seconds": 0.2, "request_header_timeout_seconds": 0.2}}]}));
    port
}

#[test]
fn who_never_opens_the_window_loses_the_stream() {
    let large = Backend::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n").is_ok()
            && stream.write_all(&[b'x'; 500_000]).is_ok()
    });
    let mut engine = Engine::start(1);
    let port = impatient(&mut engine, &[large.port]);
    block_on(async {
        let mut sender = connect(port).await.ready().await.unwrap();
        let (response, _) = sender.send_request(to("/").body(()).unwrap(), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let ended = loop {
            match body.data().await {
                Some(Ok(_)) => {} // taken, and nothing given back
                other => break other,
            }
        };
        assert_eq!(ended.unwrap().unwrap_err().reason(), Some(h2::Reason::INTERNAL_ERROR));
    });
}

#[test]
fn who_never_sends_its_body_is_answered() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("good");
    let port = impatient(&mut engine, &[backend.port]);
    block_on(async {
        let mut sender = connect(port).await.ready().await.unwrap();
        let (response, _stream) = sender.send_request(to("/").method("POST").body(()).unwrap(), false).unwrap();
        assert_eq!(response.await.unwrap().status(), 408);
    });
}

/// The whole GOAWAY that ends the bytes.
fn last_goaway(bytes: &[u8]) -> &[u8] {
    let at = bytes.windows(9).rposition(|frame| frame == b"\0\0\x08\x07\0\0\0\0\0").expect("GOAWAY");
    assert_eq!(bytes.len(), at + 17, "and the end");
    &bytes[at..]
}

#[test]
fn a_preface_gone_wrong_is_a_protocol_error() {
    let mut engine = Engine::start(1);
    let port = h2c(&mut engine, &[closed_port()], json!({}));
    let mut client = Client::connect(port);
    client.send("INVALID CONNECTION PREFACE\r\n\r\n");
    assert_eq!(last_goaway(&client.rest())[13..], [0, 0, 0, 1]);
    assert_eq!(Client::connect(port).ask("CONNECT A:1 HTTP/1.1\r\nHost: A:1\r\n\r\n").status, 405);
}

#[test]
fn headers_that_never_end_are_not_waited_for() {
    let mut engine = Engine::start(1);
    let port = impatient(&mut engine, &[closed_port()]);
    let mut client = Client::connect(port);
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    client.send(b"\0\0\x01\x01\x01\0\0\0\x01\x82"); // HEADERS that do not end
    last_goaway(&client.rest());
}
