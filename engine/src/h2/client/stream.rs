//! One request's stream, as HTTP/1.1 bytes both ways.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::h2::body::Body;
use crate::h2::connection::Connection;
use crate::h2::frame::Reason;
use crate::h2::pipe::{self, Shared};
use crate::h2::websocket;
use crate::http::field;

pub struct Stream {
    connection: Shared,
    key: Option<usize>,
    body: Body,
    /// The peer has said that it did not look at the request.
    unseen: bool,
    /// The request ends with `end`, not with its body's last byte.
    open: bool,
}

impl Stream {
    pub fn new(connection: Shared) -> Self {
        Self { connection, key: None, body: Body::Done, unseen: true, open: false }
    }

    pub fn leave_open(&mut self) {
        self.open = true;
    }

    /// Ends a request that was left open.
    pub fn end(&mut self, trailers: &[u8]) {
        if let Some(key) = self.key {
            self.body = Body::Done;
            pipe::end(&mut self.connection.borrow_mut(), key, trailers);
        }
    }

    /// Nothing of the request was looked at by the backend.
    pub fn unsent(&self) -> bool {
        self.unseen
    }

    /// Whether a WebSocket may be asked for on it (RFC 8441).
    pub async fn takes_websockets(&self) -> io::Result<bool> {
        std::future::poll_fn(|task| self.connection.borrow_mut().poll_takes_websockets(task)).await
    }

    fn note(&mut self, key: usize) {
        let failed = self.connection.borrow_mut().stream(key).failed;
        self.unseen = failed == Some(Reason::REFUSED_STREAM);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.connection.borrow_mut().release(key, Reason::CANCEL);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, task: &mut Task<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(key) = this.key else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let polled = ready!(this.connection.borrow_mut().poll_read(key, task, out));
        if polled.is_err() {
            this.note(key);
        }
        Poll::Ready(polled)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Task<'_>, input: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut connection = this.connection.borrow_mut();
        let Some(key) = this.key else {
            let key = connection.open()?;
            this.key = Some(key);
            this.unseen = false;
            let (used, body) = send_head(&mut connection, key, input, this.open)?;
            this.body = body;
            return Poll::Ready(Ok(used));
        };
        pipe::poll_body(&mut connection, key, task, &mut this.body, input)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let (Some(key), Body::UntilClose) = (this.key, &this.body) {
            this.body = Body::Done;
            this.connection.borrow_mut().end(key);
        }
        Poll::Ready(Ok(()))
    }
}

/// Sends a request's head, which is whole; tells its bytes, and how its body comes.
/// `open`: it does not end with that.
fn send_head(connection: &mut Connection, key: usize, input: &[u8], open: bool) -> io::Result<(usize, Body)> {
    let mut storage = [const { MaybeUninit::uninit() }; 256];
    let mut raw = httparse::Request::new(&mut []);
    let parsed = raw.parse_with_uninit_headers(input, &mut storage).map_err(io::Error::other)?;
    let httparse::Status::Complete(bytes) = parsed else { return Err(io::ErrorKind::InvalidData.into()) };
    let find = |name: &str| raw.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let upgrades = find("upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && connection.takes_websockets();
    let body = match find("content-length").and_then(field::content_length) {
        _ if upgrades => Body::UntilClose,
        _ if find("transfer-encoding").is_some() => Body::chunked(),
        length if open => Body::Open(length.unwrap_or(0)),
        Some(n) if n > 0 => Body::Raw(n),
        _ => Body::Done,
    };
    let grpc = find("content-type").is_some_and(|t| t.starts_with(b"application/grpc"));
    let secure = find("x-forwarded-proto") == Some(b"https");
    let method = if upgrades { "CONNECT" } else { raw.method.unwrap_or("GET") };
    if upgrades {
        let name = find(websocket::KEY).map(String::from_utf8_lossy).unwrap_or_default();
        connection.stream(key).websocket = Some(name.into());
    }
    connection.stream(key).head_method = method == "HEAD";
    connection.send_fields(key, body.done(), |encoder, output| {
        encoder.field(b":method", method.as_bytes(), output);
        if upgrades {
            encoder.field(b":protocol", b"websocket", output);
        }
        encoder.field(b":scheme", if secure { b"https" } else { b"http" }, output);
        encoder.field(b":authority", find("host").filter(|h| !h.is_empty()).unwrap_or(b"localhost"), output);
        encoder.field(b":path", raw.path.unwrap_or("/").as_bytes(), output);
        let ends = |name: &str| {
            pipe::is_of_hop(name)
                || name.eq_ignore_ascii_case("host")
                || name.eq_ignore_ascii_case("te")
                || (upgrades && name.eq_ignore_ascii_case(websocket::KEY))
        };
        for header in raw.headers.iter().filter(|h| !ends(h.name)) {
            encoder.field(header.name.as_bytes(), header.value, output);
        }
        if grpc {
            encoder.field(b"te", b"trailers", output);
        }
    });
    Ok((bytes, body))
}
