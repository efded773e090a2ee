//! HTTP/2 from clients and to backends, and every mixture with HTTP/1.1.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::harness::{Backend, Client, Engine, tally};
use super::tls;

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(super::harness::PATIENCE, future).await.expect("in time") })
}

/// An HTTP/2 server: answers with its name and the request's body, and with trailers; counts its connections.
fn h2_backend(name: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(echo(name, request, respond));
                    }
                });
            }
        });
    });
    (port, connections)
}

async fn echo(name: &'static str, request: Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let path = request.uri().path().to_owned();
    let te = request.headers().get("te").cloned();
    let mut body = request.into_body();
    let mut bytes = name.as_bytes().to_vec();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
    }
    let sums = body.trailers().await.ok().flatten().and_then(|t| t.get("x-sum").cloned());
    let mut builder = Response::builder().header("content-type", "application/grpc");
    if let Some(te) = te {
        builder = builder.header("x-te", te);
    }
    if path == "/only-trailers" {
        let response = builder.header("grpc-status", "7").body(()).unwrap();
        respond.send_response(response, true).unwrap();
        return;
    }
    let mut stream = respond.send_response(builder.body(()).unwrap(), false).unwrap();
    let mut data = Bytes::from(bytes);
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let n = std::future::poll_fn(|task| stream.poll_capacity(task)).await.unwrap().unwrap();
        stream.send_data(data.split_to(n), false).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    sums.into_iter().for_each(|sum| drop(trailers.insert("x-sum", sum)));
    stream.send_trailers(trailers).unwrap();
}

pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

pub(super) async fn connect(port: u16) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(super) async fn ask(
    sender: &h2::client::SendRequest<Bytes>,
    request: Request<()>,
    body: Option<Vec<u8>>,
) -> Answer {
    let mut sender = sender.clone().ready().await.unwrap();
    let (response, mut stream) = sender.send_request(request, body.is_none()).unwrap();
    if let Some(body) = body {
        let mut data = Bytes::from(body);
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let n = std::future::poll_fn(|task| stream.poll_capacity(task)).await.unwrap().unwrap();
            stream.send_data(data.split_to(n), false).unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "42".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    }
    let (parts, mut stream) = response.await.unwrap().into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        let _ = stream.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await.unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body, trailers }
}

pub(super) fn to(path: &str) -> http::request::Builder {
    Request::builder()
        .uri(format!("http://a.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

pub(super) fn h2c(engine: &mut Engine, ports: &[u16], backend: serde_json::Value) -> u16 {
    let port = engine.simple(ports, backend);
    engine.apply(json!({"type": "structure",
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"], "http": {"h2c": true}}]}));
    port
}

#[test]
fn requests_of_one_h2_connection_are_balanced_each_on_its_own() {
    let mut engine = Engine::start(1);
    let names = [Backend::named("one"), Backend::named("two"), Backend::named("three")];
    let port = h2c(&mut engine, &names.each_ref().map(|b| b.port), json!({}));
    let texts = block_on(async {
        let sender = connect(port).await;
        let mut texts = Vec::new();
        for _ in 0..30 {
            let answer = ask(&sender, to("/x?y=1").method("GET").body(()).unwrap(), None).await;
            assert_eq!((answer.status, answer.headers["content-length"].len()), (200, 1));
            texts.push(String::from_utf8(answer.body).unwrap());
        }
        texts
    });
    assert_eq!(tally(texts), [("one", 10), ("two", 10), ("three", 10)].map(|(n, c)| (n.to_owned(), c)).into());
    let seen = names[0].seen.lock().unwrap();
    assert_eq!((seen[0].line(), seen[0].header("host")), ("GET /x?y=1 HTTP/1.1", Some("a.test")));
    drop(seen);
    assert_eq!(Client::connect(port).get("/").status, 200, "HTTP/1.1 on the same door");
}

#[test]
fn grpc_goes_through_with_trailers_both_ways_over_shared_connections() {
    let mut engine = Engine::start(1);
    let backends = [h2_backend("one"), h2_backend("two")];
    let port = h2c(&mut engine, &backends.each_ref().map(|(port, _)| *port), json!({"protocol": "h2c"}));
    let big: Vec<u8> = (0..1_000_000u32).map(|i| (i % 250) as u8).collect();
    block_on(async {
        let sender = connect(port).await;
        let mut counts = Vec::new();
        for _ in 0..10 {
            let answer = ask(&sender, to("/call").method("POST").body(()).unwrap(), Some(b"!".to_vec())).await;
            assert_eq!((answer.status, answer.headers["x-te"].as_bytes()), (200, &b"trailers"[..]));
            let trailers = answer.trailers.unwrap();
            assert_eq!((trailers["grpc-status"].as_bytes(), trailers["x-sum"].as_bytes()), (&b"0"[..], &b"42"[..]));
            counts.push(String::from_utf8(answer.body).unwrap());
        }
        assert_eq!(tally(counts), [("one!", 5), ("two!", 5)].map(|(n, c)| (n.to_owned(), c)).into());
        let answer = ask(&sender, to("/only-trailers").method("POST").body(()).unwrap(), Some(Vec::new())).await;
        assert_eq!((answer.headers["grpc-status"].as_bytes(), answer.body.len()), (&b"7"[..], 0));
        let answer = ask(&sender, to("/big").method("POST").body(()).unwrap(), Some(big.clone())).await;
        assert_eq!(answer.body[3..], big);
        let mut together = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let sender = sender.clone();
            together.spawn(async move {
                ask(&sender, to("/call").method("POST").body(()).unwrap(), Some(b"x".to_vec())).await.status
            });
        }
        while let Some(status) = together.join_next().await {
            assert_eq!(status.unwrap(), 200);
        }
    });
    assert_eq!(backends.map(|(_, n)| n.load(SeqCst)), [1, 1], "one connection to each");
}

#[test]
fn an_http_1_client_reaches_an_h2_backend() {
    let mut engine = Engine::start(1);
    let (backend, _) = h2_backend("two:");
    let port = engine.simple(&[backend], json!({"protocol": "h2c"}));
    let mut client = Client::connect(port);
    for _ in 0..3 {
        let response = client.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(response.text(), "9\r\ntwo:hello\r\n0\r\ngrpc-status: 0\r\n\r\n");
    }
}

#[test]
fn alpn_chooses_h2_over_tls() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("hello");
    let made = tls::make(&["a.test"]);
    let port = tls::listen(&mut engine, &[tls::certificate("1", &made)], json!({}), &backend);
    let config = tls::client(&[&made], None, &[b"h2"]);
    block_on(async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let answer = ask(&sender, to("/").method("GET").body(()).unwrap(), None).await;
        assert_eq!((answer.status, answer.body), (200, b"hello".to_vec()));
    });
    assert_eq!(backend.seen.lock().unwrap()[0].header("x-forwarded-proto"), Some("https"));
}

#[test]
fn a_host_that_is_not_the_authority_is_refused() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("hello");
    let port = h2c(&mut engine, &[backend.port], json!({}));
    block_on(async {
        let sender = connect(port).await;
        let request = to("/").method("GET").header("host", "b.test").body(()).unwrap();
        assert_eq!(ask(&sender, request, None).await.status, 400);
    });
    assert_eq!(backend.count(), 0);
}
