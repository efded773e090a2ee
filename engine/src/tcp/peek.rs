//! The first bytes of a connection, looked at without taking them.
//!
//! Promises: waits for whole headers until the deadline; what is not whole or not sound by then ends the connection.

use std::io;
use std::task::Poll;
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::net::TcpStream;

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
    deadline: &Deadline,
    mut judge: impl FnMut(&[u8]) -> io::Result<Seen<T>>,
) -> io::Result<T> {
    let mut bytes = vec![0u8; limit];
    let mut before = 0;
    loop {
        let mut space = ReadBuf::new(&mut bytes);
        let n = std::future::poll_fn(|task| match stream.poll_peek(task, &mut space) {
            Poll::Pending if deadline.passed(task) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
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
        if n == limit || std::future::poll_fn(|task| Poll::Ready(deadline.passed(task))).await {
            return Err(io::ErrorKind::InvalidData.into());
        }
        before = n;
        // The bytes stay in the socket, so readiness says nothing of new ones; a header in pieces is rare.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
