//! Errors that another Backend explains.

use serde_json::{Value, json};

use super::harness::{Backend, Client, Engine, Response, closed_port};

const PAGE: &[u8] = b"HTTP/1.1 418 Sorry\r\nContent-Type: text/html\r\nX-Page: 1\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsorry\r\n0\r\n\r\n";

fn ask(engine: &mut Engine, app: &[u16], pages: &[u16], more: Value) -> Response {
    let port = engine.socket("s");
    let mut route = json!({"id": "r", "backends": [{"backend": "b"}],
        "errors": {"statuses": [403, 404, 502, 503], "backend": "p", "headers": [["X-Namespace", "shop"]]}});
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    engine.apply(json!({"type": "structure", "full": true, "backends": [{"id": "b"}, {"id": "p"}], "routes": [route],
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"]}]}));
    engine.endpoints("b", app);
    engine.endpoints("p", pages);
    let mut client = Client::connect(port);
    let response = client.ask("GET /x?y HTTP/1.1\r\nHost: a.test\r\nAccept: text/html\r\n\r\n");
    if response.header("connection").is_none() {
        assert!(client.get("/x").status > 0, "the connection lives on");
    }
    response
}

#[test]
fn the_page_replaces_answers_with_its_statuses_whoever_gives_them() {
    let mut engine = Engine::start(1);
    let pages = Backend::scripted(PAGE);
    let missing = Backend::scripted(b"HTTP/1.1 404 No\r\nContent-Length: 7\r\n\r\nmissing");
    let fine = Backend::scripted(b"HTTP/1.1 500 Odd\r\nContent-Length: 3\r\n\r\nodd");
    for (app, more, code) in [
        (vec![missing.port], json!({}), "404"),
        (vec![closed_port()], json!({}), "502"),
        (vec![], json!({}), "503"),
        (vec![fine.port], json!({"access": {"deny": ["127.0.0.0/8"]}}), "403"),
        (vec![], json!({"backends": []}), "503"),
    ] {
        let response = ask(&mut engine, &app, &[pages.port], more);
        assert_eq!((response.status, response.text()), (418, "sorry".into()), "{code}");
        assert_eq!((response.header("content-type"), response.header("x-page")), (Some("text/html"), Some("1")));
        let asked = pages.next();
        assert_eq!(asked.line(), "GET / HTTP/1.1");
        for (name, value) in [
            ("x-code", code),
            ("x-format", "text/html"),
            ("x-original-uri", "/x?y"),
            ("x-namespace", "shop"),
            ("host", "a.test"),
        ] {
            assert_eq!(asked.header(name), Some(value), "{}", asked.head);
        }
        while pages.arrived.try_recv().is_ok() {}
    }
    let response = ask(&mut engine, &[fine.port], &[pages.port], json!({}));
    assert_eq!((response.status, response.text()), (500, "odd".into()), "not one of its statuses");
}

#[test]
fn a_page_for_a_401_keeps_what_says_how_to_come_in() {
    let mut engine = Engine::start(1);
    let pages = Backend::scripted(PAGE);
    let own = Backend::scripted(
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nwww-authenticate: Basic realm=\"app\"\r\nX-Own: 1\r\nContent-Length: 0\r\n\r\n",
    );
    let errors = json!({"errors": {"statuses": [401], "backend": "p"}});
    let response = ask(&mut engine, &[own.port], &[pages.port], errors.clone());
    assert_eq!((response.status, response.text(), response.header("x-own")), (418, "sorry".into(), None));
    for line in ["WWW-Authenticate: Bearer\r\n", "www-authenticate: Basic realm=\"app\"\r\n"] {
        assert!(response.head.contains(line), "{}", response.head);
    }
    let mut guarded = errors;
    guarded["access"] = json!({"basic": {"realm": "edge", "users": [["me", "{PLAIN}x"]]}});
    let response = ask(&mut engine, &[own.port], &[pages.port], guarded);
    assert_eq!((response.status, response.text()), (418, "sorry".into()));
    assert_eq!(response.header("www-authenticate"), Some("Basic realm=\"edge\""));
}

#[test]
fn without_a_page_the_error_stays() {
    let mut engine = Engine::start(1);
    let missing = Backend::scripted(b"HTTP/1.1 404 No\r\nContent-Length: 7\r\n\r\nmissing");
    let endless = Backend::scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n");
    assert_eq!(ask(&mut engine, &[missing.port], &[], json!({})).status, 404);
    assert_eq!(ask(&mut engine, &[missing.port], &[closed_port()], json!({})).status, 404);
    drop(endless);
    let nacks = engine.change(json!({"type": "structure", "routes": [
        {"id": "1", "errors": {"statuses": [200], "backend": "p"}}, {"id": "2", "errors": {"headers": [["Host", "x"]]}}]}));
    let paths: Vec<_> = nacks.iter().map(|n| n["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["errors.statuses[0]", "errors.headers[0]"]);
}
