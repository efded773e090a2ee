//! A peer's bytes as engine/fuzz and the tests make them up (see `crate::fuzz`).

use std::task::{Context as Task, Poll, Waker};

use tokio::io::ReadBuf;

use super::connection::{Connection, Event, Fatal, Limits, Role};
use super::frame::{PREFACE, Reason};
use super::hpack::{Decoder, Encoder};
use crate::control::objects::HttpSettings;
use crate::http::chunked::Chunked;
use crate::http::request;

fn begin(role: Role) -> Connection {
    Connection::new(Limits {
        role,
        max_streams: 10,
        window_bytes: 65_535,
        connection_window_bytes: 1 << 17,
        max_header_bytes: 16 << 10,
        clock: || 0,
    })
}

/// Shows the bytes piece by piece, each until it is used.
fn feed(
    connection: &mut Connection,
    input: &[u8],
    piece: usize,
    mut between: impl FnMut(&mut Connection),
) -> Option<Fatal> {
    let mut pending = Vec::new();
    for part in input.chunks(piece) {
        pending.extend_from_slice(part);
        match connection.receive(&pending) {
            Ok(used) => drop(pending.drain(..used)),
            Err(fatal) => return Some(fatal),
        }
        between(connection);
    }
    None
}

fn read(connection: &mut Connection, key: usize) -> Vec<u8> {
    let (mut space, mut bytes) = ([0; 4096], Vec::new());
    loop {
        let mut out = ReadBuf::new(&mut space);
        match connection.poll_read(key, &Task::from_waker(Waker::noop()), &mut out) {
            Poll::Ready(Ok(())) if !out.filled().is_empty() => bytes.extend_from_slice(out.filled()),
            _ => return bytes,
        }
    }
}

/// What a client says: the same becomes of it whatever pieces it comes in, the answers to frames are no larger than they, and each
/// stream is one whole head of a request.
pub fn server(input: &[u8]) {
    let silent = |piece| {
        let mut connection = begin(Role::Server);
        let greeting = connection.pending().len();
        let fatal = feed(&mut connection, &[PREFACE, input].concat(), piece, |_| ());
        assert!(connection.pending().len() <= greeting + 2 * input.len() + 64, "it answers with too much");
        (fatal, connection.pending().to_vec(), connection.events.clone(), connection.faults)
    };
    assert_eq!(silent(PREFACE.len() + input.len()), silent(5));
    let mut connection = begin(Role::Server);
    let mut open = Vec::new();
    feed(&mut connection, &[PREFACE, input].concat(), 64, |connection| {
        for event in std::mem::take(&mut connection.events) {
            match event {
                Event::Opened(key) => open.push((key, false)),
                Event::Gone(key) => {
                    open.retain(|(one, _)| *one != key);
                    connection.release(key, Reason::CANCEL);
                }
            }
        }
        for (key, begun) in &mut open {
            let text = read(connection, *key);
            if !std::mem::replace(begun, true) {
                one_request(&text);
            }
        }
        if open.len() > 2 {
            let (key, _) = open.remove(0);
            connection.send_fields(key, true, |encoder, output| encoder.status(200, output));
            connection.release(key, Reason::NO_ERROR);
        }
        let sent = connection.pending().len();
        connection.wrote(sent);
    });
}

fn one_request(text: &[u8]) {
    let settings =
        HttpSettings { max_headers: request::MAX_HEADERS, max_header_bytes: 1 << 20, ..HttpSettings::default() };
    let mut storage = request::storage();
    if let Ok(head) = request::parse(text, &mut storage, &settings) {
        assert!(head.is_some(), "half a head: {:?}", String::from_utf8_lossy(text));
    }
}

/// What a backend says on two streams, one of them a WebSocket's: heads that are whole, bodies that can be read.
pub fn client(input: &[u8]) {
    let run = |piece| {
        let mut connection = begin(Role::Client);
        let keys = [connection.open().expect("room"), connection.open().expect("room")];
        connection.stream(keys[1]).websocket = Some("key".into());
        for key in keys {
            connection.send_fields(key, key == keys[0], |encoder, output| encoder.field(b":method", b"GET", output));
        }
        let fatal = feed(&mut connection, input, piece, |_| ());
        connection.die(fatal);
        ((fatal, connection.pending().to_vec()), keys.map(|key| heard(&mut connection, key)))
    };
    let ((whole, texts), (pieces, pieced)) = (run(input.len().max(1)), run(5));
    assert_eq!(whole, pieces);
    for ((text, failed), (piece, _)) in texts.iter().zip(&pieced) {
        // A stream that fails may have been read as far as that.
        assert!(
            text == piece || (*failed && (text.starts_with(piece) || piece.starts_with(text))),
            "{text:?} {piece:?}"
        );
    }
}

fn heard(connection: &mut Connection, key: usize) -> (Vec<u8>, bool) {
    let (text, failed) = (read(connection, key), connection.peek(key).failed.is_some());
    (understood(&text, failed), failed)
}

/// The heads and what they are followed by, wherever its chunks end.
fn understood(text: &[u8], failed: bool) -> Vec<u8> {
    let (mut rest, mut all) = (text, Vec::new());
    while !rest.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 1024];
        let mut head = httparse::Response::new(&mut headers);
        match head.parse(rest) {
            Ok(httparse::Status::Complete(bytes)) => {
                all.extend_from_slice(&rest[..bytes]);
                rest = &rest[bytes..];
            }
            // A name or value that HTTP/2 allows and the parser of all answers does not.
            Err(_) => return all,
            Ok(httparse::Status::Partial) if failed => return all, // and nothing more comes
            Ok(httparse::Status::Partial) => panic!("half a head: {:?}", String::from_utf8_lossy(text)),
        }
        let chunked = head.headers.iter().any(|header| header.name == "transfer-encoding");
        if head.code.is_some_and(|code| code >= 200 || code == 101) {
            if chunked {
                let read = Chunked::default().transfer(rest, &mut all, true);
                assert!(read.is_ok(), "its chunks: {:?}", String::from_utf8_lossy(text));
            } else {
                all.extend_from_slice(rest);
            }
            return all;
        }
    }
    all
}

/// Header blocks: what was read is read again when we write it.
pub fn hpack(input: &[u8]) {
    let lines = |block: &[u8]| {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        let decoded = Decoder::default().decode(block, |line| {
            bytes += line.text.len();
            if bytes < 1 << 20 {
                lines.push((line.name().to_vec(), line.value().to_vec(), line.class));
            }
        });
        decoded.map(|()| lines)
    };
    let Ok(mut first) = lines(input) else { return };
    first.retain(|(_, _, class)| *class != super::class::Class::Bad);
    let (mut encoder, mut block) = (Encoder::default(), Vec::new());
    encoder.begin(&mut block);
    first.iter().for_each(|(name, value, _)| encoder.field(name, value, &mut block));
    let second = lines(&block).expect("our own block");
    assert_eq!(first, second);
}
