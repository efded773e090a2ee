//! Passwords with slow hashes (bcrypt, SHA-crypt): right ones come in, nobody else waits for them.

use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use super::harness::{Backend, Client, Engine, Response};

/// Of "secret"; one of cost 8 takes some 20 ms.
const COST_5: &str = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
const COST_8: &str = "$2y$08$abcdefghijklmnopqrstuuKxCcvB7KZ7.BpDoK0bh6qM7Dl1/xiJa";
const SHA_256: &str = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA";
const SHA_512: &str =
    "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";

fn fields(user: &str, word: &str) -> String {
    let value = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{word}"));
    format!("Authorization: Basic {value}\r\n")
}

fn ask(port: u16, host: &str, fields: &str) -> Response {
    Client::connect(port).ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"))
}

fn guarded(access: &Value) -> Value {
    json!([{"id": "guarded", "hosts": ["guarded.test"], "backends": [{"backend": "b"}], "access": access},
        {"id": "open", "hosts": ["open.test"], "backends": [{"backend": "b"}]}])
}

#[test]
fn slow_hashes_decide_who_comes_in() {
    let mut engine = Engine::start(2);
    let backend = Backend::named("in");
    let port = engine.simple(&[backend.port], json!({}));
    let users = json!([["b", COST_5], ["s", SHA_256], ["t", SHA_512], ["m", "$1$saltsalt$9xy1btjgzLYfb7hivXtC//"]]);
    let basic = json!({"realm": "Staff", "users": users});
    engine.apply(json!({"type": "structure", "routes": guarded(&json!({"basic": basic}))}));
    for user in ["b", "s", "t", "m"] {
        for _ in 0..2 {
            assert_eq!(ask(port, "guarded.test", &fields(user, "secret")).status, 200, "{user}");
            let denied = ask(port, "guarded.test", &fields(user, "wrong"));
            assert_eq!(
                (denied.status, denied.header("www-authenticate")),
                (401, Some("Basic realm=\"Staff\"")),
                "{user}"
            );
        }
    }
    // Where the right network or the right password suffices.
    let either = json!({"basic": basic, "allow": ["10.0.0.0/8"], "any": true});
    engine.apply(json!({"type": "structure", "routes": guarded(&either)}));
    assert_eq!(ask(port, "guarded.test", &fields("t", "secret")).status, 200);
    assert_eq!(ask(port, "guarded.test", &fields("t", "wrong")).status, 401);
    // A password that was right is not, once the user has another.
    let other = json!({"realm": "Staff", "users": [["b", COST_8]]});
    engine.apply(json!({"type": "structure", "routes": guarded(&json!({"basic": other}))}));
    assert_eq!(ask(port, "guarded.test", &fields("t", "secret")).status, 401);
}

#[test]
fn a_service_is_asked_after_the_password_was_right() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("in");
    let port = engine.simple(&[backend.port], json!({}));
    let judge = Backend::scripted(b"HTTP/1.1 200 OK\r\nX-Who: judge\r\nContent-Length: 0\r\n\r\n");
    engine.apply(json!({"type": "structure", "backends": [{"id": "j"}]}));
    engine.endpoints("j", &[judge.port]);
    let request = json!({"backend": "j", "uri": [["text", "/"]], "response_headers": ["X-Who"]});
    let basic = json!({"realm": "r", "users": [["me", COST_5]]});
    for (any, word, status, asked) in [
        (false, "wrong", 401, false),
        (false, "secret", 200, true),
        (true, "wrong", 200, true),
        (true, "secret", 200, false),
    ] {
        let access = json!({"basic": basic, "request": request, "any": any});
        engine.apply(json!({"type": "structure", "routes": guarded(&access)}));
        assert_eq!(ask(port, "guarded.test", &fields("me", word)).status, status, "{any} {word}");
        assert_eq!(judge.arrived.try_recv().is_ok(), asked, "{any} {word}");
    }
}

#[test]
fn others_do_not_wait_for_slow_hashes() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("in");
    let port = engine.simple(&[backend.port], json!({}));
    let basic = json!({"realm": "r", "users": [["me", COST_8]]});
    engine.apply(json!({"type": "structure", "routes": guarded(&json!({"basic": basic}))}));
    let guessing: Vec<_> = (0..6)
        .map(|i| std::thread::spawn(move || ask(port, "guarded.test", &fields("me", &format!("guess {i}"))).status))
        .collect();
    let begin = Instant::now();
    let mut client = Client::connect(port);
    let (mut asked, mut longest) = (0, Duration::ZERO);
    while guessing.iter().any(|thread| !thread.is_finished()) {
        let before = Instant::now();
        let answer = client.ask("GET / HTTP/1.1\r\nHost: open.test\r\n\r\n");
        assert_eq!(answer.status, 200);
        (asked, longest) = (asked + 1, longest.max(before.elapsed()));
    }
    assert!(guessing.into_iter().all(|thread| thread.join().unwrap() == 401));
    let all = begin.elapsed();
    assert!(asked >= 20, "{asked} answers beside six guesses in {all:?}");
    assert!(longest < all / 3, "one answer took {longest:?} of {all:?}");
}

#[test]
fn a_guesser_is_turned_away_and_a_known_password_is_not() {
    let mut engine = Engine::start(1);
    let backend = Backend::named("in");
    let port = engine.simple(&[backend.port], json!({}));
    let basic = json!({"realm": "r", "users": [["me", COST_8], ["you", COST_5]]});
    engine.apply(json!({"type": "structure", "routes": guarded(&json!({"basic": basic}))}));
    assert_eq!(ask(port, "guarded.test", &fields("you", "secret")).status, 200);
    let mut guessing: Vec<_> = (0..20).map(|_| Client::connect(port)).collect();
    for (i, client) in guessing.iter_mut().enumerate() {
        client.send(format!("GET / HTTP/1.1\r\nHost: guarded.test\r\n{}\r\n", fields("me", &format!("{i}"))));
    }
    assert_eq!(ask(port, "guarded.test", &fields("you", "secret")).status, 200, "it is remembered");
    let statuses: Vec<u16> = guessing.iter_mut().map(|client| client.receive().status).collect();
    assert_eq!(statuses.iter().filter(|s| **s == 429).count(), 12, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|s| **s == 401).count(), 8, "{statuses:?}");
}
