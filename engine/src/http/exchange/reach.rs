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
        if let Some(connection) = self.kept(&endpoint) {
            self.backend = Some(connection);
            return Ok(());
        }
        // In a box: most requests find a connection, and all of them would hold the room for this.
        let opened = Box::pin(self.open(endpoint.clone())).await;
        self.take_opened(opened, &endpoint)
    }

    /// A connection that is there already.
    fn kept(&self, endpoint: &Endpoint) -> Option<Connection> {
        if self.upgrades_from_h2() {
            return None; // which one it may be is asked first
        }
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

    async fn open(&self, endpoint: Arc<Endpoint>) -> io::Result<Connection> {
        let Session { context, deadline, .. } = &*self.session;
        let Plan { backend, websocket, .. } = &self.plan;
        deadline.set(self.plan.timeouts().map_or(DEFAULT_CONNECT_SECONDS, |t| t.connect_seconds));
        let ends = self.session.ends(self.plan.client);
        if self.upgrades_from_h2() {
            let opening = Box::pin(Connection::open_to_upgrade(endpoint, backend, context, ends, *websocket));
            return deadline.bound(std::pin::pin!(opening)).await;
        }
        deadline.bound(std::pin::pin!(Connection::open(endpoint, backend, context, ends))).await
    }

    /// A request for another protocol, of a Backend whose connections speak HTTP/2.
    fn upgrades_from_h2(&self) -> bool {
        self.plan.asked.upgrade && self.plan.backend.speaks_h2()
    }

    fn take_opened(&mut self, opened: io::Result<Connection>, endpoint: &Arc<Endpoint>) -> Result<(), Failure> {
        match opened {
            Ok(connection) => {
                endpoint.connects.succeeded();
                self.backend = Some(connection);
            }
            Err(error) => {
                endpoint.connects.failed(&error);
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
