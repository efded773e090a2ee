//! A Backend's policies, with real servers: what retries may cost, who is used when too few are well, who is thrown out, and
//! how much one endpoint gets at a time.

use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::Instant;

use serde_json::json;

use super::harness::{Backend, Client, Engine, PATIENCE};

#[test]
fn retries_cost_a_failing_backend_their_budget_and_no_more() {
    let mut engine = Engine::start(1);
    let dying = [Backend::start(|_, _| false), Backend::start(|_, _| false)];
    let ports = [dying[0].port, dying[1].port];
    let port = engine.simple(&ports, json!({"retry": {"attempts": 4, "on": ["reset"], "budget_percent": 20}}));
    let (began, mut client) = (Instant::now(), Client::connect(port));
    (0..300).for_each(|_| assert_eq!(client.get("/").status, 502));
    let (tries, seconds) = (dying[0].count() + dying[1].count(), began.elapsed().as_secs() as usize + 1);
    assert!(tries >= 300 + 60, "a fifth may be tried again: {tries}");
    assert!(tries <= 300 + 60 + 10 * (2 + seconds), "and a few a second: {tries}, without a budget 1200");
    // Requests that succeed earn it anew.
    let alive = Backend::named("alive");
    engine.endpoints("b", &[alive.port]);
    (0..50).for_each(|_| assert_eq!(client.get("/").text(), "alive"));
    engine.endpoints("b", &[dying[0].port, alive.port]);
    (0..10).for_each(|_| assert_eq!(client.get("/").text(), "alive"));
}

#[test]
fn a_body_that_is_refused_costs_no_budget() {
    let mut engine = Engine::start(1);
    let dying = Backend::start(|_, _| false);
    let alive = Backend::named("alive");
    let port = engine.simple(&[alive.port], json!({"retry": {"attempts": 2, "on": ["reset"], "budget_percent": 0}}));
    for _ in 0..40 {
        let mut client = Client::connect(port);
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        client.send("nonsense\r\n");
        assert!(client.rest().starts_with(b"HTTP/1.1 400 "));
    }
    engine.endpoints("b", &[dying.port, alive.port]);
    let mut client = Client::connect(port);
    (0..4).for_each(|_| assert_eq!(client.get("/").text(), "alive"));
}

/// Four backends of which the first `sick` fail their health check, and who answered in 12 requests (0: nobody).
fn who_answers(sick: usize, panic_threshold: f64) -> Vec<usize> {
    let mut engine = Engine::start(1);
    let backends: Vec<_> = (1..=4)
        .map(|number| {
            Backend::start(move |seen, stream| {
                let check = seen.line().starts_with("GET /healthz ");
                let status = if check && number <= sick { 500 } else { 200 };
                let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 1\r\n\r\n{number}");
                stream.write_all(text.as_bytes()).is_ok()
            })
        })
        .collect();
    let ports: Vec<_> = backends.iter().map(|b| b.port).collect();
    let health = json!({"path": "/healthz", "interval_seconds": 0.02, "unhealthy_threshold": 1});
    let port = engine.simple(&ports, json!({"panic_threshold": panic_threshold, "health": health}));
    (0..sick).for_each(|_| assert_eq!(engine.wait_for("endpoint")["state"], "ejected"));
    let mut client = Client::connect(port);
    let mut answered: Vec<usize> = (0..12)
        .map(|_| match client.get("/") {
            response if response.status == 200 => response.text().parse().unwrap(),
            response => usize::from(response.status != 503),
        })
        .collect();
    answered.sort_unstable();
    answered.dedup();
    answered
}

#[test]
fn under_the_panic_threshold_everybody_is_used_and_over_it_who_is_well() {
    assert_eq!(who_answers(3, 50.0), [1, 2, 3, 4], "a quarter is well, half was wanted");
    assert_eq!(who_answers(2, 50.0), [3, 4], "half is well");
    assert_eq!(who_answers(3, 0.0), [4]);
}

#[test]
fn when_nobody_is_well_the_policy_says_whether_all_are_used_or_none() {
    assert_eq!(who_answers(4, 0.0), [1, 2, 3, 4], "open");
    assert_eq!(who_answers(4, -1.0), [0], "closed: 503");
    assert_eq!(who_answers(3, -1.0), [4]);
}

#[test]
fn an_endpoint_that_fails_too_often_is_thrown_out_even_if_never_in_a_row() {
    let mut engine = Engine::start(2);
    let turn = AtomicUsize::new(0);
    let flaky = Backend::start(move |_, stream| {
        let status = if turn.fetch_add(1, SeqCst).is_multiple_of(2) { 500 } else { 200 };
        stream.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 1\r\n\r\nf").as_bytes()).is_ok()
    });
    let good = Backend::named("good");
    let outlier = json!({"consecutive_errors": 0, "success_rate_percent": 80, "ejection_seconds": 30});
    let port = engine.simple(&[flaky.port, good.port], json!({"algorithm": "round-robin", "outlier": outlier}));
    let mut client = Client::connect(port);
    (0..80).for_each(|_| drop(client.get("/")));
    let event = engine.wait_for("endpoint");
    assert_eq!((&event["state"], &event["port"]), (&json!("ejected"), &json!(flaky.port)), "{event}");
    let before = flaky.count();
    assert!((20..40).contains(&before), "{before}");
    (0..20).for_each(|_| assert_eq!(client.get("/").text(), "good"));
    assert_eq!(flaky.count(), before);
}

#[test]
fn no_endpoint_gets_more_requests_at_a_time_than_its_limit() {
    let mut engine = Engine::start(2);
    let (release, wait) = channel::<()>();
    let wait = std::sync::Arc::new(Mutex::new(wait));
    let held = || {
        let wait = wait.clone();
        Backend::start(move |_, stream| {
            wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").is_ok()
        })
    };
    let (one, two) = (held(), held());
    let port = engine.simple(&[one.port, two.port], json!({"limits": {"endpoint_requests": 2}}));
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(port)).collect();
    clients.iter_mut().for_each(|c| c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    (0..2).for_each(|_| drop((one.next(), two.next())));
    (0..3).for_each(|_| assert_eq!(Client::connect(port).get("/").status, 503));
    (0..4).for_each(|_| release.send(()).unwrap());
    clients.iter_mut().for_each(|c| assert_eq!(c.receive().text(), "x"));
    assert_eq!((one.count(), two.count()), (2, 2));
    release.send(()).unwrap();
    assert_eq!(Client::connect(port).get("/").text(), "x");
}

#[test]
fn no_endpoint_gets_more_connections_at_a_time_than_its_limit() {
    let mut engine = Engine::start(1);
    let (one, two) = (super::tcp_forward::echo("1"), super::tcp_forward::echo("2"));
    let port = engine.socket("t");
    engine.apply(json!({"type": "structure", "full": true,
        "listeners": [{"id": "t", "protocol": "tcp", "sockets": ["t"], "backend": "b"}],
        "backends": [{"id": "b", "protocol": "tcp", "limits": {"endpoint_connections": 1}}]}));
    engine.endpoints("b", &[one, two]);
    let name = |client: &mut Client| {
        let mut name = [0u8; 1];
        client.0.read_exact(&mut name).map(|()| name[0])
    };
    let mut clients: Vec<_> = (0..2).map(|_| Client::connect(port)).collect();
    let mut names: Vec<_> = clients.iter_mut().map(|c| name(c).unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, *b"12");
    assert!(name(&mut Client::connect(port)).is_err(), "a reset");
    let mut first = clients.remove(0);
    first.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(first.rest(), b"bye");
    while name(&mut Client::connect(port)).is_err() {} // the engine may hear of the end a little later
}

#[test]
fn an_endpoint_that_comes_later_starts_slowly() {
    let mut engine = Engine::start(1);
    let (old, new) = (Backend::named("old"), Backend::named("new"));
    let port = engine.simple(&[old.port], json!({"slow_start_seconds": 0.6}));
    let mut client = Client::connect(port);
    let mut answers = |seconds: f64| {
        let begun = Instant::now();
        let (mut all, mut of_new) = (0, 0);
        while begun.elapsed().as_secs_f64() < seconds {
            of_new += usize::from(client.get("/").text() == "new");
            all += 1;
        }
        of_new as f64 / f64::from(all)
    };
    assert_eq!(answers(0.6), 0.0, "the old one is warm then");
    engine.endpoints("b", &[old.port, new.port]);
    let share = answers(0.1);
    assert!(share < 0.3, "a tenth of its half, and a bit more with each moment: {share}");
    answers(0.5);
    let share = answers(0.1);
    assert!((0.4..0.6).contains(&share), "now it is like the other: {share}");
}

#[test]
fn endpoints_of_the_own_zone_are_preferred_and_a_zone_that_is_too_small_passes_on_what_it_cannot_take() {
    let mut engine = Engine::start(1);
    let servers = ["0", "1", "2", "3"].map(Backend::named);
    let port = engine.simple(&[], json!({"zone": "a"}));
    let mut asked = |own: usize| {
        let zone = |i: usize| if i < own { "a" } else { "b" };
        let list: Vec<_> = (servers.iter().enumerate())
            .map(|(i, s)| json!({"address": "127.0.0.1", "port": s.port, "zone": zone(i)}))
            .collect();
        engine.apply(json!({"type": "endpoints", "backends": [{"backend": "b", "endpoints": list}]}));
        let mut client = Client::connect(port);
        (0..60).filter(|_| client.get("/").text().parse::<usize>().unwrap() < own).count()
    };
    assert_eq!(asked(2), 60, "half of the endpoints, half of the traffic: all of it stays");
    assert_eq!(asked(1), 30, "a quarter of the endpoints keeps half of its half");
    assert_eq!(asked(0), 0, "nobody is near");
}
