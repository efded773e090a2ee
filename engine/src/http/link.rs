//! A connection to an endpoint: plain, TLS, or one stream of HTTP/2; HTTP/1.1 bytes whatever it is.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::h2;
use crate::table::backend::Backend;
use crate::table::endpoint::{Endpoint, Opened};
use crate::tcp::keepalive;
use crate::tcp::proxy_out::{self, Ends};
use crate::worker::context::Context;

pub enum Link {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    H2(h2::client::Stream),
}

/// A link, counted at its endpoint (an HTTP/2 stream is not; its connection is).
pub struct Connection {
    pub link: Link,
    pub opened: Option<Opened>,
    pub reused: bool,
    /// It was opened in one client's name, and is nobody else's.
    pub named: bool,
    /// Connected so quickly that the event loop has not been asked whether it can be written to.
    pub fresh: bool,
}

/// A connection, and whether it was there at once, as it is to a server on the same machine: then there is nothing to
/// wait for, although the kernel said that it was in progress.
async fn connect(address: SocketAddr) -> io::Result<(TcpStream, bool)> {
    let stream = begin(address)?;
    if rustix::net::getpeername(&stream).is_ok() {
        return Ok((stream, true));
    }
    std::future::poll_fn(|task| stream.poll_write_ready(task)).await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok((stream, false)),
    }
}

fn begin(address: SocketAddr) -> io::Result<TcpStream> {
    let kind = socket2::Type::STREAM.nonblocking().cloexec();
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), kind, None)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => TcpStream::from_std(socket.into()),
    }
}

impl Connection {
    /// Connects, and makes TLS or HTTP/2 of it where the Backend has that; those are rare and large, so they have a box.
    /// `ends`: in whose name, where the Backend wants to know.
    pub async fn open(endpoint: Arc<Endpoint>, backend: &Backend, context: &Context, ends: Ends) -> io::Result<Self> {
        let opened = Opened::new(endpoint, backend.transport);
        let (stream, fresh) = connect(opened.endpoint().address).await?;
        if backend.spec.proxy_protocol == 0 && backend.upstream.is_none() && !backend.speaks_h2() {
            return Ok(Self { link: Link::Plain(stream), opened: Some(opened), reused: false, named: false, fresh });
        }
        Box::pin(Self::introduce(stream, opened, backend, context, ends, backend.speaks_h2())).await
    }

    /// To a Backend that speaks HTTP/2, for a request that wants another protocol: a stream where that can become a WebSocket
    /// (RFC 8441), else HTTP/1.1, which such servers speak beside it.
    pub async fn open_to_upgrade(
        endpoint: Arc<Endpoint>,
        backend: &Backend,
        context: &Context,
        ends: Ends,
        websocket: bool,
    ) -> io::Result<Self> {
        if websocket {
            let connection = match context.h2.take(endpoint.id, backend.transport) {
                Some(stream) => Self::of_stream(stream),
                None => Self::open(endpoint.clone(), backend, context, ends).await?,
            };
            if let Link::H2(stream) = &connection.link
                && stream.takes_websockets().await?
            {
                return Ok(connection);
            }
        }
        let opened = Opened::new(endpoint, backend.transport);
        let (stream, _) = connect(opened.endpoint().address).await?;
        let connection = Self::introduce(stream, opened, backend, context, ends, false).await?;
        // What else is asked of the endpoint goes over HTTP/2.
        Ok(Self { named: true, ..connection })
    }

    async fn introduce(
        mut stream: TcpStream,
        opened: Opened,
        backend: &Backend,
        context: &Context,
        ends: Ends,
        h2: bool,
    ) -> io::Result<Self> {
        if h2 {
            keepalive::ask_soon((&stream).into());
        }
        let named = backend.spec.proxy_protocol > 0;
        if named {
            stream.write_all(&proxy_out::header(backend.spec.proxy_protocol, ends)).await?;
        }
        let Some(upstream) = &backend.upstream else {
            if h2 {
                return Ok(Self::of_stream(context.h2.open(stream, opened)));
            }
            return Ok(Self { link: Link::Plain(stream), opened: Some(opened), reused: false, named, fresh: false });
        };
        let name = upstream.name.clone().unwrap_or_else(|| ServerName::from(opened.endpoint().address.ip()));
        let config = if h2 { &upstream.config } else { &upstream.http1 };
        let stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
        if h2 {
            return Ok(Self::of_stream(context.h2.open(stream, opened)));
        }
        Ok(Self { link: Link::Tls(Box::new(stream)), opened: Some(opened), reused: false, named, fresh: false })
    }

    /// Before bytes are carried that may be silent for long.
    pub fn keep_alive(&self) {
        match &self.link {
            Link::Plain(stream) => keepalive::ask(stream.into()),
            Link::Tls(stream) => keepalive::ask(stream.get_ref().0.into()),
            Link::H2(_) => {} // its connection has asked
        }
    }

    pub fn of_stream(stream: h2::client::Stream) -> Self {
        Self { link: Link::H2(stream), opened: None, reused: false, named: false, fresh: false }
    }

    /// Nothing of a request has left us, so it may be sent elsewhere whatever it is.
    pub fn unsent(&self) -> bool {
        matches!(&self.link, Link::H2(stream) if stream.unsent())
    }

    /// Nothing to read and not closed, as far as the event loop knows.
    pub fn quiet(&self) -> bool {
        match &self.link {
            Link::Plain(stream) => {
                matches!(stream.try_read(&mut [0u8; 1]), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
            }
            Link::Tls(stream) => silent(stream.get_ref().0),
            Link::H2(_) => false,
        }
    }

    /// Asks the kernel, too. For requests that must not be sent twice.
    pub fn surely_open(&self) -> bool {
        match &self.link {
            Link::Plain(stream) => silent(stream),
            Link::Tls(stream) => silent(stream.get_ref().0),
            Link::H2(_) => true,
        }
    }
}

fn silent(stream: &TcpStream) -> bool {
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    matches!(rustix::net::recv(stream, &mut [0u8; 1], flags), Err(rustix::io::Errno::AGAIN))
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Link::Plain($stream) => $call,
            Link::Tls($stream) => $call,
            Link::H2($stream) => $call,
        }
    };
}

impl Link {
    /// The request's end is told apart from its body's length, with `end`, where HTTP/2 lets it.
    pub fn leave_open(&mut self) {
        if let Self::H2(stream) = self {
            stream.leave_open();
        }
    }

    /// Ends the request with these trailers, which only HTTP/2 can send.
    pub fn end(&mut self, trailers: &[u8]) {
        if let Self::H2(stream) = self {
            stream.end(trailers);
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, task: &mut Task<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(task, out))
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, task: &mut Task<'_>, input: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(task, input))
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(task))
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(task))
    }
}
