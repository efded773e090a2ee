//! gRPC's health protocol (grpc/grpc doc/health-checking.md) over h2c, as the kubelet asks it.
//!
//! Promises: only SERVING is success; the message of a failure has the service's status or gRPC's code. The answer is a
//! dozen bytes of protobuf, read by hand.

use bytes::{BufMut, Bytes, BytesMut};

use super::attempt;
use crate::control::objects::Probe;

const MOST_ANSWER_BYTES: usize = 4096;

pub async fn check(probe: &Probe) -> Result<String, String> {
    let stream = attempt::connect(&probe.address, probe.port).await?;
    let failed = |error: h2::Error| format!("error: health rpc failed: {error}");
    let (mut sender, connection) = h2::client::handshake(stream).await.map_err(failed)?;
    let driver = Aborted(tokio::task::spawn_local(connection).abort_handle());
    let request = http::Request::post(format!(
        "http://{}/grpc.health.v1.Health/Check",
        attempt::place(&probe.address, probe.port)
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .header("user-agent", "kube-probe/1.36")
    .body(())
    .map_err(|error| format!("error: health rpc failed: {error}"))?;
    let (response, mut body) = sender.send_request(request, false).map_err(failed)?;
    body.send_data(question(&probe.service), true).map_err(failed)?;
    let response = response.await.map_err(failed)?;
    let code =
        |headers: &http::HeaderMap| headers.get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok());
    if let Some(code) = code(response.headers()).filter(|code| *code != 0) {
        return Err(refused(code));
    }
    if response.status() != http::StatusCode::OK {
        return Err(format!("error: health rpc failed: HTTP status {}", response.status().as_u16()));
    }
    let answer = read(response.into_body(), code).await?;
    drop(driver);
    judge(&answer)
}

/// The connection's task ends with the try.
struct Aborted(tokio::task::AbortHandle);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// HealthCheckRequest{service} in a length-prefixed message.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

async fn read(mut body: h2::RecvStream, code: impl Fn(&http::HeaderMap) -> Option<u32>) -> Result<Vec<u8>, String> {
    let failed = |error: h2::Error| format!("error: health rpc failed: {error}");
    let mut answer = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(failed)?;
        let _ = body.flow_control().release_capacity(data.len());
        if answer.len() + data.len() > MOST_ANSWER_BYTES {
            return Err("error: health rpc failed: the answer is too large".to_owned());
        }
        answer.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.map_err(failed)?;
    match trailers.as_ref().and_then(code) {
        None | Some(0) => Ok(answer),
        Some(code) => Err(refused(code)),
    }
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
        assert_eq!(question("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
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
