//! Client-address affinity: the same endpoint for a client until it has been silent for the timeout.
//!
//! Promises: at most `MAX_CLIENTS` are remembered; the silent ones are forgotten first, then the least recent.

use std::collections::HashMap;
use std::net::IpAddr;

const MAX_CLIENTS: usize = 65536;

#[derive(Default)]
pub struct Clients {
    known: HashMap<IpAddr, (u64, u64)>,
}

impl Clients {
    /// The endpoint's id, if the client was heard in time; hearing it counts.
    pub fn find(&mut self, client: IpAddr, now_nanos: u64, timeout_nanos: u64) -> Option<u64> {
        let (id, heard) = self.known.get_mut(&client)?;
        if now_nanos.saturating_sub(*heard) > timeout_nanos {
            return None;
        }
        *heard = now_nanos;
        Some(*id)
    }

    pub fn remember(&mut self, client: IpAddr, id: u64, now_nanos: u64, timeout_nanos: u64) {
        if self.known.len() >= MAX_CLIENTS {
            self.known.retain(|_, (_, heard)| now_nanos.saturating_sub(*heard) <= timeout_nanos);
        }
        if self.known.len() >= MAX_CLIENTS {
            let mut times: Vec<u64> = self.known.values().map(|(_, heard)| *heard).collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            self.known.retain(|_, (_, heard)| *heard > median);
        }
        self.known.insert(client, (id, now_nanos));
    }
}
