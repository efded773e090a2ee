//! What engine/fuzz feeds with arbitrary bytes, and the tests with the corpora kept there and mutations of them.
//!
//! Promises: no target touches a socket, a file or a clock. Each one holds the parser to more than not to panic: what is
//! written for a backend or a client must be understood as what was read.

use std::sync::Arc;

use serde_json::Value;

use crate::control::frame::{self, FrameReader};
use crate::control::objects::HttpSettings;
use crate::control::wire;
use crate::dns::packet;
use crate::h2;
use crate::http::chunked::Chunked;
use crate::http::claim::Trust;
use crate::http::forward::{self, Edits, Origin};
use crate::http::{self, request, response};
use crate::master;
use crate::table::store::Store;
use crate::tcp::peek::Seen;
use crate::tcp::{passthrough, proxy_header};
use crate::tls;

pub type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("request", request),
    ("response", response),
    ("chunked", chunked),
    ("table", table),
    ("control", control),
    ("dns", dns),
    ("proxy_header", proxy_header),
    ("client_hello", client_hello),
    ("h2_server", h2_server),
    ("h2_client", h2_client),
    ("hpack", hpack),
    ("path", path),
    ("claim", claim),
    ("dn", dn),
];

/// A client's request head: what the backend gets is one request with the same method, framing and body.
pub fn request(input: &[u8]) {
    let settings = HttpSettings::default();
    let mut storage = request::storage();
    let Ok(Some(head)) = request::parse(input, &mut storage, &settings) else { return };
    let mut output = Vec::new();
    let client = std::net::Ipv4Addr::new(192, 0, 2, 1).into();
    let origin = Origin { address: "192.0.2.1", client, scheme: "http", believed: false, port: 80, tell: &[], draw: 0 };
    forward::write_head(input, &head, &origin, Edits::default(), &mut output);
    assert_eq!(output.windows(4).filter(|w| w == b"\r\n\r\n").count(), 1, "one head");
    let wide = HttpSettings { max_headers: request::MAX_HEADERS, max_header_bytes: 1 << 20, ..settings };
    let mut storage = request::storage();
    match request::parse(&output, &mut storage, &wide) {
        Ok(Some(again)) => {
            assert_eq!((again.bytes, again.method, again.target), (output.len(), head.method, head.target));
            assert_eq!((again.framing, again.upgrade), (head.framing, head.upgrade));
            assert_eq!(again.values("x-forwarded-for").collect::<Vec<_>>(), [b"192.0.2.1"]);
        }
        other => panic!("not understood again: {:?}", other.map(|head| head.is_some())),
    }
}

/// A backend's response head: what the client gets is one response with the same status and framing.
pub fn response(input: &[u8]) {
    let asked = response::Asked { head_method: false, http10: false, close: false, upgrade: false };
    let once = |input: &[u8], output: &mut Vec<u8>| {
        let mut storage = request::storage();
        response::translate(input, &mut storage, asked, response::Edits::default(), output)
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let Ok(Some(head)) = once(input, &mut first) else { return };
    assert_eq!(first.windows(4).filter(|w| w == b"\r\n\r\n").count(), 1, "one head");
    let again = once(&first, &mut second).expect("it is understood").expect("it is whole");
    assert_eq!((again.bytes, again.status, again.framing), (first.len(), head.status, head.framing));
}

/// A chunked body: the same whatever the pieces it comes in, and the same when it is read again.
pub fn chunked(input: &[u8]) {
    let decode = |input: &[u8], piece: usize, plain: bool| {
        let (mut decoder, mut output, mut pending) = (Chunked::default(), Vec::new(), Vec::new());
        for part in input.chunks(piece) {
            pending.extend_from_slice(part);
            let used = decoder.transfer(&pending, &mut output, plain).map_err(|_| ())?;
            pending.drain(..used);
        }
        Ok::<_, ()>((output, decoder.done()))
    };
    let whole = decode(input, input.len().max(1), false);
    assert_eq!(whole, decode(input, 1, false), "in one piece and byte by byte");
    if let Ok((output, true)) = whole {
        assert_eq!(decode(&output, output.len(), false), Ok((output.clone(), true)), "read again");
        assert_eq!(decode(input, 7, true), decode(&output, 5, true), "the payload");
    }
}

/// A message that changes the table, for the master, which keeps it, and for the worker, which carries it out.
pub fn table(input: &[u8]) {
    let mut kept = master::table::Table::default();
    let _ = kept.merge(input);
    let _ = (kept.replay().messages().count(), kept.hashes().len(), kept.sockets().len());
    let Ok(message) = serde_json::from_slice::<wire::Request>(input) else { return };
    let (report, _events) = tokio::sync::mpsc::unbounded_channel();
    let mut store = Store::new(Arc::default(), report);
    match message {
        wire::Request::Structure(message) => drop(store.apply_structure(&message)),
        wire::Request::Endpoints(message) => drop(store.apply_endpoints(&message)),
        _ => {}
    }
    drop(store.table());
}

/// Frames in pieces, and what is in them.
pub fn control(input: &[u8]) {
    let mut reader = FrameReader::resume(input.to_vec());
    while let Ok(Some(body)) = reader.next_frame() {
        if let Ok(event) = serde_json::from_slice::<wire::Event>(&body) {
            let text = serde_json::to_vec(&event).expect("an event can be written");
            serde_json::from_slice::<wire::Event>(&text).expect("and read again");
        }
        let _ = serde_json::from_slice::<wire::Request>(&body);
        let mut again = FrameReader::resume(frame::encode(&body));
        assert_eq!(again.next_frame().ok().flatten(), Some(body));
    }
    let _ = serde_json::from_slice::<Value>(reader.rest());
}

/// A question and an answer of somebody else.
pub fn dns(input: &[u8]) {
    if let Ok(query) = packet::Query::parse(input) {
        let again = packet::question_of(&query.name, query.kind);
        assert!(again.is_some() || query.name.contains(|c: char| c == '\\' || !c.is_ascii_graphic()), "{query:?}");
        assert!(query.udp_bytes() >= packet::PLAIN_BYTES);
    }
    for start in 0..input.len().min(64) {
        if let Some((name, next)) = packet::read_name(input, start) {
            assert!(next > start && next <= input.len() && name.len() <= 1024, "{name:?}");
        }
        if let Some((_, next)) = packet::read_record(input, start) {
            assert!(next > start && next <= input.len());
        }
    }
}

/// A PROXY header: whole from its last byte on, waited for before.
pub fn proxy_header(input: &[u8]) {
    if let Ok(Seen::Whole((bytes, source))) = proxy_header::parse(input) {
        assert!(bytes <= input.len());
        assert!(matches!(proxy_header::parse(&input[..bytes]), Ok(Seen::Whole(again)) if again == (bytes, source)));
        assert!(matches!(proxy_header::parse(&input[..bytes - 1]), Ok(Seen::More)));
    }
}

/// The name in a TLS ClientHello.
pub fn client_hello(input: &[u8]) {
    if let Ok(Seen::Whole(name)) = passthrough::server_name(input) {
        assert!(!name.iter().any(u8::is_ascii_uppercase));
    }
}

/// A client's frames behind the preface.
pub fn h2_server(input: &[u8]) {
    h2::fuzz::server(input);
}

/// A backend's frames.
pub fn h2_client(input: &[u8]) {
    h2::fuzz::client(input);
}

/// Header blocks of HTTP/2.
pub fn hpack(input: &[u8]) {
    h2::fuzz::hpack(input);
}

/// A path as Routes are compared with it: normal once and for all, and none that a server would walk up from.
pub fn path(input: &[u8]) {
    if input.first() != Some(&b'/') || !input.iter().all(|b| (0x21..0x7f).contains(b) && *b != b'#') {
        return; // no target is like that
    }
    let Ok(normal) = http::path::normal(input) else { return };
    assert!(!normal.split(|b| *b == b'/').any(|element| element == b"." || element == b".."), "{normal:?}");
    let mut encoded = Vec::new();
    http::path::encode(&normal, &mut encoded);
    assert_eq!(http::path::normal(&encoded).expect("its own text").as_ref(), normal.as_ref());
}

/// What proxies claim of a client: an address that was named, or the peer.
pub fn claim(input: &[u8]) {
    for header in ["X-Forwarded-For", "Forwarded"] {
        let text = [b"GET / HTTP/1.1\r\nHost: a\r\n", header.as_bytes(), b": ", input, b"\r\n\r\n"].concat();
        let mut storage = request::storage();
        let Ok(Some(head)) = request::parse(&text, &mut storage, &HttpSettings::default()) else { return };
        let peer = std::net::IpAddr::from([192, 0, 2, 1]);
        for (hops, proxies) in [(1, vec![]), (3, vec![]), (0, vec!["192.0.2.0/24".to_owned(), "10.0.0.0/8".to_owned()])]
        {
            let client_header = header.to_owned();
            let settings =
                HttpSettings { trusted_hops: hops, trusted_proxies: proxies, client_header, ..HttpSettings::default() };
            let client = Trust::compile(&settings).expect("sound settings").client(&head, peer);
            // Nothing but an address makes one: without digits and colons there is none.
            let named = input.iter().any(|b| b.is_ascii_digit() || *b == b':');
            assert!(client == peer || named, "{client} of {input:?}");
        }
    }
}

/// A client certificate's names, which go into header fields.
pub fn dn(input: &[u8]) {
    let text = tls::dn::render(input);
    assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)), "{text:?}");
    let _ = tls::dn::common_name(input);
}
