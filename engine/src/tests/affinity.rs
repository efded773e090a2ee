//! Who keeps its endpoint, and algorithms over real sockets.

use serde_json::json;

use super::harness::{Backend, Client, Engine, tally};

#[test]
fn a_cookie_keeps_its_endpoint_while_others_come_and_go() {
    let mut engine = Engine::start(1);
    let names = [Backend::named("one"), Backend::named("two"), Backend::named("three")];
    let ports = names.each_ref().map(|b| b.port);
    let port =
        engine.simple(&ports[..2], json!({"affinity": {"kind": "cookie", "cookie": "stick", "max_age_seconds": 60}}));
    let mut client = Client::connect(port);
    let first = client.get("/");
    let set = first.header("set-cookie").unwrap();
    assert!(set.starts_with("stick=") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=60"), "{set}");
    let cookie = set.split(';').next().unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: x=y; {cookie}\r\n\r\n");
    engine.endpoints("b", &ports);
    for _ in 0..10 {
        let response = client.ask(&request);
        assert_eq!((response.text(), response.header("set-cookie")), (first.text(), None));
    }
    let others: Vec<u16> = names.iter().zip(ports).filter(|(b, _)| b.count() == 0).map(|(_, p)| p).collect();
    engine.endpoints("b", &others);
    assert!(client.ask(&request).header("set-cookie").is_some(), "the endpoint is gone, another is named");
}

#[test]
fn a_cookie_decides_before_the_weights_of_a_split() {
    let mut engine = Engine::start(1);
    let names = [Backend::named("main"), Backend::named("next")];
    for (sticky, distinct) in [(true, 1), (false, 2)] {
        let port = engine.socket("s");
        let affinity = json!({"kind": "cookie", "cookie": "route", "sticky_split": sticky});
        engine.apply(json!({
            "type": "structure", "full": true,
            "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"]}],
            "routes": [{"id": "r", "backends": [{"backend": "a"}, {"backend": "b"}]}],
            "backends": [{"id": "a", "affinity": affinity}, {"id": "b", "affinity": affinity}],
        }));
        engine.endpoints("a", &[names[0].port]);
        engine.endpoints("b", &[names[1].port]);
        let mut client = Client::connect(port);
        let first = client.get("/");
        let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
        let counts = tally((0..10).map(|_| client.ask(&request).text()));
        assert_eq!(counts.len(), distinct, "{counts:?}");
    }
}

#[test]
fn a_client_address_keeps_its_endpoint() {
    let mut engine = Engine::start(2);
    let names = [Backend::named("one"), Backend::named("two"), Backend::named("three")];
    let port = engine.simple(&names.each_ref().map(|b| b.port), json!({"affinity": {"kind": "client"}}));
    let counts = tally((0..20).map(|_| Client::connect(port).get("/").text()));
    assert_eq!(counts.len(), 1, "{counts:?}");
}

#[test]
fn hashing_on_a_header_sends_equal_values_to_one_endpoint() {
    let mut engine = Engine::start(1);
    let names = [Backend::named("one"), Backend::named("two"), Backend::named("three")];
    let ports = names.each_ref().map(|b| b.port);
    for algorithm in ["hash", "maglev", "ring-hash"] {
        let port = engine.simple(&ports, json!({"algorithm": algorithm, "hash_on": "header:X-Key"}));
        let mut client = Client::connect(port);
        let mut ask = |key: usize| client.ask(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\n\r\n")).text();
        let first: Vec<_> = (0..60).map(&mut ask).collect();
        let second: Vec<_> = (0..60).map(&mut ask).collect();
        assert_eq!(first, second);
        assert_eq!(tally(first).len(), 3, "{algorithm}");
    }
}

#[test]
fn an_endpoint_at_its_limit_gets_no_more() {
    let mut engine = Engine::start(1);
    let slow = Backend::start(|_, stream| {
        let _ = std::io::copy(stream, &mut std::io::sink());
        false
    });
    let other = Backend::named("other");
    let limits = json!({"algorithm": "round-robin", "limits": {"endpoint_requests": 1}});
    let port = engine.simple(&[slow.port, other.port], limits);
    let mut waiting = Client::connect(port);
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    slow.next();
    let mut client = Client::connect(port);
    (0..6).for_each(|_| assert_eq!(client.get("/").text(), "other"));
}

#[test]
fn every_algorithm_carries_requests() {
    let mut engine = Engine::start(1);
    let names = [Backend::named("one"), Backend::named("two")];
    for word in [
        "round-robin",
        "weighted-round-robin",
        "random",
        "least-request",
        "power-of-two",
        "ewma",
        "prequal",
        "ip-hash",
        "hash",
        "maglev",
        "ring-hash",
        "rr",
        "wrr",
        "lc",
        "wlc",
        "fo",
        "ovf",
        "lblc",
        "lblcr",
        "dh",
        "sh",
        "mh",
        "sed",
        "nq",
        "twos",
    ] {
        let port = engine.simple(&names.each_ref().map(|b| b.port), json!({"algorithm": word}));
        let mut client = Client::connect(port);
        (0..5).for_each(|_| assert_eq!(client.get("/").status, 200, "{word}"));
    }
    let nacks = engine.change(json!({"type": "structure", "backends": [{"id": "b", "algorithm": "magic"}]}));
    assert_eq!(nacks[0]["path"], json!("algorithm"));
}

/// A client with the cookie that the first answer set.
fn settle(client: &mut Client) -> (String, String) {
    let first = client.get("/");
    let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    (first.text(), format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n"))
}

#[test]
fn balanced_sessions_give_a_new_endpoint_its_share_and_move_nowhere_else() {
    let mut engine = Engine::start(1);
    let names = [Backend::named("one"), Backend::named("two"), Backend::named("three")];
    let ports = names.each_ref().map(|b| b.port);
    let port = engine.simple(&ports[..2], json!({"affinity": {"kind": "cookie", "cookie": "s", "balanced": true}}));
    let mut client = Client::connect(port);
    let sessions: Vec<_> = (0..90).map(|_| settle(&mut client)).collect();
    assert!(tally(sessions.iter().map(|(text, _)| text.clone())).values().all(|n| *n > 25));
    let mut again = |moved: &mut usize| {
        for (text, request) in &sessions {
            let response = client.ask(request);
            assert_eq!(response.header("set-cookie"), None);
            if response.text() != *text {
                assert_eq!(response.text(), "three");
                *moved += 1;
            }
        }
    };
    let mut moved = 0;
    again(&mut moved);
    assert_eq!(moved, 0);
    engine.endpoints("b", &ports);
    again(&mut moved);
    assert!((10..55).contains(&moved), "{moved} of 90");
}

#[test]
fn a_session_returns_after_a_failure_unless_it_shall_change() {
    let mut engine = Engine::start(1);
    for balanced in [false, true] {
        for change in [false, true] {
            let flaky = Backend::start(|seen, stream| {
                let dead = seen.header("x-dead").is_some();
                !dead && std::io::Write::write_all(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nflaky").is_ok()
            });
            let affinity = json!({"kind": "cookie", "cookie": "s", "balanced": balanced, "change_on_failure": change});
            let port = engine.simple(&[flaky.port], json!({"affinity": affinity}));
            let mut client = Client::connect(port);
            let (_, request) = settle(&mut client);
            let other = Backend::named("other");
            engine.endpoints("b", &[flaky.port, other.port]);
            if client.ask(&request).text() == "other" {
                continue; // a balanced session that the new endpoint got
            }
            let failing = request.replace("Host: a", "Host: a\r\nX-Dead: 1");
            let response = client.ask(&failing);
            assert_eq!(
                (response.text(), response.header("set-cookie").is_some()),
                ("other".into(), change),
                "{balanced}"
            );
            let next = match response.header("set-cookie") {
                Some(set) => format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", set.split(';').next().unwrap()),
                None => request,
            };
            assert_eq!(client.ask(next).text(), if change { "other" } else { "flaky" }, "{balanced}");
        }
    }
}

#[test]
fn a_key_has_a_subset_of_the_endpoints() {
    let mut engine = Engine::start(1);
    let names =
        [Backend::named("1"), Backend::named("2"), Backend::named("3"), Backend::named("4"), Backend::named("5")];
    let ports = names.each_ref().map(|b| b.port);
    let port = engine.simple(&ports, json!({"algorithm": "ring-hash", "hash_on": "header:X-Key", "subset": 2}));
    let mut client = Client::connect(port);
    let mut all = std::collections::HashSet::new();
    for key in 0..20 {
        let ask = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\n\r\n");
        let counts = tally((0..30).map(|_| client.ask(&ask).text()));
        assert_eq!(counts.len(), 2, "{counts:?}");
        all.extend(counts.into_keys());
    }
    assert_eq!(all.len(), 5);
    let nacks =
        engine.change(json!({"type": "structure", "backends": [{"id": "b", "algorithm": "random", "subset": 2}]}));
    assert_eq!(nacks[0]["path"], json!("subset"));
}
