//! HTTP/1.1 through the engine: what is forwarded, and how.

use std::io::{Read, Write};

use serde_json::json;

use super::harness::{Backend, Client, Engine, tally};

#[test]
fn requests_go_to_each_endpoint_in_turn_whatever_the_connection() {
    let mut engine = Engine::start(2);
    let backends = [Backend::named("one"), Backend::named("two"), Backend::named("three")];
    let port = engine.simple(&backends.each_ref().map(|b| b.port), json!({}));
    let mut kept = Client::connect(port);
    let texts = (0..300).map(|i| if i % 3 == 0 { Client::connect(port).get("/").text() } else { kept.get("/").text() });
    let counts = tally(texts);
    assert_eq!(counts, [("one", 100), ("two", 100), ("three", 100)].map(|(n, c)| (n.to_owned(), c)).into());
    let all_kept = backends.iter().all(|b| b.seen.lock().unwrap().iter().all(|s| s.connection < 3));
    assert!(all_kept, "connections to backends are kept");
}

#[test]
fn fields_of_one_hop_are_dropped_and_the_client_is_named() {
    let mut engine = Engine::start(1);
    let backend = Backend::scripted(
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, x-inner\r\nKeep-Alive: timeout=5\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\nok",
    );
    let port = engine.simple(&[backend.port], json!({}));
    let response = Client::connect(port).ask(
        "GET /p?q=1 HTTP/1.1\r\nHost: A.test:8080\r\nX-One: 1\r\nConnection: keep-alive, X-Secret\r\nX-Secret: s\r\n\
         Keep-Alive: 5\r\nTE: trailers\r\nProxy: evil\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
         Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Two: 2\r\n\r\n",
    );
    assert_eq!(response.text(), "ok");
    assert_eq!(response.header("x-kept"), Some("yes"));
    assert_eq!(response.header("keep-alive"), None);
    assert_eq!(response.header("connection"), None);
    assert_eq!(
        backend.next().head,
        "GET /p?q=1 HTTP/1.1\r\nHost: A.test:8080\r\nX-One: 1\r\nX-Two: 2\r\nX-Forwarded-For: 127.0.0.1\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: A.test:8080\r\n\r\n"
    );
}

#[test]
fn bodies_of_every_framing_go_both_ways() {
    let mut engine = Engine::start(1);
    let backend = Backend::start(|seen, stream| {
        let chunked = seen.header("transfer-encoding").is_some();
        let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", seen.body.len());
        stream.write_all(text.as_bytes()).unwrap();
        stream.write_all(&seen.body).unwrap();
        stream.write_all(if chunked { b"\r\n0\r\nX-Sum: 1\r\n\r\n" } else { b"\r\n0\r\n\r\n" }).is_ok()
    });
    let port = engine.simple(&[backend.port], json!({}));
    let mut client = Client::connect(port);
    let response = client.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(response.text(), "5\r\nhello\r\n0\r\n\r\n");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0");
    client.send("\r\n\r\n");
    assert_eq!(client.receive().text(), "f\r\n5\r\nhello\r\n0\r\n\r\n\r\n0\r\nX-Sum: 1\r\n\r\n");
    let big = vec![b'x'; 3 << 20];
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", big.len()));
    let mut writer = client.0.try_clone().unwrap();
    let sending = std::thread::spawn(move || writer.write_all(&big).unwrap());
    let response = client.receive();
    sending.join().unwrap();
    assert_eq!(response.body.len(), (3 << 20) + "300000\r\n".len() + "\r\n0\r\n\r\n".len());
}

#[test]
fn large_answers_stream_through() {
    let mut engine = Engine::start(1);
    let backend = Backend::start(|_, stream| {
        let body: Vec<u8> = (0..5_000_000u32).map(|i| (i % 251) as u8).collect();
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
        stream.write_all(&body).is_ok()
    });
    let port = engine.simple(&[backend.port], json!({}));
    let mut client = Client::connect(port);
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!(response.body.len(), 5_000_000);
        assert!(response.body.iter().enumerate().all(|(i, b)| usize::from(*b) == i % 251));
    }
    let seen = backend.seen.lock().unwrap();
    assert!(seen.iter().all(|s| s.connection == seen[0].connection), "the connection is kept after a large answer");
}

#[test]
fn head_has_a_length_and_no_body_and_the_connection_lives_on() {
    let mut engine = Engine::start(1);
    let backend = Backend::start(|seen, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
        let body = if seen.line().starts_with("HEAD") { "" } else { "content" };
        stream.write_all(format!("{head}{body}").as_bytes()).is_ok()
    });
    let port = engine.simple(&[backend.port], json!({}));
    let mut client = Client::connect(port);
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let wanted = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".repeat(2) + "content";
    let mut bytes = vec![0u8; wanted.len()];
    client.0.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
}

#[test]
fn a_client_that_expects_100_gets_it_from_the_backend_before_it_sends() {
    let mut engine = Engine::start(1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = engine.simple(&[listener.local_addr().unwrap().port()], json!({}));
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0u8; 4096];
        let n = stream.read(&mut head).unwrap();
        assert!(head[..n].ends_with(b"\r\n\r\n"), "no body yet");
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut body = [0u8; 4];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").unwrap();
        stream.write_all(&body).unwrap();
    });
    let mut client = Client::connect(port);
    let response = client.ask("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(response.status, 100);
    assert_eq!(client.ask("data").text(), "data");
    serving.join().unwrap();
}

#[test]
fn an_upgraded_connection_is_a_tunnel_until_it_ends() {
    let mut engine = Engine::start(1);
    let backend = Backend::start(|seen, stream| {
        assert_eq!(seen.header("upgrade"), Some("websocket"));
        assert_eq!(seen.header("connection"), Some("upgrade"));
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi")
            .unwrap();
        let mut echo = stream.try_clone().unwrap();
        std::io::copy(stream, &mut echo).unwrap();
        false
    });
    let port = engine.simple(&[backend.port], json!({}));
    let mut client = Client::connect(port);
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst");
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"hifirst") {
        let mut piece = [0u8; 256];
        let n = client.0.read(&mut piece).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&piece[..n]);
    }
    client.send("second");
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"second");
}

#[test]
fn a_response_without_a_length_ends_with_its_connection() {
    let mut engine = Engine::start(1);
    let backend = Backend::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").unwrap();
        false
    });
    let port = engine.simple(&[backend.port], json!({}));
    let mut client = Client::connect(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let text = String::from_utf8(client.rest()).unwrap();
    assert_eq!(text, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end");
}

#[test]
fn http_1_0_clients_are_answered_in_their_way() {
    let mut engine = Engine::start(1);
    let backend = Backend::scripted(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let port = engine.simple(&[backend.port], json!({}));
    let mut client = Client::connect(port);
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(String::from_utf8(client.rest()).unwrap(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok");
}

#[test]
fn our_own_answers_say_what_is_wrong() {
    let mut engine = Engine::start(1);
    let port = engine.simple(&[], json!({}));
    let mut client = Client::connect(port);
    let response = client.get("/");
    assert_eq!((response.status, response.text().as_str()), (503, "the Backend has no endpoint\n"));
    engine.apply(json!({"type": "structure", "removed": {"routes": ["r"]}}));
    assert_eq!(client.get("/").status, 404);
}

#[test]
fn routes_decide_by_host_path_method_headers_and_query() {
    let mut engine = Engine::start(1);
    let port = engine.socket("s");
    let route = |id: &str, more: serde_json::Value| {
        let mut route = json!({"id": id, "respond": {"status": 200, "body": id}});
        route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        route
    };
    engine.apply(json!({"type": "structure", "full": true,
    "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"]}],
    "routes": [
        route("any", json!({})),
        route("host", json!({"hosts": ["a.test"]})),
        route("wild", json!({"hosts": ["*.a.test"]})),
        route("deep", json!({"hosts": ["**.a.test"]})),
        route("exact", json!({"hosts": ["a.test"], "match": {"path": {"type": "exact", "value": "/x"}}})),
        route("prefix", json!({"hosts": ["a.test"], "match": {"path": {"value": "/x/"}}})),
        route("longer", json!({"hosts": ["a.test"], "match": {"path": {"value": "/x/y"}}})),
        route("folded", json!({"hosts": ["a.test"], "match": {"path": {"value": "/CASE", "ignore_case": true}}})),
        route("regex", json!({"hosts": ["b.test"], "match": {"path": {"type": "regex", "value": "^/r[0-9]+$"}}})),
        route("short", json!({"hosts": ["b.test"], "match": {"path": {"type": "regex", "value": "z"}}})),
        route("starts", json!({"hosts": ["s.test"], "match": {"path": {"type": "starts", "value": "/ab"}}})),
        route("elements", json!({"hosts": ["s.test"], "match": {"path": {"value": "/abc/d"}}})),
        route("post", json!({"hosts": ["a.test"], "match": {"path": {"value": "/x/y"}, "method": "POST"}})),
        route("header", json!({"hosts": ["a.test"], "match": {"path": {"value": "/x/y"},
            "headers": [{"name": "X-Beta", "value": "1"}]}})),
        route("query", json!({"hosts": ["a.test"], "match": {"path": {"value": "/x/y"},
            "query": [{"name": "q", "type": "regex", "value": "a+ b"}]}})),
    ]}));
    let mut client = Client::connect(port);
    for (host, path, more, wanted) in [
        ("c.test", "/x", "", "any"),
        ("a.test", "/", "", "host"),
        ("A.TEST:80", "/xy", "", "host"),
        ("w.a.test", "/x", "", "wild"),
        ("v.w.a.test", "/x", "", "deep"),
        ("a.test", "/x", "", "exact"),
        ("a.test", "/x/", "", "prefix"),
        ("a.test", "/x/z?y", "", "prefix"),
        ("a.test", "/x/y", "", "longer"),
        ("a.test", "/x/y/z", "", "longer"),
        ("a.test", "/x/yy", "", "prefix"),
        ("a.test", "/cAsE/x", "", "folded"),
        ("b.test", "/r12", "", "regex"),
        ("b.test", "/r12x", "", "any"),
        ("b.test", "/r12xz", "", "short"),
        ("b.test", "/%7A", "", "short"),
        ("s.test", "/abc", "", "starts"),
        ("s.test", "/abc/d/e", "", "elements"),
        ("s.test", "/abc/de", "", "starts"),
        ("s.test", "/a", "", "any"),
        ("a.test", "/x/y", "X-BETA: 1\r\n", "header"),
        ("a.test", "/x/y?q=aa%20b", "", "query"),
    ] {
        let response = client.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"));
        assert_eq!(response.text(), wanted, "{host}{path} {more}");
    }
    assert_eq!(client.ask("POST /x/y HTTP/1.1\r\nHost: a.test\r\n\r\n").text(), "post");
}

#[test]
fn weighted_backends_get_exact_shares() {
    let mut engine = Engine::start(1);
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let port = engine.socket("s");
    engine.apply(json!({"type": "structure", "full": true,
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"]}],
        "routes": [{"id": "r", "backends": [{"backend": "x", "weight": 9}, {"backend": "y", "weight": 1}]}],
        "backends": [{"id": "x"}, {"id": "y"}]}));
    engine.endpoints("x", &[one.port]);
    engine.endpoints("y", &[two.port]);
    let mut client = Client::connect(port);
    (0..50).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!((one.count(), two.count()), (45, 5));
}
