//! The server over real sockets, with a resolver of our own behind it, and malformed packets by the thousand.

use std::future::Future;
use std::net::SocketAddr;

use serde_json::json;
use tokio::net::TcpListener;

use super::packet::{A, HEADER_BYTES, OPT, SRV};
use super::*;
use crate::balance::random::Random;

fn locally<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await.expect("it took too long") })
}

fn zone(names: &[(&str, Vec<String>)]) -> Arc<Zone> {
    let mut zone = Zone::default();
    for (name, values) in names {
        zone.add(&serde_json::from_value(json!({"id": name, "name": name, "values": values})).unwrap(), None);
    }
    Arc::new(zone)
}

fn server(resolvers: Vec<SocketAddr>) -> Rc<Server> {
    let many = (0..200).map(|last| format!("10.1.0.{last}")).collect();
    let zone = zone(&[
        ("web.cluster.local", vec!["10.0.0.1".to_owned()]),
        ("many.cluster.local", many),
        ("out.cluster.local", vec!["cname:example.org".to_owned()]),
    ]);
    let turn = RefCell::new(Random::new(1));
    Rc::new(Server { zone: Rc::new(move || zone.clone()), forwarder: Forwarder::to(resolvers), turn })
}

async fn listen(server: Rc<Server>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    spawn_local(server.serve_udp(socket));
    address
}

fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend(packet::question_of(name, kind).unwrap());
    message
}

async fn ask(server: SocketAddr, message: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(message, server).await.unwrap();
    let mut piece = [0; 4096];
    let length = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut piece)).await.unwrap().unwrap();
    piece[..length].to_vec()
}

fn code(message: &[u8]) -> u8 {
    message[3] & 15
}

fn addresses(message: &[u8]) -> Vec<String> {
    let values = records_of(message).into_iter().filter_map(|found| match found.value {
        Value::Address(address) => Some(address.to_string()),
        _ => None,
    });
    values.collect()
}

/// A resolver that answers with 9.9.9.9 and a TTL of 60, after some answers that must not be believed. Counts questions.
async fn resolver() -> (SocketAddr, Rc<std::cell::Cell<u32>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let count = Rc::new(std::cell::Cell::new(0));
    let counted = count.clone();
    spawn_local(async move {
        let mut piece = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut piece).await {
            counted.set(counted.get() + 1);
            let question = Query::parse(&piece[..length]).unwrap();
            let mut answer = question.id.to_be_bytes().to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            answer.extend(&question.question);
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 9, 9, 9, 9]);
            let mut wrong_id = answer.clone();
            wrong_id[0] ^= 1;
            let mut wrong_question = answer.clone();
            wrong_question[HEADER_BYTES + 1] ^= 1;
            for message in [&wrong_id, &wrong_question, &answer[..5].to_vec(), &answer] {
                socket.send_to(message, client).await.unwrap();
            }
        }
    });
    (address, count)
}

#[test]
fn our_names_are_answered_with_authority() {
    locally(async {
        let server = listen(server(Vec::new())).await;
        let answer = ask(server, &query(7, "WEB.cluster.local", A)).await;
        assert_eq!((&answer[..2], answer[2] & 4, code(&answer)), (&[0, 7][..], 4, 0));
        assert_eq!(addresses(&answer), ["10.0.0.1"]);
        assert!(answer[HEADER_BYTES..].starts_with(b"\x03WEB"));
        assert_eq!(code(&ask(server, &query(7, "none.cluster.local", A)).await), 3);
        let nothing = ask(server, &query(7, "web.cluster.local", SRV)).await;
        assert_eq!((code(&nothing), &nothing[6..10]), (0, &[0, 0, 0, 1][..]));
    });
}

#[test]
fn the_first_address_is_another_one_each_time() {
    locally(async {
        let server = listen(server(Vec::new())).await;
        let mut firsts = std::collections::HashSet::new();
        for _ in 0..40 {
            firsts.insert(addresses(&ask(server, &query(1, "many.cluster.local", A)).await).remove(0));
        }
        assert!(firsts.len() > 10, "{firsts:?}");
    });
}

#[test]
fn what_is_too_long_for_udp_is_truncated_and_whole_over_tcp() {
    locally(async {
        let server = server(Vec::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = listener.local_addr().unwrap();
        let udp = listen(server.clone()).await;
        spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = server.serve_tcp(stream).await;
        });
        let answer = ask(udp, &query(1, "many.cluster.local", A)).await;
        assert!(answer.len() <= 512 && answer[2] & 2 == 2);
        let mut stream = TcpStream::connect(tcp).await.unwrap();
        // Two questions on one connection, in pieces.
        for id in [1, 2] {
            let message = query(id, "many.cluster.local", A);
            let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
            for byte in framed {
                stream.write_all(&[byte]).await.unwrap();
            }
            let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!((answer[1], addresses(&answer).len()), (id as u8, 200));
        }
    });
}

#[test]
fn other_names_are_asked_of_a_resolver_once_and_only_its_true_answer_counts() {
    locally(async {
        let (resolver, count) = resolver().await;
        let server = listen(server(vec![resolver])).await;
        for id in [5, 6] {
            let answer = ask(server, &query(id, "Example.org", A)).await;
            assert_eq!((answer[1], code(&answer), addresses(&answer)), (id as u8, 0, vec!["9.9.9.9".to_owned()]));
            assert!(answer[HEADER_BYTES..].starts_with(b"\x07Example"));
        }
        assert_eq!(count.get(), 1, "the second answer came from the cache");
    });
}

#[test]
fn an_alias_to_another_name_is_followed() {
    locally(async {
        let (resolver, _) = resolver().await;
        let server = listen(server(vec![resolver])).await;
        let answer = ask(server, &query(5, "out.cluster.local", A)).await;
        assert_eq!(addresses(&answer), ["9.9.9.9"]);
        assert!(records_of(&answer).iter().any(|found| found.value == Value::Alias("example.org".to_owned())));
    });
}

#[test]
fn a_resolver_that_is_gone_is_followed_by_the_next_and_none_is_a_failure() {
    locally(async {
        let (good, _) = resolver().await;
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let server_address = listen(server(vec![gone, good])).await;
        assert_eq!(addresses(&ask(server_address, &query(1, "example.org", A)).await), ["9.9.9.9"]);
        let server_address = listen(server(vec![gone])).await;
        assert_eq!(code(&ask(server_address, &query(1, "example.org", A)).await), 2);
    });
}

#[test]
fn what_is_not_carried_is_refused_by_its_code() {
    locally(async {
        let server = listen(server(Vec::new())).await;
        assert_eq!(code(&ask(server, &query(1, "web.cluster.local", packet::AXFR)).await), 5);
        let mut chaos = query(1, "version.bind", 16);
        *chaos.last_mut().unwrap() = 3;
        assert_eq!(code(&ask(server, &chaos).await), 5);
        let mut update = query(1, "web.cluster.local", A);
        update[2] = 5 << 3;
        assert_eq!(code(&ask(server, &update).await), 4);
        let mut newer = query(1, "web.cluster.local", A);
        newer[11] = 1;
        newer.extend([0, 0, OPT as u8, 16, 0, 0, 1, 0, 0, 0, 0]);
        let answer = ask(server, &newer).await;
        // BADVERS is 16: its upper bits are in OPT's TTL.
        assert_eq!((code(&answer), answer[answer.len() - 6]), (0, 1));
    });
}

/// Each byte of good questions changed, pieces cut and joined, in an order that is the same each time: no panic, and what
/// is answered is a whole message.
#[test]
fn malformed_packets_hurt_nobody() {
    let server = server(Vec::new());
    let mut random = Random::new(42);
    let mut edns = query(1, "many.cluster.local", A);
    edns[11] = 1;
    edns.extend([0, 0, OPT as u8, 4, 0, 0, 0, 0, 0, 0, 0]);
    let seeds = [query(1, "web.cluster.local", A), edns, query(2, "_a._b.many.cluster.local", SRV)];
    let mut answered = 0;
    for round in 0..60_000u64 {
        let mut message = seeds[(round % 3) as usize].clone();
        for _ in 0..=random.draw() % 4 {
            let place = random.draw() as usize % message.len();
            match random.draw() % 4 {
                0 => message[place] = random.draw() as u8,
                1 => message[place] ^= 1 << (random.draw() % 8),
                2 => message.truncate(place.max(1)),
                _ => message.extend_from_slice(&seeds[(random.draw() % 3) as usize][..place.min(20)]),
            }
        }
        if let Now::Answer(answer) = server.at_once(&message, round % 2 == 0) {
            assert_whole(&answer);
            answered += 1;
        }
        // What a resolver sends is no more to be trusted.
        records_of(&[&[0; HEADER_BYTES][..], &message].concat());
        let mut cache = cache::Cache::default();
        cache.put(cache::Key { name: String::new(), kind: 1, dnssec_ok: false }, &message, 0.0);
    }
    assert!(answered > 10_000, "{answered}");
}

fn assert_whole(answer: &[u8]) {
    let word = |place: usize| u16::from_be_bytes([answer[place], answer[place + 1]]);
    assert!(answer[2] & 0x80 == 0x80);
    let mut place = HEADER_BYTES;
    for _ in 0..word(4) {
        place = packet::read_name(answer, place).expect("the question's name").1 + 4;
    }
    for _ in 0..word(6) + word(8) + word(10) {
        place = packet::read_record(answer, place).expect("a whole record").1;
    }
    assert_eq!(place, answer.len());
}

#[test]
fn a_names_addresses_are_ours_or_somebody_elses() {
    locally(async {
        let (resolver, _) = resolver().await;
        let server = server(vec![resolver]);
        let found = |list: &str, ours| Some((vec![list.parse::<std::net::IpAddr>().unwrap()], ours));
        let ask = async |name: &str| server.addresses(name).await.map(|a| (a.list, a.ours));
        assert_eq!(ask("web.cluster.local").await, found("10.0.0.1", true));
        assert_eq!(ask("example.org").await, found("9.9.9.9", false));
        assert_eq!(ask("out.cluster.local").await, found("9.9.9.9", false), "an alias of ours to somebody else's name");
        assert_eq!(ask("none.cluster.local").await, Some((Vec::new(), true)));
    });
}
