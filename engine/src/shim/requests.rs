//! What clients ask, and what they are told.

use serde_json::Value;

use super::children::{ClientId, Role};
use super::client::Mode;
use super::config::Namespace;
use super::kill;
use super::server::Server;
use super::wire::{Body, Message, Request};

impl Server {
    pub(super) fn take_frame(&mut self, client: ClientId, frame: &[u8]) {
        match self.clients.get(&client).map(|one| one.mode) {
            Some(Mode::Requests) => self.obey(client, frame),
            Some(Mode::Streams { pid }) => self.take_stream_frame(client, pid, frame),
            None => {}
        }
    }

    pub(super) fn obey(&mut self, client: ClientId, frame: &[u8]) {
        let request: Request = match serde_json::from_slice(frame) {
            Ok(request) => request,
            Err(error) => {
                let id = serde_json::from_slice::<Value>(frame).ok().and_then(|value| value.get("id").cloned());
                let message = format!("cannot read the request: {error}");
                return self.send(client, &Message::Error { id: id.unwrap_or_default(), message });
            }
        };
        let id = request.id;
        let result = match request.body {
            Body::Start(start) => self.start(client, &id, *start),
            Body::Signal { container, signal } => {
                self.signal(&container, &signal).map(|()| Some(Message::Ok { id: id.clone() }))
            }
            Body::State => Ok(Some(self.state(&id))),
            Body::Exec(exec) => self.exec(client, &id, &exec),
            Body::ExecStream(exec) => self.exec_stream(client, &id, &exec),
            Body::Attach { container } => self.attach(client, &id, &container),
            Body::Dial { port, address, timeout_seconds } => self.dial(client, &id, (address, port), timeout_seconds),
            Body::ExecProbe(probe) => self.set_probe(client, &id, probe),
            Body::ProbeStop => Ok(Some(self.stop_probe(client, &id))),
            Body::Stop => {
                self.stop(Some((client, id.clone())));
                Ok(None)
            }
        };
        match result {
            Ok(None) => {}
            Ok(Some(answer)) => self.send(client, &answer),
            Err(message) => self.send(client, &Message::Error { id, message }),
        }
    }

    pub(super) fn send(&mut self, client: ClientId, message: &Message) {
        let sent = self.clients.get_mut(&client).map(|one| one.send(message));
        if matches!(sent, Some(Err(_))) {
            self.lose_client(client);
        }
    }

    pub(super) fn send_all(&mut self, message: &Message) {
        let all: Vec<ClientId> = self.clients.keys().copied().collect();
        all.into_iter().for_each(|client| self.send(client, message));
    }

    /// A client went: its probes and the commands that it waits for end.
    pub(super) fn lose_client(&mut self, id: ClientId) {
        self.clients.remove(&id);
        self.probes.retain(|(client, _), _| *client != id);
        self.dials.retain(|_, dial| dial.client != id);
        for (pid, child) in &mut self.children {
            child.watchers.retain(|watcher| *watcher != id);
            let owner = match &child.role {
                Role::Exec { client, .. } | Role::Probe { client, .. } | Role::Stream { client, .. } => Some(*client),
                Role::Container { .. } => None,
            };
            if owner == Some(id) {
                kill::group(*pid);
            }
        }
    }

    pub(super) fn state(&self, id: &Value) -> Message {
        let known = self.containers.iter().filter(|(_, one)| one.running || one.exited.is_some());
        Message::State {
            id: id.clone(),
            shim_pid: self.host_pid,
            containers: known.map(|(name, container)| (name.clone(), container.state())).collect(),
            netns_pid: self.seat.config.has(Namespace::Net).then_some(self.host_pid),
        }
    }
}
