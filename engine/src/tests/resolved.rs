//! Backends whose endpoints are a name's addresses.

use serde_json::{Value, json};

use super::harness::{Backend, Client, Engine};

fn with(engine: &mut Engine, resolve: &str, more: Value) -> (u16, Vec<Value>) {
    let port = engine.socket("s");
    let mut backend = json!({"id": "b", "resolve": resolve});
    backend.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let nacks = engine.change(json!({"type": "structure", "full": true, "backends": [backend],
        "names": [{"id": "1", "name": "web.default.svc.cluster.local", "values": ["127.0.0.1"]}],
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"]}],
        "routes": [{"id": "r", "backends": [{"backend": "b"}]}]}));
    (port, nacks)
}

/// Asks until the name has been looked up: every ask is a turn of the engine's.
fn status(port: u16, wanted: u16) -> u16 {
    let mut client = Client::connect(port);
    let mut last = 0;
    for _ in 0..2000 {
        last = client.get("/").status;
        if last == wanted {
            break;
        }
    }
    last
}

#[test]
fn a_names_addresses_are_its_endpoints() {
    let mut engine = Engine::start(1);
    let server = Backend::named("found");
    let (port, nacks) = with(&mut engine, &format!("web.default.svc.cluster.local:{}", server.port), json!({}));
    assert!(nacks.is_empty(), "{nacks:?}");
    assert_eq!(status(port, 200), 200);
    engine.endpoints("b", &[]);
    assert_eq!(Client::connect(port).get("/").text(), "found", "a message does not take them away");
    let (port, _) = with(&mut engine, &format!("127.0.0.1:{}", server.port), json!({"resolve_local": true}));
    assert_eq!(status(port, 200), 200);
}

#[test]
fn a_name_that_leads_to_this_machine_has_none_and_it_is_told() {
    let mut engine = Engine::start(1);
    let server = Backend::named("inner");
    let (port, _) = with(&mut engine, &format!("127.0.0.1:{}", server.port), json!({}));
    let event = engine.wait_for("endpoint");
    assert_eq!(
        (&event["backend"], &event["address"], &event["state"]),
        (&json!("b"), &json!("127.0.0.1"), &json!("ejected"))
    );
    assert_eq!(Client::connect(port).get("/").status, 503);
    assert_eq!(server.count(), 0);
    let (_, nacks) = with(&mut engine, "nonsense", json!({}));
    assert_eq!(nacks[0]["path"], json!("resolve"));
}
