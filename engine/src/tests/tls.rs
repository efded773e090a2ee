//! TLS at the door and to backends, with certificates made for the test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::harness::{Backend, Engine, PATIENCE};
use crate::tls::provider;

pub struct Made {
    pub chain: String,
    pub key: String,
}

pub fn make(names: &[&str]) -> Made {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    Made { chain: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

pub fn certificate(id: &str, made: &Made) -> Value {
    json!({"id": id, "chain_pem": made.chain, "key_pem": made.key})
}

pub fn client(trusted: &[&Made], own: Option<&Made>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    trusted.iter().for_each(|m| roots.add(CertificateDer::from_pem_slice(m.chain.as_bytes()).unwrap()).unwrap());
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match own {
        Some(m) => {
            let chain = vec![CertificateDer::from_pem_slice(m.chain.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(m.key.as_bytes()).unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Arc::new(config)
}

pub fn connect(port: u16, name: &str, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let connection = ClientConnection::new(config.clone(), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    StreamOwned::new(connection, stream)
}

pub fn get(stream: &mut (impl Read + Write)) -> std::io::Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// An https Listener with these certificates in front of a backend that names itself.
pub fn listen(engine: &mut Engine, certificates: &[Value], more: Value, backend: &Backend) -> u16 {
    let port = engine.socket("s");
    let ids: Vec<_> = certificates.iter().map(|c| c["id"].clone()).collect();
    let mut listener = json!({"id": "l", "protocol": "https", "sockets": ["s"], "certificates": ids});
    listener.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    engine.apply(json!({"type": "structure", "full": true, "listeners": [listener], "certificates": certificates,
        "routes": [{"id": "r", "backends": [{"backend": "b"}]}], "backends": [{"id": "b"}]}));
    engine.endpoints("b", &[backend.port]);
    port
}

#[test]
fn a_certificate_is_shown_by_name_and_swapped_while_connections_live() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("hello");
    let (one, two) = (make(&["one.test"]), make(&["*.two.test"]));
    let port = listen(&mut engine, &[certificate("1", &one), certificate("2", &two)], json!({}), &backend);
    let mut kept = connect(port, "one.test", &client(&[&one], None, &[]));
    kept.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    assert!(get(&mut connect(port, "x.two.test", &client(&[&two], None, &[]))).unwrap().ends_with("hello"));
    assert!(get(&mut connect(port, "one.test", &client(&[&two], None, &[]))).is_err(), "it is not signed by two");
    let newer = make(&["one.test"]);
    engine.apply(json!({"type": "structure", "certificates": [certificate("1", &newer)]}));
    assert!(get(&mut connect(port, "one.test", &client(&[&newer], None, &[]))).unwrap().ends_with("hello"));
    assert!(get(&mut kept).unwrap().ends_with("hello"));
    assert_eq!(backend.seen.lock().unwrap()[0].header("x-forwarded-proto"), Some("https"));
}

#[test]
fn a_client_of_tls_that_does_not_read_is_left_after_the_idle_time() {
    let (told, heard) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let backend = Backend::start(move |_, stream| {
        let piece = [&b"1000\r\n"[..], &[b'x'; 4096], b"\r\n"].concat();
        let mut written = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while written.is_ok() {
            written = stream.write_all(&piece);
        }
        told.lock().unwrap().send(()).unwrap();
        false
    });
    let mut engine = Engine::start(1);
    let made = make(&["a.test"]);
    let http = json!({"http": {"idle_timeout_seconds": 0.2}});
    let port = listen(&mut engine, &[certificate("c", &made)], http, &backend);
    let mut stream = connect(port, "a.test", &client(&[&made], None, &[]));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    heard.recv_timeout(PATIENCE).expect("the backend is let go");
}

#[test]
fn a_client_certificate_is_asked_for() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("hello");
    let (server, known, stranger) = (make(&["one.test"]), make(&["client"]), make(&["client"]));
    let more = json!({"client_ca": known.chain});
    let port = listen(&mut engine, &[certificate("1", &server)], more, &backend);
    assert!(get(&mut connect(port, "one.test", &client(&[&server], Some(&known), &[]))).unwrap().ends_with("hello"));
    assert!(get(&mut connect(port, "one.test", &client(&[&server], Some(&stranger), &[]))).is_err());
    assert!(get(&mut connect(port, "one.test", &client(&[&server], None, &[]))).is_err());
}

#[test]
fn broken_certificates_are_nacked_and_missing_ones_named() {
    let mut engine = Engine::start(1);
    engine.socket("s");
    let (one, two) = (make(&["one.test"]), make(&["two.test"]));
    let mixed = Made { chain: one.chain, key: two.key };
    let nacks = engine.change(json!({"type": "structure", "full": true,
        "certificates": [certificate("1", &mixed), {"id": "2", "chain_pem": "nonsense"}],
        "listeners": [{"id": "l", "protocol": "https", "sockets": ["s"], "certificates": ["1"]}]}));
    let named: Vec<_> = nacks.iter().map(|n| (n["object"].as_str().unwrap(), n["path"].as_str().unwrap())).collect();
    assert_eq!(
        named,
        [("certificate/1", "key_pem"), ("certificate/2", "chain_pem"), ("listener/l", "certificates[0]")]
    );
}

/// A TLS server that answers every connection's first request with the ALPN protocol it has agreed on.
pub fn tls_backend(made: &Made) -> u16 {
    let chain = vec![CertificateDer::from_pem_slice(made.chain.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut bytes = [0u8; 4096];
            while stream.read(&mut bytes).is_ok_and(|n| n > 0) {
                if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret").is_err() {
                    break;
                }
            }
        }
    });
    port
}

#[test]
fn backends_are_verified_by_their_own_roots_and_name() {
    let made = make(&["inner.test"]);
    let secure = tls_backend(&made);
    for (tls, status) in [
        (json!({"ca_pem": made.chain, "server_name": "inner.test"}), 200),
        (json!({"ca_pem": made.chain, "server_name": "other.test"}), 502),
        (json!({"ca_pem": make(&["inner.test"]).chain, "server_name": "inner.test"}), 502),
        (json!({"insecure": true}), 200),
    ] {
        let mut engine = Engine::start(1);
        let port = engine.simple(&[secure], json!({"protocol": "https", "tls": tls}));
        let mut client = super::harness::Client::connect(port);
        (0..2).for_each(|_| assert_eq!(client.get("/").status, status, "{tls}"));
    }
}

/// A TCP server that answers a line with its name and the line, and ends.
pub fn line_echo(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            let mut piece = [0u8; 256];
            while !line.ends_with('\n') {
                let n = stream.read(&mut piece).unwrap();
                if n == 0 {
                    break;
                }
                line.push_str(&String::from_utf8_lossy(&piece[..n]));
            }
            let _ = stream.write_all(format!("{name}: {}", line.trim_end()).as_bytes());
        }
    });
    port
}
