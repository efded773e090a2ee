//! Active checks by gRPC's health protocol and over HTTP/2, and what the statistics tell of endpoints that were thrown out.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use bytes::Bytes;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::access_log::Folder;
use super::harness::{Backend, Client, Engine, closed_port};
use super::tls;
use crate::tls::provider;

/// A server of grpc.health.v1 that knows the service "a.B", and of /healthz; with a certificate it speaks TLS. Only HTTP/2.
fn health_server(made: Option<&tls::Made>, serving: &Arc<AtomicBool>) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (acceptor, serving) = (made.map(acceptor), serving.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, serving) = (acceptor.clone(), serving.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => answer(stream, serving).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                answer(stream, serving).await;
                            }
                        }
                    }
                });
            }
        });
    });
    port
}

fn acceptor(made: &tls::Made) -> tokio_rustls::TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(made.chain.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config).into()
}

async fn answer<T: AsyncRead + AsyncWrite + Unpin>(stream: T, serving: Arc<AtomicBool>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        if request.uri().path() == "/healthz" {
            let good = serving.load(SeqCst) && request.uri().scheme().is_some();
            let head = http::Response::builder().status(if good { 200 } else { 503 }).body(()).unwrap();
            let _ = respond.send_response(head, true);
            continue;
        }
        let known = request.uri().path() == "/grpc.health.v1.Health/Check";
        let mut body = request.into_body();
        let asked = tokio::select! {
            asked = body.data() => asked.and_then(Result::ok).unwrap_or_default(),
            _ = std::future::poll_fn(|task| connection.poll_closed(task)) => return,
        };
        let head = http::Response::builder().header("content-type", "application/grpc");
        if !known || asked.as_ref() != [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B'] {
            let _ = respond.send_response(head.header("grpc-status", "5").body(()).unwrap(), true);
            continue;
        }
        let status = if serving.load(SeqCst) { 1 } else { 2 };
        let Ok(mut stream) = respond.send_response(head.body(()).unwrap(), false) else { return };
        let _ = stream.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]), false);
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let _ = stream.send_trailers(trailers);
    }
}

fn follows_serving(made: Option<&tls::Made>, backend: Value) {
    follows(made, backend, json!({"kind": "grpc", "service": "a.B"}), "NOT_SERVING");
}

/// `reason`: what is told when it does not serve.
fn follows(made: Option<&tls::Made>, mut backend: Value, mut health: Value, reason: &str) {
    let mut engine = Engine::start(1);
    let serving = Arc::new(AtomicBool::new(false));
    let port = health_server(made, &serving);
    (health["interval_seconds"], health["unhealthy_threshold"]) = (json!(0.02), json!(2));
    backend["health"] = health;
    engine.simple(&[port, health_server(made, &Arc::new(AtomicBool::new(true)))], backend);
    let event = engine.wait_for("endpoint");
    assert_eq!((&event["state"], &event["port"]), (&json!("ejected"), &json!(port)), "{event}");
    assert!(event["reason"].as_str().unwrap().contains(reason), "{event}");
    serving.store(true, SeqCst);
    let event = engine.wait_for("endpoint");
    assert_eq!((&event["state"], &event["port"]), (&json!("returned"), &json!(port)), "{event}");
}

#[test]
fn grpc_health_decides_over_h2c() {
    follows_serving(None, json!({"protocol": "h2c"}));
}

#[test]
fn grpc_health_decides_over_tls_whatever_the_backend_speaks() {
    let made = tls::make(&["inner.test"]);
    let tls = json!({"ca_pem": made.chain, "server_name": "inner.test"});
    for protocol in ["h2", "https"] {
        follows_serving(Some(&made), json!({"protocol": protocol, "tls": tls}));
    }
}

#[test]
fn http_health_is_asked_in_the_version_that_the_backend_speaks() {
    let (made, health) = (tls::make(&["inner.test"]), json!({"kind": "http", "path": "/healthz"}));
    let tls = json!({"ca_pem": made.chain, "server_name": "inner.test"});
    follows(None, json!({"protocol": "h2c"}), health.clone(), "status 503");
    follows(Some(&made), json!({"protocol": "h2", "tls": tls}), health, "status 503");
}

#[test]
fn http_health_is_asked_over_tls_where_the_backend_has_it() {
    let made = tls::make(&["inner.test"]);
    let mut engine = Engine::start(1);
    let (secure, plain) = (tls::tls_backend(&made), Backend::named("plain"));
    let tls = json!({"ca_pem": made.chain, "server_name": "inner.test"});
    let health = json!({"interval_seconds": 0.02, "unhealthy_threshold": 1});
    engine.simple(&[secure, plain.port], json!({"protocol": "https", "tls": tls, "health": health}));
    let event = engine.wait_for("endpoint");
    assert_eq!((&event["state"], &event["port"]), (&json!("ejected"), &json!(plain.port)), "{event}");
}

#[test]
fn a_service_is_for_grpc_alone() {
    let mut engine = Engine::start(1);
    let backend = json!({"id": "b", "health": {"kind": "http", "service": "a.B"}});
    let nacks = engine.change(json!({"type": "structure", "full": true, "backends": [backend]}));
    assert_eq!(nacks[0]["path"], json!("health.service"));
}

/// What the statistics socket says under that path.
pub fn stats(path: &std::path::Path, target: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn statistics_tell_that_an_endpoint_refuses_connections_until_it_takes_one() {
    let folder = Folder::new("refusing");
    let path = folder.0.join("stats.sock");
    let mut engine = Engine::start_with(1, Some(path.clone()));
    let (gone, good) = (closed_port(), Backend::named("good"));
    let mut client = Client::connect(engine.simple(&[gone, good.port], json!({})));
    let seen = |port: u16| {
        let all: Value = serde_json::from_str(&stats(&path, "/stats")).unwrap();
        all["backends"]["b"]["endpoints"][format!("127.0.0.1:{port}")].clone()
    };
    (0..4).for_each(|_| assert_eq!(client.get("/").text(), "good"));
    let refusing = seen(gone);
    let times = refusing["connect_failures"].as_u64().unwrap();
    assert!(times > 0, "{refusing}");
    assert_eq!(refusing["connect_trouble"], json!({"in_a_row": times, "reason": "Connection refused"}));
    assert_eq!(seen(good.port)["connect_trouble"], json!(null));
    let metric = format!("endpoint=\"127.0.0.1:{gone}\",name=\"\"}} {times}\n");
    assert!(stats(&path, "/metrics").contains(&metric));
    let listener = std::net::TcpListener::bind(("127.0.0.1", gone)).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback").unwrap();
        let _ = stream.read(&mut [0]);
    });
    assert!((0..4).any(|_| client.get("/").text() == "back"));
    assert_eq!((&seen(gone)["connect_trouble"], &seen(gone)["connect_failures"]), (&json!(null), &json!(times)));
}

#[test]
fn statistics_tell_how_often_and_why_an_endpoint_was_thrown_out_and_until_when() {
    let folder = std::env::temp_dir().join(format!("fairlead-checks-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("stats.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut engine = Engine::start(1);
    engine.hand_over("stats", "unix", listener.as_fd());
    let failing = Backend::scripted(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops");
    let outlier = json!({"algorithm": "rr", "outlier": {"consecutive_errors": 3, "ejection_seconds": 60}});
    let port = engine.simple(&[failing.port, Backend::named("good").port], outlier);
    let mut client = Client::connect(port);
    (0..6).for_each(|_| drop(client.get("/")));
    engine.wait_for("endpoint");
    let seen: Value = serde_json::from_str(&stats(&path, "/stats")).unwrap();
    let endpoint = &seen["backends"]["b"]["endpoints"][format!("127.0.0.1:{}", failing.port)];
    assert_eq!((&endpoint["state"], &endpoint["ejections"]["count"]), (&json!("ejected"), &json!({"errors": 1})));
    let last = &endpoint["ejections"]["last"];
    assert_eq!(last["reason"], json!("errors in a row"));
    let seconds = last["until"].as_f64().unwrap() - last["at"].as_f64().unwrap();
    assert!((seconds - 60.0).abs() < 1e-3, "{seconds}");
    let text = stats(&path, "/metrics");
    let labels = format!("backend=\"b\",endpoint=\"127.0.0.1:{}\",name=\"\"", failing.port);
    for line in [
        format!("fairlead_endpoint_ejected{{{labels}}} 1"),
        format!("fairlead_endpoint_ejections_total{{{labels},reason=\"errors\"}} 1"),
        format!("fairlead_endpoint_ejections_total{{{labels},reason=\"health-check\"}} 0"),
    ] {
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
