//! httpGet, as the kubelet does it (kubernetes/kubernetes pkg/probe/http).
//!
//! Promises: 200 to 399 is success; a redirect to the same host is followed (10 times at most), one to another host is
//! success without being followed; at most 10 KiB of a body are read; `Connection: close`, `User-Agent: kube-probe/1.36`
//! unless the probe brings its own; no proxy is asked; with HTTPS any certificate is good, as for the kubelet. Refuses:
//! header fields and paths that could smuggle a second request.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::attempt;
use crate::control::objects::{BackendTls, Probe, Refusal};
use crate::http::chunked::Chunked;
use crate::tls::upstream;

const MOST_HEAD_BYTES: usize = 64 << 10;
const MOST_BODY_BYTES: usize = 10 << 10;
const MOST_HEADERS: usize = 100;
const MOST_REDIRECTS: usize = 10;
const USER_AGENT: &str = "kube-probe/1.36";

pub fn check(probe: &Probe) -> Result<(), Refusal> {
    if !["http", "https"].contains(&probe.scheme.to_ascii_lowercase().as_str()) {
        return Err(Refusal::new("scheme", format!("{:?} is neither http nor https", probe.scheme)));
    }
    let printable = |text: &str| text.bytes().all(|byte| (0x21..0x7f).contains(&byte) || byte >= 0x80);
    if !printable(&probe.path) {
        return Err(Refusal::new("path", "has a space or a control character"));
    }
    for (place, (name, value)) in probe.headers.iter().enumerate() {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(Refusal::new(format!("headers[{place}]"), format!("{name:?} is not a header's name")));
        }
        if value.bytes().any(|byte| byte < 0x20 && byte != b'\t' || byte == 0x7f) {
            return Err(Refusal::new(format!("headers[{place}]"), format!("{name}'s value has a control character")));
        }
    }
    Ok(())
}

pub fn url(probe: &Probe) -> String {
    Place { secure: is_https(&probe.scheme), port: probe.port, path: target(&probe.path) }.url(probe)
}

fn is_https(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("https")
}

/// Where one request goes, on the probe's host.
#[derive(Debug, PartialEq)]
struct Place {
    secure: bool,
    port: u16,
    path: String,
}

impl Place {
    fn url(&self, probe: &Probe) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{}", attempt::place(&probe.address, self.port), self.path)
    }
}

fn target(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

pub async fn get(probe: &Probe) -> Result<String, String> {
    let mut place = Place { secure: is_https(&probe.scheme), port: probe.port, path: target(&probe.path) };
    for _ in 0..=MOST_REDIRECTS {
        let answer = visit(probe, &place).await.map_err(|problem| format!("Get {:?}: {problem}", place.url(probe)))?;
        match answer.status {
            301 | 302 | 303 | 307 | 308 => match follow(probe, &place, answer.location.as_deref()) {
                Follow::To(next) => place = next,
                Follow::Success(message) => return Ok(message),
                Follow::Failure(message) => return Err(message),
            },
            200..400 => return Ok(answer.body),
            status => return Err(format!("HTTP probe failed with statuscode: {status}")),
        }
    }
    Err(format!("Get {:?}: stopped after {MOST_REDIRECTS} redirects", url(probe)))
}

async fn visit(probe: &Probe, place: &Place) -> Result<Answer, String> {
    let stream = attempt::connect(&probe.address, place.port).await?;
    let request = request(probe, place.port, &place.path);
    if !place.secure {
        return ask(stream, &request).await;
    }
    let name = ServerName::try_from(probe.address.clone()).map_err(|_| "the host is no name".to_owned())?;
    let stream = TlsConnector::from(any_certificate()?).connect(name, stream).await;
    ask(stream.map_err(|error| format!("tls: {error}"))?, &request).await
}

/// TLS that does not verify whose certificate it is.
fn any_certificate() -> Result<Arc<rustls::ClientConfig>, String> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let tls = BackendTls { insecure: true, ..BackendTls::default() };
    let made = upstream::build(&tls, None, false).map_err(|refusal| format!("tls: {}", refusal.message))?;
    Ok(CONFIG.get_or_init(|| made.config).clone())
}

fn request(probe: &Probe, port: u16, path: &str) -> String {
    let own = |name: &str| probe.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let mut text = format!("GET {path} HTTP/1.1\r\n");
    if !own("host") {
        text += &format!("Host: {}\r\n", attempt::place(&probe.address, port));
    }
    if !own("user-agent") {
        text += &format!("User-Agent: {USER_AGENT}\r\n");
    }
    if !own("accept") {
        text += "Accept: */*\r\n";
    }
    for (name, value) in &probe.headers {
        // An empty Accept takes the field away, as in Kubernetes; the connection's end is ours to say.
        let unwanted =
            name.eq_ignore_ascii_case("connection") || name.eq_ignore_ascii_case("accept") && value.is_empty();
        if !unwanted {
            text += &format!("{name}: {value}\r\n");
        }
    }
    text + "Connection: close\r\n\r\n"
}

struct Answer {
    status: u16,
    location: Option<String>,
    body: String,
}

enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> Result<Answer, String> {
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut input = Vec::new();
    loop {
        if let Some((head, length)) = parse_head(&input)? {
            input.drain(..length);
            // Informational answers come before the real one (RFC 9110, 15.2).
            if head.status < 200 && head.status != 101 {
                continue;
            }
            let body = read_body(&mut stream, input, &head.framing).await?;
            let text = String::from_utf8_lossy(&body).into_owned();
            return Ok(Answer { status: head.status, location: head.location, body: text });
        }
        if input.len() > MOST_HEAD_BYTES {
            return Err("the answer's head is too large".to_owned());
        }
        if stream.read_buf(&mut input).await.map_err(|error| error.to_string())? == 0 {
            return Err("EOF".to_owned());
        }
    }
}

struct Head {
    status: u16,
    location: Option<String>,
    framing: Framing,
}

fn parse_head(input: &[u8]) -> Result<Option<(Head, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let malformed = |error: httparse::Error| format!("malformed HTTP response: {error}");
    let httparse::Status::Complete(length) = response.parse(input).map_err(malformed)? else { return Ok(None) };
    let status = response.code.unwrap_or(0);
    let find = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(found.value).trim().to_owned())
    };
    let chunked = find("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"));
    let framing = if matches!(status, 204 | 304) || status < 200 {
        Framing::Length(0)
    } else if chunked {
        Framing::Chunked
    } else {
        find("content-length").and_then(|value| value.parse().ok()).map_or(Framing::UntilClose, Framing::Length)
    };
    Ok(Some((Head { status, location: find("location"), framing }, length)))
}

/// At most `MOST_BODY_BYTES`; a body that ends before it said it would is an error.
async fn read_body<S: AsyncRead + Unpin>(
    stream: &mut S,
    mut input: Vec<u8>,
    framing: &Framing,
) -> Result<Vec<u8>, String> {
    let mut chunked = Chunked::default();
    let mut plain = Vec::new();
    loop {
        let whole = match framing {
            Framing::Chunked => {
                let used = chunked.transfer(&input, &mut plain, true).map_err(|_| "malformed chunked encoding")?;
                input.drain(..used);
                chunked.done()
            }
            Framing::Length(length) => {
                plain.append(&mut input);
                plain.len() >= *length
            }
            Framing::UntilClose => {
                plain.append(&mut input);
                false
            }
        };
        if whole || plain.len() >= MOST_BODY_BYTES {
            plain.truncate(MOST_BODY_BYTES);
            return Ok(plain);
        }
        if stream.read_buf(&mut input).await.map_err(|error| error.to_string())? == 0 {
            return if matches!(framing, Framing::UntilClose) { Ok(plain) } else { Err("unexpected EOF".to_owned()) };
        }
    }
}

#[derive(Debug, PartialEq)]
enum Follow {
    To(Place),
    Success(String),
    Failure(String),
}

/// Where a redirect leads. `location` is a path, or an absolute URL.
fn follow(probe: &Probe, place: &Place, location: Option<&str>) -> Follow {
    let Some(location) = location.filter(|text| text.bytes().all(|byte| byte > 0x20 && byte != 0x7f)) else {
        return Follow::Failure("a redirect without a usable Location header".to_owned());
    };
    let location = location.split('#').next().unwrap_or("");
    if let Some(rest) = location.strip_prefix("//") {
        return follow_to(probe, place.secure, rest, location);
    }
    let (folder, _) = place.path.split('?').next().unwrap_or("/").rsplit_once('/').unwrap_or_default();
    let path = match location.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            return follow_to(probe, is_https(scheme), rest, location);
        }
        _ if location.starts_with('/') => location.to_owned(),
        _ if location.starts_with('?') => format!("{}{location}", place.path.split('?').next().unwrap_or("/")),
        _ => format!("{folder}/{location}"),
    };
    Follow::To(Place { path, ..*place })
}

fn follow_to(probe: &Probe, secure: bool, rest: &str, location: &str) -> Follow {
    let split = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(split);
    let (host, port) = host_and_port(authority, if secure { 443 } else { 80 });
    let own_host = probe.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let same = host.eq_ignore_ascii_case(&probe.address)
        || own_host.is_some_and(|(_, value)| host_and_port(value, 80).0.eq_ignore_ascii_case(host));
    if same {
        return Follow::To(Place { secure, port, path: target(path) });
    }
    Follow::Success(format!("Probe terminated redirects, Response body: redirect to {location}"))
}

fn host_and_port(authority: &str, default_port: u16) -> (&str, u16) {
    if let Some((host, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()).unwrap_or(default_port));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(default_port)),
        None => (authority, default_port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> Probe {
        Probe { address: "10.0.0.1".into(), port: 8080, path: "/a/b?c".into(), ..Probe::default() }
    }

    fn place(secure: bool, port: u16, path: &str) -> Place {
        Place { secure, port, path: path.to_owned() }
    }

    #[test]
    fn redirects_are_followed_on_the_same_host_only() {
        let from = place(false, 8080, "/a/b?c");
        for (location, expected) in [
            ("/x", place(false, 8080, "/x")),
            ("x?y", place(false, 8080, "/a/x?y")),
            ("?z", place(false, 8080, "/a/b?z")),
            ("http://10.0.0.1:9000/x", place(false, 9000, "/x")),
            ("http://10.0.0.1", place(false, 80, "/")),
            ("https://10.0.0.1/x", place(true, 443, "/x")),
            ("//10.0.0.1:8080/x#part", place(false, 8080, "/x")),
        ] {
            assert_eq!(follow(&probe(), &from, Some(location)), Follow::To(expected), "{location}");
        }
        assert!(matches!(follow(&probe(), &from, Some("http://other/x")), Follow::Success(_)));
        assert!(matches!(follow(&probe(), &from, Some("https://other/x")), Follow::Success(_)));
        assert!(matches!(follow(&probe(), &from, None), Follow::Failure(_)));
    }

    #[test]
    fn the_request_has_kubernetes_fields_unless_the_probe_has_its_own() {
        assert_eq!(
            request(&probe(), 8080, "/"),
            "GET / HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![own("host", "app"), own("Accept", ""), own("user-agent", "me"), own("X-A", "1")];
        assert_eq!(
            request(&Probe { headers, ..probe() }, 8080, "/"),
            "GET / HTTP/1.1\r\nhost: app\r\nuser-agent: me\r\nX-A: 1\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn what_could_smuggle_is_refused() {
        for path in ["/ HTTP/1.1\r\nX: y", "/a b", "/a\tb"] {
            assert_eq!(check(&Probe { path: path.into(), ..probe() }).unwrap_err().path, "path");
        }
        for header in [("", "x"), ("a b", "x"), ("a", "x\r\ny: z")] {
            let headers = vec![(header.0.to_owned(), header.1.to_owned())];
            assert_eq!(check(&Probe { headers, ..probe() }).unwrap_err().path, "headers[0]");
        }
        assert_eq!(check(&Probe { scheme: "gopher".into(), ..probe() }).unwrap_err().path, "scheme");
    }
}
