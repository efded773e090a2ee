//! Slow password hashes (bcrypt, SHA-crypt) are computed beside the event loops, on threads that yield to them.
//!
//! Promises: one hash at a time for each event loop, so that logins never take more than the cores they are given, and on a
//! thread of lower priority; what waits for the same password shares its outcome. Refuses: more than `MAX_WAITING` of a loop's
//! requests at once (503), or `MAX_OF_CLIENT` of one client's (429), which a guesser meets before anybody else does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::sync::{Semaphore, oneshot};

use crate::table::basic::Check;
use crate::worker::context::Context;

const MAX_WAITING: usize = 64;
/// A browser opens six connections.
const MAX_OF_CLIENT: usize = 8;
/// How far below the event loops: a sixth of their share where a core is contended.
const NICE: i32 = 10;

pub enum Found {
    Right,
    Wrong,
    /// Nobody looked: the status that says so.
    Busy(u16),
}

/// Who waits on one event loop.
pub struct Waiting {
    turn: Semaphore,
    of: RefCell<HashMap<IpAddr, usize>>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), of: RefCell::default() }
    }
}

/// A place among those who wait.
struct Place<'a> {
    waiting: &'a Waiting,
    client: IpAddr,
}

impl Waiting {
    fn enter(&self, client: IpAddr) -> Result<Place<'_>, Found> {
        let mut of = self.of.borrow_mut();
        if of.values().sum::<usize>() >= MAX_WAITING {
            return Err(Found::Busy(503));
        }
        let own = of.entry(client).or_default();
        if *own >= MAX_OF_CLIENT {
            return Err(Found::Busy(429));
        }
        *own += 1;
        Ok(Place { waiting: self, client })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut of = self.waiting.of.borrow_mut();
        if let Some(own) = of.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                of.remove(&self.client);
            }
        }
    }
}

pub async fn verify(context: &Rc<Context>, check: &Check, client: IpAddr) -> Found {
    let _place = match context.verifying.enter(client) {
        Ok(place) => place,
        Err(busy) => return busy,
    };
    let Ok(_turn) = context.verifying.turn.acquire().await else { return Found::Busy(503) };
    if check.known(context.now_nanos()) {
        return Found::Right;
    }
    match compute(check.clone()).await {
        Some(true) => {
            check.remember(context.now_nanos());
            Found::Right
        }
        Some(false) => Found::Wrong,
        None => Found::Busy(503),
    }
}

/// `None`: there is no thread to be had.
async fn compute(check: Check) -> Option<bool> {
    let (tell, told) = oneshot::channel();
    let work = move || {
        // Of this thread alone, and only ever lower: no privilege is needed for it.
        let _ = rustix::process::setpriority_process(None, NICE);
        let _ = tell.send(check.compute());
    };
    std::thread::Builder::new().name("password".to_owned()).spawn(work).ok()?;
    told.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_has_few_places_and_all_have_not_many() {
        let waiting = Waiting::default();
        let client = |n: u8| IpAddr::from([10, 0, 0, n]);
        let mut held: Vec<_> = (0..MAX_OF_CLIENT).map(|_| waiting.enter(client(1)).ok()).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(matches!(waiting.enter(client(1)), Err(Found::Busy(429))));
        for n in 2..=8 {
            held.extend((0..MAX_OF_CLIENT).map(|_| waiting.enter(client(n)).ok()));
        }
        assert!(matches!(waiting.enter(client(9)), Err(Found::Busy(503))));
        held.clear();
        assert!(waiting.of.borrow().is_empty());
    }
}
