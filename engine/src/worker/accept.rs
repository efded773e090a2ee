//! What becomes of an accepted connection: TLS where the Listener has it, then HTTP/2, HTTP/1.1 or TCP.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::spawn_local;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::context::{Client, Closing, Context};
use super::deadline::Deadline;
use crate::control::objects::ListenerProtocol;
use crate::h2;
use crate::http::serve::{self, Whence};
use crate::table::Listener;
use crate::tcp::peek::{self, Seen};
use crate::tcp::proxy_header;
use crate::tls::peer::{Names, Peer, Shown};
use crate::{tcp, tls, udp};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many are accepted before others have their turn: more at a time would leave nothing to the other threads.
const AT_ONCE: usize = 4;

/// Accepts for as long as the socket is ours. What cannot be accepted for want of descriptors is tried again later.
pub async fn accept(context: Rc<Context>, listener: TcpListener, socket: Rc<str>) {
    // What is accepted inherits it.
    let _ = socket2::SockRef::from(&listener).set_tcp_nodelay(true);
    // Where it listens on every address, each connection has to be asked for its own.
    let door = listener.local_addr().ok().filter(|address| !address.ip().is_unspecified());
    for turn in 1usize.. {
        match listener.accept().await {
            Ok((stream, peer)) => take(&context, stream, peer, door, &socket),
            Err(error) => {
                tracing::warn!(%socket, %error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        }
        // Others on this thread get their turn, and with a burst of connections so do the other threads.
        if turn.is_multiple_of(AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
}

/// Serves what a socket that nobody accepts from any more has in its queue.
pub fn accept_last(context: &Rc<Context>, listener: &std::net::TcpListener, socket: &Rc<str>) {
    let _ = socket2::SockRef::from(listener).set_tcp_nodelay(true);
    let door = listener.local_addr().ok().filter(|address| !address.ip().is_unspecified());
    while let Ok((stream, peer)) = listener.accept() {
        let ours = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = ours {
            take(context, stream, peer, door, socket);
        }
    }
}

/// One accepted connection.
fn take(context: &Rc<Context>, stream: TcpStream, peer: SocketAddr, door: Option<SocketAddr>, socket: &Rc<str>) {
    let Some(found) = context.listener(socket) else { return };
    found.counters.connections.add(1);
    let destination = if found.spec.transparent { original_destination(&stream) } else { None };
    let local = destination.or(door).or_else(|| stream.local_addr().ok());
    let client = Client::new(context, &found.counters);
    let whence = Whence { socket: socket.clone(), peer, local, destination, peer_identity: Peer::Plain, client };
    if found.spec.proxy_protocol_in {
        spawn_local(introduced(context.clone(), stream, whence, found));
    } else {
        begin(context, stream, whence, found);
    }
}

fn begin(context: &Rc<Context>, stream: TcpStream, whence: Whence, listener: Arc<Listener>) {
    let context = context.clone();
    if let Some(names) = &listener.passing {
        spawn_local(by_name(context, stream, whence, names.clone(), listener));
        return;
    }
    go_on(context, stream, whence, listener);
}

/// TLS of some names is passed on, that of others ends here: the handshake's first message tells.
async fn by_name(context: Rc<Context>, stream: TcpStream, whence: Whence, names: Arc<Names>, listener: Arc<Listener>) {
    let deadline = context.deadlines.register();
    deadline.set(listener.http.request_header_timeout_seconds);
    let Ok(name) = tcp::passthrough::asked_for(&stream, &whence.client, &deadline).await else {
        listener.counters.bad_requests.add(1);
        return;
    };
    drop(deadline);
    if names.cover(&String::from_utf8_lossy(&name)) {
        let arrived = tcp::Arrived::new(&context, whence, "tls");
        spawn_local(tcp::passthrough::pass_on(context, stream, listener, arrived, Some(name)));
    } else {
        go_on(context, stream, whence, listener);
    }
}

fn go_on(context: Rc<Context>, stream: TcpStream, whence: Whence, listener: Arc<Listener>) {
    match listener.spec.protocol {
        ListenerProtocol::Http if listener.http.h2c => drop(spawn_local(either(context, stream, whence, listener))),
        ListenerProtocol::Http => drop(spawn_local(serve::serve(context, stream, whence, "http"))),
        ListenerProtocol::Https => drop(spawn_local(secure(context, stream, whence, listener))),
        ListenerProtocol::Tcp => drop(spawn_local(tcp::serve(context, stream, whence))),
        ListenerProtocol::Tls if !listener.spec.certificates.is_empty() => {
            drop(spawn_local(secure(context, stream, whence, listener)));
        }
        ListenerProtocol::Tls => drop(spawn_local(tcp::passthrough::serve(context, stream, whence))),
        ListenerProtocol::Dns => drop(spawn_local(context.dns().serve_tcp(stream))),
        ListenerProtocol::Udp => {}
    }
}

/// A proxy before us says first for whom it comes.
async fn introduced(context: Rc<Context>, mut stream: TcpStream, mut whence: Whence, listener: Arc<Listener>) {
    let deadline = context.deadlines.register();
    deadline.set(listener.http.request_header_timeout_seconds);
    let judged = peek::until(&stream, proxy_header::MAX_BYTES, (&whence.client, &deadline), proxy_header::parse).await;
    drop(deadline);
    let Ok((bytes, source)) = judged else {
        listener.counters.bad_requests.add(1);
        return;
    };
    if stream.read_exact(&mut vec![0u8; bytes]).await.is_ok() {
        whence.peer = source.unwrap_or(whence.peer);
        begin(&context, stream, whence, listener);
    }
}

/// Serves a socket of datagrams for as long as it is ours.
pub async fn datagrams(context: Rc<Context>, socket: UdpSocket, id: Rc<str>) {
    match context.listener(&id).map(|found| found.spec.protocol) {
        Some(ListenerProtocol::Dns) => context.dns().serve_udp(socket).await,
        Some(ListenerProtocol::Udp) => udp::serve(context, socket, id).await,
        _ => {}
    }
}

/// Where a connection that the kernel redirected was going (SO_ORIGINAL_DST).
fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    let socket = socket2::SockRef::from(stream);
    socket.original_dst_v4().or_else(|_| socket.original_dst_v6()).ok()?.as_socket()
}

/// Waits for a client to say something; one that has said nothing is idle, and is let go as others are.
async fn first_word(stream: &TcpStream, deadline: &Deadline, client: &Client) -> bool {
    let mut byte = [0];
    std::future::poll_fn(|task| match stream.poll_peek(task, &mut ReadBuf::new(&mut byte)) {
        Poll::Pending if deadline.passed(task) || client.closing() == Closing::Now => Poll::Ready(false),
        polled => polled.map(|ready| ready.is_ok()),
    })
    .await
}

/// HTTP/2 with prior knowledge, or HTTP/1.1: the first bytes tell.
async fn either(context: Rc<Context>, stream: TcpStream, whence: Whence, listener: Arc<Listener>) {
    let deadline = context.deadlines.register();
    deadline.set(listener.http.idle_timeout_seconds);
    let judge = |seen: &[u8]| {
        let same = seen.iter().zip(PREFACE).take_while(|(a, b)| a == b).count();
        Ok(match same {
            n if n == PREFACE.len() => Seen::Whole(true),
            n if n == seen.len() => Seen::More,
            // A preface gone wrong is answered as one (RFC 9113, 3.4): no request has two words in capitals.
            _ => Seen::Whole(!seen.starts_with(b"CONNECT") && second_word(seen).is_some_and(u8::is_ascii_uppercase)),
        })
    };
    // One more than the preface, so that a whole one is not mistaken for a header that never ends.
    let Ok(h2) = peek::until(&stream, PREFACE.len() + 1, (&whence.client, &deadline), judge).await else { return };
    // A task of its own, so that what decided is not kept beside it.
    if h2 {
        spawn_local(h2::server::serve(context, stream, whence, "http"));
    } else {
        spawn_local(serve::serve(context, stream, whence, "http"));
    }
}

/// The first byte of what follows the first word.
fn second_word(seen: &[u8]) -> Option<&u8> {
    seen.get(seen.iter().position(|b| *b == b' ')? + 1)
}

async fn secure(context: Rc<Context>, stream: TcpStream, mut whence: Whence, listener: Arc<Listener>) {
    let Some(config) = listener.tls.clone() else { return };
    let deadline = context.deadlines.register();
    deadline.set(listener.http.request_header_timeout_seconds);
    if !first_word(&stream, &deadline, &whence.client).await {
        return;
    }
    let shaking = std::pin::pin!(shake(stream, config, &listener));
    let Ok((stream, asked)) = deadline.bound(shaking).await else {
        listener.counters.bad_requests.add(1);
        return;
    };
    let stream = Box::new(stream);
    whence.peer_identity = match (asked, stream.get_ref().1.peer_certificates()) {
        (false, _) => Peer::NotAsked,
        (true, chain) => Peer::Asked(Shown::new(chain.unwrap_or_default())),
    };
    // A task of its own, so that the handshake's state is not kept beside it.
    if listener.spec.protocol == ListenerProtocol::Tls {
        spawn_local(tcp::passthrough::terminated(context, stream, whence, listener.clone()));
        return;
    }
    if stream.get_ref().1.alpn_protocol() == Some(tls::ALPN_H2) {
        spawn_local(h2::server::serve(context, stream, whence, "https"));
    } else {
        spawn_local(serve::serve(context, stream, whence, "https"));
    }
}

/// The handshake; also whether a client certificate was asked for. Only where some Routes want one is the name read first.
async fn shake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    listener: &Listener,
) -> io::Result<(TlsStream<TcpStream>, bool)> {
    let Some((names, asking)) = &listener.asking else {
        let asked = !listener.spec.client_ca.is_empty();
        return Ok((TlsAcceptor::from(config).accept(stream).await?, asked));
    };
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let asked = names.cover(hello.client_hello().server_name().unwrap_or(""));
    Ok((hello.into_stream(if asked { asking.clone() } else { config }).await?, asked))
}
