//! `dial`: a TCP connection to a port of the pod, made from inside its network namespace and handed over.
//!
//! Promises: the answer's first byte carries the connected descriptor (SCM_RIGHTS), so that no byte of it passes through
//! here. Nothing waits: a connection that takes longer than `timeout_seconds` (10) is an error.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use super::children::ClientId;
use super::clock;
use super::server::Server;
use super::wire::Message;

const DEFAULT_TIMEOUT_SECONDS: f64 = 10.0;

pub struct Dial {
    pub client: ClientId,
    pub socket: Socket,
    pub deadline: f64,
    id: Value,
    to: SocketAddr,
}

impl Server {
    /// `address` is the pod's loopback unless it is given.
    pub(super) fn dial(
        &mut self,
        client: ClientId,
        id: &Value,
        (address, port): (Option<IpAddr>, u16),
        timeout_seconds: f64,
    ) -> Result<Option<Message>, String> {
        let to = SocketAddr::new(address.unwrap_or(Ipv4Addr::LOCALHOST.into()), port);
        let socket = begin(to).map_err(|error| format!("cannot connect to {to}: {error}"))?;
        let patience = if timeout_seconds > 0.0 { timeout_seconds } else { DEFAULT_TIMEOUT_SECONDS };
        let deadline = clock::monotonic_seconds() + patience;
        self.next_dial += 1;
        self.dials.insert(self.next_dial, Dial { client, socket, deadline, id: id.clone(), to });
        Ok(None)
    }

    /// The connection is made, or has failed.
    pub(super) fn end_dial(&mut self, number: u64) {
        let Some(dial) = self.dials.remove(&number) else { return };
        let problem = dial.socket.take_error().unwrap_or_else(Some);
        if let Some(error) = problem {
            let message = format!("cannot connect to {}: {error}", dial.to);
            return self.send(dial.client, &Message::Error { id: dial.id, message });
        }
        let answer = Message::Ok { id: dial.id };
        let sent = self.clients.get_mut(&dial.client).map(|client| client.send_with(&answer, dial.socket.as_fd()));
        if matches!(sent, Some(Err(_))) {
            self.lose_client(dial.client);
        }
    }

    pub(super) fn give_up_dials(&mut self, now: f64) {
        let late: Vec<u64> =
            self.dials.iter().filter(|(_, dial)| dial.deadline <= now).map(|(number, _)| *number).collect();
        for dial in late.iter().filter_map(|number| self.dials.remove(number)).collect::<Vec<_>>() {
            let message = format!("cannot connect to {}: no answer in time", dial.to);
            self.send(dial.client, &Message::Error { id: dial.id, message });
        }
    }
}

fn begin(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Ok(socket),
        result => result.map(|()| socket),
    }
}
