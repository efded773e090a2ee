//! An endpoint for the request, and a connection to it.

use std::io;

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
        self.endpoint = Some(endpoint.clone());
        self.in_flight = Some(in_flight);
        self.note_way();
        if self.plan.asked.upgrade && self.plan.backend.speaks_h2() {
            return Box::pin(self.reach_to_upgrade(endpoint)).await;
        }
        if let Some(connection) = self.kept(&endpoint) {
            self.backend = Some(connection);
            return Ok(());
        }
        self.session.deadline.set(self.connect_seconds());
        let opened = {
            let ends = self.session.ends(self.plan.client);
            let opening = Connection::open(endpoint.clone(), &self.plan.backend, &self.session.context, ends);
            self.session.deadline.bound(std::pin::pin!(opening)).await
        };
        self.take_opened(opened, &endpoint)
    }

    /// A connection that is there already.
    fn kept(&self, endpoint: &Endpoint) -> Option<Connection> {
        let Plan { backend, idempotent, .. } = &self.plan;
        let context = &self.session.context;
        if backend.speaks_h2()
            && let Some(stream) = context.h2.take(endpoint.id, backend.transport)
        {
            return Some(Connection::of_stream(stream));
        }
        while let Some(connection) = context.pool.take(endpoint.id, backend.transport) {
            if *idempotent || connection.surely_open() {
                return Some(connection);
            }
        }
        None
    }

    fn connect_seconds(&self) -> f64 {
        self.plan.timeouts().map_or(DEFAULT_CONNECT_SECONDS, |t| t.connect_seconds)
    }

    async fn reach_to_upgrade(&mut self, endpoint: Arc<Endpoint>) -> Result<(), Failure> {
        self.session.deadline.set(self.connect_seconds());
        let opened = {
            let ends = self.session.ends(self.plan.client);
            let Plan { backend, websocket, .. } = &self.plan;
            let context = &self.session.context;
            let opening = Connection::open_to_upgrade(endpoint.clone(), backend, context, ends, *websocket);
            self.session.deadline.bound(std::pin::pin!(opening)).await
        };
        self.take_opened(opened, &endpoint)
    }

    fn take_opened(&mut self, opened: io::Result<Connection>, endpoint: &Arc<Endpoint>) -> Result<(), Failure> {
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
    pub(super) async fn wait_for_endpoint(&mut self) -> Result<(Arc<Endpoint>, InFlight), Failure> {
        let backend = self.plan.backend.clone();
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
            let turned = std::future::poll_fn(|task| match turn.as_mut().poll(task) {
                Poll::Pending if self.sees_end_of_client(task) => Poll::Ready(Err(Failure::Over)),
                Poll::Pending if self.session.deadline.passed(task) => Poll::Ready(Err(Failure::NoEndpoint)),
                polled => polled.map(Ok),
            });
            turned.await?;
        }
    }
}
