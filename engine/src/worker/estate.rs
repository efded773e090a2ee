//! What a worker keeps for the next master: the master's own sockets and its table, as descriptors.
//!
//! Promises: when the master dies, the worker carries on; the next master finds it by the `adopt` socket, gets every
//! descriptor and goes on as if it had started this worker. Refuses: peers that are neither root nor our own user (the
//! socket itself lets in only the master's user); waiting for longer than `PATIENCE`, so that no worker is left for ever.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::net::UnixListener;

use crate::control::channel::Channel;

/// Names under which the master hands over what is its own.
pub const STATS: &str = "stats";
pub const ADOPT: &str = "estate:adopt";
pub const TABLE: &str = "estate:table";

const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Default)]
pub struct Estate {
    kept: RefCell<BTreeMap<String, OwnedFd>>,
}

impl Estate {
    pub fn keep(&self, name: &str, fd: OwnedFd) {
        self.kept.borrow_mut().insert(name.to_owned(), fd);
    }

    /// Copies of everything, with their names.
    pub fn copies(&self) -> Vec<(String, OwnedFd)> {
        let kept = self.kept.borrow();
        kept.iter().filter_map(|(name, fd)| Some((name.clone(), fd.try_clone().ok()?))).collect()
    }

    /// Waits for the next master. `None`: none came, or none can.
    pub async fn next_master(&self) -> Option<Channel> {
        let listener = std::os::unix::net::UnixListener::from(self.kept.borrow().get(ADOPT)?.try_clone().ok()?);
        listener.set_nonblocking(true).ok()?;
        let listener = UnixListener::from_std(listener).ok()?;
        let coming = async {
            loop {
                let (stream, _) = listener.accept().await.ok()?;
                let peer = stream.peer_cred().ok()?.uid();
                if peer == 0 || peer == rustix::process::geteuid().as_raw() {
                    return Some(Channel::new(stream));
                }
            }
        };
        tokio::time::timeout(PATIENCE, coming).await.ok().flatten()
    }
}
