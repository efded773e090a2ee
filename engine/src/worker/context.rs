//! What everything on one thread shares: the table it works by, buffers, idle connections, deadlines, randomness.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use super::clock;
use super::deadline::Deadlines;
use crate::balance::random::Random;
use crate::balance::{Ask, hashing};
use crate::dns;
use crate::h2;
use crate::http::buffer::Buffers;
use crate::http::pool::Pool;
use crate::http::verify::Waiting;
use crate::table::backend::{Backend, Shared};
use crate::table::router::Entry;
use crate::table::{Listener, ListenerCounters, Table, template};

const MAX_DRAWS: usize = 1024;

/// How far the worker's end has come, or that of all its doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closing {
    No,
    /// Responses say `Connection: close`; idle connections wait for their next request.
    Gently,
    /// Idle connections are closed.
    Now,
}

pub struct Context {
    table: RefCell<Arc<Table>>,
    /// While the doors are closed: the table by which those who came in before are still served.
    before: RefCell<Option<Arc<Table>>>,
    /// The Listeners of sockets that are closed, while there are clients who came in by them.
    ended: RefCell<HashMap<String, Arc<Listener>>>,
    generation: Cell<u64>,
    pub buffers: Buffers,
    pub pool: Pool,
    pub h2: h2::client::Connections,
    pub deadlines: Rc<Deadlines>,
    pub random: RefCell<Random>,
    pub closing: Cell<Closing>,
    /// Client connections of this thread.
    pub clients: Cell<usize>,
    /// Passwords with slow hashes.
    pub verifying: Waiting,
    /// Mirrored requests under way.
    pub mirrors: Cell<usize>,
    dns: OnceCell<Rc<dns::Server>>,
}

impl Context {
    pub fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            table: RefCell::default(),
            before: RefCell::default(),
            ended: RefCell::default(),
            generation: Cell::new(0),
            buffers: Buffers::default(),
            pool: Pool::default(),
            h2: h2::client::Connections::default(),
            deadlines: Deadlines::new(),
            random: RefCell::new(Random::new(seed)),
            closing: Cell::new(Closing::No),
            clients: Cell::new(0),
            verifying: Waiting::default(),
            mirrors: Cell::new(0),
            dns: OnceCell::new(),
        })
    }

    pub fn now_nanos(&self) -> u64 {
        clock::now_nanos()
    }

    pub fn set_table(&self, table: Arc<Table>) {
        let before = self.table.replace(table);
        self.keep_ended(&before);
        let doors = |table: &Table| !table.by_socket.is_empty();
        if doors(&self.table.borrow()) {
            if self.before.take().is_some() {
                self.closing.set(Closing::No);
            }
        } else if doors(&before) && self.closing.get() == Closing::No {
            *self.before.borrow_mut() = Some(before);
            self.closing.set(Closing::Gently);
        }
        self.generation.set(self.generation.get() + 1);
    }

    fn keep_ended(&self, before: &Table) {
        let (table, mut ended) = (self.table.borrow(), self.ended.borrow_mut());
        let gone = before.by_socket.iter().filter(|(socket, _)| !table.by_socket.contains_key(*socket));
        ended.extend(gone.map(|(socket, listener)| (socket.clone(), listener.clone())));
        ended.retain(|socket, listener| listener.counters.guests.count() > 0 && !table.by_socket.contains_key(socket));
    }

    /// This thread's DNS, made when it is first asked.
    pub fn dns(self: &Rc<Self>) -> Rc<dns::Server> {
        let make = || {
            let context = Rc::downgrade(self);
            let zone =
                move || context.upgrade().map_or_else(Arc::default, |context| context.table.borrow().zone.clone());
            dns::Server::new(Rc::new(zone), self.draw())
        };
        self.dns.get_or_init(make).clone()
    }

    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    pub fn listener(&self, socket: &str) -> Option<Arc<Listener>> {
        self.table.borrow().by_socket.get(socket).or(self.ended.borrow().get(socket)).cloned()
    }

    /// What a transparent Listener's connection was meant for.
    pub fn at(&self, destination: SocketAddr) -> Option<Arc<Entry>> {
        let before = || self.before.borrow().as_ref()?.at(destination).cloned();
        self.table.borrow().at(destination).cloned().or_else(before)
    }

    /// A key whose session is that endpoint's; `None`: none was found in good time.
    pub fn key_of(&self, endpoint: u64, backend: &Shared) -> Option<u64> {
        let endpoints = backend.endpoints();
        let home = |key: u64| hashing::rendezvous(&endpoints, key, |_| true).map(|i| endpoints[i].id);
        (0..MAX_DRAWS).map(|_| self.draw()).find(|key| home(*key) == Some(endpoint))
    }

    pub fn draw(&self) -> u64 {
        self.random.borrow_mut().draw()
    }

    /// The circumstances of a choice for a client of which nothing but its address is known.
    pub fn ask<'a>(&self, backend: &Backend, client: IpAddr, avoid: &'a [u64]) -> Ask<'a> {
        Ask {
            now_nanos: self.now_nanos(),
            avoid,
            hash: if backend.algorithm.hashes() { template::hash_client(client) } else { 0 },
            random: self.draw(),
            identity: None,
            client: backend.client_timeout_nanos().map(|timeout| (client, timeout)),
            panic_threshold: backend.spec.panic_threshold,
        }
    }
}

/// A client's connection, counted for as long as it lives. One word, as an idle connection has one.
#[derive(Clone)]
pub struct Client(Rc<Came>);

struct Came {
    context: Rc<Context>,
    by: Arc<ListenerCounters>,
}

impl Client {
    pub fn new(context: &Rc<Context>, by: &Arc<ListenerCounters>) -> Self {
        context.clients.set(context.clients.get() + 1);
        by.guests.come();
        Self(Rc::new(Came { context: context.clone(), by: by.clone() }))
    }

    /// Whether it is to go, as the worker or its door has ended.
    pub fn closing(&self) -> Closing {
        self.0.context.closing.get().max(self.0.by.guests.closing())
    }
}

impl Drop for Came {
    fn drop(&mut self) {
        self.context.clients.set(self.context.clients.get() - 1);
        self.by.guests.go();
    }
}
