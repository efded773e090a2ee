//! What becomes of an accepted connection: TLS where the Listener has it, then HTTP/2, HTTP/1.1 or TCP.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

use super::context::Context;
use crate::control::objects::ListenerProtocol;
use crate::h2;
use crate::http::serve::{self, Whence};
use crate::table::Listener;
use crate::{tcp, tls, udp};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Accepts for as long as the socket is ours. What cannot be accepted for want of descriptors is tried again later.
pub async fn accept(context: Rc<Context>, listener: TcpListener, socket: Rc<str>) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%socket, %error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let Some(found) = context.listener(&socket) else { continue };
        found.counters.connections.add(1);
        let _ = stream.set_nodelay(true);
        let destination = if found.spec.transparent { original_destination(&stream) } else { None };
        let whence = Whence { socket: socket.clone(), peer, destination };
        match found.spec.protocol {
            ListenerProtocol::Http if found.http.h2c => {
                spawn_local(either(context.clone(), stream, whence, found));
            }
            ListenerProtocol::Http => {
                spawn_local(serve::serve(context.clone(), stream, whence, "http"));
            }
            ListenerProtocol::Https => {
                spawn_local(secure(context.clone(), stream, whence, found));
            }
            ListenerProtocol::Tcp => {
                spawn_local(tcp::serve(context.clone(), stream, whence));
            }
            ListenerProtocol::Dns => {
                spawn_local(context.dns().serve_tcp(stream));
            }
            _ => {}
        }
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

/// HTTP/2 with prior knowledge, or HTTP/1.1: the first bytes tell.
async fn either(context: Rc<Context>, stream: TcpStream, whence: Whence, listener: Arc<Listener>) {
    let deadline = context.deadlines.register();
    deadline.set(listener.http.idle_timeout_seconds);
    let mut seen = [0u8; PREFACE.len()];
    let h2 = loop {
        let mut space = tokio::io::ReadBuf::new(&mut seen);
        let peeked = std::future::poll_fn(|task| match stream.poll_peek(task, &mut space) {
            Poll::Pending if deadline.passed(task) => Poll::Ready(0),
            Poll::Pending => Poll::Pending,
            Poll::Ready(result) => Poll::Ready(result.unwrap_or(0)),
        });
        match peeked.await {
            0 => return,
            n if seen[..n] != PREFACE[..n] => break false,
            n if n == PREFACE.len() => break true,
            // A preface in pieces: rare enough to look again soon.
            _ => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    };
    drop(deadline);
    if h2 {
        h2::server::serve(context, stream, whence, "http").await;
    } else {
        serve::serve(context, stream, whence, "http").await;
    }
}

async fn secure(context: Rc<Context>, stream: TcpStream, whence: Whence, listener: Arc<Listener>) {
    let Some(config) = listener.tls.clone() else { return };
    let deadline = context.deadlines.register();
    deadline.set(listener.http.request_header_timeout_seconds);
    let mut handshake = std::pin::pin!(TlsAcceptor::from(config).accept(stream));
    let shaken = std::future::poll_fn(|task| match handshake.as_mut().poll(task) {
        Poll::Pending if deadline.passed(task) => Poll::Ready(None),
        polled => polled.map(Result::ok),
    });
    let Some(stream) = shaken.await else {
        listener.counters.bad_requests.add(1);
        return;
    };
    drop(deadline);
    if stream.get_ref().1.alpn_protocol() == Some(tls::ALPN_H2) {
        h2::server::serve(context, stream, whence, "https").await;
    } else {
        serve::serve(context, stream, whence, "https").await;
    }
}
