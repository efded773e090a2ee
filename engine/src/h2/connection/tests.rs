//! Both roles against each other, floods, nonsense, and whatever the `h2` crate makes of the same.

use std::task::Waker;

use super::super::body::Body;
use super::super::frame::{Header, PREFACE, flag, kind, write_ping, write_reset, write_settings, write_window_update};
use super::super::pipe;
use super::*;
use crate::balance::random::Random;

fn limits(role: Role) -> Limits {
    let (window_bytes, connection_window_bytes) = (65_535, 1 << 17);
    Limits { role, max_streams: 100, window_bytes, connection_window_bytes, max_header_bytes: 16 << 10, clock: || 0 }
}

fn server() -> Connection {
    let mut server = Connection::new(limits(Role::Server));
    let mut hello = PREFACE.to_vec();
    write_settings(0, &[], &mut hello);
    assert_eq!(server.receive(&hello), Ok(hello.len()));
    drain(&mut server);
    server
}

fn drain(connection: &mut Connection) -> Vec<u8> {
    let bytes = connection.pending().to_vec();
    connection.wrote(bytes.len());
    bytes
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Header { length: payload.len(), kind, flags, stream }.write(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// GET / over http to the authority `a`.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 1, b'a'];

fn get(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, GET)
}

fn read(connection: &mut Connection, key: usize) -> Option<Vec<u8>> {
    let mut space = [0u8; 1000];
    let mut out = ReadBuf::new(&mut space);
    match connection.poll_read(key, &Task::from_waker(Waker::noop()), &mut out) {
        Poll::Ready(Ok(())) => Some(out.filled().to_vec()),
        _ => None,
    }
}

/// The fatal reason that this input has, after `before` frames of it.
fn flood(piece: impl Fn(u32) -> Vec<u8>) -> (Reason, u32) {
    let mut server = server();
    for nth in 0..100_000 {
        if let Err(Fatal(reason)) = server.receive(&piece(nth)) {
            return (reason, nth);
        }
        drain(&mut server);
        for event in std::mem::take(&mut server.events) {
            if let Event::Gone(key) = event {
                server.release(key, Reason::CANCEL);
            }
        }
    }
    panic!("no end");
}

#[test]
fn floods_end_the_connection() {
    let made = |fill: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        fill(&mut bytes);
        bytes
    };
    let floods: [&dyn Fn(u32) -> Vec<u8>; 6] = [
        &|_| made(&|out| write_ping(0, &[0; 8], out)),
        &|_| made(&|out| write_settings(0, &[], out)),
        &|nth| [get(nth * 2 + 1), made(&|out| write_reset(nth * 2 + 1, Reason::CANCEL, out))].concat(),
        &|nth| frame(kind::PRIORITY, 0, nth * 2 + 1, &[0, 0, 0, 0, 1]),
        &|_| frame(77, 0, 0, b""),
        // A body's frames without a body.
        &|nth| match nth {
            0 => frame(kind::HEADERS, flag::END_HEADERS, 1, GET),
            _ => frame(kind::DATA, 0, 1, b""),
        },
    ];
    for (at, piece) in floods.iter().enumerate() {
        let (reason, after) = flood(piece);
        assert_eq!(reason, Reason::ENHANCE_YOUR_CALM, "flood {at}");
        assert!(after < 2_500, "flood {at} lasted for {after}");
    }
}

#[test]
fn continuations_without_an_end_are_cut_off() {
    let empty = |nth| if nth == 0 { frame(kind::HEADERS, 0, 1, GET) } else { frame(kind::CONTINUATION, 0, 1, b"") };
    assert_eq!(flood(empty), (Reason::ENHANCE_YOUR_CALM, 33));
    let full = |nth| match nth {
        0 => frame(kind::HEADERS, 0, 1, GET),
        _ => frame(kind::CONTINUATION, 0, 1, &[0; 16_384]),
    };
    assert_eq!(flood(full).0, Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn a_list_over_the_limit_is_answered_and_the_table_stays_right() {
    let mut server = server();
    let mut block = GET.to_vec();
    block.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e]); // a field of 4,000 bytes, kept by the table
    block.extend_from_slice(&[b'y'; 4000]);
    block.extend_from_slice(&[0xbe; 20]);
    let input = frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block);
    assert_eq!(server.receive(&input), Ok(input.len()));
    assert!(server.events.is_empty() && server.streams() == 0);
    let answer = drain(&mut server);
    let header = Header::parse(&answer).unwrap();
    assert_eq!((header.kind, header.flags), (kind::HEADERS, flag::END_HEADERS | flag::END_STREAM));
    assert_eq!(&answer[9..], [0x08, 3, b'4', b'3', b'1']);
    let again = frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 3, &[GET, &[0xbe]].concat());
    assert_eq!(server.receive(&again), Ok(again.len()));
    let [Event::Opened(key)] = server.events[..] else { panic!("{:?}", server.events) };
    assert!(read(&mut server, key).unwrap().ends_with(&[b'y'; 100]));
}

#[test]
fn what_comes_between_two_pieces_of_data_is_in_neither() {
    let mut server = server();
    server.receive(&get(1)).unwrap();
    let [Event::Opened(key)] = server.events[..] else { panic!("{:?}", server.events) };
    let task = Task::from_waker(Waker::noop());
    for word in [&b"one"[..], b"two", b"three"] {
        assert!(server.poll_send(key, &task, word, false).is_ready());
        if word == b"two" {
            let mut ping = Vec::new();
            write_ping(0, &[7; 8], &mut ping);
            server.receive(&ping).unwrap();
        }
    }
    let mut acknowledged = Vec::new();
    write_ping(flag::ACK, &[7; 8], &mut acknowledged);
    let wanted = [frame(kind::DATA, 0, 1, b"onetwo"), acknowledged, frame(kind::DATA, 0, 1, b"three")].concat();
    assert_eq!(drain(&mut server), wanted);
}

#[test]
fn the_hundred_and_first_stream_is_refused() {
    let mut server = server();
    for nth in 0..101 {
        server.receive(&get(nth * 2 + 1)).unwrap();
    }
    assert_eq!((server.streams(), server.events.len()), (100, 100));
    let mut refused = Vec::new();
    write_reset(201, Reason::REFUSED_STREAM, &mut refused);
    assert_eq!(drain(&mut server), refused);
}

#[test]
fn a_zero_window_holds_a_body_and_nothing_else() {
    let mut server = server();
    let mut settings = Vec::new();
    write_settings(0, &[(id::INITIAL_WINDOW_SIZE, 0)], &mut settings);
    server.receive(&settings).unwrap();
    server.receive(&get(1)).unwrap();
    let [Event::Opened(key)] = server.events[..] else { panic!() };
    drain(&mut server);
    let task = Task::from_waker(Waker::noop());
    server.send_fields(key, false, |encoder, output| encoder.status(200, output));
    assert!(server.poll_send(key, &task, b"abc", true).is_pending());
    assert_eq!(drain(&mut server).len(), 10, "the head went");
    let mut update = Vec::new();
    write_window_update(1, 2, &mut update);
    server.receive(&update).unwrap();
    assert!(matches!(server.poll_send(key, &task, b"abc", true), Poll::Ready(Ok(2))));
    assert_eq!(drain(&mut server), frame(kind::DATA, 0, 1, b"ab"));
    server.receive(&update).unwrap();
    assert!(matches!(server.poll_send(key, &task, b"c", true), Poll::Ready(Ok(1))));
    assert_eq!(drain(&mut server), frame(kind::DATA, flag::END_STREAM, 1, b"c"));
}

#[test]
fn who_sends_more_than_the_window_is_cut_off() {
    let mut server = server();
    server.receive(&frame(kind::HEADERS, flag::END_HEADERS, 1, GET)).unwrap();
    let data = frame(kind::DATA, 0, 1, &[0; 16_384]);
    (0..3).for_each(|_| assert_eq!(server.receive(&data), Ok(data.len())));
    drain(&mut server);
    server.receive(&data).unwrap();
    let mut reset = Vec::new();
    write_reset(1, Reason::FLOW_CONTROL_ERROR, &mut reset);
    assert_eq!(drain(&mut server), reset);
    assert_eq!(server.events.last(), Some(&Event::Gone(0)));
}

#[test]
fn a_farewell_takes_what_was_on_its_way() {
    let mut server = server();
    server.say_farewell();
    let said = drain(&mut server);
    assert_eq!(said[9..13], 0x7fff_ffff_u32.to_be_bytes(), "GOAWAY that refuses nothing yet");
    server.receive(&get(1)).unwrap();
    assert_eq!(server.events.len(), 1);
    server.receive(&frame(kind::PING, flag::ACK, 0, &FAREWELL_PING)).unwrap();
    assert_eq!(drain(&mut server)[9..13], 1u32.to_be_bytes());
    server.receive(&get(3)).unwrap();
    assert_eq!(server.events.len(), 1, "later ones are refused");
    assert!(!server.is_over());
    server.release(0, Reason::NO_ERROR);
    assert!(server.is_over());
}

#[test]
fn a_request_that_is_taken_back_is_told() {
    let mut server = server();
    server.receive(&get(1)).unwrap();
    let mut reset = Vec::new();
    write_reset(1, Reason::CANCEL, &mut reset);
    server.receive(&reset).unwrap();
    assert_eq!(server.events, [Event::Opened(0), Event::Gone(0)]);
    server.release(0, Reason::INTERNAL_ERROR);
    assert!(drain(&mut server).is_empty(), "nothing is said of it any more");
    assert_eq!(server.receive(&get(1)), Err(Fatal(Reason::STREAM_CLOSED)));
}

/// Moves what one has to say to the other, cut at random.
fn carry(random: &mut Random, from: &mut Connection, rest: &mut Vec<u8>, to: &mut Connection) {
    rest.extend_from_slice(&drain(from));
    let n = random.below(rest.len() as u64 + 1) as usize;
    let used = to.receive(&rest[..n]).expect("no fault");
    rest.drain(..used);
}

/// The payload of a chunked body that is whole.
fn whole(body: &[u8]) -> Vec<u8> {
    let (mut plain, mut chunks) = (Vec::new(), crate::http::chunked::Chunked::default());
    assert_eq!(chunks.transfer(body, &mut plain, true), Ok(body.len()));
    assert!(chunks.done());
    plain
}

#[test]
fn both_roles_understand_each_other_however_the_bytes_are_cut() {
    let task = Task::from_waker(Waker::noop());
    let mut random = Random::new(11);
    let (mut client, mut server) = (Connection::new(limits(Role::Client)), Connection::new(limits(Role::Server)));
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for round in 0..60 {
        let bytes = random.below(if round % 10 == 0 { 300_000 } else { 3_000 }) as usize;
        let payload: Vec<u8> = (0..bytes).map(|i| (i * 7 % 251) as u8).collect();
        let key = client.open().unwrap();
        client.send_fields(key, false, |encoder, output| {
            for (name, value) in [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "a")] {
                encoder.field(name.as_bytes(), value.as_bytes(), output);
            }
        });
        let (mut sent, mut got, mut seat, mut answered) = (0, Vec::new(), None, Vec::new());
        let (mut body, mut over) = (Body::UntilClose, false);
        while !over {
            carry(&mut random, &mut client, &mut up, &mut server);
            carry(&mut random, &mut server, &mut down, &mut client);
            if sent < bytes
                && let Poll::Ready(n) = pipe::poll_body(&mut client, key, &task, &mut body, &payload[sent..])
            {
                sent += n.unwrap();
                if sent == bytes {
                    client.end(key);
                }
            } else if bytes == 0 {
                client.end(key);
            }
            for event in std::mem::take(&mut server.events) {
                let Event::Opened(key) = event else { panic!("{event:?}") };
                seat = Some(key);
            }
            while let Some(more) = seat.and_then(|key| read(&mut server, key)).filter(|more| !more.is_empty()) {
                got.extend_from_slice(&more);
            }
            if let Some(seat) = seat.take_if(|seat| server.stream(*seat).read_whole()) {
                let start = got.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
                assert!(got.starts_with(b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n"));
                assert!(whole(&got[start..]) == payload);
                server.send_fields(seat, false, |encoder, output| encoder.status(200, output));
                assert!(server.poll_send(seat, &task, b"ok", false).is_ready());
                server.end(seat);
                server.release(seat, Reason::NO_ERROR);
            }
            while let Some(more) = read(&mut client, key).filter(|more| !more.is_empty()) {
                answered.extend_from_slice(&more);
            }
            over = client.stream(key).read_whole();
        }
        let body = answered.strip_prefix(b"HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n");
        assert_eq!(whole(body.unwrap()), b"ok");
        client.release(key, Reason::CANCEL);
    }
    assert_eq!((client.streams(), server.streams()), (0, 0));
}

/// Frames that mean something, then spoiled: whatever comes, it ends in an answer or an error, never in a panic, and what
/// is kept stays small.
#[test]
fn nonsense_is_survived() {
    for seed in 0..3_000 {
        let mut random = Random::new(seed);
        let mut server = server();
        let mut input = Vec::new();
        for nth in 0..20 {
            let stream = (random.below(8) * 2 + 1) as u32;
            let flags = random.below(64) as u8;
            let payload: Vec<u8> = (0..random.below(24)).map(|_| random.below(256) as u8).collect();
            let piece = match random.below(8) {
                0 => get(nth * 2 + 1),
                1 => frame(kind::HEADERS, flags, stream, &[GET, &payload].concat()),
                2 => frame(kind::DATA, flags, stream, &payload),
                3 => frame(kind::WINDOW_UPDATE, 0, stream % 4, &[0, 0, 0, random.below(3) as u8]),
                4 => frame(kind::SETTINGS, 0, 0, &[0, random.below(8) as u8, 0, 0, random.below(256) as u8, 0]),
                5 => frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]),
                _ => frame(random.below(12) as u8, flags, stream, &payload),
            };
            input.extend_from_slice(&piece);
        }
        for _ in 0..random.below(4) {
            let at = random.below(input.len() as u64) as usize;
            input[at] ^= 1 << random.below(8);
        }
        let mut rest = &input[..];
        while !rest.is_empty() {
            let n = random.below(rest.len() as u64) as usize + 1;
            let Ok(used) = server.receive(&rest[..n]) else { break };
            if used == 0 && n == rest.len() {
                break;
            }
            rest = &rest[used..];
            for event in std::mem::take(&mut server.events) {
                let (Event::Opened(key) | Event::Gone(key)) = event;
                let _ = read(&mut server, key);
                if matches!(event, Event::Gone(_)) || random.below(2) == 0 && server.stream(key).failed.is_none() {
                    server.release(key, Reason::CANCEL);
                    server.events.clear();
                }
            }
        }
        assert!(server.pending().len() < 64 << 10);
    }
}

/// The `h2` crate asks with fields, bodies and trailers of all kinds; ours answers with the same: both must agree.
#[test]
fn the_h2_crate_and_we_understand_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        tokio::spawn(echo(ours));
        let (sender, connection) = h2::client::handshake(theirs).await.unwrap();
        tokio::spawn(connection);
        let mut random = Random::new(5);
        for _ in 0..400 {
            let mut sender = sender.clone().ready().await.unwrap();
            let mut request = http::Request::get("http://a.test/some/path?x=1");
            let mut sent = Vec::new();
            for _ in 0..random.below(20) {
                let (name, length) = (format!("x-{}", random.below(30)), random.below(70));
                let value: String = (0..length).map(|_| (0x21 + random.below(0x5e) as u8) as char).collect();
                request = request.header(&name, &value);
                sent.push((name, value));
            }
            sent.sort();
            let (response, _) = sender.send_request(request.body(()).unwrap(), true).unwrap();
            let response = response.await.unwrap();
            let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
            let mut came: Vec<_> = response.headers().iter().map(|(n, v)| (n.to_string(), text(v))).collect();
            came.sort();
            assert_eq!(came, sent);
        }
    });
}

/// Answers every request with its own fields.
async fn echo(mut io: tokio::io::DuplexStream) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut server, mut input) = (Connection::new(limits(Role::Server)), Vec::new());
    loop {
        io.write_all(&drain(&mut server)).await.unwrap();
        if io.read_buf(&mut input).await.unwrap() == 0 {
            return;
        }
        let used = server.receive(&input).unwrap();
        input.drain(..used);
        for event in std::mem::take(&mut server.events) {
            let Event::Opened(key) = event else { panic!("{event:?}") };
            let mut text = Vec::new();
            while let Some(more) = read(&mut server, key).filter(|more| !more.is_empty()) {
                text.extend_from_slice(&more);
            }
            server.send_fields(key, true, |encoder, output| {
                encoder.status(200, output);
                let fields = super::super::body::fields(&text);
                fields.filter(|(name, _)| name.starts_with(b"x-")).for_each(|(n, v)| encoder.field(n, v, output));
            });
            server.release(key, Reason::NO_ERROR);
        }
    }
}
