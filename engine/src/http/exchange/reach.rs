//! An endpoint for the request, and a connection to it.

use super::*;
use crate::table::waiting;

impl<C: Client> Exchange<'_, C> {
    /// Chooses an endpoint and gets a connection to it.
    pub(super) async fn reach(&mut self) -> Result<(), Failure> {
        let (now_nanos, chosen) = self.choose();
        self.tried = now_nanos;
        let (endpoint, in_flight) = match chosen {
            Some(chosen) => chosen,
            None => {
                let chosen = Box::pin(self.wait_for_endpoint()).await?;
                self.tried = self.session.context.now_nanos();
                chosen
            }
        };
        let context = &self.session.context;
        self.endpoint = Some(endpoint.clone());
        self.in_flight = Some(in_flight);
        if self.plan.backend.speaks_h2()
            && let Some(stream) = context.h2.take(endpoint.id, self.plan.backend.transport)
        {
            self.backend = Some(Connection::of_stream(stream));
            return Ok(());
        }
        while let Some(connection) = context.pool.take(endpoint.id, self.plan.backend.transport) {
            if self.plan.idempotent || connection.surely_open() {
                self.backend = Some(connection);
                return Ok(());
            }
        }
        self.session.deadline.set(self.plan.timeouts().map_or(DEFAULT_CONNECT_SECONDS, |t| t.connect_seconds));
        let ends = self.session.ends(self.plan.client);
        let opening = std::pin::pin!(Connection::open(endpoint.clone(), &self.plan.backend, context, ends));
        let opened = self.session.deadline.bound(opening).await;
        match opened {
            Ok(connection) => self.backend = Some(connection),
            Err(_) => {
                endpoint.connect_failures.add(1);
                self.note(outlier::Outcome::ConnectFailure);
                return Err(Failure::Connect);
            }
        }
        Ok(())
    }

    /// Also when it was chosen.
    fn choose(&self) -> (u64, Option<(Arc<Endpoint>, InFlight)>) {
        let ask = self.plan.ask(&self.session.context, &self.avoid);
        (ask.now_nanos, self.plan.backend.shared.choose(&ask))
    }

    /// An empty Backend that holds requests, or one whose endpoints are full: the request waits for its turn.
    pub(super) async fn wait_for_endpoint(&self) -> Result<(Arc<Endpoint>, InFlight), Failure> {
        let backend = &self.plan.backend;
        let (waiter, now) = backend.shared.waiting.join(backend.most_waiting()).ok_or(Failure::NoEndpoint)?;
        self.arm(waiting::HOLD_SECONDS);
        loop {
            let mut turn = std::pin::pin!(waiter.turn());
            turn.as_mut().enable();
            if let (_, Some(chosen)) = self.choose() {
                return Ok(chosen);
            }
            if backend.spec.hold && backend.shared.is_empty() {
                backend.shared.demand(backend.shared.waiting.now().max(now));
            }
            let deadline = &self.session.deadline;
            let may_go = std::future::poll_fn(|task| match turn.as_mut().poll(task) {
                Poll::Pending if deadline.passed(task) => Poll::Ready(false),
                polled => polled.map(|()| true),
            });
            if !may_go.await {
                return Err(Failure::NoEndpoint);
            }
        }
    }
}
