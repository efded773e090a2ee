//! HTTP/1.1 as a proxy speaks it (RFC 9110, RFC 9112): our own state machine over httparse.
//!
//! `serve` is a client connection's life, `understand` one request's head to a decision, `exchange` one request with its
//! backend, `upload` the request's body on its way, the rest are their tools.

pub mod answer;
pub mod ask;
pub mod buffer;
pub mod chunked;
pub mod claim;
pub mod cors;
pub mod exchange;
pub mod field;
pub mod forward;
pub mod link;
pub mod mirror;
pub mod pages;
pub mod path;
pub mod permission;
pub mod pool;
pub mod relay;
pub mod request;
pub mod response;
pub mod rewrite;
mod rules;
pub mod serve;
pub mod sticky;
pub mod understand;
pub mod upload;
pub mod verify;

use std::io;
use std::task::{Context as Task, Poll};

use tokio::net::TcpStream;

/// What a client's connection must be able to do: a TCP or TLS stream, or one stream of HTTP/2.
pub trait Client: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {
    /// Of the protocol that the client speaks.
    fn version(&self) -> &'static str {
        "HTTP/1.1"
    }

    /// May this answer to its upgrade be passed on? `head` is the answer's, whole.
    fn takes_switch(&self, _status: u16, _head: &[u8]) -> bool {
        true
    }

    /// The request's head tells a length, and more may come behind its body: trailers, or only the end.
    fn ends_apart(&self) -> bool {
        false
    }

    /// Waits for that end; gives the trailers' lines.
    fn poll_end(&mut self, _: &Task<'_>) -> Poll<io::Result<Vec<u8>>> {
        Poll::Ready(Ok(Vec::new()))
    }

    /// The socket, where bytes go to it as they are.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }

    /// The socket whose end is the client's.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

impl Client for TcpStream {
    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Client for Box<tokio_rustls::server::TlsStream<TcpStream>> {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self.get_ref().0)
    }
}
