//! What is written of requests, and what never is.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::harness::{Backend, Client, Engine, PATIENCE, closed_port};

/// A folder for a socket, gone with it.
pub(super) struct Folder(pub(super) std::path::PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fl-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) struct Reader(BufReader<UnixStream>);

impl Reader {
    pub(super) fn open(folder: &Folder) -> Self {
        let mut stream = UnixStream::connect(folder.0.join("stats.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /log HTTP/1.1\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        Self(reader)
    }

    pub(super) fn next(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

pub(super) fn listen(engine: &mut Engine, ports: &[u16], log: Value) -> u16 {
    let port = engine.socket("s");
    engine.apply(json!({"type": "structure", "full": true, "backends": [{"id": "b"}],
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"], "http": {"access_log": log}}],
        "routes": [{"id": "r", "backends": [{"backend": "b"}], "match": {"path": {"value": "/app"}}},
            {"id": "no", "match": {"path": {"value": "/no"}}, "access": {"deny": ["0.0.0.0/0"]}}]}));
    engine.endpoints("b", ports);
    port
}

#[test]
fn a_line_tells_what_became_of_a_request_and_no_secret() {
    let folder = Folder::new("line");
    let mut engine = Engine::start_with(1, Some(folder.0.join("stats.sock")));
    let backend = Backend::named("hello");
    let port = listen(&mut engine, &[backend.port], json!({"headers": ["User-Agent", "X-None"]}));
    let mut log = Reader::open(&folder);
    let mut client = Client::connect(port);
    client.ask("POST /app/x?token=secret HTTP/1.1\r\nHost: a.test\r\nUser-Agent: me \"x\"\r\nAuthorization: s\r\nContent-Length: 2\r\n\r\nhi");
    let line = log.next();
    for (name, value) in [
        ("listener", json!("l")),
        ("client", json!("127.0.0.1")),
        ("method", json!("POST")),
        ("scheme", json!("http")),
        ("version", json!("HTTP/1.1")),
        ("host", json!("a.test")),
        ("path", json!("/app/x")),
        ("status", json!(200)),
        ("bytes", json!(5)),
        ("route", json!("r")),
        ("backend", json!("b")),
        ("endpoint", json!(format!("127.0.0.1:{}", backend.port))),
        ("attempts", json!(1)),
        ("headers", json!({"user-agent": "me \"x\""})),
    ] {
        assert_eq!(line[name], value, "{name} {line}");
    }
    assert!(line["time"].as_str().unwrap().ends_with('Z') && line["seconds"].as_f64().unwrap() < 10.0);
    assert!(!line.to_string().contains("secret") && line.get("reason").is_none());
    client.get("/no");
    let line = log.next();
    assert_eq!(
        (&line["status"], &line["route"], &line["reason"]),
        (&json!(403), &json!("no"), &json!("this client may not come in"))
    );
    client.get("/else");
    assert_eq!((log.next()["status"].clone(), client.get("/app").status), (json!(404), 200));
    log.next();
    client.send("GET /app HTTP/1.1\r\nHost : a\r\n\r\n");
    let line = log.next();
    assert_eq!((&line["status"], line.get("path")), (&json!(400), None), "what was not understood is not written");
    engine.endpoints("b", &[closed_port()]);
    Client::connect(port).get("/app?x");
    let line = log.next();
    assert_eq!((&line["status"], &line["attempts"]), (&json!(502), &json!(3)));
    assert_eq!(line["reason"], json!("no endpoint could be connected to"));
}

#[test]
fn a_share_is_drawn_and_errors_are_always_there() {
    let folder = Folder::new("share");
    let mut engine = Engine::start_with(1, Some(folder.0.join("stats.sock")));
    let backend = Backend::named("hello");
    let port = listen(&mut engine, &[backend.port], json!({"share": 0.25, "query": true}));
    let mut client = Client::connect(port);
    (0..400).for_each(|_| drop(client.get("/app?a=b")));
    client.get("/no?last");
    // The reader comes late: what was written has waited.
    let mut log = Reader::open(&folder);
    let mut count = 0;
    loop {
        let line = log.next();
        if line["status"] == 403 {
            assert_eq!(line["path"], json!("/no?last"));
            break;
        }
        assert_eq!(line["path"], json!("/app?a=b"));
        count += 1;
    }
    assert!((50..160).contains(&count), "{count} of 400");
    drop(log);
    let port = listen(&mut engine, &[backend.port], json!({"share": 0.0, "errors": false}));
    Client::connect(port).get("/no");
    let port = listen(&mut engine, &[backend.port], json!({}));
    let mut log = Reader::open(&folder);
    Client::connect(port).get("/app/only");
    assert_eq!(log.next()["path"], json!("/app/only"));
}

#[test]
fn a_client_that_goes_before_the_answer_is_written_down() {
    let folder = Folder::new("gone");
    let mut engine = Engine::start_with(1, Some(folder.0.join("stats.sock")));
    let slow = Backend::start(|_, stream| {
        let _ = std::io::copy(stream, &mut std::io::sink());
        false
    });
    let port = listen(&mut engine, &[slow.port], json!({"share": 0.0}));
    let mut log = Reader::open(&folder);
    let mut client = Client::connect(port);
    client.send("POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
    slow.arrived.recv_timeout(std::time::Duration::from_millis(1)).ok();
    drop(client);
    let line = log.next();
    assert_eq!((&line["status"], &line["whole"]), (&json!(499), &json!(false)), "{line}");
}
