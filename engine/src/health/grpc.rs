//! gRPC's health protocol (grpc/grpc doc/health-checking.md) over HTTP/2, as the kubelet asks it.
//!
//! Promises: only SERVING is success; the message of a failure has the service's status or gRPC's code. The answer is a
//! dozen bytes of protobuf, read by hand.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::attempt;
use crate::control::objects::Probe;
use crate::h2::client;
use crate::http::chunked::Chunked;

const MOST_ANSWER_BYTES: usize = 4096;
const MOST_HEAD_BYTES: usize = 64 << 10;
const MOST_HEADERS: usize = 100;

pub async fn check(probe: &Probe) -> Result<String, String> {
    let stream = attempt::connect(&probe.address, probe.port).await?;
    let authority = attempt::place(&probe.address, probe.port);
    let asked = Question { scheme: "http", authority: &authority, service: &probe.service, agent: "kube-probe/1.36" };
    ask(stream, &asked).await
}

/// One `grpc.health.v1.Health/Check`; service "" is the server as a whole.
pub struct Question<'a> {
    pub scheme: &'a str,
    pub authority: &'a str,
    pub service: &'a str,
    pub agent: &'a str,
}

/// Asks over a connection that is TLS already where it must be. Runs inside a local runtime (`spawn_local`).
pub async fn ask<T>(stream: T, asked: &Question<'_>) -> Result<String, String>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (mut stream, _connection) = client::once(stream);
    let message = question(asked.service);
    let Question { scheme, authority, agent, .. } = asked;
    let mut request = format!(
        "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: {authority}\r\nx-forwarded-proto: {scheme}\r\n\
         content-type: application/grpc\r\nuser-agent: {agent}\r\ncontent-length: {}\r\n\r\n",
        message.len()
    )
    .into_bytes();
    request.extend_from_slice(&message);
    let failed = |error: std::io::Error| format!("error: health rpc failed: {error}");
    stream.write_all(&request).await.map_err(failed)?;
    let mut answer = Vec::new();
    let mut piece = [0u8; 4096];
    loop {
        let n = stream.read(&mut piece).await.map_err(failed)?;
        answer.extend_from_slice(&piece[..n]);
        if n == 0 {
            return understand(&answer).unwrap_or_else(|| Err("error: health rpc failed: no whole answer".to_owned()));
        }
        if answer.len() > MOST_HEAD_BYTES + MOST_ANSWER_BYTES {
            return Err("error: health rpc failed: the answer is too large".to_owned());
        }
    }
}

/// Judges an answer that has ended; `None`: it is not whole.
fn understand(answer: &[u8]) -> Option<Result<String, String>> {
    let mut storage = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Response::new(&mut storage);
    let httparse::Status::Complete(bytes) = head.parse(answer).ok()? else { return None };
    let status = head.code?;
    if status < 200 {
        return understand(&answer[bytes..]);
    }
    let code = |text: &[u8]| std::str::from_utf8(text).ok()?.trim().parse::<u32>().ok();
    let find = |name: &str| head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    if let Some(code) = find("grpc-status").and_then(code).filter(|code| *code != 0) {
        return Some(Err(refused(code)));
    }
    if status != 200 {
        return Some(Err(format!("error: health rpc failed: HTTP status {status}")));
    }
    let rest = &answer[bytes..];
    if find("transfer-encoding").is_none() {
        return Some(judge(rest));
    }
    let (mut chunks, mut decoder) = (Vec::new(), Chunked::default());
    decoder.transfer(rest, &mut chunks, true).ok()?;
    let trailer = rest.windows(14).rposition(|w| w.eq_ignore_ascii_case(b"\r\ngrpc-status:"));
    let end = |at: usize| rest[at..].iter().position(|b| *b == b'\r').map_or(rest.len(), |n| at + n);
    match trailer.and_then(|at| code(&rest[at + 14..end(at + 14)])) {
        _ if !decoder.done() => None,
        None | Some(0) => Some(judge(&chunks)),
        Some(code) => Some(Err(refused(code))),
    }
}

/// HealthCheckRequest{service} in a length-prefixed message.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        put_varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn refused(code: u32) -> String {
    match code {
        12 => "this server does not implement the grpc health protocol (grpc.health.v1.Health)".to_owned(),
        5 => "error: health rpc failed: the service is unknown (code NotFound)".to_owned(),
        code => format!("error: health rpc failed: gRPC code {code}"),
    }
}

/// HealthCheckResponse.status is field 1, an enum: 1 is SERVING.
fn judge(answer: &[u8]) -> Result<String, String> {
    let message = answer.get(5..).unwrap_or_default();
    let status = match message {
        [] if answer.len() == 5 => 0,
        [0x08, status, ..] => *status,
        _ => return Err("error: health rpc failed: the answer is not a HealthCheckResponse".to_owned()),
    };
    match status {
        1 => Ok("SERVING".to_owned()),
        2 => Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        3 => Err("service unhealthy (responded with \"SERVICE_UNKNOWN\")".to_owned()),
        _ => Err("service unhealthy (responded with \"UNKNOWN\")".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_the_protobuf_of_its_service() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(question(&"x".repeat(300))[5..8], [0x0a, 0xac, 0x02]);
    }

    #[test]
    fn only_serving_is_success() {
        assert!(judge(&[0, 0, 0, 0, 2, 8, 1]).is_ok());
        for answer in [&[0, 0, 0, 0, 2, 8, 2][..], &[0, 0, 0, 0, 0], &[], &[0, 0], &[0, 0, 0, 0, 1, 9]] {
            assert!(judge(answer).is_err(), "{answer:?}");
        }
    }
}
