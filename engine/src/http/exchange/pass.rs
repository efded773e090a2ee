//! The response on its way to the client.

use super::*;
use crate::balance::algorithm::Measure;
use crate::stats::access_log::{End, Record};

impl<C: Client> Exchange<'_, C> {
    /// Passes a final response on: head and the body's beginning in one write.
    pub(super) async fn pass_on(&mut self, head: response::Head, output: &mut Vec<u8>) -> Result<Outcome, Failure> {
        self.response_started = true;
        self.keep = !self.plan.asked.close && !self.session.is_leaving();
        let response::Head { status, framing, reusable, .. } = head;
        self.status = status;
        self.note_sent(0);
        self.measure();
        match framing {
            Framing::Empty => {
                self.finish(reusable, 0);
                self.write(output).await?;
            }
            Framing::Length(length) => {
                self.pass_length(length, reusable, output).await?;
                self.note_sent(length);
            }
            Framing::Chunked => self.pass_chunks(reusable, output).await?,
            Framing::UntilClose => self.pass_until_close(output).await?,
        }
        self.count(status);
        self.log("", true);
        self.end().await
    }

    async fn pass_chunks(&mut self, reusable: bool, output: &mut Vec<u8>) -> Result<(), Failure> {
        let mut decoder = Chunked::default();
        let http10 = self.plan.asked.http10;
        self.keep &= !http10;
        let mut nothing_sent = true;
        loop {
            let Ok(used) = decoder.transfer(self.answer.filled(), output, http10) else {
                self.response_started = !nothing_sent;
                return Err(if nothing_sent { Failure::BadResponse } else { Failure::Over });
            };
            self.answer.consume(used);
            self.note_sent(decoder.data_bytes());
            if decoder.done() {
                self.finish(reusable, 0);
            }
            self.write(output).await?;
            output.clear();
            nothing_sent = false;
            if decoder.done() {
                return Ok(());
            }
            if self.answer.spare().is_empty() {
                return Err(Failure::Over);
            }
            self.need_more(false).await?;
        }
    }

    async fn pass_until_close(&mut self, output: &mut Vec<u8>) -> Result<(), Failure> {
        self.keep = false;
        loop {
            output.extend_from_slice(self.answer.filled());
            let n = self.answer.filled().len();
            self.answer.consume(n);
            self.note_sent(self.bytes + n as u64);
            self.write(output).await?;
            output.clear();
            self.arm_for_more(false);
            match self.fill_answer().await {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => return Err(Failure::Over),
            }
        }
        self.finish(false, 0);
        Ok(())
    }

    pub(super) async fn pass_length(
        &mut self,
        length: u64,
        reusable: bool,
        output: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let here = usize::try_from(length).unwrap_or(usize::MAX).min(self.answer.filled().len());
        output.extend_from_slice(&self.answer.filled()[..here]);
        self.answer.consume(here);
        let mut left = length - here as u64;
        if left == 0 {
            self.finish(reusable, 0);
        } else if left > LARGE_BODY_BYTES && self.answer.is_empty() {
            let buffers = &self.session.context.buffers;
            buffers.give(std::mem::replace(&mut self.answer, buffers.take_large()));
        }
        self.write(output).await?;
        if left > SPLICE_BYTES && self.answer.is_empty() && self.upload.done() {
            left -= Box::pin(self.splice(left - LARGE_BODY_BYTES)).await?;
        }
        while left > 0 {
            self.need_more(true).await?;
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(self.answer.filled().len());
            left -= n as u64;
            if left == 0 {
                self.finish(reusable, n);
            }
            self.write_answer(n).await?;
        }
        Ok(())
    }

    /// Moves that much of the body within the kernel where both sides are plain TCP; returns how much it was.
    pub(super) async fn splice(&mut self, much: u64) -> Result<u64, Failure> {
        let Some(Connection { link: Link::Plain(backend), .. }) = &self.backend else { return Ok(0) };
        let Some(client) = self.session.io.plain() else { return Ok(0) };
        let (mut pipe, mut left) = (splice::Pipe::default(), much);
        std::future::poll_fn(|task| {
            let mut moved = false;
            let polled = pipe.poll_move(task, backend, client, &mut left, &mut moved);
            if moved {
                self.arm(self.stall_seconds());
            }
            match polled {
                Poll::Ready(Ok(())) if left == 0 => Poll::Ready(Ok(())),
                Poll::Ready(_) => Poll::Ready(Err(Failure::Over)),
                Poll::Pending if self.session.deadline.passed(task) => Poll::Ready(Err(Failure::Over)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
        Ok(much)
    }

    pub(super) async fn need_more(&mut self, whole: bool) -> Result<(), Failure> {
        self.arm_for_more(whole);
        match self.fill_answer().await {
            Ok(n) if n > 0 => Ok(()),
            _ => Err(Failure::Over),
        }
    }

    /// The response is read whole: the endpoint is free before the client sees the end.
    /// `unwritten` bytes of the buffer are its own; more than that were not announced.
    pub(super) fn finish(&mut self, reusable: bool, unwritten: usize) {
        self.in_flight = None;
        if let Some(connection) = self.backend.take()
            && reusable
            && self.upload.done()
            && !self.upload_broken
            && self.answer.filled().len() == unwritten
        {
            self.session.context.pool.give(connection);
        }
    }

    /// Until the response's head: what follows may be a stream, and goes as fast as the client reads. A server's error is
    /// no answer: who fails is quick.
    pub(super) fn measure(&self) {
        let measure = self.plan.backend.algorithm.measures();
        if measure != Measure::Nothing
            && self.status < 500
            && let Some(endpoint) = &self.endpoint
        {
            let now = self.session.context.now_nanos();
            endpoint.estimate.measure(measure, now.saturating_sub(self.tried), now);
        }
    }

    pub(super) fn count(&self, status: u16) {
        let nanos = self.session.context.now_nanos().saturating_sub(self.started);
        self.session.listener.counters.codes.count(status);
        self.plan.entry.route.counters.codes.count(status);
        self.plan.entry.route.counters.latency.record(nanos);
        if let Some(endpoint) = &self.endpoint {
            endpoint.codes.count(status);
            endpoint.latency.record(nanos);
        }
    }

    /// Writes the request's line, once.
    pub(super) fn log(&mut self, reason: &str, whole: bool) {
        let Some(mut record) = self.describe() else { return };
        record.attempts = record.attempts.max(1);
        let status = self.status;
        record.write(&End { status, bytes: self.bytes, reason, whole });
    }

    /// So much of the answer is on its way; a client that takes its request back ends everything here, but not the record.
    fn note_sent(&mut self, bytes: u64) {
        self.bytes = bytes;
        if let Some(record) = &mut self.plan.record {
            (record.status, record.bytes) = (self.status, bytes);
        }
    }

    /// And so far it has come.
    pub(super) fn note_way(&mut self) {
        if let Some(record) = &mut self.plan.record {
            record.backend.clone_from(&self.plan.backend.spec.id);
            record.endpoint = self.endpoint.as_ref().map(|e| e.address.to_string());
            record.attempts = self.tries;
        }
    }

    /// What is known of the way that the request took.
    pub(super) fn describe(&mut self) -> Option<Box<Record>> {
        self.note_way();
        self.plan.record.take()
    }

    pub(super) async fn end(&mut self) -> Result<Outcome, Failure> {
        if self.keep && self.upload.read_whole() {
            return Ok(Outcome::KeepAlive);
        }
        let unread = !self.upload.read_whole();
        self.session.linger(unread.then_some(&PATIENT)).await;
        Ok(Outcome::Close)
    }

    pub(super) async fn tunnel(&mut self, output: &mut Vec<u8>) -> Result<Outcome, Failure> {
        self.response_started = true;
        let n = self.answer.filled().len();
        output.extend_from_slice(self.answer.filled());
        self.answer.consume(n);
        self.write(output).await?;
        self.count(101);
        self.status = 101;
        self.note_sent(0);
        let Some(mut backend) = self.backend.take() else { return Err(Failure::Over) };
        backend.keep_alive();
        let idle_seconds = self.plan.timeouts().map_or(0.0, |t| t.idle());
        let Session { io, input, context, deadline, .. } = &mut *self.session;
        let carried = Box::pin(relay::both_ways(context, io, input, &mut backend.link, deadline, idle_seconds)).await;
        self.note_sent(carried.1);
        self.log("", true);
        Ok(Outcome::Close)
    }
}
