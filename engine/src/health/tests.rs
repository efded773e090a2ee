//! Probes against real sockets in this process.

use std::future::Future;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

fn locally<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await.expect("it took too long") })
}

/// A server that answers every connection with the same bytes and closes; `None` never answers.
async fn serve(answer: Option<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn_local(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(answer) = &answer {
                let mut piece = [0; 4096];
                let _ = stream.read(&mut piece).await;
                let _ = stream.write_all(answer).await;
            } else {
                kept.push(stream);
            }
        }
    });
    port
}

fn probe(kind: objects::CheckKind, port: u16) -> objects::Probe {
    objects::Probe { kind, address: "127.0.0.1".into(), port, timeout_seconds: 0.5, ..objects::Probe::default() }
}

async fn http(answer: &[u8]) -> Result<String, String> {
    attempt::once(&probe(objects::CheckKind::Http, serve(Some(answer.to_vec())).await)).await
}

#[test]
fn http_statuses_are_judged_as_the_kubelet_judges_them() {
    locally(async {
        for (answer, ok) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil close", true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true),
            ("HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 399 Odd\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", false),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense", false),
            ("nonsense\r\n\r\n", false),
            ("", false),
        ] {
            let result = http(answer.as_bytes()).await;
            assert_eq!(result.is_ok(), ok, "{answer:?}: {result:?}");
        }
    });
}

#[test]
fn https_takes_any_certificate() {
    locally(async {
        let made = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).unwrap();
        let spec = objects::Certificate {
            id: "c".into(),
            chain_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        };
        let identity = std::sync::Arc::new(crate::tls::Identity::parse(&spec).unwrap());
        let acceptor =
            tokio_rustls::TlsAcceptor::from(crate::tls::server(&[identity], crate::tls::Asks::Nobody, true).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        });
        let secure = objects::Probe { scheme: "HTTPS".into(), ..probe(objects::CheckKind::Http, port) };
        assert_eq!(attempt::once(&secure).await, Ok("ok".to_owned()));
        let plain = serve(Some(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())).await;
        let problem = attempt::once(&objects::Probe { port: plain, ..secure }).await.unwrap_err();
        assert!(problem.starts_with(&format!("Get \"https://127.0.0.1:{plain}/\": tls: ")), "{problem}");
    });
}

#[test]
fn a_body_of_any_size_costs_ten_kib() {
    locally(async {
        let answer = [b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n".to_vec(), vec![b'x'; 1 << 20]].concat();
        assert_eq!(http(&answer).await.unwrap().len(), 10 << 10);
    });
}

#[test]
fn a_redirect_to_itself_ends_after_ten() {
    locally(async {
        let result = http(b"HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n").await;
        assert!(result.unwrap_err().contains("stopped after 10 redirects"));
    });
}

#[test]
fn what_never_answers_fails_at_the_timeout_and_what_refuses_at_once() {
    locally(async {
        let silent = serve(None).await;
        for (kind, expected) in
            [(objects::CheckKind::Http, "context deadline exceeded"), (objects::CheckKind::Grpc, "timeout")]
        {
            let problem = attempt::once(&probe(kind, silent)).await.unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        assert_eq!(attempt::once(&probe(objects::CheckKind::Tcp, silent)).await, Ok(String::new()));
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        for kind in [objects::CheckKind::Http, objects::CheckKind::Tcp, objects::CheckKind::Grpc] {
            let problem = attempt::once(&probe(kind, closed)).await.unwrap_err();
            assert!(problem.contains("connection refused"), "{problem}");
        }
    });
}

/// A gRPC server that answers every call with these bytes of body and this code.
async fn serve_grpc(body: &'static [u8], code: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                let mut stream = respond.send_response(head, false).unwrap();
                stream.send_data(bytes::Bytes::from_static(body), false).unwrap();
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", code.parse().unwrap());
                stream.send_trailers(trailers).unwrap();
            }
        }
    });
    port
}

#[test]
fn grpc_health_is_asked_and_only_serving_is_success() {
    locally(async {
        let serving = serve_grpc(&[0, 0, 0, 0, 2, 8, 1], "0").await;
        let kind = objects::CheckKind::Grpc;
        assert_eq!(attempt::once(&probe(kind, serving)).await.unwrap(), "SERVING");
        let sick = serve_grpc(&[0, 0, 0, 0, 2, 8, 2], "0").await;
        assert!(attempt::once(&probe(kind, sick)).await.unwrap_err().contains("NOT_SERVING"));
        let without = serve_grpc(&[], "12").await;
        assert!(attempt::once(&probe(kind, without)).await.unwrap_err().contains("does not implement"));
        let plain = serve(Some(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())).await;
        assert!(attempt::once(&probe(kind, plain)).await.is_err());
    });
}

fn message(set: Value, full: bool) -> wire::Probes {
    serde_json::from_value(json!({"epoch": 1, "seq": 1, "full": full, "set": set})).unwrap()
}

async fn next(events: &mut UnboundedReceiver<wire::Event>) -> (String, bool) {
    match events.recv().await.unwrap() {
        wire::Event::Probe { id, ok, .. } => (id, ok),
        other => panic!("{other:?}"),
    }
}

#[test]
fn transitions_are_reported_and_an_unchanged_probe_repeats_its_last_report() {
    locally(async {
        let (report, mut events) = unbounded_channel();
        let mut prober = Prober::new(report);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let set = json!([{"id": "p", "kind": "tcp", "address": "127.0.0.1", "port": port, "period_seconds": 0.05,
            "failure_threshold": 2}]);
        assert_eq!(prober.apply(&message(set.clone(), true)), []);
        assert_eq!(next(&mut events).await, ("p".to_owned(), true));
        drop(listener);
        assert_eq!(next(&mut events).await, ("p".to_owned(), false));
        assert_eq!(prober.apply(&message(set, false)), []);
        assert_eq!(next(&mut events).await, ("p".to_owned(), false));
        prober.apply(&message(json!([]), true));
        assert!(prober.running.is_empty());
    });
}

#[test]
fn mistakes_are_nacked_by_field_and_hurt_no_other_probe() {
    locally(async {
        let (report, _events) = unbounded_channel();
        let mut prober = Prober::new(report);
        let good = json!({"id": "good", "kind": "tcp", "address": "127.0.0.1", "port": 1});
        let mut cases = vec![good.clone()];
        for (field, value) in [
            ("period_seconds", json!(0)),
            ("timeout_seconds", json!(-1)),
            ("port", json!(0)),
            ("kind", json!("smoke")),
            ("failure_threshold", json!(0)),
            ("unheard_of", json!(1)),
        ] {
            let mut case = good.clone();
            case["id"] = json!(field);
            case[field] = value;
            cases.push(case);
        }
        let nacks = prober.apply(&message(json!(cases), true));
        let named: Vec<(&str, &str)> = nacks.iter().map(|nack| (nack.object.as_str(), nack.path.as_str())).collect();
        let expected = ["period_seconds", "timeout_seconds", "port", "kind", "failure_threshold", "unheard_of"];
        assert_eq!(
            named,
            expected.map(|field| (format!("probe/{field}"), field)).each_ref().map(|(o, p)| (o.as_str(), *p))
        );
        assert_eq!(prober.running.keys().collect::<Vec<_>>(), ["good"]);
    });
}
