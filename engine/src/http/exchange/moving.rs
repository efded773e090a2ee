//! Reading and writing with deadlines, while the request's body moves along.

use super::*;

impl<C: Client> Exchange<'_, C> {
    /// Sets the deadline: so many seconds, but not beyond the request's own end.
    pub(super) fn arm(&self, seconds: f64) {
        let total = self.plan.timeouts().map_or(0.0, |t| t.request());
        if total <= 0.0 {
            return self.session.deadline.set(seconds);
        }
        let spent = self.session.context.now_nanos().saturating_sub(self.started) as f64 / 1e9;
        let left = (total - spent).max(0.001);
        self.session.deadline.set(if seconds > 0.0 { seconds.min(left) } else { left });
    }

    /// While the request is sent a stall ends it; once it is sent, only the time for the response.
    pub(super) fn arm_for_response(&self) {
        if self.upload.done() || self.upload_broken {
            self.arm(self.response_seconds());
        } else {
            self.arm(self.stall_seconds());
        }
    }

    /// How long a backend may take to begin its answer: what its own or its Route's timeouts say (0: for ever), else the
    /// Listener's. Who says how long all may take needs no other; calls and streams of events begin when there is something to say.
    fn response_seconds(&self) -> f64 {
        let patience = if self.plan.patient { 0.0 } else { self.session.listener.http.response_timeout_seconds };
        self.plan.timeouts().and_then(|own| own.answer()).unwrap_or(patience)
    }

    /// Within a response a backend may be silent for as long as its idle time. Without one for as long as it could before the
    /// response, where it told the `whole` length, else for ever: it may be a stream.
    pub(super) fn arm_for_more(&self, whole: bool) {
        let patience = if whole { self.session.listener.http.response_timeout_seconds } else { 0.0 };
        self.arm(self.plan.timeouts().and_then(|own| own.silence()).unwrap_or(patience));
    }

    pub(super) fn stall_seconds(&self) -> f64 {
        let own = self.plan.timeouts().map_or(0.0, |t| t.idle());
        if own > 0.0 { own } else { self.session.listener.http.idle_timeout_seconds }
    }

    pub(super) fn poll_upload(&mut self, task: &mut Task<'_>) -> Result<(), Fill> {
        if self.upload_broken || self.upload.done() {
            return Ok(());
        }
        let Some(backend) = &mut self.backend else { return Ok(()) };
        let Session { io, input, context, .. } = &mut *self.session;
        if !self.upload.read_whole() && !input.has_storage() {
            *input = context.buffers.take();
        }
        let polled = self.upload.poll(task, io, input, &mut backend.link);
        if std::mem::take(&mut self.upload.moved) && !self.response_started {
            self.arm_for_response();
        }
        match polled {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(upload::Failure::Backend)) => {
                self.upload_broken = true;
                Ok(())
            }
            Poll::Ready(Err(failure)) => Err(Fill::Client(refusal(failure))),
        }
    }

    pub(super) async fn fill_answer(&mut self) -> Result<usize, Fill> {
        std::future::poll_fn(|task| {
            self.poll_upload(task)?;
            let Some(backend) = &mut self.backend else { return Poll::Ready(Err(Fill::Backend)) };
            let mut space = ReadBuf::new(self.answer.spare());
            match Pin::new(&mut backend.link).poll_read(task, &mut space) {
                Poll::Ready(Ok(())) => {
                    let n = space.filled().len();
                    self.answer.added(n);
                    Poll::Ready(Ok(n))
                }
                Poll::Ready(Err(_)) => Poll::Ready(Err(Fill::Backend)),
                Poll::Pending => {
                    if self.sees_end_of_client(task) {
                        return Poll::Ready(Err(Fill::Client(Failure::Over)));
                    }
                    match self.session.deadline.passed(task) {
                        // The endpoint did nothing wrong.
                        true if self.client_left => Poll::Ready(Err(Fill::Client(Failure::Over))),
                        true => Poll::Ready(Err(Fill::Timeout)),
                        false => Poll::Pending,
                    }
                }
            }
        })
        .await
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut sent = 0;
        self.arm(self.stall_seconds());
        std::future::poll_fn(|task| self.poll_write(task, bytes, &mut sent)).await
    }

    pub(super) async fn write_answer(&mut self, n: usize) -> Result<(), Failure> {
        let mut answer = std::mem::take(&mut self.answer);
        let done = self.write(&answer.filled()[..n]).await;
        answer.consume(n);
        self.answer = answer;
        done
    }

    pub(super) fn poll_write(
        &mut self,
        task: &mut Task<'_>,
        bytes: &[u8],
        sent: &mut usize,
    ) -> Poll<Result<(), Failure>> {
        if self.poll_upload(task).is_err() {
            return Poll::Ready(Err(Failure::Over));
        }
        while *sent < bytes.len() {
            match Pin::new(&mut self.session.io).poll_write(task, &bytes[*sent..]) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    *sent += n;
                    if *sent < bytes.len() {
                        self.arm(self.stall_seconds());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(Err(Failure::Over)),
                Poll::Pending if self.session.deadline.passed(task) => return Poll::Ready(Err(Failure::Over)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Under TLS it is this that waits for who does not read.
        match Pin::new(&mut self.session.io).poll_flush(task) {
            Poll::Pending if self.session.deadline.passed(task) => Poll::Ready(Err(Failure::Over)),
            polled => polled.map_err(|_| Failure::Over),
        }
    }
}
