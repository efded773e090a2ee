//! Which Route a path meets, however it is spelled, and what a refused Route leaves behind.

use serde_json::{Value, json};

use super::harness::{Backend, Client, Engine};

fn with(engine: &mut Engine, backend: &Backend, routes: Value) -> Client {
    let port = engine.socket("s");
    engine.apply(json!({"type": "structure", "full": true, "routes": routes, "backends": [{"id": "b"}],
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"]}]}));
    engine.endpoints("b", &[backend.port]);
    Client::connect(port)
}

#[test]
fn no_spelling_of_a_guarded_path_gets_around_its_guard() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("open");
    let guard = |path: Value| json!({"id": path["value"], "match": {"path": path}, "access": {"deny": ["0.0.0.0/0"]}});
    let mut client = with(
        &mut engine,
        &backend,
        json!([{"id": "open", "match": {"path": {"type": "regex", "value": "^/"}}, "backends": [{"backend": "b"}]},
            guard(json!({"value": "/admin"})), guard(json!({"type": "exact", "value": "/one"})),
            guard(json!({"type": "regex", "value": "^/v[0-9]/secret"})), guard(json!({"value": "/caf%C3%A9/x"}))]),
    );
    for path in [
        "/admin",
        "/admin/x",
        "/%61dmin",
        "//admin",
        "/admin%2Fx",
        "/%2fadmin",
        "/admin//x?y",
        "/one",
        "/on%65",
        "//one",
        "/v1/secret",
        "/v1//secret",
        "/v1%2Fsecret",
        "/caf%c3%a9/x",
    ] {
        assert_eq!(client.get(path).status, 403, "{path}");
    }
    for path in ["/admins", "/%2561dmin", "/one/", "/v1/public", "/a%20b", "/x%2Fy//z"] {
        assert_eq!((client.get(path).text(), backend.next().line()), ("open".into(), &*format!("GET {path} HTTP/1.1")));
    }
}

#[test]
fn a_rewritten_path_is_cut_where_the_prefix_ends_however_it_is_spelled() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("b");
    let to = json!([{"backend": "b"}]);
    let mut client = with(
        &mut engine,
        &backend,
        json!([{"id": "1", "match": {"path": {"value": "/foo"}}, "backends": to, "rewrite": {"path_prefix": "/bar"}},
            {"id": "2", "match": {"path": {"value": "/re"}}, "backends": to,
                "rewrite": {"regex": "^/re/(.*)$", "substitution": "/$1"}}]),
    );
    for (path, target) in [
        ("/%66oo/a%2Fb", "/bar/a%2Fb"),
        ("//foo//a", "/bar//a"),
        ("/foo%2Fa", "/bar%2Fa"),
        ("/re/a%20b%3Fc", "/a%20b%3Fc"),
        ("/re/a%2Fb?q", "/a/b?q"),
    ] {
        client.get(path);
        assert_eq!(backend.next().line(), format!("GET {target} HTTP/1.1"), "{path}");
    }
}

#[test]
fn a_refused_route_is_a_closed_door_until_it_is_mended() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("open");
    let mut client = with(&mut engine, &backend, json!([{"id": "open", "backends": [{"backend": "b"}]}]));
    let guarded = |id: &str, matching: Value, more: Value| {
        let mut route =
            json!({"id": id, "match": matching, "backends": [{"backend": "b"}], "access": {"deny": ["nowhere"]}});
        route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        route
    };
    let nacks = engine.change(json!({"type": "structure", "routes": [
        guarded("1", json!({"path": {"value": "/admin"}}), json!({})),
        guarded("2", json!({"path": {"value": "/later"}}), json!({"field": "of a later version"})),
        guarded("3", json!({"path": {"value": "/new"}, "headers": [{"name": "X-Beta", "type": "regex", "value": "("}]}), json!({})),
    ]}));
    assert_eq!(nacks.len(), 3);
    for path in ["/admin", "/admin/x", "/later"] {
        assert_eq!(client.get(path).status, 503, "{path}");
    }
    assert_eq!(client.get("/new").text(), "open", "the door is only where the header is");
    assert_eq!(client.ask("GET /new HTTP/1.1\r\nHost: a\r\nX-Beta: 1\r\n\r\n").status, 503);
    engine.apply(json!({"type": "structure", "routes": [{"id": "1", "match": {"path": {"value": "/admin"}}, "backends": [{"backend": "b"}]}]}));
    assert_eq!(client.get("/admin").text(), "open");
    // What was carried and is refused now is closed, too: its new guard would be missing.
    assert_eq!(
        engine
            .change(
                json!({"type": "structure", "routes": [guarded("1", json!({"path": {"value": "/admin"}}), json!({}))]})
            )
            .len(),
        1
    );
    assert_eq!(client.get("/admin").status, 503);
    engine.apply(json!({"type": "structure", "removed": {"routes": ["1", "2"]}}));
    assert_eq!(client.get("/admin").text(), "open");
}

#[test]
fn an_expression_that_does_not_compile_closes_what_begins_as_it_does() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("open");
    let route = |id: &str, value: &str| json!({"id": id, "match": {"path": {"type": "regex", "value": value}}, "backends": [{"backend": "b"}]});
    let mut client = with(&mut engine, &backend, json!([route("open", "^/")]));
    let nacks =
        engine.change(json!({"type": "structure", "routes": [route("1", "^/api/v(?=1)"), route("2", "^/(?!x)")]}));
    assert_eq!(nacks.len(), 2);
    assert_eq!((client.get("/api/v1").status, client.get("/api/").status), (503, 503));
    assert_eq!(client.get("/").status, 503, "nothing is known of the second but that it begins with a slash");
    engine.apply(json!({"type": "structure", "removed": {"routes": ["2"]}}));
    assert_eq!(client.get("/other").text(), "open");
}
