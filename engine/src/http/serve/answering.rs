//! Answers of our own: how they are written, sent, and how a connection ends after them.

use tokio::io::AsyncWriteExt;

use super::*;
use crate::http::answer::Answer;
use crate::http::ask::Reply;
use crate::http::request::{Framing, Refused};
use crate::http::response::Asked;
use crate::stats::access_log::{End, Record};

/// After an answer that leaves a request unread, its client may send on for a while before it is cut off: many a client looks
/// for an answer only when it has sent everything, and a reset would destroy it. As long as nginx lets it, when the request was
/// understood (413, 401, …); what was not understood is not worth waiting for.
pub struct Patience {
    bytes: usize,
    seconds: f64,
    idle_seconds: f64,
}

pub static PATIENT: Patience = Patience { bytes: usize::MAX, seconds: 30.0, idle_seconds: 5.0 };
static SHORT: Patience = Patience { bytes: 256 << 10, seconds: 1.0, idle_seconds: 1.0 };

/// An answer of our own.
pub enum Prepared {
    Ready(Written),
    /// Somebody has to be asked before.
    Asking(Box<Own>, Vec<u8>),
}

/// What the access log gets of it once it has been sent, or not.
struct Logged {
    record: Box<Record>,
    status: u16,
    bytes: u64,
    reason: String,
}

/// One that only has to be sent.
pub struct Written {
    output: Vec<u8>,
    /// The bytes of the request's body, which are in the input; without it more would have to be read.
    skip: Option<usize>,
    close: bool,
    patience: &'static Patience,
    logged: Option<Box<Logged>>,
}

impl<C: Client> Session<C> {
    pub fn prepare(&self, own: Own, output: Vec<u8>) -> Prepared {
        if own.question.is_some() || own.page.is_some() {
            return Prepared::Asking(Box::new(own), output);
        }
        Prepared::Ready(self.write_own(own, None, output))
    }

    /// Writes our own answer; the connection lives on when the request's body is here already.
    /// `page`: what is shown instead.
    pub(super) fn write_own(&self, mut own: Own, page: Option<Reply>, mut output: Vec<u8>) -> Written {
        output.clear();
        let skip = match own.framing {
            Framing::Empty => Some(0),
            Framing::Length(n) => usize::try_from(n).ok().filter(|n| *n <= self.input.filled().len()),
            Framing::Chunked | Framing::UntilClose => None,
        };
        let close = own.asked.close || skip.is_none() || self.is_last();
        let reason = if own.content_type.is_none() { own.reason.clone() } else { String::new() };
        let mut body = own.reason.into_bytes();
        if let Some(page) = page {
            own.status = page.status;
            own.content_type = Some(String::new());
            for (name, value) in &page.fields {
                [name.as_bytes(), b": ", value, b"\r\n"].iter().for_each(|part| own.lines.extend_from_slice(part));
            }
            body = page.body;
        } else if own.content_type.is_none() {
            body.push(b'\n');
        }
        Answer {
            status: own.status,
            body: &body,
            content_type: own.content_type.as_deref().unwrap_or("text/plain; charset=utf-8"),
            close,
            head_method: own.asked.head_method,
            keep_alive10: own.asked.http10 && !close,
            lines: &own.lines,
        }
        .write(&mut output);
        self.listener.counters.codes.count(own.status);
        if let Some(entry) = &own.entry {
            entry.route.counters.codes.count(own.status);
        }
        let logged = own.record.map(|record| {
            let bytes = if own.asked.head_method { 0 } else { body.len() as u64 };
            Box::new(Logged { record, status: own.status, bytes, reason })
        });
        let patience = if matches!(own.status, 400 | 408 | 431 | 501 | 505) { &SHORT } else { &PATIENT };
        Written { output, skip, close, patience, logged }
    }

    pub(super) fn refuse(&self, refused: Refused, output: Vec<u8>) -> Written {
        self.listener.counters.bad_requests.add(1);
        if let Some(log) = &self.listener.log {
            log.refused(client(self.peer), refused.status, refused.reason, self.seed);
        }
        let asked = Asked { head_method: false, http10: false, close: true, upgrade: false };
        let own = Own {
            status: refused.status,
            reason: refused.reason.to_owned(),
            content_type: None,
            asked,
            framing: Framing::Chunked, // whatever follows is not read as a request
            entry: None,
            lines: Vec::new(),
            question: None,
            page: None,
            record: None,
        };
        self.write_own(own, None, output)
    }

    pub async fn send(&mut self, answer: &mut Written) -> Outcome {
        self.deadline.set(self.listener.http.idle_timeout_seconds);
        let written = self.write(&answer.output).await;
        self.context.buffers.give_output(std::mem::take(&mut answer.output));
        if let Some(logged) = answer.logged.take() {
            logged.record.write(&End {
                status: logged.status,
                bytes: logged.bytes,
                reason: &logged.reason,
                whole: written.is_ok(),
            });
        }
        if written.is_err() {
            return Outcome::Close;
        }
        self.input.consume(answer.skip.unwrap_or(0));
        if answer.close {
            self.linger(answer.skip.is_none().then_some(answer.patience)).await;
            return Outcome::Close;
        }
        Outcome::KeepAlive
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { io, deadline, .. } = self;
        let mut sent = 0;
        std::future::poll_fn(|task| {
            while sent < bytes.len() {
                match Pin::new(&mut *io).poll_write(task, &bytes[sent..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(n)) => sent += n,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending if deadline.passed(task) => {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            match Pin::new(&mut *io).poll_flush(task) {
                Poll::Pending if deadline.passed(task) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                polled => polled,
            }
        })
        .await
    }

    /// Closes our side; `unread`: goes on reading for so long, so that a reset does not destroy the answer.
    pub async fn linger(&mut self, unread: Option<&Patience>) {
        if unread.is_none() && self.io.plain().is_some() {
            return; // to close it is to shut it down
        }
        // Under TLS our goodbye needs room, which who does not read does not make.
        self.deadline.set(self.listener.http.idle_timeout_seconds);
        let shut = self.deadline.bound(std::pin::pin!(self.io.shutdown())).await;
        let Some(patience) = unread.filter(|_| shut.is_ok()) else { return };
        let end = self.context.now_nanos() + (patience.seconds * 1e9) as u64;
        let mut left = patience.bytes;
        while left > 0 {
            let n = self.input.filled().len();
            self.input.consume(n);
            let seconds = end.saturating_sub(self.context.now_nanos()) as f64 / 1e9;
            if seconds <= 0.0 {
                return;
            }
            self.deadline.set(seconds.min(patience.idle_seconds));
            match self.fill().await {
                Ok(n) if n > 0 => left = left.saturating_sub(n),
                _ => return,
            }
        }
    }
}
