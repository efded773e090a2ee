//! Clients that leave while they wait for their answer.
//!
//! Promises: who has closed a connection of TLS, or reset one of TCP, holds nothing at a backend any more. A TCP client that
//! only closed its side may wait for its answer, but no longer than a connection may be idle. (HTTP/2 says it of each stream.)

use super::*;

enum Presence {
    Here,
    /// It sends no more; some only half-close, most are gone.
    Silent,
    Gone,
}

impl<C: Client> Exchange<'_, C> {
    /// Whether nobody waits for the answer any more, as far as has been seen.
    pub(super) fn sees_end_of_client(&mut self, task: &mut Task<'_>) -> bool {
        if self.client_left || !self.upload.read_whole() {
            return false; // it is known, or read anyway
        }
        match self.look_at_client(task) {
            Presence::Here => false,
            Presence::Silent => {
                self.client_left = true;
                self.session.deadline.hurry(self.session.listener.http.idle_timeout_seconds);
                false
            }
            Presence::Gone => true,
        }
    }

    fn look_at_client(&mut self, task: &mut Task<'_>) -> Presence {
        let Some(socket) = self.session.io.socket() else { return Presence::Here };
        match socket.poll_read_ready(task) {
            Poll::Pending => Presence::Here,
            Poll::Ready(Err(_)) => Presence::Gone,
            Poll::Ready(Ok(())) => match self.session.io.plain() {
                Some(stream) => peek(stream),
                None => self.read_ahead(task),
            },
        }
    }

    /// Under TLS only reading shows what has come: the next request, which is kept as far as the buffer goes, or the end.
    fn read_ahead(&mut self, task: &mut Task<'_>) -> Presence {
        let Session { io, input, context, .. } = &mut *self.session;
        if !input.has_storage() {
            *input = context.buffers.take();
        }
        while !input.spare().is_empty() {
            let mut space = ReadBuf::new(input.spare());
            match Pin::new(&mut *io).poll_read(task, &mut space) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if !space.filled().is_empty() => {
                    let n = space.filled().len();
                    input.added(n);
                }
                Poll::Ready(_) => return Presence::Gone,
            }
        }
        if input.is_empty() {
            context.buffers.give(std::mem::take(input));
        }
        Presence::Here
    }
}

fn peek(stream: &tokio::net::TcpStream) -> Presence {
    let peek = || {
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        Ok(rustix::net::recv(stream, &mut [0u8; 1], flags)?.0)
    };
    match stream.try_io(tokio::io::Interest::READABLE, peek) {
        Ok(0) => Presence::Silent,
        Ok(_) => Presence::Here,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Presence::Here,
        Err(_) => Presence::Gone,
    }
}
