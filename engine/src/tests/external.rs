//! Another service is asked first: never an open door, whatever it does.

use std::io::Write;

use serde_json::{Value, json};

use super::harness::{Backend, Client, Engine, closed_port};

/// A Route for everything that asks `auth`, and one for /oauth2 that does not.
fn guarded(engine: &mut Engine, app: &Backend, auth: u16, request: Value) -> u16 {
    let port = engine.socket("s");
    let mut asks = json!({"backend": "auth", "uri": [["text", "/check"]]});
    asks.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
    engine.apply(json!({"type": "structure", "full": true, "backends": [{"id": "b"}, {"id": "auth"}],
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"]}],
        "routes": [{"id": "r", "backends": [{"backend": "b"}], "access": {"request": asks}},
            {"id": "o", "match": {"path": {"value": "/oauth2"}}, "backends": [{"backend": "auth"}], "rewrite": {"path_prefix": "/inner"}}]}));
    engine.endpoints("b", &[app.port]);
    engine.endpoints("auth", &[auth]);
    port
}

#[test]
fn its_answer_decides_and_its_fields_go_on() {
    let mut engine = Engine::start(1);
    let app = Backend::named("in");
    let auth = Backend::scripted(
        b"HTTP/1.1 202 Accepted\r\nX-User: me\r\nX-Secret: 1\r\nSet-Cookie: s=1\r\nContent-Length: 3\r\n\r\nyes",
    );
    let more = json!({"response_headers": ["X-User", "X-Group"], "host": "auth.test", "method": "GET",
        "request_headers": {"set": [["X-Extra", "1"]]}});
    let port = guarded(&mut engine, &app, auth.port, more);
    let mut client = Client::connect(port);
    let request = "POST /p?q=1 HTTP/1.1\r\nHost: a.test\r\nCookie: c=d\r\nX-User: root\r\nX-Group: wheel\r\nContent-Length: 5\r\n\r\nhello";
    let response = client.ask(request);
    assert_eq!((response.text(), response.header("set-cookie")), ("in".into(), Some("s=1")));
    let asked = auth.next();
    assert_eq!(asked.line(), "GET /check HTTP/1.1");
    for (name, value) in [
        ("host", "auth.test"),
        ("x-original-url", "http://a.test/p?q=1"),
        ("x-original-uri", "/p?q=1"),
        ("x-original-method", "POST"),
        ("x-auth-request-redirect", "/p?q=1"),
        ("cookie", "c=d"),
        ("x-extra", "1"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{}", asked.head);
    }
    assert_eq!((asked.header("content-length"), asked.body.len()), (None, 0));
    let seen = app.next();
    assert_eq!((seen.header("x-user"), seen.header("x-group"), seen.header("x-secret")), (Some("me"), None, None));
    assert_eq!((seen.head.to_ascii_lowercase().matches("x-user").count(), &seen.body[..]), (1, &b"hello"[..]));
    assert_eq!(client.ask(request).status, 200, "the connection lives on");
}

#[test]
fn everything_but_a_yes_keeps_the_door_closed() {
    let mut engine = Engine::start(1);
    let app = Backend::named("in");
    for (answer, status) in [
        (&b"HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n"[..], 401),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 403),
        (b"HTTP/1.1 302 Away\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 500),
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 500),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 500),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 500),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", 500),
        (b"nonsense\r\n\r\n", 500),
    ] {
        let auth = Backend::start(move |_, stream| {
            stream.write_all(answer).is_ok()
                && !answer.ends_with(b"chunked\r\n\r\n")
                && !answer.starts_with(b"HTTP/1.1 200")
        });
        let port = guarded(&mut engine, &app, auth.port, json!({}));
        let response = Client::connect(port).get("/");
        assert_eq!(response.status, status, "{}", String::from_utf8_lossy(answer));
        assert_eq!(response.header("www-authenticate"), (status == 401).then_some("Bearer"));
    }
    let port = guarded(&mut engine, &app, closed_port(), json!({}));
    assert_eq!(Client::connect(port).get("/").status, 500);
    engine.endpoints("auth", &[]);
    assert_eq!(Client::connect(port).get("/").status, 500);
    assert_eq!(app.count(), 0);
}

#[test]
fn a_401_leads_to_the_sign_in_page() {
    let mut engine = Engine::start(1);
    let app = Backend::named("in");
    let auth = Backend::scripted(b"HTTP/1.1 401 No\r\nSet-Cookie: csrf=1\r\nContent-Length: 0\r\n\r\n");
    let signin = json!([["text", "https://login.test/?rd="], ["variable", "escaped-uri"]]);
    let port = guarded(&mut engine, &app, auth.port, json!({"signin": signin}));
    let response = Client::connect(port).get("/a?b");
    assert_eq!((response.status, response.header("location")), (302, Some("https://login.test/?rd=%2Fa%3Fb")));
    assert_eq!(response.header("set-cookie"), Some("csrf=1"));
}

#[test]
fn the_listener_itself_can_be_asked_at_a_path_that_guards_nothing() {
    let mut engine = Engine::start(1);
    let app = Backend::named("in");
    let auth = Backend::scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let port = guarded(&mut engine, &app, auth.port, json!({"backend": "", "uri": [["text", "/oauth2/auth?x"]]}));
    assert_eq!(Client::connect(port).get("/").text(), "in");
    assert_eq!(auth.next().line(), "GET /inner/auth?x HTTP/1.1");
    let port = guarded(&mut engine, &app, auth.port, json!({"backend": "", "uri": [["text", "/round"]]}));
    assert_eq!(Client::connect(port).get("/").status, 500, "it would ask itself");
    let port = guarded(&mut engine, &app, auth.port, json!({"backend": "", "uri": [["text", "/oauth2/../x"]]}));
    assert_eq!(Client::connect(port).get("/").status, 500);
}

#[test]
fn answers_are_remembered_by_their_key_and_cookies_never_are() {
    let mut engine = Engine::start(1);
    let app = Backend::named("in");
    let auth = Backend::scripted(b"HTTP/1.1 200 OK\r\nX-User: me\r\nContent-Length: 0\r\n\r\n");
    let cache = json!({"cache_key": [["variable", "cookie:sid"]], "cache_seconds": 60.0, "cache_statuses": [200], "response_headers": ["X-User"]});
    let port = guarded(&mut engine, &app, auth.port, cache.clone());
    let mut client = Client::connect(port);
    for (cookie, count) in [("sid=1", 1), ("sid=1", 1), ("sid=2", 2), ("other=1", 3), ("other=1", 4)] {
        client.ask(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n"));
        assert_eq!(auth.count(), count, "{cookie}");
        assert_eq!(app.next().header("x-user"), Some("me"));
    }
    let setting = Backend::scripted(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n");
    let port = guarded(&mut engine, &app, setting.port, cache);
    let mut client = Client::connect(port);
    (0..2).for_each(|_| drop(client.ask("GET / HTTP/1.1\r\nHost: a\r\nCookie: sid=1\r\n\r\n")));
    assert_eq!(setting.count(), 2);
}

#[test]
fn with_any_a_network_or_a_password_or_the_service_suffices() {
    let mut engine = Engine::start(1);
    let app = Backend::named("in");
    let (no, port) = (Backend::scripted(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), engine.socket("s"));
    let basic = json!({"realm": "r", "users": [["me", "{PLAIN}secret"]]});
    let right = "Authorization: Basic bWU6c2VjcmV0\r\n";
    for (access, fields, status) in [
        (json!({"any": true, "basic": basic}), "", 403),
        (json!({"any": true, "basic": basic}), right, 200),
        (json!({"any": false, "basic": basic}), right, 403),
        (json!({"any": false, "basic": basic}), "", 401),
        (json!({"any": true, "allow": ["127.0.0.0/8"]}), "", 200),
        (json!({"any": true, "allow": ["10.0.0.0/8"]}), "", 403),
    ] {
        let mut access = access;
        access["request"] = json!({"backend": "auth"});
        engine.apply(json!({"type": "structure", "full": true, "backends": [{"id": "b"}, {"id": "auth"}],
            "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"]}],
            "routes": [{"id": "r", "backends": [{"backend": "b"}], "access": access}]}));
        engine.endpoints("b", &[app.port]);
        engine.endpoints("auth", &[no.port]);
        let response = Client::connect(port).ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(response.status, status, "{access} {fields}");
    }
    let nacks = engine.change(json!({"type": "structure", "routes": [
        {"id": "1", "access": {"request": {"response_headers": ["content-length"]}}},
        {"id": "2", "access": {"request": {"request_headers": {"set": [["X", "a\r\nb"]]}}}},
        {"id": "3", "access": {"request": {"signin": [["variable", "nothing"]]}}}]}));
    let paths: Vec<_> = nacks.iter().map(|n| n["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        ["access.request.response_headers[0]", "access.request.request_headers.set[0]", "access.request.signin[0]"]
    );
}
