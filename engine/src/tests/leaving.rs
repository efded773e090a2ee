//! Clients that leave while a backend says nothing: it is noticed at once, whatever they came by.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::access_log::{Folder, Reader};
use super::harness::{Backend, Client, Engine, PATIENCE};
use super::http2::{block_on, to};
use super::tls;

/// A backend that never answers, and is told when a request is taken from it.
fn silent() -> (Backend, Receiver<()>) {
    let (told, ended) = channel();
    let backend = Backend::start(move |_, stream| {
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
        told.send(()).unwrap();
        false
    });
    (backend, ended)
}

/// An engine whose Listener has that protocol, the backend behind it, and the log.
struct Stage {
    engine: Engine,
    made: tls::Made,
    port: u16,
    backend: Backend,
    ended: Receiver<()>,
    log: Reader,
    _folder: Folder,
}

impl Stage {
    fn new(name: &str, protocol: &str) -> Self {
        let folder = Folder::new(name);
        let mut engine = Engine::start_with(1, Some(folder.0.join("stats.sock")));
        let (backend, ended) = silent();
        let (port, made) = (engine.socket("s"), tls::make(&["a.test"]));
        let certificates = if protocol == "https" { json!(["1"]) } else { json!([]) };
        let http = json!({"access_log": {"share": 0.0}, "h2c": protocol == "http", "response_timeout_seconds": 0});
        engine.apply(json!({"type": "structure", "full": true, "backends": [{"id": "b"}],
            "certificates": [tls::certificate("1", &made)],
            "listeners": [{"id": "l", "protocol": protocol, "sockets": ["s"], "certificates": certificates, "http": http}],
            "routes": [{"id": "r", "backends": [{"backend": "b"}]}]}));
        engine.endpoints("b", &[backend.port]);
        let log = Reader::open(&folder);
        Self { engine, made, port, backend, ended, log, _folder: folder }
    }

    /// The request was taken from the backend, is written down and counted nowhere.
    fn left(&mut self, version: &str) {
        self.ended.recv_timeout(PATIENCE).expect("sooner than any timeout of ours");
        self.written(version);
    }

    fn written(&mut self, version: &str) {
        let line = self.log.next();
        let told = (&line["status"], &line["whole"], &line["version"]);
        assert_eq!(told, (&json!(499), &json!(false), &json!(version)), "{line}");
        self.engine.apply(json!({"type": "drain", "id": "d", "address": "127.0.0.1"}));
        assert_eq!(self.engine.wait_for("drained")["in_flight"], json!(0));
        self.engine.apply(json!({"type": "undrain", "id": "d"}));
    }
}

#[test]
fn a_client_of_tls_that_closes_or_vanishes() {
    let mut stage = Stage::new("leave-tls", "https");
    let config = tls::client(&[&stage.made], None, &[]);
    for way in 0..3 {
        let mut client = tls::connect(stage.port, "a.test", &config);
        // What it sends meanwhile does not hide its end.
        let next = if way == 2 { "GET /next HTTP/1.1\r\nHost: a\r\n" } else { "" };
        client.write_all(format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{next}").as_bytes()).unwrap();
        stage.backend.next();
        if way == 1 {
            client.conn.send_close_notify();
            client.flush().unwrap();
        } else {
            client.sock.shutdown(std::net::Shutdown::Write).unwrap();
        }
        stage.left("HTTP/1.1");
    }
}

#[test]
fn a_client_that_resets_its_connection() {
    let mut stage = Stage::new("leave-tcp", "http");
    let mut client = Client::connect(stage.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    stage.backend.next();
    socket2::SockRef::from(&client.0).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    stage.left("HTTP/1.1");
}

/// A stream that asks, on a connection of its own.
async fn asking(port: u16) -> (h2::SendStream<Bytes>, tokio::task::JoinHandle<()>) {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(async move { drop(connection.await) });
    let mut sender = sender.ready().await.unwrap();
    let (response, stream) = sender.send_request(to("/").body(()).unwrap(), true).unwrap();
    tokio::spawn(async move { drop((response.await, sender)) });
    (stream, driver)
}

#[test]
fn a_client_of_http_2_that_takes_its_request_back_or_goes() {
    for goes in [false, true] {
        let stage = Stage::new(if goes { "leave-h2" } else { "leave-h2-stream" }, "http");
        let mut stage = block_on(async move {
            let (mut stream, driver) = asking(stage.port).await;
            let stage = tokio::task::spawn_blocking(move || (stage.backend.next(), stage).1).await.unwrap();
            if goes {
                driver.abort();
            } else {
                stream.send_reset(h2::Reason::CANCEL);
                tokio::task::yield_now().await;
            }
            tokio::task::spawn_blocking(move || (stage.ended.recv_timeout(PATIENCE).unwrap(), stage).1).await.unwrap()
        });
        stage.written("HTTP/2");
    }
}

#[test]
fn a_client_that_waits_for_an_endpoint() {
    let mut stage = Stage::new("leave-hold", "https");
    stage.engine.apply(json!({"type": "structure", "backends": [{"id": "b", "hold": true}]}));
    stage.engine.endpoints("b", &[]);
    let config = tls::client(&[&stage.made], None, &[]);
    let mut client = tls::connect(stage.port, "a.test", &config);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stage.engine.wait_for("demand");
    drop(client);
    let line = stage.log.next();
    assert_eq!(line["status"], json!(499), "{line}");
}
