//! Copies of requests for other Backends; their answers are read and thrown away.
//!
//! Promises: a mirror never delays or fails the request itself. A request is mirrored after it was carried, when its body
//! was small enough to be kept (the retry buffer); larger ones are not.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::link::Connection;
use crate::balance::Ask;
use crate::control::objects;
use crate::table::backend::Backend;
use crate::worker::context::Context;

const PATIENCE: Duration = Duration::from_secs(30);
const MAX_IN_FLIGHT: usize = 1024;

/// Sends `request` (head and body) to the Backend, in the background.
pub fn send(context: &Rc<Context>, backend: Arc<Backend>, request: Vec<u8>) {
    if context.mirrors.get() >= MAX_IN_FLIGHT {
        return;
    }
    context.mirrors.set(context.mirrors.get() + 1);
    let context = context.clone();
    tokio::task::spawn_local(async move {
        let _ = tokio::time::timeout(PATIENCE, carry(&context, &backend, &request)).await;
        context.mirrors.set(context.mirrors.get() - 1);
    });
}

async fn carry(context: &Context, backend: &Backend, request: &[u8]) -> io::Result<()> {
    let ask = Ask {
        now_nanos: context.now_nanos(),
        avoid: &[],
        hash: 0,
        random: context.draw(),
        identity: None,
        client: None,
        panic_threshold: 0.0,
    };
    let Some((endpoint, _in_flight)) = backend.shared.choose(&ask) else { return Ok(()) };
    let mut connection = Connection::open(endpoint, backend, context, None).await?;
    connection.link.write_all(request).await?;
    connection.link.flush().await?;
    let mut buffer = context.buffers.take_large();
    while connection.link.read(buffer.spare()).await? > 0 {}
    context.buffers.give(buffer);
    Ok(())
}

/// The copy's head: its own target and host, the connection closed after the answer, without a body where that is said.
pub fn copy(request: &[u8], spec: &objects::Mirror, uri: &[u8]) -> Option<Vec<u8>> {
    let mut storage = [httparse::EMPTY_HEADER; 256];
    let mut raw = httparse::Request::new(&mut storage);
    let httparse::Status::Complete(bytes) = raw.parse(request).ok()? else { return None };
    let mut out = Vec::with_capacity(request.len() + 64);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|p| out.extend_from_slice(p));
    let target = if uri.is_empty() { raw.path?.as_bytes() } else { uri };
    put(&[raw.method?.as_bytes(), b" ", target, b" HTTP/1.1\r\n"]);
    for header in raw.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if !spec.body && (is("content-length") || is("transfer-encoding") || is("expect")) {
            continue;
        }
        let value = if is("host") && !spec.host.is_empty() { spec.host.as_bytes() } else { header.value };
        put(&[header.name.as_bytes(), b": ", value, b"\r\n"]);
    }
    put(&[b"Connection: close\r\n\r\n"]);
    if spec.body {
        put(&[&request[bytes..]]);
    }
    Some(out)
}
