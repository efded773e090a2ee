//! A client's stream, shown to `http::serve` as a client that speaks HTTP/1.1 and asks one request after the other.
//!
//! A place at the connection is used for stream after stream: when a request has been answered, reading on waits for the next
//! stream that the connection gives to this place. A WebSocket (RFC 8441) is a client that upgrades; each side may end first.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::body::Body;
use super::super::connection::Connection;
use super::super::frame::Reason;
use super::super::pipe::{self, Shared};
use super::super::websocket;
use crate::http::{Client, chunked, field};

/// Which stream is at a place.
pub type Place = Rc<Cell<Option<usize>>>;

enum Sending {
    Head,
    Body(Body),
    /// A WebSocket's bytes.
    Tunnel,
}

pub struct Stream {
    connection: Shared,
    place: Place,
    sending: Sending,
    shut: bool,
}

impl Stream {
    pub fn new(connection: Shared, place: Place) -> Self {
        Self { connection, place, sending: Sending::Head, shut: false }
    }

    fn answered(&self) -> bool {
        matches!(&self.sending, Sending::Body(body) if body.done())
    }

    fn leave(&mut self, reason: Reason) {
        if let Some(key) = self.place.take() {
            self.connection.borrow_mut().release(key, reason);
        }
        self.sending = Sending::Head;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let reason = if matches!(self.sending, Sending::Tunnel) { Reason::CANCEL } else { Reason::INTERNAL_ERROR };
        self.leave(reason);
    }
}

impl Client for Stream {
    fn version(&self) -> &'static str {
        "HTTP/2"
    }

    fn ends_apart(&self) -> bool {
        let connection = self.connection.borrow();
        self.place.get().is_some_and(|key| connection.peek(key).ends_apart())
    }

    fn poll_end(&mut self, task: &Task<'_>) -> Poll<io::Result<Vec<u8>>> {
        let Some(key) = self.place.get() else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let lines = self.connection.borrow_mut().poll_end(key, task);
        lines.map_ok(|lines| chunked::forwarded(&lines))
    }

    fn takes_switch(&self, status: u16, head: &[u8]) -> bool {
        let connection = self.connection.borrow();
        let Some(key) = self.place.get().and_then(|key| connection.peek(key).websocket.as_deref()) else { return true };
        match status {
            101 => websocket::is_accepted(key, head),
            // Any such answer would be taken for the WebSocket (RFC 8441, 5).
            _ => !(200..300).contains(&status),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, task: &mut Task<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.shut {
            return Poll::Ready(Ok(()));
        }
        let Some(key) = this.place.get() else { return Poll::Pending };
        let mut connection = this.connection.borrow_mut();
        if !this.answered() {
            return connection.poll_read(key, task, out);
        }
        if !connection.stream(key).read_whole() {
            return Poll::Ready(Ok(())); // what is left of this request is not the next one's
        }
        drop(connection);
        this.leave(Reason::NO_ERROR);
        Poll::Pending
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Task<'_>, input: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(key) = this.place.get() else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let mut connection = this.connection.borrow_mut();
        if connection.stream(key).failed.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut used = 0;
        while used < input.len() {
            match &mut this.sending {
                Sending::Head => {
                    let (bytes, sending) = send_head(&mut connection, key, &input[used..])?;
                    used += bytes;
                    if let Some(sending) = sending {
                        this.sending = sending;
                    }
                }
                Sending::Tunnel => {
                    return match connection.poll_send(key, task, &input[used..], false) {
                        Poll::Pending if used > 0 => Poll::Ready(Ok(used)),
                        polled => polled.map_ok(|n| n + used),
                    };
                }
                Sending::Body(body) => {
                    return match pipe::poll_body(&mut connection, key, task, body, &input[used..]) {
                        Poll::Pending if used > 0 => Poll::Ready(Ok(used)),
                        polled => polled.map_ok(|n| n + used),
                    };
                }
            }
        }
        Poll::Ready(Ok(used))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let (Some(key), Sending::Tunnel) = (this.place.get(), &this.sending) {
            this.connection.borrow_mut().end(key);
            return Poll::Ready(Ok(())); // the client may go on
        }
        this.shut = true;
        if let (Some(key), Sending::Body(body)) = (this.place.get(), &mut this.sending)
            && matches!(body, Body::UntilClose)
        {
            *body = Body::Done;
            this.connection.borrow_mut().end(key);
        }
        Poll::Ready(Ok(()))
    }
}

/// Sends a response's head, which is whole; tells its bytes, and how its body comes when it is a final one.
fn send_head(connection: &mut Connection, key: usize, input: &[u8]) -> io::Result<(usize, Option<Sending>)> {
    let mut storage = [const { MaybeUninit::uninit() }; 256];
    let mut raw = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut raw, input, &mut storage);
    let httparse::Status::Complete(bytes) = parsed.map_err(io::Error::other)? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let websocket = connection.stream(key).websocket.is_some();
    let status = match raw.code.unwrap_or(502) {
        101 => 200,
        200..300 if websocket => return Err(io::ErrorKind::InvalidData.into()), // nobody asked for that
        status => status,
    };
    let switched = raw.code == Some(101);
    let (mut length, mut chunked, mut grpc) = (None, false, false);
    for header in raw.headers.iter() {
        match header.name.len() {
            12 if header.name.eq_ignore_ascii_case("content-type") => {
                grpc = header.value.starts_with(b"application/grpc");
            }
            14 if header.name.eq_ignore_ascii_case("content-length") => length = field::content_length(header.value),
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => chunked = true,
            _ => {}
        }
    }
    let body = match length {
        _ if switched => Body::UntilClose,
        _ if connection.stream(key).head_method || status == 204 || status == 304 => Body::Done,
        _ if chunked => Body::chunked(),
        Some(0) => Body::Done,
        Some(n) => Body::Raw(n),
        None => Body::UntilClose,
    };
    // An answer of trailers only has no length in gRPC.
    let hide_length = grpc && length == Some(0);
    connection.send_fields(key, status >= 200 && body.done(), |encoder, output| {
        encoder.status(status, output);
        for header in raw.headers.iter().filter(|h| !pipe::is_of_hop(h.name)) {
            let hidden = (hide_length && header.name.eq_ignore_ascii_case("content-length"))
                || (switched && header.name.eq_ignore_ascii_case(websocket::ACCEPT));
            if !hidden {
                encoder.field(header.name.as_bytes(), header.value, output);
            }
        }
    });
    let sending = if switched { Sending::Tunnel } else { Sending::Body(body) };
    Ok((bytes, (status >= 200).then_some(sending)))
}
