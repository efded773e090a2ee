//! One stream as HTTP/1.1 bytes both ways: what both sides share.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context as Task, Poll, ready};

use super::body::{self, Body, Piece};
use super::connection::Connection;

pub type Shared = Rc<RefCell<Connection>>;

/// Sends a body's bytes; returns how many of them were used, waits while that is none.
pub fn poll_body(
    connection: &mut Connection,
    key: usize,
    task: &Task<'_>,
    body: &mut Body,
    input: &[u8],
) -> Poll<io::Result<usize>> {
    let mut used = 0;
    while used < input.len() {
        let rest = &input[used..];
        match body.next(rest)? {
            Piece::Skip(n) => used += n,
            Piece::Data(n, last) => {
                let sent = match connection.poll_send(key, task, &rest[..n], last) {
                    Poll::Pending if used > 0 => return Poll::Ready(Ok(used)),
                    polled => ready!(polled)?,
                };
                body.took(sent);
                used += sent;
            }
            Piece::End(n, lines) => {
                used += n;
                end(connection, key, &lines);
            }
        }
    }
    Poll::Ready(Ok(used))
}

/// Ends our side, with trailers where there are any.
pub fn end(connection: &mut Connection, key: usize, trailers: &[u8]) {
    if trailers.is_empty() {
        return connection.end(key);
    }
    connection.send_fields(key, true, |encoder, output| {
        body::fields(trailers).for_each(|(name, value)| encoder.field(name, value, output));
    });
}

/// Is the field one of a single HTTP/1.1 connection, which HTTP/2 does not have?
pub fn is_of_hop(name: &str) -> bool {
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
    match name.len() {
        7 => is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        _ => false,
    }
}
