//! One active health check of a Backend's endpoint: TCP, HTTP/1.1 or gRPC, over TLS where the Backend has it.
//!
//! Promises: an error says what came instead of health, and is no longer than a line. Refuses: to hang; the caller has the
//! timeout.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::grpc;
use crate::control::objects::{ActiveHealth, CheckKind};
use crate::tls::upstream::Upstream;
use crate::tls::{ALPN_H2, ALPN_HTTP1};

const AGENT: &str = "fairlead-check";

/// `before`: what the endpoint wants to hear first (PROXY protocol).
pub async fn check(
    policy: &ActiveHealth,
    endpoint: SocketAddr,
    upstream: Option<&Upstream>,
    before: &[u8],
) -> io::Result<()> {
    let port = if policy.port == 0 { endpoint.port() } else { policy.port };
    let mut stream = TcpStream::connect(SocketAddr::new(endpoint.ip(), port)).await?;
    let alpn = match policy.kind {
        CheckKind::Tcp => return Ok(()),
        CheckKind::Http => ALPN_HTTP1,
        CheckKind::Grpc => ALPN_H2,
    };
    stream.write_all(before).await?;
    let Some(upstream) = upstream else { return ask(policy, endpoint, "http", stream).await };
    // What the Backend speaks and what it is checked by may differ.
    let mut config = (*upstream.config).clone();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = upstream.name.clone().unwrap_or_else(|| ServerName::from(endpoint.ip()));
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    ask(policy, endpoint, "https", stream).await
}

async fn ask<T>(policy: &ActiveHealth, endpoint: SocketAddr, scheme: &str, stream: T) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let authority = if policy.host.is_empty() { endpoint.to_string() } else { policy.host.clone() };
    if policy.kind == CheckKind::Grpc {
        let asked = grpc::Question { scheme, authority: &authority, service: &policy.service, agent: AGENT };
        return grpc::ask(stream, &asked).await.map(drop).map_err(io::Error::other);
    }
    http(policy, &authority, stream).await
}

async fn http<T>(policy: &ActiveHealth, host: &str, mut stream: T) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let path = &policy.path;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.contains(&b'\n') && head.len() < 1024 {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::Error::other("it closed without an answer"));
        }
    }
    let status =
        std::str::from_utf8(&head).ok().and_then(|h| h.strip_prefix("HTTP/1.")?.get(2..5)?.parse::<u16>().ok());
    match status {
        Some(status) if (policy.expected.0..=policy.expected.1).contains(&status) => Ok(()),
        Some(status) => Err(io::Error::other(format!("status {status}"))),
        None => Err(io::Error::other("the answer is not HTTP/1")),
    }
}
