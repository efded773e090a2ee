//! What Backends are told of the client, and whose claims about it are believed.

use serde_json::{Value, json};

use super::harness::{Backend, Client, Engine, Seen};

/// One request through a Listener with these settings; what the backend saw, or the status.
fn through(engine: &mut Engine, backend: &Backend, http: &Value, fields: &str) -> Result<Seen, u16> {
    let port = engine.socket("s");
    engine.apply(json!({"type": "structure", "full": true, "backends": [{"id": "b"}],
        "routes": [{"id": "r", "backends": [{"backend": "b"}], "access": {"deny": ["10.0.0.0/8"]}}],
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"], "http": http}]}));
    engine.endpoints("b", &[backend.port]);
    let response = Client::connect(port).ask(format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
    if response.status == 200 { Ok(backend.next()) } else { Err(response.status) }
}

#[test]
fn only_trusted_proxies_say_who_the_client_is() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("b");
    let told = json!(["real-ip"]);
    let far = json!({"trusted_proxies": ["192.0.2.0/24"], "tell": told});
    let near = json!({"trusted_proxies": ["127.0.0.0/8", "192.0.2.0/24"], "tell": told});
    let hops = |n: u32| json!({"trusted_hops": n, "tell": told});
    for (http, fields, client) in [
        (json!({"tell": told}), "X-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n", "127.0.0.1"),
        (far, "X-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n", "127.0.0.1"),
        (near.clone(), "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 192.0.2.9\r\n", "1.1.1.1"),
        (near.clone(), "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 1.1.1.1\r\n", "1.1.1.1"),
        (near.clone(), "X-Forwarded-For: 6.6.6.6, unknown, 192.0.2.9\r\n", "192.0.2.9"),
        (near, "", "127.0.0.1"),
        (hops(1), "X-Forwarded-For: 6.6.6.6, 1.1.1.1\r\n", "1.1.1.1"),
        (hops(2), "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 2.2.2.2\r\n", "1.1.1.1"),
        (hops(3), "X-Forwarded-For: 1.1.1.1\r\n", "1.1.1.1"),
        (
            json!({"trusted_hops": 1, "client_header": "CF-Connecting-IP", "tell": told}),
            "X-Forwarded-For: 6.6.6.6\r\nCF-Connecting-IP: 1.1.1.1\r\n",
            "1.1.1.1",
        ),
        (
            json!({"trusted_hops": 1, "client_header": "Forwarded", "tell": told}),
            "Forwarded: for=6.6.6.6, for=\"[fd00::1]:1\";proto=https\r\n",
            "fd00::1",
        ),
    ] {
        let seen = through(&mut engine, &backend, &http, fields).unwrap();
        assert_eq!(seen.header("x-real-ip"), Some(client), "{http} {fields}");
        assert_eq!(seen.head.to_ascii_lowercase().matches("x-real-ip").count(), 1);
    }
    let believed = json!({"trusted_hops": 1});
    assert_eq!(through(&mut engine, &backend, &believed, "X-Forwarded-For: 10.0.0.1\r\n").err(), Some(403));
    assert!(through(&mut engine, &backend, &json!({}), "X-Forwarded-For: 10.0.0.1\r\n").is_ok());
}

#[test]
fn claims_of_strangers_are_removed_and_ours_are_told() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("b");
    let lies = "Forwarded: for=6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Scheme: https\r\nX-Forwarded-Port: 443\r\nssl-client-verify: SUCCESS\r\n\
        X_Real_IP: 6.6.6.6\r\nX-Forwarded-Scheme: https\r\n";
    let seen = through(&mut engine, &backend, &json!({}), lies).unwrap();
    for name in ["forwarded", "x-scheme", "x-forwarded-port", "ssl-client-verify", "x_real_ip", "x-forwarded-scheme"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    let tell = json!({"tell": ["forwarded", "real-ip", "port", "scheme", "request-id"]});
    let seen = through(&mut engine, &backend, &tell, lies).unwrap();
    assert_eq!(seen.header("forwarded"), Some("for=127.0.0.1;proto=http;host=\"a.test\""));
    assert_eq!((seen.header("x-scheme"), seen.header("x-forwarded-scheme")), (Some("http"), Some("http")));
    assert!(seen.header("x-forwarded-port").unwrap().parse::<u16>().unwrap() > 1024);
    assert_eq!(seen.header("x-request-id").unwrap().len(), 32);
    let tell_path = json!({"tell": ["original-uri"]});
    let seen = through(&mut engine, &backend, &tell_path, "X-Original-URI: /lie\r\n").unwrap();
    assert_eq!(seen.header("x-original-uri"), Some("/x"));
    let seen = through(&mut engine, &backend, &tell, "X-Request-ID: mine\r\n").unwrap();
    assert_eq!(seen.header("x-request-id"), Some("mine"));
}

#[test]
fn a_proxy_before_us_that_is_trusted_tells_how_the_client_came() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("b");
    let http = json!({"trusted_hops": 1, "tell": ["scheme", "port"]});
    let fields = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test\r\nX-Forwarded-Port: 443\r\n";
    let seen = through(&mut engine, &backend, &http, fields).unwrap();
    assert_eq!(seen.header("x-forwarded-for"), Some("1.1.1.1, 127.0.0.1"));
    assert_eq!((seen.header("x-forwarded-proto"), seen.header("x-scheme")), (Some("https"), Some("https")));
    assert_eq!((seen.header("x-forwarded-host"), seen.header("x-forwarded-port")), (Some("shop.test"), Some("443")));
    let http = json!({"trusted_hops": 1, "address_only": true, "tell": ["scheme", "real-ip"]});
    let seen = through(&mut engine, &backend, &http, fields).unwrap();
    assert_eq!((seen.header("x-forwarded-for"), seen.header("x-real-ip")), (Some("1.1.1.1"), Some("1.1.1.1")));
    assert_eq!((seen.header("x-forwarded-proto"), seen.header("x-scheme")), (Some("http"), Some("http")));
    assert_eq!(seen.header("x-forwarded-host"), Some("a.test"));
    let nacks = engine.change(json!({"type": "structure", "listeners": [
        {"id": "1", "protocol": "http", "http": {"trusted_proxies": ["here"]}}, {"id": "2", "protocol": "http", "http": {"client_header": "a b"}}]}));
    let paths: Vec<_> = nacks.iter().map(|n| n["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["http.trusted_proxies[0]", "http.client_header"]);
}
