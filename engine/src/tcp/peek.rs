//! The first bytes of a connection, looked at without taking them.
//!
//! Promises: waits for whole headers until the deadline, and costs nothing while it waits; what is not whole or not sound by
//! then ends the connection. A client who has said nothing is idle, and is let go as others are when its door is closed.

use std::io;
use std::task::Poll;

use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::worker::context::{Client, Closing};
use crate::worker::deadline::Deadline;

/// What a look at the first bytes came to.
pub enum Seen<T> {
    More,
    Whole(T),
}

/// Looks until `judge` has seen enough. At most `limit` bytes are looked at.
pub async fn until<T>(
    stream: &TcpStream,
    limit: usize,
    (client, deadline): (&Client, &Deadline),
    mut judge: impl FnMut(&[u8]) -> io::Result<Seen<T>>,
) -> io::Result<T> {
    let mut bytes = vec![0u8; limit];
    let mut before = 0;
    loop {
        let mut space = ReadBuf::new(&mut bytes);
        let n = std::future::poll_fn(|task| match stream.poll_peek(task, &mut space) {
            Poll::Pending if deadline.passed(task) || (before == 0 && client.closing() == Closing::Now) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            polled => polled,
        })
        .await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if n > before
            && let Seen::Whole(value) = judge(&bytes[..n])?
        {
            return Ok(value);
        }
        if n == limit {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // Read before the readiness is laid aside: where no more can come, it stays.
        if stream.ready(Interest::READABLE).await?.is_read_closed() && n == before {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        before = n;
        // The bytes stay in the socket, so readiness is laid aside by hand; whatever comes sets it again (it is edge-triggered).
        let nothing_new = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = stream.try_io(Interest::READABLE, nothing_new);
    }
}
