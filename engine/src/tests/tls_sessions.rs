//! Sessions that clients resume: over changes of the table, and never past a Listener's demand for a certificate.

use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind};
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
