//! A request of our own to a Backend, and its whole answer: for authentication services and for error pages.
//!
//! Promises: bounded in time and size, whatever the Backend does; a connection that had been idle and turns out to be closed
//! is followed by one fresh one. Refuses: answers with a head over 64 KiB or a body over the caller's limit.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::buffer::Buffer;
use super::chunked::Chunked;
use super::field::{self, Kind};
use super::link::Connection;
use super::request::Framing;
use crate::table::backend::Backend;
use crate::worker::context::Context;

const MAX_HEAD_BYTES: usize = 64 << 10;
/// No Backend of an edge takes longer to say yes or no.
const PATIENCE_SECONDS: f64 = 30.0;

pub struct Reply {
    pub status: u16,
    /// Fields for an endpoint beyond us; those of one hop and the body's length are left out.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
    }
}

/// Sends `request` (a whole head of a request without a body).
pub async fn ask(
    context: &Rc<Context>,
    backend: &Backend,
    client: IpAddr,
    request: &[u8],
    most_bytes: usize,
) -> io::Result<Reply> {
    let own = backend.spec.timeouts.as_ref().map_or(0.0, |t| t.request());
    let seconds = if own > 0.0 { own.min(PATIENCE_SECONDS) } else { PATIENCE_SECONDS };
    let limit = Duration::from_secs_f64(seconds);
    tokio::time::timeout(limit, carry(context, backend, client, request, most_bytes)).await?
}

async fn carry(
    context: &Rc<Context>,
    backend: &Backend,
    client: IpAddr,
    request: &[u8],
    most_bytes: usize,
) -> io::Result<Reply> {
    let circumstances = context.ask(backend, client, &[]);
    let Some((endpoint, _in_flight)) = backend.shared.choose(&circumstances) else {
        backend.shared.no_endpoint.add(1);
        return Err(io::ErrorKind::NotConnected.into());
    };
    let kept = if backend.speaks_h2() {
        context.h2.take(endpoint.id, backend.transport).map(Connection::of_stream)
    } else {
        context.pool.take(endpoint.id, backend.transport)
    };
    if let Some(connection) = kept
        && let Ok(reply) = exchange(context, connection, request, most_bytes).await
    {
        endpoint.codes.count(reply.status);
        return Ok(reply);
    }
    let connect_seconds = backend.spec.timeouts.as_ref().map_or(5.0, |t| t.connect_seconds);
    let opening = Connection::open(Arc::clone(&endpoint), backend, context, None);
    let connection = tokio::time::timeout(Duration::from_secs_f64(connect_seconds.max(0.001)), opening).await;
    let connection = match connection.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(connection) => connection,
        Err(error) => {
            endpoint.connects.failed(&error);
            return Err(io::ErrorKind::NotConnected.into());
        }
    };
    endpoint.connects.succeeded();
    let reply = exchange(context, connection, request, most_bytes).await;
    endpoint.codes.count(reply.as_ref().map_or(0, |r| r.status));
    reply
}

async fn exchange(
    context: &Rc<Context>,
    mut connection: Connection,
    request: &[u8],
    most_bytes: usize,
) -> io::Result<Reply> {
    connection.link.write_all(request).await?;
    connection.link.flush().await?;
    let mut buffer = context.buffers.take();
    let read = receive(&mut connection, &mut buffer, request.starts_with(b"HEAD "), most_bytes).await;
    let clean = buffer.is_empty();
    context.buffers.give(buffer);
    let (reply, reusable) = read?;
    if reusable && clean {
        context.pool.give(connection);
    }
    Ok(reply)
}

async fn more(connection: &mut Connection, buffer: &mut Buffer) -> io::Result<usize> {
    if buffer.spare().is_empty() {
        buffer.grow();
    }
    let n = connection.link.read(buffer.spare()).await?;
    buffer.added(n);
    Ok(n)
}

async fn receive(
    connection: &mut Connection,
    buffer: &mut Buffer,
    head_method: bool,
    most_bytes: usize,
) -> io::Result<(Reply, bool)> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let (mut reply, framing, mut reusable) = loop {
        if let Some((bytes, found)) = parse(buffer.filled(), head_method).ok_or_else(malformed)? {
            buffer.consume(bytes);
            if found.0.status >= 200 {
                break found;
            }
            continue;
        }
        if buffer.filled().len() > MAX_HEAD_BYTES || more(connection, buffer).await? == 0 {
            return Err(malformed());
        }
    };
    let mut chunks = Chunked::default();
    loop {
        let done = match framing {
            Framing::Empty => true,
            Framing::Length(length) => {
                let left = usize::try_from(length).map_err(io::Error::other)? - reply.body.len();
                let n = left.min(buffer.filled().len());
                reply.body.extend_from_slice(&buffer.filled()[..n]);
                buffer.consume(n);
                n == left
            }
            Framing::Chunked => {
                let used = chunks.transfer(buffer.filled(), &mut reply.body, true).map_err(|_| malformed())?;
                buffer.consume(used);
                chunks.done()
            }
            Framing::UntilClose => {
                reply.body.extend_from_slice(buffer.filled());
                let n = buffer.filled().len();
                buffer.consume(n);
                reusable = false;
                false
            }
        };
        if done {
            return Ok((reply, reusable));
        }
        if reply.body.len() > most_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if more(connection, buffer).await? == 0 {
            return if framing == Framing::UntilClose { Ok((reply, false)) } else { Err(malformed()) };
        }
    }
}

type Head = (Reply, Framing, bool);

/// Outer `None`: malformed; inner: not whole yet.
#[expect(clippy::option_option, reason = "malformed and unfinished differ")]
fn parse(input: &[u8], head_method: bool) -> Option<Option<(usize, Head)>> {
    let mut storage = [httparse::EMPTY_HEADER; 128];
    let mut raw = httparse::Response::new(&mut storage);
    let bytes = match raw.parse(input).ok()? {
        httparse::Status::Complete(bytes) => bytes,
        httparse::Status::Partial => return Some(None),
    };
    if !field::strict_lines(&input[..bytes]) {
        return None;
    }
    let status = raw.code?;
    let (mut length, mut chunked, mut reusable) = (None, false, raw.version == Some(1));
    let mut fields = Vec::new();
    for header in raw.headers.iter() {
        match field::kind(header.name) {
            Kind::ContentLength => length = Some(field::content_length(header.value)?),
            Kind::TransferEncoding if header.value.eq_ignore_ascii_case(b"chunked") => chunked = true,
            Kind::TransferEncoding => return None,
            Kind::Connection => reusable &= !field::tokens(header.value).any(|t| t.eq_ignore_ascii_case(b"close")),
            Kind::Hop | Kind::Upgrade => {}
            _ => fields.push((header.name.to_owned(), header.value.to_vec())),
        }
    }
    let framing = match (chunked, length) {
        _ if head_method || status < 200 || status == 204 || status == 304 => Framing::Empty,
        (true, Some(_)) => return None,
        (true, None) => Framing::Chunked,
        (false, Some(0)) => Framing::Empty,
        (false, Some(n)) => Framing::Length(n),
        (false, None) => Framing::UntilClose,
    };
    Some(Some((bytes, (Reply { status, fields, body: Vec::new() }, framing, reusable))))
}
