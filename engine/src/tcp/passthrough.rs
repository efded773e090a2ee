//! TLS whose Backend is found by the name that the client asks for (SNI): passed through, nothing is decrypted; or, where the
//! Listener has certificates, ended here and carried on as TCP.
//!
//! Promises: the Routes of the Listener decide by host, as for HTTP; a client without a name, or with one that no Route
//! fits, gets a reset.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::peek::{self, Seen};
use crate::http::buffer::Buffer;
use crate::http::relay;
use crate::http::serve::Whence;
use crate::table::Listener;
use crate::table::backend::Backend;
use crate::table::router::{Entry, Request};
use crate::worker::context::{Client, Context};
use crate::worker::deadline::Deadline;

const MAX_HELLO_BYTES: usize = 16 << 10;

pub async fn serve(context: Rc<Context>, stream: TcpStream, whence: Whence) {
    let Some(listener) = context.listener(&whence.socket) else { return };
    let arrived = super::Arrived::new(&context, whence, "tls");
    arrived.deadline.set(listener.http.request_header_timeout_seconds);
    let name = asked_for(&stream, &arrived.client, &arrived.deadline).await.ok();
    pass_on(context, stream, listener, arrived, name).await;
}

/// The same once it is known which name is asked for, if any is.
pub async fn pass_on(
    context: Rc<Context>,
    stream: TcpStream,
    listener: Arc<Listener>,
    mut arrived: super::Arrived,
    name: Option<Vec<u8>>,
) {
    if let (Some(record), Some(name)) = (&mut arrived.record, &name) {
        record.name = String::from_utf8_lossy(name).into_owned();
    }
    let backend = name.and_then(|name| meant(&listener, name));
    Box::pin(super::carry_to(context, stream, backend, arrived)).await;
}

/// A connection whose TLS has ended here.
pub async fn terminated(
    context: Rc<Context>,
    mut stream: Box<TlsStream<TcpStream>>,
    whence: Whence,
    listener: Arc<Listener>,
) {
    let name = stream.get_ref().1.server_name().unwrap_or("").to_ascii_lowercase().into_bytes();
    let local = whence.local;
    let mut arrived = super::Arrived::new(&context, whence, "tls");
    arrived.record.iter_mut().for_each(|record| record.name = String::from_utf8_lossy(&name).into_owned());
    let Some(backend) = meant(&listener, name) else {
        arrived.record.iter_mut().for_each(|record| record.reason = "no Backend is meant");
        return;
    };
    let mut carried = super::Carried::new(context, backend, arrived);
    let Some((mut connection, _in_flight)) = carried.reach(stream.get_ref().0, local).await else { return };
    let (mut nothing, idle_seconds) = (Buffer::default(), carried.idle_seconds());
    let super::Carried { context, deadline, .. } = &carried;
    connection.keep_alive();
    let link = &mut connection.link;
    let bytes = relay::both_ways(context, &mut stream, &mut nothing, link, deadline, idle_seconds).await;
    carried.note(|record| record.bytes = bytes);
}

/// The name that the client asks for, which stays to be read.
pub async fn asked_for(stream: &TcpStream, client: &Client, deadline: &Deadline) -> io::Result<Vec<u8>> {
    peek::until(stream, MAX_HELLO_BYTES, (client, deadline), server_name).await
}

/// The Backend of a name, by the Listener's Routes, else its own.
fn meant(listener: &Listener, name: Vec<u8>) -> Option<Arc<Backend>> {
    listener.router.find(&ByName(name)).and_then(|entry| backend(entry)).or_else(|| listener.backend.clone())
}

fn backend(entry: &Entry) -> Option<Arc<Backend>> {
    crate::http::understand::pick_backend(entry).cloned()
}

pub fn server_name(bytes: &[u8]) -> io::Result<Seen<Vec<u8>>> {
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut &bytes[..])?;
    match acceptor.accept() {
        Ok(None) => Ok(Seen::More),
        Ok(Some(accepted)) => {
            let name = accepted.client_hello().server_name().unwrap_or("").to_ascii_lowercase();
            Ok(Seen::Whole(name.into_bytes()))
        }
        Err((error, _)) => Err(io::Error::other(error)),
    }
}

/// A name alone, as the router sees a request.
struct ByName(Vec<u8>);

impl Request for ByName {
    fn host(&self) -> &[u8] {
        &self.0
    }
    fn path(&self) -> &[u8] {
        b"/"
    }
    fn query(&self) -> &[u8] {
        b""
    }
    fn method(&self) -> &[u8] {
        b""
    }
    fn authority(&self) -> &[u8] {
        &self.0
    }
    fn target(&self) -> &[u8] {
        b"/"
    }
    fn header(&self, _: &str) -> Option<&[u8]> {
        None
    }
    fn cookie(&self, _: &str) -> Option<&[u8]> {
        None
    }
    fn each_header(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
    fn any_header(&self, _: &str, _: &dyn Fn(&[u8]) -> bool) -> bool {
        false
    }
}
