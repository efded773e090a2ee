//! Client certificates by Route, whatever name the handshake was made for.

use std::io::{Read, Write};

use serde_json::{Value, json};

use super::harness::{Backend, Engine, header};
use super::tls::{Made, certificate, client, connect, make};

struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    fn sign(&self, name: &str) -> Made {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Org, CN=admin");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Made { chain: made.pem(), key: key.serialize_pem() }
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }
}

/// An https Listener: a.test and b.test want certificates by these rules, open.test none.
fn listen(engine: &mut Engine, server: &Made, backend: &Backend, a: Value, b: Value) -> u16 {
    let port = engine.socket("s");
    let route = |id: &str, host: &str, rule: &Value| {
        let access = if rule.is_null() { json!({}) } else { json!({"certificate": rule}) };
        json!({"id": id, "hosts": [host], "backends": [{"backend": "b"}], "access": access})
    };
    engine.apply(json!({"type": "structure", "full": true, "certificates": [certificate("1", server)],
        "listeners": [{"id": "l", "protocol": "https", "sockets": ["s"], "certificates": ["1"]}], "backends": [{"id": "b"}],
        "routes": [route("a", "a.test", &a), route("b", "b.test", &b), route("o", "open.test", &Value::Null)]}));
    engine.endpoints("b", &[backend.port]);
    port
}

fn ask(port: u16, server: &Made, own: Option<&Made>, sni: &str, host: &str) -> (u16, String) {
    let mut stream = connect(port, sni, &client(&[server], own, &[]));
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nssl-client-verify: SUCCESS\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    (text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0), text)
}

#[test]
fn each_route_judges_what_the_client_shows() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("in");
    let server = make(&["a.test", "b.test", "open.test"]);
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (known, stranger) = (ours.sign("client-1"), theirs.sign("client-1"));
    let rule = |more: Value| {
        let mut rule = json!({"ca_pem": ours.pem()});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    let page = json!([["text", "https://help.test/"]]);
    for (a, own, status, verify) in [
        (rule(json!({})), Some(&known), 200, Some("SUCCESS")),
        (rule(json!({})), Some(&stranger), 400, None),
        (rule(json!({})), None, 400, None),
        (rule(json!({"error_page": page})), None, 302, None),
        (rule(json!({"error_page": page})), Some(&stranger), 302, None),
        (rule(json!({"mode": "optional"})), None, 200, Some("NONE")),
        (rule(json!({"mode": "optional"})), Some(&stranger), 400, None),
        (rule(json!({"mode": "optional-no-ca"})), Some(&stranger), 200, Some("FAILED:its issuer is not known")),
        (rule(json!({"match_cn": "client-[0-9]"})), Some(&known), 200, Some("SUCCESS")),
        (rule(json!({"match_cn": "admin"})), Some(&known), 403, None),
        (rule(json!({"match_cn": "client", "mode": "optional"})), None, 403, None),
        (rule(json!({"depth": 0})), Some(&known), 200, Some("SUCCESS")),
    ] {
        let port = listen(&mut engine, &server, &backend, a.clone(), json!({"ca_pem": theirs.pem()}));
        let (found, text) = ask(port, &server, own, "a.test", "a.test");
        assert_eq!(found, status, "{} {}: {text}", a["mode"], a["match_cn"]);
        assert_eq!(header(&text, "location"), (status == 302).then_some("https://help.test/"));
        if status == 200 {
            let seen = backend.next();
            assert_eq!(seen.header("ssl-client-verify"), verify);
            assert_eq!(seen.head.matches("ssl-client-verify").count(), 1);
            let subject = own.map(|_| "CN=client-1,O=Org\\, CN=admin");
            assert_eq!(seen.header("ssl-client-subject-dn"), subject);
            assert_eq!(seen.header("ssl-client-cert"), None);
        }
    }
}

#[test]
fn the_name_of_the_handshake_opens_no_other_hosts_door() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("in");
    let server = make(&["a.test", "b.test", "open.test"]);
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (known, stranger) = (ours.sign("me"), theirs.sign("me"));
    let forward = json!({"ca_pem": ours.pem(), "forward": true});
    let port = listen(&mut engine, &server, &backend, forward, json!({"ca_pem": theirs.pem()}));
    for (own, sni, host, status) in [
        (Some(&known), "a.test", "a.test", 200),
        (Some(&known), "open.test", "open.test", 200),
        (Some(&known), "open.test", "a.test", 421),
        (None, "open.test", "a.test", 421),
        (Some(&known), "a.test", "b.test", 400),
        (Some(&stranger), "a.test", "b.test", 200),
        (Some(&stranger), "a.test", "a.test", 400),
        (Some(&stranger), "b.test", "a.test", 400),
        (None, "a.test", "open.test", 200),
    ] {
        let (found, text) = ask(port, &server, own, sni, host);
        assert_eq!(found, status, "{sni} {host}");
        assert!(found != 421 || header(&text, "connection") == Some("close"), "{text}");
    }
    let escaped = backend.next();
    assert!(escaped.header("ssl-client-cert").unwrap().starts_with("-----BEGIN%20CERTIFICATE-----%0AMII"));
    assert_eq!(escaped.header("ssl-client-issuer-dn"), Some("CN=ours"));
}

#[test]
fn a_session_from_before_the_rule_is_asked_again() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("in");
    let server = make(&["a.test", "b.test", "open.test"]);
    let ours = Authority::new("ours");
    let known = ours.sign("me");
    let port = listen(&mut engine, &server, &backend, Value::Null, Value::Null);
    let resuming = client(&[&server], Some(&known), &[]);
    let get = |status: &str| {
        let mut stream = connect(port, "a.test", &resuming);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        assert!(text.starts_with(status), "{text}");
    };
    get("HTTP/1.1 200");
    engine
        .apply(json!({"type": "structure", "routes": [{"id": "a", "hosts": ["a.test"], "backends": [{"backend": "b"}],
        "access": {"certificate": {"ca_pem": ours.pem()}}}]}));
    (0..3).for_each(|_| get("HTTP/1.1 200"));
    engine
        .apply(json!({"type": "structure", "routes": [{"id": "a", "hosts": ["a.test"], "backends": [{"backend": "b"}],
        "access": {"certificate": {"ca_pem": Authority::new("newer").pem()}}}]}));
    get("HTTP/1.1 400");
}

#[test]
fn over_plain_http_nobody_comes_in() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("in");
    let port = engine.simple(&[backend.port], json!({}));
    let ours = Authority::new("ours");
    engine.apply(json!({"type": "structure", "routes": [{"id": "r", "backends": [{"backend": "b"}],
        "access": {"certificate": {"ca_pem": ours.pem(), "mode": "optional"}}}]}));
    assert_eq!(super::harness::Client::connect(port).get("/").status, 400);
    let nacks = engine.change(json!({"type": "structure", "routes": [
        {"id": "1", "access": {"certificate": {"ca_pem": "nonsense"}}}, {"id": "2", "access": {"certificate": {"ca_pem": ours.pem(), "match_cn": "("}}}]}));
    let paths: Vec<_> = nacks.iter().map(|n| n["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["access.certificate.ca_pem", "access.certificate.match_cn"]);
}
