//! Idle connections to endpoints, one pool per thread.
//!
//! Promises: the connection used last is taken first; one that the endpoint has closed, or on which bytes came that
//! nobody asked for, is never given out as far as the event loop has seen it; those of endpoints that are going are closed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::table::endpoint::{Endpoint, Opened};

pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// An idle connection is closed after so many sweeps; most servers wait longer.
const IDLE_SWEEPS: u32 = 50;
const MAX_IDLE_PER_ENDPOINT: usize = 512;

/// A connection to an endpoint.
pub struct Connection {
    pub stream: TcpStream,
    pub opened: Opened,
    pub reused: bool,
}

struct Idle {
    connection: Connection,
    /// Sweeps that it has been idle for; a clock would cost more.
    sweeps: u32,
}

#[derive(Default)]
pub struct Pool {
    idle: RefCell<HashMap<u64, Vec<Idle>, foldhash::fast::RandomState>>,
}

impl Connection {
    pub async fn open(endpoint: Arc<Endpoint>) -> std::io::Result<Self> {
        let opened = Opened::new(endpoint);
        let stream = TcpStream::connect(opened.endpoint().address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, opened, reused: false })
    }

    /// Nothing to read and not closed, as far as the event loop knows.
    fn quiet(&self) -> bool {
        matches!(self.stream.try_read(&mut [0u8; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Asks the kernel, too. For requests that must not be sent twice.
    pub fn surely_open(&self) -> bool {
        let mut byte = [0u8; 1];
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(&self.stream, &mut byte, flags), Err(rustix::io::Errno::AGAIN))
    }
}

impl Pool {
    pub fn take(&self, endpoint: u64) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(&endpoint)?;
        while let Some(Idle { mut connection, .. }) = list.pop() {
            if connection.quiet() {
                connection.reused = true;
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection on which a whole response has been read.
    pub fn give(&self, connection: Connection) {
        let endpoint = connection.opened.endpoint();
        if !endpoint.keeps_connections() {
            return;
        }
        let id = endpoint.id;
        let mut idle = self.idle.borrow_mut();
        let list = idle.entry(id).or_default();
        if list.len() < MAX_IDLE_PER_ENDPOINT {
            list.push(Idle { connection, sweeps: 0 });
        }
    }

    /// Closes what is closed, old, or of an endpoint that is going.
    pub fn sweep(&self) {
        let mut idle = self.idle.borrow_mut();
        for list in idle.values_mut() {
            list.retain_mut(|i| {
                i.sweeps += 1;
                i.connection.opened.endpoint().keeps_connections() && i.sweeps < IDLE_SWEEPS && i.connection.quiet()
            });
        }
        idle.retain(|_, list| !list.is_empty());
    }

    /// Closes those of endpoints that are going.
    pub fn settle(&self) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|_, list| list.first().is_some_and(|i| i.connection.opened.endpoint().keeps_connections()));
    }

    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
