//! Connections that are closed gently when they are old, at both sides.

use std::collections::HashSet;

use serde_json::json;

use super::harness::{Backend, Client, Engine};

#[test]
fn an_old_client_connection_ends_with_a_response_that_says_so() {
    let mut engine = Engine::start(1);
    let port = engine.socket("s");
    engine.apply(json!({"type": "structure", "full": true,
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"], "http": {"max_connection_age_seconds": 0.2}}],
        "routes": [{"id": "r", "backends": [{"backend": "b"}]}], "backends": [{"id": "b"}]}));
    engine.endpoints("b", &[Backend::named("good").port]);
    let mut client = Client::connect(port);
    let mut answers = 0;
    let last = loop {
        let response = client.get("/");
        assert_eq!(response.text(), "good");
        answers += 1;
        if response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            break response;
        }
    };
    assert!(answers > 1, "{}", last.text());
    assert!(client.rest().is_empty(), "and then the connection ends");
    assert_eq!(Client::connect(port).get("/").text(), "good");
}

#[test]
fn an_old_connection_to_an_endpoint_gets_no_more_requests() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("good");
    let port = engine.simple(&[backend.port], json!({"timeouts": {"connection_age_seconds": 0.1}}));
    let mut client = Client::connect(port);
    let mut connections = HashSet::new();
    let mut requests = 0;
    while connections.len() < 3 {
        assert_eq!(client.get("/").text(), "good");
        connections.insert(backend.next().connection);
        requests += 1;
    }
    assert!(requests > 3, "each had more than one: {requests}");
}
