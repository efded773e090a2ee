//! Malformed, overlong and early answers of a backend: the client gets one answer or none, and nobody gets another's.

use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use serde_json::json;

use super::harness::{Backend, Client, Engine, PATIENCE};
use super::table_of::{self, Text};

/// A row of tests/golden/malformed/responses.json.
#[derive(serde::Deserialize)]
struct Row {
    what: String,
    /// What the backend answers the first request with.
    send: Text,
    #[serde(default)]
    method: Option<String>,
    /// It sends this once the client has the answer.
    #[serde(default)]
    late: Option<Text>,
    /// It closes then.
    #[serde(default)]
    closes: bool,
    /// The last status that the client sees.
    status: u16,
    /// The body that the client sees (chunks as they are).
    #[serde(default)]
    body: Option<String>,
    /// The client can see that the answer is not whole.
    #[serde(default)]
    broken: bool,
    /// The next request goes over the same connection.
    reused: bool,
    #[serde(default)]
    has: Option<String>,
    #[serde(default)]
    lacks: Option<String>,
}

const SECOND: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond";

/// What is wrong with a row, if anything.
fn judge(row: &Row, engine: &mut Engine, port: u16) -> Result<(), String> {
    let (go, wait) = channel();
    let (done, written) = channel();
    let wait = Mutex::new(wait);
    let (first, late, closes) = (row.send.bytes(), row.late.as_ref().map(Text::bytes), row.closes);
    let backend = Backend::start(move |seen, stream| {
        if !seen.line().contains(" /first ") {
            return stream.write_all(SECOND).is_ok();
        }
        let _ = stream.write_all(&first); // the engine may have hung up
        if let Some(late) = &late {
            let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
            let _ = stream.write_all(late);
            if closes {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
            let _ = done.send(());
        }
        !closes
    });
    engine.endpoints("b", &[backend.port]);
    let method = row.method.as_deref().unwrap_or("GET");
    let mut client = Client::connect(port);
    client.send(format!("{method} /first HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    let answer = String::from_utf8_lossy(&client.rest()).into_owned();
    let _ = go.send(());
    if row.late.is_some() {
        written.recv_timeout(PATIENCE).map_err(|error| error.to_string())?;
    }
    let last = &answer[answer.rfind("HTTP/1.1 ").unwrap_or(0)..];
    let (head, body) = last.split_once("\r\n\r\n").unwrap_or((last, ""));
    let finals = answer.match_indices("HTTP/1.1 ").filter(|(at, _)| !answer[at + 9..].starts_with('1')).count();
    let check = |good: bool, what: &str| if good { Ok(()) } else { Err(format!("{what}: {answer:?}")) };
    check(head.starts_with(&format!("HTTP/1.1 {}", row.status)), "status")?;
    check(finals == usize::from(row.status >= 200), "one answer")?;
    check(head.to_ascii_lowercase().matches("content-length").count() < 2, "one length")?;
    check(row.body.as_ref().is_none_or(|wanted| wanted == body), "body")?;
    check(!row.broken || !body.ends_with("0\r\n\r\n"), "broken")?;
    check(row.has.as_ref().is_none_or(|text| format!("{head}\r\n").contains(text)), "has")?;
    check(row.lacks.as_ref().is_none_or(|text| !head.contains(text)), "lacks")?;
    let mut client = Client::connect(port);
    client.send("POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let next = String::from_utf8_lossy(&client.rest()).into_owned();
    check(next.starts_with("HTTP/1.1 200 ") && next.ends_with("\r\n\r\nsecond"), &format!("the next got {next:?}"))?;
    let seen = backend.seen.lock().unwrap();
    let reused = seen[0].connection == seen[seen.len() - 1].connection;
    check(reused == row.reused, &format!("reused {reused}"))
}

#[test]
fn an_answer_never_becomes_two_and_never_anybody_elses() {
    let mut engine = Engine::start(1);
    let port = engine.simple(&[], json!({"retry": {"attempts": 1}}));
    let rows: Vec<Row> = table_of::rows("responses");
    assert!(rows.len() > 80);
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|row| judge(row, &mut engine, port).err().map(|error| format!("{}: {error}", row.what)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_answer_that_comes_before_the_request_is_whole_spoils_no_connection() {
    let mut engine = Engine::start(1);
    // Answers at the head, and reads on until the end.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = listener.local_addr().unwrap().port();
    let (tell, heard) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, tell) = (stream.unwrap(), tell.clone());
            std::thread::spawn(move || {
                let (mut bytes, mut piece) = (Vec::new(), [0u8; 4096]);
                while !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
                    let n = stream.read(&mut piece).unwrap();
                    bytes.extend_from_slice(&piece[..n]);
                }
                stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").unwrap();
                let _ = stream.read_to_end(&mut bytes);
                let _ = tell.send(bytes);
            });
        }
    });
    let port = engine.simple(&[backend], json!({}));
    let mut client = Client::connect(port);
    client.send("POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n");
    let early = client.receive();
    assert_eq!((early.status, early.text().as_str()), (403, "no"));
    assert_eq!(early.header("connection"), Some("close"), "the rest of the body would be read as a request");
    let _ = client.0.write_all(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost");
    drop(client);
    assert_eq!(Client::connect(port).get("/two").text(), "no");
    drop(engine);
    let all: Vec<u8> = [heard.recv_timeout(PATIENCE).unwrap(), heard.recv_timeout(PATIENCE).unwrap()].concat();
    let all = String::from_utf8_lossy(&all);
    assert_eq!((all.matches("POST /one ").count(), all.matches("GET /two ").count()), (1, 1), "{all}");
    let requests = all.matches("X-Forwarded-For: ").count();
    assert_eq!(requests, 2, "what followed the first head is its body or nothing: {all}");
}
