//! HTTP/2 to backends: connections shared by many requests, each stream shown as a backend that speaks HTTP/1.1.
//!
//! Promises: one connection per endpoint and thread until its streams are used up, then another; connections to endpoints
//! that are going take no new stream and close when theirs have ended.

mod driver;
mod stream;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Connection, Limits, Role};
use super::pipe::Shared;
use crate::table::endpoint::Opened;
use crate::worker::clock;
pub use stream::Stream;

/// Streams on one connection; servers allow 100 to 250 as a rule.
const STREAMS_PER_CONNECTION: usize = 100;
const WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const MAX_HEADER_BYTES: usize = 128 << 10;

/// A connection that takes new streams.
struct Kept {
    connection: Shared,
    opened: Weak<Opened>,
}

impl Kept {
    fn stays(&self) -> bool {
        self.opened.upgrade().is_some_and(|o| o.goes_on()) && !self.connection.borrow().is_leaving()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.connection.borrow_mut().say_farewell();
    }
}

/// The connections of one thread, by endpoint.
#[derive(Default)]
pub struct Connections {
    open: RefCell<HashMap<u64, Vec<Kept>, foldhash::fast::RandomState>>,
}

impl Connections {
    /// A stream on a connection that is there, was made under that `transport` and has room.
    pub fn take(&self, endpoint: u64, transport: u64) -> Option<Stream> {
        let mut open = self.open.borrow_mut();
        let list = open.get_mut(&endpoint)?;
        list.retain(|kept| kept.stays() && kept.opened.upgrade().is_some_and(|o| o.fits(transport)));
        let kept = list.iter().find(|kept| kept.connection.borrow().has_room(STREAMS_PER_CONNECTION))?;
        Some(Stream::new(kept.connection.clone()))
    }

    /// Makes a connection of a stream that has been connected (and is TLS already where it must be).
    pub fn open<T>(&self, io: T, opened: Opened) -> Stream
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let id = opened.endpoint().id;
        let opened = Rc::new(opened);
        let weak = Rc::downgrade(&opened);
        let (connection, work) = connect(io);
        tokio::task::spawn_local(async move {
            work.await;
            drop(opened);
        });
        let stream = Stream::new(connection.clone());
        self.open.borrow_mut().entry(id).or_default().push(Kept { connection, opened: weak });
        stream
    }

    /// Lets go of connections that are closed or of endpoints that are going; their streams go on.
    pub fn settle(&self) {
        let mut open = self.open.borrow_mut();
        for list in open.values_mut() {
            list.retain(Kept::stays);
        }
        open.retain(|_, list| !list.is_empty());
    }

    pub fn clear(&self) {
        self.open.borrow_mut().clear();
    }
}

/// A connection, and the work that moves its bytes until it is over.
fn connect<T>(io: T) -> (Shared, impl Future<Output = ()>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let connection = Rc::new(RefCell::new(Connection::new(Limits {
        role: Role::Client,
        max_streams: 0,
        window_bytes: WINDOW_BYTES,
        connection_window_bytes: CONNECTION_WINDOW_BYTES,
        max_header_bytes: MAX_HEADER_BYTES,
        clock: clock::now_nanos,
    })));
    (connection.clone(), driver::drive(connection, io))
}

/// A connection for one request, which ends when the stream and the returned guard do.
pub fn once<T>(io: T) -> (Stream, Once)
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (connection, work) = connect(io);
    let stream = Stream::new(connection);
    (stream, Once(tokio::task::spawn_local(work).abort_handle()))
}

/// Ends the connection's work when it is dropped.
pub struct Once(tokio::task::AbortHandle);

impl Drop for Once {
    fn drop(&mut self) {
        self.0.abort();
    }
}
