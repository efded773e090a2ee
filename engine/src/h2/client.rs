//! HTTP/2 to backends: connections shared by many requests, each stream shown as a backend that speaks HTTP/1.1.
//!
//! Promises: one connection per endpoint and thread until its streams are used up, then another; connections to endpoints
//! that are going take no new stream and close when theirs have ended.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::encode::{Decoder, Encoder, Form, Outlet, Part, fields, write_fields};
use crate::table::endpoint::Opened;

/// Streams on one connection; servers allow 100 to 250 as a rule.
const STREAMS_PER_CONNECTION: usize = 100;

struct Shared {
    sender: SendRequest<Bytes>,
    opened: std::rc::Weak<Opened>,
    /// Each of its streams holds a weak reference.
    token: std::rc::Rc<()>,
}

/// The connections of one thread, by endpoint.
#[derive(Default)]
pub struct Connections {
    open: RefCell<HashMap<u64, Vec<Shared>>>,
}

impl Connections {
    /// A stream on a connection that is there and has room.
    pub fn take(&self, endpoint: u64) -> Option<Stream> {
        let mut open = self.open.borrow_mut();
        let list = open.get_mut(&endpoint)?;
        list.retain(|c| c.opened.upgrade().is_some_and(|o| o.endpoint().keeps_connections()));
        let shared = list.iter().find(|c| std::rc::Rc::weak_count(&c.token) < STREAMS_PER_CONNECTION)?;
        Some(Stream::new(shared.sender.clone(), std::rc::Rc::downgrade(&shared.token)))
    }

    /// Makes a connection of a stream that has been connected (and is TLS already where it must be).
    pub async fn open<T>(&self, io: T, opened: Opened) -> io::Result<Stream>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(8 << 20).enable_push(false);
        let (sender, connection) = builder.handshake::<_, Bytes>(io).await.map_err(io::Error::other)?;
        let id = opened.endpoint().id;
        let opened = std::rc::Rc::new(opened);
        let weak = std::rc::Rc::downgrade(&opened);
        tokio::task::spawn_local(async move {
            let _ = connection.await;
            drop(opened);
        });
        let token = std::rc::Rc::new(());
        let stream = Stream::new(sender.clone(), std::rc::Rc::downgrade(&token));
        self.open.borrow_mut().entry(id).or_default().push(Shared { sender, opened: weak, token });
        Ok(stream)
    }

    /// Lets go of connections that are closed or of endpoints that are going; their streams go on.
    pub fn settle(&self) {
        let mut open = self.open.borrow_mut();
        for list in open.values_mut() {
            list.retain(|c| c.opened.upgrade().is_some_and(|o| o.endpoint().keeps_connections()));
        }
        open.retain(|_, list| !list.is_empty());
    }

    pub fn clear(&self) {
        self.open.borrow_mut().clear();
    }
}

enum State {
    /// The request's head is not whole.
    Head(Vec<u8>),
    Sent,
}

/// One request's stream, as HTTP/1.1 bytes both ways.
pub struct Stream {
    sender: SendRequest<Bytes>,
    _streams: std::rc::Weak<()>,
    state: State,
    head_method: bool,
    request: Option<Outlet>,
    response: Option<ResponseFuture>,
    failed: bool,
    body: Option<Encoder>,
}

impl Stream {
    fn new(sender: SendRequest<Bytes>, streams: std::rc::Weak<()>) -> Self {
        Self {
            sender,
            _streams: streams,
            state: State::Head(Vec::new()),
            head_method: false,
            request: None,
            response: None,
            failed: false,
            body: None,
        }
    }

    /// Nothing of the request has left us.
    pub fn unsent(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    fn poll_send(&mut self, task: &mut Task<'_>, input: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(request) = &mut self.request {
            return request.poll_write(task, input);
        }
        let State::Head(head) = &mut self.state else { return Poll::Ready(Ok(input.len())) };
        ready!(self.sender.poll_ready(task)).map_err(io::Error::other)?;
        head.extend_from_slice(input);
        let mut storage = [httparse::EMPTY_HEADER; 256];
        let mut raw = httparse::Request::new(&mut storage);
        let httparse::Status::Complete(bytes) = raw.parse(head).map_err(io::Error::other)? else {
            return Poll::Ready(Ok(input.len()));
        };
        let find = |name: &str| raw.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
        let length = find("content-length").and_then(|v| std::str::from_utf8(v).ok()?.trim().parse::<u64>().ok());
        let decoder = match length {
            _ if find("transfer-encoding").is_some() => Decoder::Chunked(Part::Size),
            Some(n) if n > 0 => Decoder::Raw(n),
            _ => Decoder::Done,
        };
        let host = String::from_utf8_lossy(find("host").unwrap_or(b"")).into_owned();
        let uri = http::Uri::builder()
            .scheme(if find("x-forwarded-proto") == Some(b"https") { "https" } else { "http" })
            .authority(if host.is_empty() { "localhost" } else { &host })
            .path_and_query(raw.path.unwrap_or("/"))
            .build()
            .map_err(io::Error::other)?;
        let mut request =
            Request::builder().method(raw.method.unwrap_or("GET")).uri(uri).body(()).map_err(io::Error::other)?;
        *request.headers_mut() = fields(raw.headers)?;
        let grpc = request.headers().get("content-type").is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"));
        if grpc {
            request.headers_mut().insert("te", http::HeaderValue::from_static("trailers"));
        }
        self.head_method = raw.method == Some("HEAD");
        let ended = matches!(decoder, Decoder::Done);
        let rest = head.split_off(bytes);
        let (response, stream) = self.sender.send_request(request, ended).map_err(io::Error::other)?;
        self.state = State::Sent;
        self.response = Some(response);
        let mut outlet = Outlet::new(stream, decoder);
        if !rest.is_empty() {
            let _ = outlet.poll_write(task, &rest)?;
        }
        self.request = Some(outlet);
        Poll::Ready(Ok(input.len()))
    }

    fn poll_receive(&mut self, task: &mut Task<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // The request's body moves on when the window opens, whoever waits.
        if let Some(request) = &mut self.request
            && let Poll::Ready(Err(error)) = request.poll_drain(task)
            && self.response.is_none()
            && self.body.is_none()
        {
            return Poll::Ready(Err(error));
        }
        if let Some(body) = &mut self.body {
            return body.poll_read(task, out);
        }
        if self.failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let Some(future) = &mut self.response else { return Poll::Pending };
        let response = ready!(Pin::new(future).poll(task)).map_err(io::Error::other)?;
        self.response = None;
        let (parts, stream) = response.into_parts();
        let status = parts.status.as_u16();
        let mut head = format!("HTTP/1.1 {status} {}\r\n", parts.status.canonical_reason().unwrap_or("")).into_bytes();
        write_fields(&parts.headers, &mut head, |_| true);
        let bodyless = self.head_method || status == 204 || status == 304;
        let form = if bodyless || stream.is_end_stream() {
            if !bodyless && !parts.headers.contains_key("content-length") {
                head.extend_from_slice(b"content-length: 0\r\n");
            }
            Form::Empty
        } else if parts.headers.contains_key("content-length") {
            Form::Raw
        } else {
            head.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Form::Chunked
        };
        head.extend_from_slice(b"\r\n");
        let body = self.body.insert(Encoder::new(head, form, Some(stream)));
        body.poll_read(task, out)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, task: &mut Task<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_receive(task, out)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Task<'_>, input: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = this.poll_send(task, input);
        this.failed |= matches!(polled, Poll::Ready(Err(_)));
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        self.get_mut().request.as_mut().map_or(Poll::Ready(Ok(())), |request| request.poll_drain(task))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        let _ = self.get_mut().request.as_mut().map(Outlet::close);
        Poll::Ready(Ok(()))
    }
}
