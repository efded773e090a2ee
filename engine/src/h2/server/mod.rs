//! A client's HTTP/2 connection: one task that reads, serves every stream in turn and writes all answers together.
//!
//! Promises: the limits of `h2`; when the worker ends or the connection is old, GOAWAY and then the streams' ends; an idle connection is told so
//! after the Listener's time, and closed; header blocks must be whole within the Listener's limit of time; a stream that the
//! client takes back ends at once, and what was done for it at the backend. However many streams are opened and taken back, the
//! thread is others' after `TURN_NANOS`.

mod places;
mod ready;
mod stream;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

use tokio::io::{AsyncWriteExt, ReadBuf};

use super::connection::{Connection, Event, Fatal, Limits, Role};
use super::frame::Reason;
use super::pipe::Shared;
use crate::http::Client;
use crate::http::buffer::Buffer;
use crate::http::serve::Whence;
use crate::worker::age::Age;
use crate::worker::context::{self, Closing, Context};
use crate::worker::{clock, deadline::Deadline, turn};

/// Reads in a row before others on this thread get their turn.
const MOST_READS: u32 = 8;
/// And about so long.
const TURN_NANOS: u64 = 250_000;
/// Streams that come or go between two looks at the clock.
const EVENTS_PER_LOOK: usize = 8;
/// An idle connection keeps its places for so long, and after a farewell it has so long to go.
const TRIM_SECONDS: f64 = 2.0;
const LEAVE_SECONDS: f64 = 1.0;
const LINGER_BYTES: usize = 256 << 10;

/// What the deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Headers,
    Streams,
    Idle,
    Trimmed,
    Leaving,
}

struct Server<C> {
    context: Rc<Context>,
    client: context::Client,
    socket: Rc<str>,
    io: C,
    connection: Shared,
    places: places::Places,
    input: Buffer,
    deadline: Deadline,
    /// The socket (or TLS before it) has taken bytes and not said that they are gone.
    flushing: bool,
    waiting: Waiting,
    /// Not everybody who should have had a turn has had it.
    behind: bool,
    header_seconds: f64,
    idle_seconds: f64,
    age: Age,
}

/// Serves a connection whose preface has not been read.
pub async fn serve<C: Client + 'static>(context: Rc<Context>, io: C, whence: Whence, scheme: &'static str) {
    let Some(listener) = context.listener(&whence.socket) else { return };
    let connection = Rc::new(RefCell::new(Connection::new(Limits {
        role: Role::Server,
        max_streams: super::MAX_STREAMS,
        window_bytes: super::WINDOW_BYTES,
        connection_window_bytes: super::CONNECTION_WINDOW_BYTES,
        max_header_bytes: listener.http.max_header_bytes,
        clock: clock::now_nanos,
    })));
    let (socket, client) = (whence.socket.clone(), whence.client.clone());
    let door = places::Door { context: context.clone(), whence, scheme };
    let mut server = Server {
        places: places::Places::new(door, connection.clone()),
        deadline: context.deadlines.register(),
        flushing: false,
        waiting: Waiting::Headers,
        behind: false,
        header_seconds: listener.http.request_header_timeout_seconds,
        idle_seconds: listener.http.idle_timeout_seconds,
        age: Age::begin(listener.http.max_connection_age_seconds, || (clock::now_nanos(), context.draw())),
        context,
        client,
        socket,
        io,
        connection,
        input: Buffer::default(),
    };
    drop(listener);
    server.deadline.set(server.header_seconds);
    // Every step is bounded by the windows and the backlog, so the runtime need not count them.
    tokio::task::unconstrained(std::future::poll_fn(|task| server.poll(task))).await;
    server.part().await;
    let input = std::mem::take(&mut server.input);
    server.context.buffers.give(input);
}

impl<C: Client> Server<C> {
    /// Ready when the connection is over.
    fn poll(&mut self, task: &mut Task<'_>) -> Poll<()> {
        self.places.ready.attend(task);
        let mut connection = self.connection.borrow_mut();
        connection.take_driver();
        connection.lend_output(|| self.context.buffers.take_output());
        drop(connection);
        let until = clock::now_nanos() + TURN_NANOS;
        for _ in 0..MOST_READS {
            // What came before is done first, so that it cannot pile up.
            let read = if self.behind { Poll::Ready(()) } else { self.poll_fill(task) };
            let (seated, ran) = (self.seat(until), self.places.run(until));
            self.behind = !seated || !ran;
            self.leave_in_time();
            if self.poll_flush(task).is_err() || self.connection.borrow().is_over() {
                return Poll::Ready(());
            }
            if read.is_pending() && !self.behind && self.places.rest() {
                let mut connection = self.connection.borrow_mut();
                connection.set_driver(task);
                connection.return_output(|output| self.context.buffers.give_output(output));
                drop(connection);
                self.await_deadline(task);
                return Poll::Pending;
            }
            self.places.ready.attend(task);
            if self.behind || clock::now_nanos() > until {
                break;
            }
        }
        turn::give_way(task);
        Poll::Pending
    }

    /// Reads what has come, once.
    fn poll_fill(&mut self, task: &mut Task<'_>) -> Poll<()> {
        let Self { io, input, context, connection, .. } = self;
        let mut connection = connection.borrow_mut();
        if connection.is_crowded() || connection.is_dead() {
            return Poll::Pending;
        }
        if !input.has_storage() {
            *input = context.buffers.take();
        }
        if input.spare().is_empty() {
            input.grow();
        }
        let mut space = ReadBuf::new(input.spare());
        let polled = Pin::new(io).poll_read(task, &mut space);
        let n = space.filled().len();
        match polled {
            Poll::Ready(Ok(())) if n > 0 => {
                input.added(n);
                match connection.receive(input.filled()) {
                    Ok(used) => input.consume(used),
                    Err(fatal) => connection.die(Some(fatal)),
                }
                Poll::Ready(())
            }
            Poll::Ready(_) => {
                connection.die(None);
                Poll::Ready(())
            }
            Poll::Pending => {
                if input.is_empty() {
                    context.buffers.give(std::mem::take(input));
                }
                Poll::Pending
            }
        }
    }

    /// Gives new streams their places, and takes those of streams that are gone; false when some are left for the next turn.
    #[must_use]
    fn seat(&mut self, until_nanos: u64) -> bool {
        self.count();
        if self.connection.borrow().is_dead() {
            return true; // `part` takes all places
        }
        let mut events = std::mem::take(&mut self.connection.borrow_mut().events);
        let mut done = 0;
        for event in &events {
            if done % EVENTS_PER_LOOK == EVENTS_PER_LOOK - 1 && clock::now_nanos() > until_nanos {
                break;
            }
            done += 1;
            match event {
                Event::Opened(key) if self.places.seat(*key) => {}
                Event::Opened(key) => self.connection.borrow_mut().release(*key, Reason::REFUSED_STREAM),
                Event::Gone(key) => self.places.clear(*key),
            }
        }
        events.drain(..done);
        let all = events.is_empty();
        let mut connection = self.connection.borrow_mut();
        events.append(&mut connection.events);
        connection.events = events;
        all
    }

    fn count(&self) {
        let mut connection = self.connection.borrow_mut();
        let (faults, untold) = (std::mem::take(&mut connection.faults), std::mem::take(&mut connection.untold));
        if faults + untold > 0
            && let Some(listener) = self.context.listener(&self.socket)
        {
            listener.counters.bad_requests.add(faults);
            listener.counters.trailers_dropped.add(untold);
        }
    }

    fn poll_flush(&mut self, task: &mut Task<'_>) -> io::Result<()> {
        let mut connection = self.connection.borrow_mut();
        if connection.pending().is_empty() && !self.flushing {
            return Ok(());
        }
        self.flushing = true;
        while !connection.pending().is_empty() {
            match Pin::new(&mut self.io).poll_write(task, connection.pending()) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => connection.wrote(n),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
        if let Poll::Ready(flushed) = Pin::new(&mut self.io).poll_flush(task) {
            self.flushing = false;
            return flushed;
        }
        Ok(())
    }

    /// Says goodbye when the worker, or the door that the client came by, ends.
    fn leave_in_time(&mut self) {
        if self.client.closing() != Closing::No || self.age.is_over(clock::now_nanos) {
            self.connection.borrow_mut().say_farewell();
        }
    }

    /// What is waited for now, and for how long; what to do when that was too long.
    fn await_deadline(&mut self, task: &mut Task<'_>) {
        let connection = self.connection.borrow();
        let (headers, streams, leaving) =
            (connection.waits_for_headers(), connection.streams(), connection.is_leaving());
        drop(connection);
        let waiting = match self.waiting {
            _ if headers => Waiting::Headers,
            _ if streams > 0 => Waiting::Streams,
            _ if leaving => Waiting::Leaving,
            Waiting::Trimmed => Waiting::Trimmed,
            _ => Waiting::Idle,
        };
        if waiting != self.waiting {
            self.wait_for(waiting);
        }
        if !self.deadline.passed(task) {
            return;
        }
        match waiting {
            Waiting::Idle => {
                self.places.trim();
                self.connection.borrow_mut().shrink();
                self.wait_for(Waiting::Trimmed);
            }
            Waiting::Trimmed => self.connection.borrow_mut().say_farewell(),
            Waiting::Headers | Waiting::Leaving => self.connection.borrow_mut().die(Some(Fatal(Reason::NO_ERROR))),
            Waiting::Streams => {}
        }
        task.waker().wake_by_ref();
    }

    fn wait_for(&mut self, waiting: Waiting) {
        self.waiting = waiting;
        self.deadline.set(match waiting {
            Waiting::Headers => self.header_seconds,
            Waiting::Streams => 0.0,
            Waiting::Idle => TRIM_SECONDS.min(self.idle_seconds),
            Waiting::Trimmed => self.idle_seconds,
            Waiting::Leaving => LEAVE_SECONDS,
        });
    }

    /// Sends what is left, closes our side, and reads on for a moment, so that a reset does not destroy our last word.
    async fn part(&mut self) {
        while self.places.clear_some() {
            tokio::task::yield_now().await;
        }
        self.count();
        self.deadline.set(LEAVE_SECONDS);
        let last = self.connection.borrow().pending().to_vec();
        let (io, deadline, input) = (&mut self.io, &self.deadline, &mut self.input);
        *input = match std::mem::take(input) {
            buffer if buffer.has_storage() => buffer,
            _ => self.context.buffers.take(),
        };
        let leaving = async {
            io.write_all(&last).await?;
            io.shutdown().await?;
            let mut left = LINGER_BYTES;
            while left > 0 {
                input.consume(input.filled().len());
                let n = tokio::io::AsyncReadExt::read(io, input.spare()).await?;
                left = if n == 0 { 0 } else { left.saturating_sub(n) };
            }
            io::Result::Ok(())
        };
        let mut leaving = std::pin::pin!(leaving);
        std::future::poll_fn(|task| match leaving.as_mut().poll(task) {
            Poll::Pending if deadline.passed(task) => Poll::Ready(()),
            polled => polled.map(|_| ()),
        })
        .await;
    }
}
