//! One active health check of a Backend's endpoint: TCP, HTTP or gRPC, over TLS where the Backend has it. HTTP is asked in the
//! version that the Backend speaks, at another port of the endpoint in HTTP/1.1 unless TLS agrees on HTTP/2.
//!
//! Promises: an error says what came instead of health, and is no longer than a line. Refuses: to hang; the caller has the
//! timeout.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::grpc;
use crate::control::objects::{ActiveHealth, CheckKind};
use crate::h2::client;
use crate::tls::upstream::Upstream;
use crate::tls::{ALPN_H2, ALPN_HTTP1};

const AGENT: &str = "fairlead-check";
/// How much of an answer, and for how long, is read after its status is known.
const MOST_ANSWER_BYTES: usize = 10 << 10;
const REST: Duration = Duration::from_secs(1);

/// How a Backend's endpoints are checked.
#[derive(Clone)]
pub struct Way {
    pub policy: ActiveHealth,
    /// TLS, where the Backend has it.
    pub upstream: Option<Upstream>,
    /// The Backend speaks HTTP/2.
    pub h2: bool,
    /// What the endpoint wants to hear first (PROXY protocol).
    pub before: Vec<u8>,
}

impl Way {
    pub fn same(&self, other: &Self) -> bool {
        let tls = match (&self.upstream, &other.upstream) {
            (Some(own), Some(theirs)) => Arc::ptr_eq(&own.config, &theirs.config),
            (own, theirs) => own.is_none() && theirs.is_none(),
        };
        tls && self.policy == other.policy && self.h2 == other.h2 && self.before == other.before
    }
}

pub async fn check(way: &Way, endpoint: SocketAddr) -> io::Result<()> {
    let Way { policy, upstream, h2, before } = way;
    let port = if policy.port == 0 { endpoint.port() } else { policy.port };
    let mut stream = TcpStream::connect(SocketAddr::new(endpoint.ip(), port)).await?;
    let alpn: &[&[u8]] = match policy.kind {
        CheckKind::Tcp => return Ok(()),
        CheckKind::Http if *h2 => &[ALPN_H2, ALPN_HTTP1],
        CheckKind::Http => &[ALPN_HTTP1],
        CheckKind::Grpc => &[ALPN_H2],
    };
    stream.write_all(before).await?;
    let Some(upstream) = upstream else {
        return ask(policy, endpoint, "http", *h2 && port == endpoint.port(), stream).await;
    };
    // What the Backend speaks and what it is checked by may differ.
    let mut config = (*upstream.config).clone();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let name = upstream.name.clone().unwrap_or_else(|| ServerName::from(endpoint.ip()));
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let h2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
    ask(policy, endpoint, "https", h2, stream).await
}

async fn ask<T>(policy: &ActiveHealth, endpoint: SocketAddr, scheme: &str, h2: bool, stream: T) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let authority = if policy.host.is_empty() { endpoint.to_string() } else { policy.host.clone() };
    if policy.kind == CheckKind::Grpc {
        let asked = grpc::Question { scheme, authority: &authority, service: &policy.service, agent: AGENT };
        return grpc::ask(stream, &asked).await.map(drop).map_err(io::Error::other);
    }
    // Streams to backends tell their scheme by it.
    let told = if h2 { format!("X-Forwarded-Proto: {scheme}\r\n") } else { String::new() };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {AGENT}\r\n{told}Connection: close\r\n\r\n",
        policy.path
    );
    if h2 {
        let (stream, _connection) = client::once(stream);
        return http(policy, &request, stream).await;
    }
    http(policy, &request, stream).await
}

/// Lets the server say the rest: one that is cut off while it writes logs an error of its own at every check. It decides
/// nothing, and nobody waits for it.
async fn read_out<T: AsyncRead + Unpin>(mut stream: T, already: usize) {
    let mut left = MOST_ANSWER_BYTES.saturating_sub(already);
    let mut buffer = [0; 4096];
    let _ = tokio::time::timeout(REST, async {
        while left > 0 {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(some) => left = left.saturating_sub(some),
            }
        }
    })
    .await;
}

async fn http<T>(policy: &ActiveHealth, request: &str, mut stream: T) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.contains(&b'\n') && head.len() < 1024 {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::Error::other("it closed without an answer"));
        }
    }
    let status =
        std::str::from_utf8(&head).ok().and_then(|h| h.strip_prefix("HTTP/1.")?.get(2..5)?.parse::<u16>().ok());
    tokio::task::spawn_local(read_out(stream, head.len()));
    match status {
        Some(status) if (policy.expected.0..=policy.expected.1).contains(&status) => Ok(()),
        Some(status) => Err(io::Error::other(format!("status {status}"))),
        None => Err(io::Error::other("the answer is not HTTP")),
    }
}
