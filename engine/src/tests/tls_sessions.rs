//! Sessions that clients resume: over changes of the table, and never past a Listener's demand for a certificate.

use std::sync::Arc;

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, NamedGroup};
use serde_json::json;

use super::harness::{Backend, Engine};
use super::tls::{certificate, client, connect, get, listen, make};

/// How the handshake was made; `None`: the client was not served.
fn visit(port: u16, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let mut stream = connect(port, "one.test", config);
    get(&mut stream).ok().filter(|text| text.ends_with("hello"))?;
    stream.conn.handshake_kind()
}

#[test]
fn a_session_is_resumed_on_every_thread_and_over_changes_of_the_table() {
    let mut engine = Engine::start(2);
    let (backend, one, two) = (Backend::named("hello"), make(&["one.test"]), make(&["two.test"]));
    let port = listen(&mut engine, &[certificate("1", &one)], json!({}), &backend);
    let config = client(&[&one], None, &[]);
    assert_eq!(visit(port, &config), Some(HandshakeKind::Full));
    (0..8).for_each(|_| assert_eq!(visit(port, &config), Some(HandshakeKind::Resumed)));
    engine.apply(json!({"type": "structure", "certificates": [certificate("2", &two)],
        "listeners": [{"id": "l", "protocol": "https", "sockets": ["s"], "certificates": ["1", "2"]}]}));
    assert_eq!(visit(port, &config), Some(HandshakeKind::Resumed));
}

#[test]
fn a_session_made_without_a_certificate_opens_no_listener_that_asks_for_one() {
    let mut engine = Engine::start(1);
    let (backend, one, known) = (Backend::named("hello"), make(&["one.test"]), make(&["client"]));
    let open = listen(&mut engine, &[certificate("1", &one)], json!({}), &backend);
    let asking = engine.socket("asking");
    let listener = json!({"id": "asking", "protocol": "https", "sockets": ["asking"], "certificates": ["1"],
        "client_ca": known.chain});
    engine.apply(json!({"type": "structure", "listeners": [listener]}));
    let nameless = client(&[&one], None, &[]);
    assert_eq!(visit(open, &nameless), Some(HandshakeKind::Full));
    assert_eq!(visit(asking, &nameless), None, "with the open Listener's ticket");
    // And once the certificate that was shown is trusted no more.
    let shown = client(&[&one], Some(&known), &[]);
    assert_eq!(visit(asking, &shown), Some(HandshakeKind::Full));
    assert_eq!(visit(asking, &shown), Some(HandshakeKind::Resumed));
    let listener = json!({"id": "asking", "protocol": "https", "sockets": ["asking"], "certificates": ["1"],
        "client_ca": make(&["client"]).chain});
    engine.apply(json!({"type": "structure", "listeners": [listener]}));
    assert_eq!(visit(asking, &shown), None, "with a ticket from when it was trusted");
}

/// A client that offers every server the sessions that any other gave it.
#[derive(Debug)]
struct Careless(ClientSessionMemoryCache);

fn one() -> ServerName<'static> {
    ServerName::try_from("one").unwrap()
}

impl ClientSessionStore for Careless {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(one(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&one())
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(one(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&one())
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&one());
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(one(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&one())
    }
}

#[test]
fn a_session_of_one_name_opens_no_other_whatever_is_asked_for_there() {
    let mut engine = Engine::start(1);
    let (backend, server, known) =
        (Backend::named("hello"), make(&["a.test", "b.test", "open.test"]), make(&["client"]));
    let port = listen(&mut engine, &[certificate("1", &server)], json!({}), &backend);
    let route = |host: &str, ca: Option<&str>| {
        let access = ca.map_or(json!({}), |ca| json!({"certificate": {"ca_pem": ca, "mode": "optional-no-ca"}}));
        json!({"id": host, "hosts": [host], "backends": [{"backend": "b"}], "access": access})
    };
    let other = make(&["client"]).chain;
    let routes = [route("a.test", Some(&known.chain)), route("b.test", Some(&other)), route("open.test", None)];
    engine.apply(json!({"type": "structure", "routes": routes}));
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let provider = crate::tls::provider();
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = builder
            .with_root_certificates(crate::tls::roots(&server.chain, "").unwrap())
            .with_client_auth_cert(
                crate::tls::parse_chain(&known.chain, "").unwrap(),
                rustls::pki_types::pem::PemObject::from_pem_slice(known.key.as_bytes()).unwrap(),
            )
            .unwrap();
        config.resumption = Resumption::store(Arc::new(Careless(ClientSessionMemoryCache::new(8))));
        let config = Arc::new(config);
        let visit = |name: &str| {
            let mut stream = connect(port, name, &config);
            get(&mut stream).expect("an answer");
            stream.conn.handshake_kind()
        };
        assert_eq!((visit("a.test"), visit("a.test")), (Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)));
        for name in ["b.test", "open.test", "a.test", "open.test"] {
            assert_eq!(visit(name), Some(HandshakeKind::Full), "{name}");
        }
    }
}
