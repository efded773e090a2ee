//! Idle connections to endpoints, one pool per thread.
//!
//! Promises: the connection used last is taken first; one that the endpoint has closed, or on which bytes came that
//! nobody asked for, is never given out as far as the event loop has seen it; those of endpoints that are going, and those
//! that are old, are closed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use super::link::Connection;
use crate::table::endpoint::Opened;

pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// An idle connection is closed after so many sweeps; most servers wait longer.
const IDLE_SWEEPS: u32 = 50;
const MAX_IDLE_PER_ENDPOINT: usize = 512;

struct Idle {
    connection: Connection,
    /// Sweeps that it has been idle for; a clock would cost more.
    sweeps: u32,
}

#[derive(Default)]
pub struct Pool {
    idle: RefCell<HashMap<u64, Vec<Idle>, foldhash::fast::RandomState>>,
}

impl Idle {
    fn kept(&self) -> bool {
        self.connection.opened.as_ref().is_some_and(Opened::goes_on)
    }
}

impl Pool {
    /// One to the endpoint that was made under that `transport`.
    pub fn take(&self, endpoint: u64, transport: u64) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(&endpoint)?;
        while let Some(Idle { mut connection, .. }) = list.pop() {
            let fits = connection.opened.as_ref().is_some_and(|o| o.fits(transport));
            if fits && connection.quiet() {
                connection.reused = true;
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection on which a whole response has been read.
    pub fn give(&self, connection: Connection) {
        let Some(opened) = connection.opened.as_ref().filter(|opened| !connection.named && opened.goes_on()) else {
            return;
        };
        let id = opened.endpoint().id;
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
                i.kept() && i.sweeps < IDLE_SWEEPS && i.connection.quiet()
            });
        }
        idle.retain(|_, list| !list.is_empty());
    }

    /// Closes those of endpoints that are going.
    pub fn settle(&self) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|_, list| list.first().is_some_and(|i| i.kept()));
    }

    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
