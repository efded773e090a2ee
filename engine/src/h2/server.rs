//! A client's HTTP/2 connection; each stream is shown to `http::serve` as a client that speaks HTTP/1.1.
//!
//! Promises: the limits of `h2`; when the worker ends, GOAWAY and then the streams' ends; an idle connection is closed
//! after the Listener's time. Refuses: a Host that is not the `:authority`, CONNECT.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::encode::{Decoder, Encoder, Form, Outlet, Part, fields, write_fields};
use crate::http::Client;
use crate::http::serve::{self, Whence};
use crate::worker::context::{self, Closing, Context};

type Connection<C> = h2::server::Connection<C, Bytes>;

/// Serves a connection whose preface has not been read.
pub async fn serve<C: Client + 'static>(context: Rc<Context>, io: C, whence: Whence, scheme: &'static str) {
    let _counted = context::Client::new(&context);
    let Some(listener) = context.listener(&whence.socket) else { return };
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(super::WINDOW_BYTES)
        .initial_connection_window_size(super::CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(super::MAX_STREAMS)
        .max_header_list_size(listener.http.max_header_bytes as u32)
        .max_pending_accept_reset_streams(super::MAX_PENDING_RESETS)
        .max_local_error_reset_streams(Some(super::MAX_LOCAL_RESETS))
        .reset_stream_duration(super::RESET_MEMORY);
    let deadline = context.deadlines.register();
    deadline.set(listener.http.request_header_timeout_seconds);
    let mut handshake = std::pin::pin!(builder.handshake(io));
    let shaken = std::future::poll_fn(|task| match handshake.as_mut().poll(task) {
        Poll::Pending if deadline.passed(task) => Poll::Ready(None),
        polled => polled.map(Result::ok),
    });
    let Some(mut connection): Option<Connection<C>> = shaken.await else { return };
    let open = Rc::new(Cell::new(0usize));
    let mut told = false;
    deadline.set(listener.http.idle_timeout_seconds);
    loop {
        let accepted = std::future::poll_fn(|task| {
            let accepted = connection.poll_accept(task);
            let ending = context.closing.get() != Closing::No || (open.get() == 0 && deadline.passed(task));
            if accepted.is_pending() && ending && !told {
                told = true;
                connection.graceful_shutdown();
                return connection.poll_accept(task);
            }
            let _ = deadline.passed(task);
            accepted
        });
        let Some(Ok((request, respond))) = accepted.await else { return };
        deadline.set(listener.http.idle_timeout_seconds);
        open.set(open.get() + 1);
        let (context, whence, open) = (context.clone(), whence.clone(), open.clone());
        tokio::task::spawn_local(async move {
            if let Some(stream) = Stream::new(request, respond) {
                serve::serve(context, stream, whence, scheme).await;
            }
            open.set(open.get() - 1);
        });
    }
}

/// One stream, as HTTP/1.1 bytes both ways.
struct Stream {
    request: Encoder,
    respond: SendResponse<Bytes>,
    head_method: bool,
    head: Vec<u8>,
    body: Option<Outlet>,
}

impl Stream {
    fn new(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        let host = parts.headers.get("host").and_then(|h| h.to_str().ok());
        let differs = matches!((authority, host), (Some(a), Some(h)) if !a.eq_ignore_ascii_case(h));
        if parts.method == http::Method::CONNECT || differs {
            let answer = Response::builder().status(if differs { 400 } else { 405 }).body(()).ok()?;
            let _ = respond.send_response(answer, true);
            return None;
        }
        let target = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        let mut head = format!("{} {target} HTTP/1.1\r\nhost: ", parts.method).into_bytes();
        head.extend_from_slice(authority.or(host).unwrap_or("").as_bytes());
        head.extend_from_slice(b"\r\n");
        // Cookies may come in crumbs (RFC 9113, 8.2.3).
        let crumbs: Vec<_> = parts.headers.get_all("cookie").iter().map(|c| c.as_bytes()).collect();
        if !crumbs.is_empty() {
            head.extend_from_slice(b"cookie: ");
            head.extend_from_slice(&crumbs.join(&b"; "[..]));
            head.extend_from_slice(b"\r\n");
        }
        write_fields(&parts.headers, &mut head, |name| name != "host" && name != "cookie");
        let form = if body.is_end_stream() {
            Form::Empty
        } else if parts.headers.contains_key("content-length") {
            Form::Raw
        } else {
            head.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Form::Chunked
        };
        head.extend_from_slice(b"\r\n");
        let head_method = parts.method == http::Method::HEAD;
        Some(Self { request: Encoder::new(head, form, Some(body)), respond, head_method, head: Vec::new(), body: None })
    }

    /// Sends the response's head once it is whole; what is left of the bytes is the body's.
    fn take_head(&mut self, input: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.head.extend_from_slice(input);
        loop {
            let mut storage = [httparse::EMPTY_HEADER; 128];
            let mut raw = httparse::Response::new(&mut storage);
            let httparse::Status::Complete(bytes) = raw.parse(&self.head).map_err(io::Error::other)? else {
                return Ok(None);
            };
            let status = raw.code.unwrap_or(502);
            let mut map = fields(raw.headers)?;
            let find = |name: &str| raw.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
            let length = find("content-length").and_then(|v| std::str::from_utf8(v).ok()?.trim().parse::<u64>().ok());
            let chunked = find("transfer-encoding").is_some();
            if status < 200 {
                let mut answer = Response::builder().status(status).body(()).map_err(io::Error::other)?;
                *answer.headers_mut() = map;
                self.respond.send_informational(answer).map_err(io::Error::other)?;
                self.head.drain(..bytes);
                continue;
            }
            let decoder = match length {
                _ if self.head_method || status == 204 || status == 304 => Decoder::Done,
                Some(0) => Decoder::Done,
                Some(n) => Decoder::Raw(n),
                None if chunked => Decoder::Chunked(Part::Size),
                None => Decoder::UntilClose,
            };
            if length == Some(0)
                && map.get("content-type").is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"))
            {
                map.remove("content-length");
            }
            let mut answer = Response::builder().status(status).body(()).map_err(io::Error::other)?;
            *answer.headers_mut() = map;
            let ended = matches!(decoder, Decoder::Done);
            let stream = self.respond.send_response(answer, ended).map_err(io::Error::other)?;
            self.body = Some(Outlet::new(stream, decoder));
            return Ok(Some(self.head.split_off(bytes)));
        }
    }
}

impl Client for Stream {}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, task: &mut Task<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // A client that gives the stream up takes its request back.
        if let Poll::Ready(Ok(_)) = this.respond.poll_reset(task) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        this.request.poll_read(task, out)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Task<'_>, input: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(body) = &mut this.body {
            return body.poll_write(task, input);
        }
        if let Some(rest) = this.take_head(input)?
            && !rest.is_empty()
            && let Some(body) = &mut this.body
        {
            // The queue is empty, so this always takes all.
            let _ = body.poll_write(task, &rest)?;
        }
        Poll::Ready(Ok(input.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        self.get_mut().body.as_mut().map_or(Poll::Ready(Ok(())), |body| body.poll_drain(task))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.body {
            Some(body) => Poll::Ready(body.close()),
            None => {
                this.respond.send_reset(Reason::INTERNAL_ERROR);
                Poll::Ready(Ok(()))
            }
        }
    }
}
