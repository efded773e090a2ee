//! WebSocket over HTTP/2 (RFC 8441), to backends of either version, and what is refused of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

use super::harness::{Backend, Client, Engine, Seen};
use super::http2::{block_on, connect, h2c, to};
use crate::h2::websocket;

type Sender = h2::client::SendRequest<Bytes>;

/// The bytes of one stream, both ways.
struct Tunnel {
    up: h2::SendStream<Bytes>,
    down: h2::RecvStream,
}

impl Tunnel {
    async fn send(&mut self, mut data: Bytes, end: bool) {
        while !data.is_empty() {
            self.up.reserve_capacity(data.len());
            let n = std::future::poll_fn(|task| self.up.poll_capacity(task)).await.unwrap().unwrap();
            self.up.send_data(data.split_to(n), false).unwrap();
        }
        if end {
            self.up.send_data(Bytes::new(), true).unwrap();
        }
    }

    /// So many bytes, or all until the end.
    async fn read(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < most {
            let Some(data) = self.down.data().await else { break };
            let data = data.unwrap();
            self.down.flow_control().release_capacity(data.len()).unwrap();
            bytes.extend_from_slice(&data);
        }
        bytes
    }

    async fn echoes(&mut self, text: &'static str) {
        self.send(Bytes::from_static(text.as_bytes()), false).await;
        assert_eq!(self.read(text.len()).await, text.as_bytes());
    }
}

async fn open(sender: &Sender, protocol: &'static str) -> Result<(Response<()>, Tunnel), h2::Error> {
    let mut sender = sender.clone();
    // The peer's settings tell that it may be asked for.
    while !sender.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    sender = sender.ready().await?;
    let mut request = Request::builder().method("CONNECT").uri("http://a.test/ws?x=1");
    request = request.header("sec-websocket-version", "13").header("origin", "http://a.test");
    let mut request = request.body(()).unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
    let (response, up) = sender.send_request(request, false)?;
    let (parts, down) = response.await?.into_parts();
    Ok((Response::from_parts(parts, ()), Tunnel { up, down }))
}

async fn opened(sender: &Sender) -> Tunnel {
    let (response, tunnel) = open(sender, "websocket").await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key(websocket::ACCEPT) && !response.headers().contains_key("upgrade"));
    tunnel
}

/// Switches, and sends back what comes; "bye" when the other side has ended.
fn switch(seen: &Seen, stream: &mut TcpStream) -> bool {
    let accept = websocket::accept(seen.header(websocket::KEY).unwrap());
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
    stream.write_all(format!("{head}{accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n").as_bytes()).unwrap();
    let mut piece = [0; 65536];
    while let Ok(n @ 1..) = stream.read(&mut piece) {
        if stream.write_all(&piece[..n]).is_err() {
            return false;
        }
    }
    let _ = stream.write_all(b"bye");
    false
}

/// An HTTP/2 backend that sends back what comes; also how many streams it was asked for by CONNECT. Where it does not
/// `announce`, it speaks HTTP/1.1 on the same port.
fn h2_backend(announce: bool) -> (u16, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let count = count.clone();
                let mut first = [0];
                stream.peek(&mut first).await.unwrap();
                if first != *b"P" {
                    let mut stream = stream.into_std().unwrap();
                    stream.set_nonblocking(false).unwrap();
                    std::thread::spawn(move || {
                        let (head, body) = super::harness::read_message(&mut stream).unwrap();
                        switch(&Seen { head, body, connection: 0 }, &mut stream);
                    });
                    continue;
                }
                tokio::spawn(async move {
                    let mut builder = h2::server::Builder::new();
                    if announce {
                        builder.enable_connect_protocol();
                    }
                    let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        count.fetch_add(1, SeqCst);
                        tokio::spawn(echo(request, respond));
                    }
                });
            }
        });
    });
    (port, asked)
}

async fn echo(request: Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let (parts, down) = request.into_parts();
    let protocol = parts.extensions.get::<h2::ext::Protocol>().map(|p| p.as_str().to_owned());
    let refused = protocol.as_deref() != Some("websocket") || parts.headers.contains_key(websocket::KEY);
    let status = if refused { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    assert_eq!(parts.uri.path(), "/ws");
    let up = respond.send_response(Response::builder().status(status).body(()).unwrap(), refused).unwrap();
    let mut tunnel = Tunnel { up, down };
    while let Some(Ok(data)) = tunnel.down.data().await {
        tunnel.down.flow_control().release_capacity(data.len()).unwrap();
        tunnel.send(data, false).await;
    }
    tunnel.send(Bytes::from_static(b"bye"), true).await;
}

#[test]
fn a_stream_becomes_a_websocket_of_a_backend_that_speaks_http_1() {
    let mut engine = Engine::start(1);
    let backend = Backend::start(switch);
    let port = h2c(&mut engine, &[backend.port], json!({}));
    block_on(async {
        let sender = connect(port).await;
        let (response, mut tunnel) = open(&sender, "websocket").await.unwrap();
        assert_eq!(
            (response.status(), &response.headers()["sec-websocket-protocol"]),
            (StatusCode::OK, &"chat".parse().unwrap())
        );
        assert!(!response.headers().contains_key(websocket::ACCEPT));
        tunnel.echoes("hello").await;
        // Another one beside it has its own key.
        opened(&sender).await.echoes("two").await;
        // Each side ends for itself.
        tunnel.send(Bytes::from_static(b"last"), true).await;
        assert_eq!(tunnel.read(usize::MAX).await, b"lastbye");
    });
    let seen = backend.seen.lock().unwrap();
    assert_eq!((seen[0].line(), seen[0].header("host")), ("GET /ws?x=1 HTTP/1.1", Some("a.test")));
    let header = |name| seen[0].header(name);
    assert_eq!(
        (header("connection"), header("upgrade"), header("origin")),
        (Some("upgrade"), Some("websocket"), Some("http://a.test"))
    );
    assert_ne!(header(websocket::KEY), seen[1].header(websocket::KEY));
}

#[test]
fn and_one_of_a_backend_that_speaks_http_2() {
    let mut engine = Engine::start(1);
    let (backend, asked) = h2_backend(true);
    let port = h2c(&mut engine, &[backend], json!({"protocol": "h2c"}));
    block_on(async {
        let sender = connect(port).await;
        let mut tunnel = opened(&sender).await;
        tunnel.echoes("hello").await;
        tunnel.send(Bytes::from_static(b"last"), true).await;
        assert_eq!(tunnel.read(usize::MAX).await, b"lastbye");
    });
    // A client of HTTP/1.1 gets the answer to its own key.
    let mut client = Client::connect(port);
    let (key, asks) =
        ("dGhlIHNhbXBsZSBub25jZQ==", "Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13");
    client.send(format!("GET /ws HTTP/1.1\r\nHost: a\r\n{asks}\r\nSec-WebSocket-Key: {key}\r\n\r\nhi"));
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    let text = String::from_utf8(client.rest()).unwrap().to_lowercase();
    assert!(text.starts_with("http/1.1 101 ") && text.contains("\r\nupgrade: websocket\r\n"), "{text}");
    assert!(text.contains(&websocket::accept(key).to_lowercase()) && text.ends_with("\r\n\r\nhibye"), "{text}");
    assert_eq!(asked.load(SeqCst), 2);
}

#[test]
fn a_backend_that_does_not_announce_it_is_asked_over_http_1() {
    let mut engine = Engine::start(1);
    let (backend, asked) = h2_backend(false);
    let port = h2c(&mut engine, &[backend], json!({"protocol": "h2c"}));
    block_on(async {
        let sender = connect(port).await;
        opened(&sender).await.echoes("hello").await;
        opened(&sender).await.echoes("again").await;
    });
    assert_eq!(asked.load(SeqCst), 0);
}

#[test]
fn much_goes_both_ways_within_the_windows() {
    const MUCH: usize = 3_000_000;
    let one = Backend::start(switch);
    for (backend, protocol) in [(one.port, "http"), (h2_backend(true).0, "h2c")] {
        let mut engine = Engine::start(1);
        let port = h2c(&mut engine, &[backend], json!({"protocol": protocol}));
        block_on(async {
            let Tunnel { mut up, mut down } = opened(&connect(port).await).await;
            let mut data = Bytes::from(vec![7; MUCH]);
            let write = async {
                while !data.is_empty() {
                    up.reserve_capacity(data.len());
                    let n = std::future::poll_fn(|task| up.poll_capacity(task)).await.unwrap().unwrap();
                    up.send_data(data.split_to(n), false).unwrap();
                }
                up.send_data(Bytes::new(), true).unwrap();
            };
            let read = async {
                let mut bytes = 0;
                while let Some(data) = down.data().await {
                    let data = data.unwrap();
                    bytes += data.len();
                    down.flow_control().release_capacity(data.len()).unwrap();
                }
                bytes
            };
            assert_eq!(tokio::join!(write, read).1, MUCH + "bye".len());
        });
    }
}

#[test]
fn what_is_no_websocket_is_no_answer_to_one() {
    let mut engine = Engine::start(1);
    let backend = Backend::start(|seen, stream| {
        let (status, more) = match seen.header("x-want").unwrap_or("") {
            "wrong" => ("101 Switching Protocols", "Upgrade: websocket\r\nSec-WebSocket-Accept: xxxx"),
            "plain" => ("200 OK", "Content-Length: 0"),
            _ => ("403 Forbidden", "Content-Length: 0"),
        };
        stream.write_all(format!("HTTP/1.1 {status}\r\n{more}\r\n\r\n").as_bytes()).is_ok()
    });
    let port = h2c(&mut engine, &[backend.port], json!({}));
    let with = |value: &str| {
        json!({"type": "structure", "routes": [{"id": "r", "backends": [{"backend": "b"}],
            "request_headers": {"set": [["x-want", value]]}}]})
    };
    for (want, status) in [("no", 403), ("wrong", 502), ("plain", 502)] {
        engine.apply(with(want));
        block_on(async {
            let (response, mut tunnel) = open(&connect(port).await, "websocket").await.unwrap();
            assert_eq!(response.status(), status, "{want}");
            // Nothing that the client sends now is a request.
            tunnel.up.send_data(Bytes::from_static(b"GET /no HTTP/1.1\r\nHost: a\r\n\r\n"), true).unwrap_or(());
        });
    }
    engine.apply(json!({"type": "structure", "routes": [{"id": "r", "respond": {"status": 200, "body": "own"}}]}));
    block_on(async {
        let sender = connect(port).await;
        assert!(
            open(&sender, "websocket").await.is_err(),
            "an answer of our own would be taken for a WebSocket's bytes"
        );
        assert_eq!(open(&sender, "connect-udp").await.unwrap().0.status(), 501);
    });
    assert!(backend.seen.lock().unwrap().iter().all(|seen| seen.line() == "GET /ws?x=1 HTTP/1.1"));
}

#[test]
fn goodbyes_and_changes_of_the_table_leave_it_open() {
    let mut engine = Engine::start(1);
    let backend = Backend::start(switch);
    let port = h2c(&mut engine, &[backend.port], json!({}));
    engine.apply(json!({"type": "structure", "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"],
        "http": {"h2c": true, "max_connection_age_seconds": 0.1}}]}));
    block_on(async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let over = tokio::spawn(connection);
        let mut tunnel = opened(&sender).await;
        engine.endpoints("b", &[]);
        engine.apply(json!({"type": "structure", "removed": {"routes": ["r"]}}));
        // GOAWAY comes with the first word after the connection's time.
        while let Ok(mut sender) = sender.clone().ready().await {
            let Ok((response, _)) = sender.send_request(to("/").body(()).unwrap(), true) else { break };
            if response.await.is_err() {
                break;
            }
            tunnel.echoes("still").await;
        }
        tunnel.echoes("there").await;
        tunnel.send(Bytes::new(), true).await;
        assert_eq!(tunnel.read(usize::MAX).await, b"bye");
        drop((tunnel, sender));
        over.await.unwrap().unwrap();
    });
}

#[test]
fn an_idle_one_ends_and_so_does_one_that_is_taken_back() {
    let (told, ended) = std::sync::mpsc::channel();
    let backend = Backend::start(move |seen, stream| {
        let going_on = switch(seen, stream);
        told.send(()).unwrap();
        going_on
    });
    let mut engine = Engine::start(1);
    let port = h2c(&mut engine, &[backend.port], json!({"timeouts": {"idle_seconds": 0.1}}));
    block_on(async {
        let sender = connect(port).await;
        let mut idle = opened(&sender).await;
        let end = idle.down.data().await.unwrap().unwrap_err();
        assert_eq!(end.reason(), Some(h2::Reason::CANCEL));
    });
    ended.recv_timeout(super::harness::PATIENCE).unwrap();
    engine.apply(json!({"type": "structure", "backends": [{"id": "b"}]}));
    block_on(async {
        let sender = connect(port).await;
        let mut tunnel = opened(&sender).await;
        tunnel.echoes("x").await;
        tunnel.up.send_reset(h2::Reason::CANCEL);
        tokio::task::spawn_blocking(move || ended.recv_timeout(super::harness::PATIENCE).unwrap()).await.unwrap();
    });
}
