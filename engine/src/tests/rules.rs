//! What Routes do besides choosing: redirects, rewrites, header changes, CORS, limits, networks, mirrors.

use serde_json::{Value, json};

use super::harness::{Backend, Client, Engine, Response};

fn with(engine: &mut Engine, backend: &Backend, routes: Value) -> Client {
    let port = engine.socket("s");
    engine.apply(json!({"type": "structure", "full": true, "routes": routes, "backends": [{"id": "b"}, {"id": "m"}],
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"]}]}));
    engine.endpoints("b", &[backend.port]);
    Client::connect(port)
}

fn get(client: &mut Client, host: &str, path: &str, more: &str) -> Response {
    client.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"))
}

#[test]
fn redirects_say_where_to() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("b");
    let prefix = json!({"path": {"value": "/old"}});
    let mut client = with(
        &mut engine,
        &backend,
        json!([
            {"id": "scheme", "hosts": ["s.test"], "redirect": {"scheme": "https", "status": 301}},
            {"id": "port", "hosts": ["p.test"], "redirect": {"scheme": "https", "port": 8443}},
            {"id": "host", "hosts": ["h.test"], "redirect": {"host": "new.test", "path": "/whole"}},
            {"id": "prefix", "hosts": ["x.test"], "match": prefix, "redirect": {"path_prefix": "/new/"}},
            {"id": "location", "hosts": ["l.test"],
                "redirect": {"location": [["text", "https://o.test/?to="], ["variable", "escaped-uri"]], "status": 308}},
        ]),
    );
    for (host, path, status, location) in [
        ("s.test:8080", "/a?b=c", 301, "https://s.test/a?b=c"),
        ("p.test", "/a", 302, "https://p.test:8443/a"),
        ("h.test:8080", "/a?b", 302, "http://new.test:8080/whole?b"),
        ("x.test", "/old/page", 302, "http://x.test/new/page"),
        ("x.test", "/old", 302, "http://x.test/new"),
        ("l.test", "/a?b=c", 308, "https://o.test/?to=%2Fa%3Fb%3Dc"),
    ] {
        let response = get(&mut client, host, path, "");
        assert_eq!((response.status, response.header("location")), (status, Some(location)), "{host}{path}");
    }
    assert_eq!(backend.count(), 0);
}

#[test]
fn rewrites_change_what_the_backend_sees() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("b");
    let mut client = with(
        &mut engine,
        &backend,
        json!([
            {"id": "1", "hosts": ["1.test"], "backends": [{"backend": "b"}], "rewrite": {"path": "/fixed", "host": "inner"}},
            {"id": "2", "hosts": ["2.test"], "backends": [{"backend": "b"}], "match": {"path": {"value": "/foo"}},
                "rewrite": {"path_prefix": "/"}},
            {"id": "3", "hosts": ["3.test"], "backends": [{"backend": "b"}], "match": {"path": {"value": "/foo"}},
                "rewrite": {"path_prefix": "/bar"}},
            {"id": "4", "hosts": ["4.test"], "backends": [{"backend": "b"}],
                "rewrite": {"regex": "^/api/v([0-9])/(.*)$", "substitution": "/$2?v=$1"}},
        ]),
    );
    for (host, path, target) in [
        ("1.test", "/a?q", "/fixed?q"),
        ("2.test", "/foo/a", "/a"),
        ("2.test", "/foo", "/"),
        ("3.test", "/foo/a/b?c", "/bar/a/b?c"),
        ("3.test", "/foo", "/bar"),
        ("3.test", "/foo/", "/bar/"),
        ("4.test", "/api/v2/users?x=1", "/users?v=2&x=1"),
        ("4.test", "/other", "/other"),
    ] {
        get(&mut client, host, path, "");
        let seen = backend.next();
        assert_eq!(seen.line(), format!("GET {target} HTTP/1.1"), "{host}{path}");
        assert_eq!(seen.header("host"), Some(if host == "1.test" { "inner" } else { host }));
    }
}

#[test]
fn header_changes_go_both_ways() {
    let mut engine = Engine::start(1);
    let backend = Backend::scripted(b"HTTP/1.1 200 OK\r\nServer: secret\r\nX-A: old\r\nContent-Length: 0\r\n\r\n");
    let changes = json!({"set": [["X-A", "new"]], "add": [["X-B", "2"]], "remove": ["server", "x-gone"]});
    let mut client = with(
        &mut engine,
        &backend,
        json!([
        {"id": "r", "backends": [{"backend": "b"}], "request_headers": changes, "response_headers": changes}]),
    );
    let response = get(&mut client, "a", "/", "X-A: mine\r\nX-Gone: 1\r\nX-B: 1\r\n");
    assert_eq!(
        (response.header("x-a"), response.header("x-b"), response.header("server")),
        (Some("new"), Some("2"), None)
    );
    let head = backend.next().head;
    assert!(
        head.contains("\r\nX-B: 1\r\n") && head.contains("\r\nX-B: 2\r\n") && head.contains("\r\nX-A: new\r\n"),
        "{head}"
    );
    assert!(!head.contains("mine") && !head.contains("X-Gone"), "{head}");
    let nacks = engine.change(json!({"type": "structure", "routes": [
        {"id": "bad", "request_headers": {"set": [["X", "a\r\nEvil: 1"]]}}, {"id": "worse", "response_headers": {"add": [["Content-Length", "0"]]}}]}));
    let paths: Vec<_> = nacks.iter().map(|n| n["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["request_headers.set[0]", "response_headers.add[0]"]);
}

#[test]
fn the_star_of_an_origin_is_anything_or_one_label() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("b");
    for (one_label, allowed) in [(false, [true, true, true]), (true, [true, false, false])] {
        let cors = json!({"allow_origins": ["https://*.good.test"], "one_label": one_label});
        let mut client =
            with(&mut engine, &backend, json!([{"id": "r", "backends": [{"backend": "b"}], "cors": cors}]));
        let mut asked = |origin: &str| {
            let response = get(&mut client, "a", "/", &format!("Origin: https://{origin}\r\n"));
            response.header("access-control-allow-origin").is_some()
        };
        assert_eq!(["x-1.good.test", "x.y.good.test", ".good.test"].map(&mut asked), allowed);
        assert!(!asked("x.good.test:80"));
    }
}

#[test]
fn cross_origin_requests_are_answered_by_the_policy() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("b");
    let cors = json!({"allow_origins": ["https://*.good.test"], "allow_methods": ["GET", "PUT"], "allow_headers": ["X-A"],
        "expose_headers": ["X-E"], "allow_credentials": true, "max_age_seconds": 60});
    let mut client = with(&mut engine, &backend, json!([{"id": "r", "backends": [{"backend": "b"}], "cors": cors}]));
    let preflight = |origin: &str| {
        format!("OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n\r\n")
    };
    client.send(preflight("https://x.good.test"));
    let answer = super::harness::read_message(&mut client.0).unwrap().0;
    for line in [
        "HTTP/1.1 204 ",
        "Access-Control-Allow-Origin: https://x.good.test\r\n",
        "Access-Control-Allow-Methods: GET, PUT\r\n",
        "Access-Control-Allow-Headers: X-A\r\n",
        "Access-Control-Max-Age: 60\r\n",
        "Access-Control-Allow-Credentials: true\r\n",
    ] {
        assert!(answer.contains(line), "{line}: {answer}");
    }
    let response = get(&mut client, "a", "/", "Origin: https://x.good.test\r\n");
    assert_eq!(response.header("access-control-allow-origin"), Some("https://x.good.test"));
    assert_eq!(response.header("access-control-expose-headers"), Some("X-E"));
    assert_eq!(get(&mut client, "a", "/", "Origin: https://evil.test\r\n").header("access-control-allow-origin"), None);
    assert_eq!(backend.count(), 2, "the preflight stayed here");
}

#[test]
fn networks_and_limits_turn_requests_away() {
    let mut engine = Engine::start(2);
    let backend = Backend::named("b");
    let to = json!([{"backend": "b"}]);
    let mut client = with(
        &mut engine,
        &backend,
        json!([
            {"id": "deny", "hosts": ["deny.test"], "backends": to, "access": {"deny": ["127.0.0.0/8"]}},
            {"id": "allow", "hosts": ["allow.test"], "backends": to, "access": {"allow": ["10.0.0.0/8"]}},
            {"id": "slow", "hosts": ["slow.test"], "backends": to,
                "limits": [{"requests_per_second": 0.001, "burst": 3, "key": "header:X-Key", "status": 429}]},
            {"id": "free", "hosts": ["free.test"], "backends": to,
                "limits": [{"requests_per_second": 0.001, "exempt": ["127.0.0.1"]}]},
        ]),
    );
    assert_eq!(get(&mut client, "deny.test", "/", "").status, 403);
    assert_eq!(get(&mut client, "allow.test", "/", "").status, 403);
    let statuses: Vec<_> = (0..5).map(|_| get(&mut client, "slow.test", "/", "X-Key: 1\r\n").status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(get(&mut client, "slow.test", "/", "X-Key: 2\r\n").status, 200);
    assert!((0..5).all(|_| get(&mut client, "free.test", "/", "").status == 200));
}

#[test]
fn a_mirror_gets_a_copy_and_its_answer_is_thrown_away() {
    let mut engine = Engine::start(1);
    let (backend, mirror) = (Backend::named("b"), Backend::scripted(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"));
    let mut client = with(
        &mut engine,
        &backend,
        json!([{"id": "r", "backends": [{"backend": "b"}],
        "mirrors": [{"backend": "m", "host": "shadow", "uri": [["text", "/copy"], ["variable", "uri"]]}]}]),
    );
    engine.endpoints("m", &[mirror.port]);
    let response = client.ask("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(response.text(), "b");
    let seen = mirror.next();
    assert_eq!(
        (seen.line(), seen.header("host"), &seen.body[..]),
        ("POST /copy/p HTTP/1.1", Some("shadow"), &b"hello"[..])
    );
}

#[test]
fn a_fallback_answers_while_no_backend_has_an_endpoint() {
    let mut engine = Engine::start(1);
    let (backend, other) = (Backend::named("b"), Backend::named("fallback"));
    let mut client = with(&mut engine, &backend, json!([{"id": "r", "backends": [{"backend": "b"}], "fallback": "m"}]));
    engine.endpoints("m", &[other.port]);
    assert_eq!(client.get("/").text(), "b");
    engine.endpoints("b", &[]);
    assert_eq!(client.get("/").text(), "fallback");
}

#[test]
fn passwords_of_htpasswd_decide_who_comes_in() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("in");
    let port = engine.simple(&[backend.port], json!({}));
    let users = json!({"realm": "Staff", "users": [["me", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="], ["you", "$apr1$fa5aV4ex$7WuZCeqPMcLFAk7qlsHK6."]]});
    let (none, right, wrong) = ("", "Authorization: Basic bWU6c2VjcmV0\r\n", "Authorization: Basic bWU6c2VjcmV1\r\n");
    for (access, fields, status) in [
        (json!({"basic": users}), none, 401),
        (json!({"basic": users}), wrong, 401),
        (json!({"basic": users}), right, 200),
        (json!({"basic": users}), "Authorization: Basic eW91OnNlY3JldA==\r\n", 200),
        (json!({"basic": users, "allow": ["127.0.0.0/8"], "any": true}), wrong, 200),
        (json!({"basic": users, "allow": ["10.0.0.0/8"], "any": true}), wrong, 401),
        (json!({"basic": users, "allow": ["10.0.0.0/8"], "any": true}), right, 200),
        (json!({"basic": users, "allow": ["10.0.0.0/8"]}), right, 403),
    ] {
        let route = json!({"id": "r", "backends": [{"backend": "b"}], "access": access});
        engine.apply(json!({"type": "structure", "full": false, "routes": [route]}));
        let response = Client::connect(port).ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(response.status, status, "{access} {fields}");
        assert_eq!(response.header("www-authenticate"), (status == 401).then_some("Basic realm=\"Staff\""));
    }
    let slow = json!({"id": "r", "access": {"basic": {"users": [["me", "$2y$15$slow"]]}}});
    let nacks = engine.change(json!({"type": "structure", "full": false, "routes": [slow]}));
    assert_eq!(nacks[0]["path"], json!("access.basic.users[0]"));
}

#[test]
fn a_backends_header_changes_lie_on_top_of_the_routes() {
    let mut engine = Engine::start(1);
    let backend = Backend::scripted(b"HTTP/1.1 200 OK\r\nX-Who: server\r\nContent-Length: 0\r\n\r\n");
    let port = engine.simple(
        &[backend.port],
        json!({"request_headers": {"set": [["X-A", "backend"]], "remove": ["X-Gone"]}, "response_headers": {"set": [["X-Who", "backend"]]}}),
    );
    engine.apply(json!({"type": "structure", "routes": [{"id": "r", "backends": [{"backend": "b"}],
        "request_headers": {"set": [["X-A", "route"], ["X-B", "route"]], "add": [["X-Gone", "route"]]},
        "response_headers": {"set": [["X-Who", "route"], ["X-More", "route"]]}}]}));
    let response = get(&mut Client::connect(port), "a", "/", "X-A: mine\r\nX-Gone: mine\r\n");
    assert_eq!((response.header("x-who"), response.header("x-more")), (Some("backend"), Some("route")));
    assert_eq!(response.head.matches("X-Who").count(), 1);
    let seen = backend.next();
    assert_eq!((seen.header("x-a"), seen.header("x-b"), seen.header("x-gone")), (Some("backend"), Some("route"), None));
    let nacks = engine
        .change(json!({"type": "structure", "backends": [{"id": "1", "request_headers": {"set": [["Host", "x"]]}}]}));
    assert_eq!(nacks[0]["path"], json!("request_headers.set[0]"));
}
