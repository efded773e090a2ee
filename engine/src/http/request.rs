//! A request's head: parsed, judged and made ready to be forwarded, without an allocation.
//!
//! Promises: what is ambiguous is refused with the status to answer and never reaches a backend: both lengths, repeated
//! or odd Content-Length, unknown transfer codings, bare CR or LF, obs-fold, space before the colon, a missing, repeated
//! or malformed Host, a target whose authority is not the Host's, dot segments. Follows RFC 9112 and RFC 9110.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use httparse::{Header, Request as Raw, Status};
use smallvec::SmallVec;

use super::field::{self, Kind};
use super::path;
use crate::control::objects::HttpSettings;
use crate::table::router;

/// The most fields that any Listener may allow.
pub const MAX_HEADERS: usize = 256;
/// RFC 9112, 2.2: some clients send an empty line too many.
const MAX_EMPTY_LINES: usize = 4;
pub type Storage<'b> = [MaybeUninit<Header<'b>>; MAX_HEADERS];

pub fn storage<'b>() -> Storage<'b> {
    [const { MaybeUninit::uninit() }; MAX_HEADERS]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Empty,
    Length(u64),
    Chunked,
    /// Responses only.
    UntilClose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub status: u16,
    pub reason: &'static str,
}

const fn bad(reason: &'static str) -> Refused {
    Refused { status: 400, reason }
}

pub struct Head<'b> {
    pub bytes: usize,
    pub method: &'b str,
    /// Origin form, query included.
    pub target: &'b [u8],
    pub path_bytes: usize,
    /// As Routes are compared with it.
    pub path: Cow<'b, [u8]>,
    pub http10: bool,
    pub host: SmallVec<[u8; 64]>,
    pub authority: &'b [u8],
    pub headers: &'b [Header<'b>],
    pub kinds: SmallVec<[Kind; 32]>,
    pub framing: Framing,
    pub close: bool,
    pub expect_continue: bool,
    pub upgrade: bool,
    /// Fields that Connection names, besides the usual ones.
    pub hop_names: SmallVec<[&'b [u8]; 2]>,
}

/// `None`: the head is not whole yet.
pub fn parse<'b>(
    input: &'b [u8],
    storage: &'b mut Storage<'b>,
    settings: &HttpSettings,
) -> Result<Option<Head<'b>>, Refused> {
    if input.chunks(2).take(MAX_EMPTY_LINES + 1).filter(|line| *line == b"\r\n").count() > MAX_EMPTY_LINES {
        return Err(bad("empty lines before the request"));
    }
    let mut raw = Raw::new(&mut []);
    let limit = settings.max_headers.min(MAX_HEADERS);
    let bytes = match raw.parse_with_uninit_headers(input, &mut storage[..limit]) {
        Ok(Status::Complete(bytes)) if bytes <= settings.max_header_bytes => bytes,
        Ok(Status::Partial) if input.len() < settings.max_header_bytes => {
            // A head that can only become a refused one is not waited for.
            return if early_refusal(input) { Err(bad("a bare line feed")) } else { Ok(None) };
        }
        Ok(_) => return Err(Refused { status: 431, reason: "the header is too large" }),
        Err(httparse::Error::TooManyHeaders) => return Err(Refused { status: 431, reason: "too many header fields" }),
        Err(httparse::Error::Version) => return Err(version_refusal(input)),
        Err(_) => return Err(bad("the request's head is malformed")),
    };
    if !field::strict_lines(&input[..bytes]) {
        return Err(bad("a bare carriage return or line feed"));
    }
    let (method, target) = (raw.method.unwrap_or(""), raw.path.unwrap_or(""));
    if method == "CONNECT" {
        // What follows is not meant for us, so the connection ends. HTTP/2 can ask by it for other protocols (RFC 8441, 9220).
        let extended = raw.headers.iter().any(|h| h.name.eq_ignore_ascii_case("upgrade"));
        let (status, reason) =
            if extended { (501, "this protocol is not carried") } else { (405, "CONNECT is not carried") };
        return Err(Refused { status, reason });
    }
    let http10 = raw.version == Some(0);
    let mut head = Head {
        bytes,
        method,
        target: target.as_bytes(),
        path_bytes: 0,
        path: Cow::Borrowed(b""),
        http10,
        host: SmallVec::new(),
        authority: b"",
        headers: raw.headers,
        kinds: SmallVec::new(),
        framing: Framing::Empty,
        close: false,
        expect_continue: false,
        upgrade: false,
        hop_names: SmallVec::new(),
    };
    head.judge_fields()?;
    head.judge_target()?;
    Ok(Some(head))
}

fn early_refusal(input: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', input).any(|at| at == 0 || input[at - 1] != b'\r')
}

fn version_refusal(input: &[u8]) -> Refused {
    let line = input.split(|b| *b == b'\r').next().unwrap_or_default();
    let version = line.rsplit(|b| *b == b' ').next().unwrap_or_default();
    let known_form = version.len() == 8 && version.starts_with(b"HTTP/") && version[5].is_ascii_digit();
    if known_form && !version.starts_with(b"HTTP/1.") && line.iter().filter(|b| **b == b' ').count() == 2 {
        Refused { status: 505, reason: "this HTTP version is not spoken here" }
    } else {
        bad("the request's version is malformed")
    }
}

impl<'b> Head<'b> {
    fn judge_fields(&mut self) -> Result<(), Refused> {
        let mut length: Option<u64> = None;
        let mut coding = false;
        let mut hosts = 0;
        let mut upgrade_token = false;
        let mut upgrade_field = None;
        let (mut says_close, mut says_keep_alive) = (false, false);
        for header in self.headers {
            let kind = field::kind(header.name);
            self.kinds.push(kind);
            match kind {
                Kind::Other
                | Kind::Claim
                | Kind::Hop
                | Kind::ForwardedFor
                | Kind::ForwardedProto
                | Kind::ForwardedHost => {}
                Kind::Host => {
                    hosts += 1;
                    self.authority = header.value;
                }
                Kind::ContentLength => {
                    let value = field::content_length(header.value).ok_or(bad("Content-Length is malformed"))?;
                    if length.replace(value).is_some() {
                        return Err(bad("more than one Content-Length"));
                    }
                }
                Kind::TransferEncoding => {
                    if coding {
                        return Err(bad("more than one Transfer-Encoding"));
                    }
                    if !header.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Refused { status: 501, reason: "this transfer coding is not carried" });
                    }
                    coding = true;
                }
                Kind::Connection => {
                    for token in field::tokens(header.value) {
                        if token.eq_ignore_ascii_case(b"close") {
                            says_close = true;
                        } else if token.eq_ignore_ascii_case(b"keep-alive") {
                            says_keep_alive = true;
                        } else if token.eq_ignore_ascii_case(b"upgrade") {
                            upgrade_token = true;
                        } else if self.hop_names.len() < 16 {
                            self.hop_names.push(token);
                        } else {
                            return Err(bad("Connection names too many fields"));
                        }
                    }
                }
                // An upgrade to HTTP/2 over clear text is a way around every check of ours.
                Kind::Upgrade => {
                    let h2 = |t: &[u8]| t.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"h2"));
                    let good = !field::tokens(header.value).any(h2);
                    upgrade_field = Some(good && upgrade_field.unwrap_or(true));
                }
                Kind::Expect if header.value.eq_ignore_ascii_case(b"100-continue") => self.expect_continue = true,
                Kind::Expect => return Err(Refused { status: 417, reason: "this expectation is not known" }),
            }
        }
        if self.hop_names.iter().any(|name| std::str::from_utf8(name).is_ok_and(|n| protected(field::kind(n)))) {
            return Err(bad("Connection names a field that is not of one hop"));
        }
        self.framing = match (length, coding) {
            (Some(_), true) => return Err(bad("both Content-Length and Transfer-Encoding")),
            (None, true) if self.http10 => return Err(bad("Transfer-Encoding in HTTP/1.0")),
            (None, true) => Framing::Chunked,
            (Some(0) | None, false) => Framing::Empty,
            (Some(n), false) => Framing::Length(n),
        };
        if hosts > 1 || (hosts == 0 && !self.http10) {
            return Err(bad("exactly one Host is needed"));
        }
        if hosts == 1 && !field::is_authority(self.authority) {
            return Err(bad("Host is malformed"));
        }
        self.close = says_close || (self.http10 && !says_keep_alive);
        self.upgrade = upgrade_token && upgrade_field == Some(true) && !self.http10 && self.framing == Framing::Empty;
        self.expect_continue &= !self.http10;
        Ok(())
    }

    fn judge_target(&mut self) -> Result<(), Refused> {
        let target = self.target;
        if !target.iter().all(|b| (0x21..0x7f).contains(b) && *b != b'#') {
            return Err(bad("the request's target is malformed"));
        }
        if target.first() != Some(&b'/') {
            let lower = target.get(..8).map(<[u8]>::to_ascii_lowercase).unwrap_or_default();
            let start = if lower.starts_with(b"http://") {
                7
            } else if lower.starts_with(b"https://") {
                8
            } else if target == b"*" && self.method == "OPTIONS" {
                0
            } else {
                return Err(bad("the request's target is malformed"));
            };
            if start > 0 {
                let rest = &target[start..];
                let end = rest.iter().position(|b| *b == b'/' || *b == b'?').unwrap_or(rest.len());
                let authority = &rest[..end];
                if !self.authority.eq_ignore_ascii_case(authority) || !field::is_authority(authority) {
                    return Err(bad("the target's authority is not the Host's"));
                }
                self.target = match rest.get(end) {
                    Some(b'/') => &rest[end..],
                    Some(_) => return Err(bad("the request's target has no path")),
                    None => b"/",
                };
            }
        }
        self.path_bytes = memchr::memchr(b'?', self.target).unwrap_or(self.target.len());
        self.path = path::normal(&self.target[..self.path_bytes])?;
        let (host, _) = field::split_port(self.authority);
        let host = host.strip_suffix(b".").unwrap_or(host);
        self.host.extend(host.iter().map(u8::to_ascii_lowercase));
        Ok(())
    }

    pub fn idempotent(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }

    pub fn values(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
    }

    /// Is the field one that ends at this hop?
    pub fn drops(&self, index: usize) -> bool {
        match self.kinds[index] {
            Kind::Other => self.hop_names.iter().any(|n| n.eq_ignore_ascii_case(self.headers[index].name.as_bytes())),
            Kind::Host | Kind::ContentLength | Kind::TransferEncoding | Kind::Expect | Kind::Claim => false,
            Kind::Upgrade => !self.upgrade,
            Kind::Connection | Kind::Hop => true,
            Kind::ForwardedFor | Kind::ForwardedProto | Kind::ForwardedHost => true,
        }
    }
}

fn protected(kind: Kind) -> bool {
    matches!(kind, Kind::Host | Kind::ContentLength | Kind::TransferEncoding | Kind::Expect | Kind::ForwardedFor)
}

impl router::Request for Head<'_> {
    fn host(&self) -> &[u8] {
        &self.host
    }
    fn path(&self) -> &[u8] {
        &self.path
    }
    fn query(&self) -> &[u8] {
        self.target.get(self.path_bytes + 1..).unwrap_or_default()
    }
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }
    fn authority(&self) -> &[u8] {
        self.authority
    }
    fn target(&self) -> &[u8] {
        self.target
    }
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }
    fn cookie(&self, name: &str) -> Option<&[u8]> {
        self.values("cookie").find_map(|value| field::cookie(value, name))
    }
    fn each_header(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.values(name).for_each(visit);
    }
    fn any_header(&self, name: &str, fits: &dyn Fn(&[u8]) -> bool) -> bool {
        self.headers.iter().any(|h| h.name.eq_ignore_ascii_case(name) && fits(h.value))
    }
}
