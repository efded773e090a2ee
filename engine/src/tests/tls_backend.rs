//! TLS and mutual TLS to backends: whose certificate counts, whose does not, and what a change of the policy does.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::harness::{Backend, Client, Engine, PATIENCE};
use super::tls::{Made, certificate, make};
use crate::tls::provider;

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for that name (or URI), valid in these years.
    pub fn issue(&self, name: &str, years: (i32, i32)) -> Made {
        let is_uri = name.contains("://");
        let mut params = CertificateParams::new(if is_uri { vec![] } else { vec![name.to_owned()] }).unwrap();
        if is_uri {
            params.subject_alt_names.push(SanType::URI(name.try_into().unwrap()));
        }
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        Made { chain, key: key.serialize_pem() }
    }
}

const VALID: (i32, i32) = (2020, 4000);
static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

/// A TLS server that answers `secret`, and tells of each handshake: how it was made and the client's certificate.
struct Secure {
    port: u16,
    handshakes: Receiver<(HandshakeKind, Option<Vec<u8>>)>,
}

fn serve(made: &Made, client_ca: Option<&str>) -> Secure {
    let chain = vec![CertificateDer::from_pem_slice(made.chain.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, handshakes) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream.unwrap());
            let tell = tell.clone();
            std::thread::spawn(move || {
                let (mut bytes, mut told) = ([0u8; 4096], false);
                while stream.read(&mut bytes).is_ok_and(|n| n > 0) {
                    if !std::mem::replace(&mut told, true) {
                        let shown = stream.conn.peer_certificates().and_then(|c| Some(c.first()?.to_vec()));
                        let _ = tell.send((stream.conn.handshake_kind().unwrap(), shown));
                    }
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret").is_err() {
                        break;
                    }
                }
            });
        }
    });
    Secure { port, handshakes }
}

fn policy(tls: Value) -> Value {
    json!({"id": "b", "protocol": "https", "tls": tls})
}

#[test]
fn a_backends_certificate_must_be_of_its_authority_of_its_name_and_of_today() {
    let stranger = Authority::new();
    let cases = [
        ("good", AUTHORITY.issue("inner.test", VALID), "inner.test", 200),
        ("another name", AUTHORITY.issue("inner.test", VALID), "outer.test", 502),
        ("expired", AUTHORITY.issue("inner.test", (2020, 2021)), "inner.test", 502),
        ("not yet valid", AUTHORITY.issue("inner.test", (3000, 4000)), "inner.test", 502),
        ("another authority", stranger.issue("inner.test", VALID), "inner.test", 502),
        ("nobody's", make(&["inner.test"]), "inner.test", 502),
        ("an address, by name", AUTHORITY.issue("127.0.0.1", VALID), "127.0.0.1", 200),
        ("an address, by itself", AUTHORITY.issue("127.0.0.1", VALID), "", 200),
        ("a name where the address is asked for", AUTHORITY.issue("inner.test", VALID), "", 502),
    ];
    let mut engine = Engine::start(1);
    let port = engine.simple(&[], json!({}));
    for (what, made, name, status) in cases {
        let secure = serve(&made, None);
        let tls = json!({"ca_pem": AUTHORITY.pem(), "server_name": name});
        engine.apply(json!({"type": "structure", "backends": [policy(tls)]}));
        engine.endpoints("b", &[secure.port]);
        assert_eq!(Client::connect(port).get("/").status, status, "{what}");
    }
}

#[test]
fn a_backends_certificate_may_have_to_be_of_other_names_than_it_is_asked_for() {
    let stranger = Authority::new();
    let spiffe = "spiffe://cluster.local/ns/default/sa/web";
    let cases = [
        ("one of the names", AUTHORITY.issue("other.test", VALID), json!(["more.test", "other.test"]), 200),
        ("the name asked for is none of them", AUTHORITY.issue("inner.test", VALID), json!(["other.test"]), 502),
        ("a URI", AUTHORITY.issue(spiffe, VALID), json!([spiffe]), 200),
        ("another URI", AUTHORITY.issue("spiffe://cluster.local/ns/x/sa/web", VALID), json!([spiffe]), 502),
        ("another authority", stranger.issue("other.test", VALID), json!(["other.test"]), 502),
        ("expired", AUTHORITY.issue("other.test", (2020, 2021)), json!(["other.test"]), 502),
    ];
    let mut engine = Engine::start(1);
    let port = engine.simple(&[], json!({}));
    for (what, made, names, status) in cases {
        let secure = serve(&made, None);
        let tls = json!({"ca_pem": AUTHORITY.pem(), "server_name": "inner.test", "names": names});
        engine.apply(json!({"type": "structure", "backends": [policy(tls)]}));
        engine.endpoints("b", &[secure.port]);
        assert_eq!(Client::connect(port).get("/").status, status, "{what}");
    }
}

#[test]
fn a_backend_that_asks_for_a_certificate_gets_ours() {
    let (ours, others) = (AUTHORITY.issue("client.test", VALID), Authority::new().issue("client.test", VALID));
    let secure = serve(&AUTHORITY.issue("inner.test", VALID), Some(&AUTHORITY.pem()));
    let mut engine = Engine::start(1);
    let port = engine.simple(&[], json!({}));
    let certificates = json!([certificate("ours", &ours), certificate("others", &others)]);
    engine.apply(json!({"type": "structure", "certificates": certificates}));
    engine.endpoints("b", &[secure.port]);
    for (id, status) in [("ours", 200), ("others", 502), ("", 502)] {
        let tls = json!({"ca_pem": AUTHORITY.pem(), "server_name": "inner.test", "certificate": id});
        engine.apply(json!({"type": "structure", "backends": [policy(tls)]}));
        assert_eq!(Client::connect(port).get("/").status, status, "certificate {id:?}");
    }
    let (_, shown) = secure.handshakes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(shown, Some(CertificateDer::from_pem_slice(ours.chain.as_bytes()).unwrap().to_vec()));
}

#[test]
fn a_certificate_that_is_renewed_is_shown_from_the_next_connection_on() {
    let secure = serve(&AUTHORITY.issue("inner.test", VALID), Some(&AUTHORITY.pem()));
    let mut engine = Engine::start(1);
    let port = engine.simple(&[], json!({}));
    engine.endpoints("b", &[secure.port]);
    let tls = json!({"ca_pem": AUTHORITY.pem(), "server_name": "inner.test", "certificate": "ours"});
    for backends in [json!([policy(tls)]), json!([])] {
        let made = AUTHORITY.issue("client.test", VALID);
        let certificates = json!([certificate("ours", &made)]);
        engine.apply(json!({"type": "structure", "certificates": certificates, "backends": backends}));
        assert_eq!(Client::connect(port).get("/").text(), "secret");
        let (_, shown) = secure.handshakes.recv_timeout(PATIENCE).unwrap();
        assert_eq!(shown, Some(CertificateDer::from_pem_slice(made.chain.as_bytes()).unwrap().to_vec()));
    }
}

#[test]
fn kept_connections_are_not_used_under_a_policy_that_would_not_have_made_them() {
    let secure = serve(&AUTHORITY.issue("inner.test", VALID), None);
    let mut engine = Engine::start(1);
    let port = engine.simple(&[secure.port], json!({"protocol": "https", "tls": {"insecure": true}}));
    assert_eq!(Client::connect(port).get("/").text(), "secret");
    let strict = json!({"ca_pem": AUTHORITY.pem(), "server_name": "other.test"});
    engine.apply(json!({"type": "structure", "backends": [policy(strict)]}));
    assert_eq!(Client::connect(port).get("/").status, 502);
    // The same of a Backend that had no TLS before.
    let plain = Backend::named("plain");
    engine.apply(json!({"type": "structure", "backends": [{"id": "b"}]}));
    engine.endpoints("b", &[plain.port]);
    assert_eq!(Client::connect(port).get("/").text(), "plain");
    let mut tls = policy(json!({"insecure": true}));
    tls["timeouts"] = json!({"connect_seconds": 0.1}); // the plain server waits for the rest of the hello
    engine.apply(json!({"type": "structure", "backends": [tls]}));
    assert_eq!(Client::connect(port).get("/").status, 502);
    assert_eq!(plain.count(), 1);
}

#[test]
fn sessions_with_a_backend_are_resumed() {
    let secure = serve(&AUTHORITY.issue("inner.test", VALID), None);
    let mut engine = Engine::start(1);
    let tls = json!({"ca_pem": AUTHORITY.pem(), "server_name": "inner.test"});
    let port = engine.simple(&[secure.port], json!({"protocol": "https", "tls": tls}));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        // The drain closes the connection, so the next request makes one.
        assert_eq!(Client::connect(port).get("/").text(), "secret");
        kinds.push(secure.handshakes.recv_timeout(PATIENCE).unwrap().0);
        engine.apply(json!({"type": "drain", "id": "d", "address": "127.0.0.1"}));
        engine.wait_for("drained");
        engine.apply(json!({"type": "undrain", "id": "d"}));
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}
