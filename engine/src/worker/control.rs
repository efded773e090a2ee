//! The control thread: follows the messages in order, acks what every thread works by, tells what was asked to be told.
//!
//! Promises: messages are applied in the order they came; acks name every object that was left out; a drain is told once,
//! when no request and no connection is open to its address. Refuses: messages of an older epoch, with `error`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc, oneshot};

use super::checks::Checks;
use super::estate::{self, Estate};
use super::resolver::Resolver;
use super::thread::{Command, IDLE_LAST, Threads};
use crate::control::channel::Channel;
use crate::control::objects::ListenerProtocol;
use crate::control::wire::{self, Event, Nack, Request};
use crate::health::Prober;
use crate::stats;
use crate::table::ListenerCounters;
use crate::table::store::Store;
use crate::tcp::keepalive;

/// A filter (socket(7), SO_ATTACH_FILTER) that drops what begins a connection: code, jump if true, if false, operand.
const NO_SYN: [(u16, u8, u8, u32); 4] = [(0x30, 0, 0, 13), (0x45, 0, 1, 2), (0x06, 0, 0, 0), (0x06, 0, 0, u32::MAX)];

/// What is asked for, and where clients are seen out: whose.
struct Drain {
    asked: wire::Drain,
    doors: Vec<Arc<ListenerCounters>>,
}

pub struct Control {
    threads: Threads,
    store: Rc<RefCell<Store>>,
    sockets: RefCell<BTreeMap<String, OwnedFd>>,
    listening: RefCell<BTreeSet<String>>,
    drains: RefCell<BTreeMap<String, Drain>>,
    /// Listeners that are no more, while there are clients who came in by them.
    gone: RefCell<Vec<(String, Arc<ListenerCounters>)>>,
    prober: RefCell<Prober>,
    checks: Rc<Checks>,
    resolver: Rc<Resolver>,
    events: RefCell<mpsc::UnboundedReceiver<Event>>,
    idle: Arc<Notify>,
    pub estate: Estate,
    epoch: Cell<u64>,
    seq: Cell<u64>,
}

enum Next {
    Message(Option<Vec<u8>>),
    Event(Event),
    Idle,
}

impl Control {
    pub fn new(threads: Threads) -> Rc<Self> {
        let idle = Arc::new(Notify::new());
        let (report, events) = mpsc::unbounded_channel();
        let store = Rc::new(RefCell::new(Store::new(idle.clone(), report.clone())));
        let checks = Checks::new(report.clone());
        Rc::new(Self {
            threads,
            resolver: Resolver::new(store.clone(), checks.clone(), report.clone()),
            store,
            sockets: RefCell::default(),
            listening: RefCell::default(),
            drains: RefCell::default(),
            gone: RefCell::default(),
            checks,
            prober: RefCell::new(Prober::new(report)),
            events: RefCell::new(events),
            idle,
            estate: Estate::default(),
            epoch: Cell::new(0),
            seq: Cell::new(0),
        })
    }

    pub fn serve_statistics(&self, listener: UnixListener) {
        tokio::task::spawn_local(stats::serve(listener, self.store.clone()));
    }

    /// Follows one controller until it goes (false) or has told us to end (true).
    pub async fn serve(&self, mut channel: Channel) -> io::Result<bool> {
        loop {
            match self.next(&mut channel).await? {
                Next::Message(None) => return Ok(false),
                Next::Message(Some(body)) => {
                    if self.follow(&body, &mut channel).await? {
                        return Ok(true);
                    }
                }
                Next::Event(event) => channel.send(&event).await?,
                Next::Idle => {}
            }
            self.tell_drained(&channel).await?;
        }
    }

    #[expect(clippy::await_holding_refcell_ref, reason = "one controller at a time: nobody else borrows it")]
    async fn next(&self, channel: &mut Channel) -> io::Result<Next> {
        // Only one controller is served at a time; the receiver is free again when its `serve` is dropped.
        let mut events = self.events.borrow_mut();
        tokio::select! {
            biased;
            body = channel.receive() => Ok(Next::Message(body?)),
            Some(event) = events.recv() => Ok(Next::Event(event)),
            () = self.idle.notified() => Ok(Next::Idle),
        }
    }

    /// Applies one message and answers it. True: the worker shall end.
    async fn follow(&self, body: &[u8], channel: &mut Channel) -> io::Result<bool> {
        let request: Request = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => {
                let message = format!("the message was not understood: {error}");
                channel.send(&Event::Error { message, epoch: None, seq: None }).await?;
                return Ok(false);
            }
        };
        match request {
            Request::Hello { .. } => channel.send(&self.welcome()).await?,
            Request::Ping { id } => channel.send(&Event::Pong { id }).await?,
            Request::Sockets { sockets } => {
                let fds = channel.take_fds(sockets.len());
                self.take_sockets(sockets, fds);
            }
            Request::Structure(message) => {
                if self.in_order(channel, message.epoch, message.seq).await? {
                    let nacks = self.apply_structure(&message).await;
                    self.ack(channel, nacks).await?;
                }
            }
            Request::Endpoints(message) => {
                if self.in_order(channel, message.epoch, message.seq).await? {
                    let nacks = self.store.borrow_mut().apply_endpoints(&message);
                    self.settle().await;
                    self.ack(channel, nacks).await?;
                }
            }
            Request::Probes(message) => {
                if self.in_order(channel, message.epoch, message.seq).await? {
                    let nacks = self.prober.borrow_mut().apply(&message);
                    self.ack(channel, nacks).await?;
                }
            }
            Request::Drain(message) => {
                if self.in_order(channel, message.epoch, message.seq).await? {
                    let nacks = self.drain(message).await;
                    self.ack(channel, nacks).await?;
                }
            }
            Request::Undrain { epoch, seq, id } => {
                if self.in_order(channel, epoch, seq).await? {
                    self.drains.borrow_mut().remove(&id);
                    self.store.borrow_mut().set_drain(&id, None);
                    self.ack(channel, Vec::new()).await?;
                }
            }
            Request::Shutdown { grace_seconds } => {
                self.shut_down(grace_seconds).await;
                return Ok(true);
            }
            Request::Adopt => self.hand_over(channel).await?,
            Request::Upgrade { .. } => {
                let message = "a worker is upgraded by its master".to_owned();
                channel.send(&Event::Error { message, epoch: None, seq: None }).await?;
            }
        }
        Ok(false)
    }

    fn welcome(&self) -> Event {
        let pid = std::process::id() as i32;
        Event::Welcome(wire::Welcome {
            version: wire::VERSION,
            engine_version: env!("CARGO_PKG_VERSION").to_owned(),
            master_pid: pid,
            worker_pid: pid,
            epoch: self.epoch.get(),
            seq: self.seq.get(),
            hashes: wire::Hashes::default(),
            sockets: self.sockets.borrow().keys().cloned().collect(),
        })
    }

    async fn in_order(&self, channel: &Channel, epoch: u64, seq: u64) -> io::Result<bool> {
        if epoch < self.epoch.get() {
            let message = format!("epoch {epoch} is older than {}", self.epoch.get());
            channel.send(&Event::Error { message, epoch: Some(epoch), seq: Some(seq) }).await?;
            return Ok(false);
        }
        self.epoch.set(epoch);
        self.seq.set(seq);
        Ok(true)
    }

    async fn ack(&self, channel: &Channel, nacks: Vec<Nack>) -> io::Result<()> {
        channel.send(&Event::Ack { epoch: self.epoch.get(), seq: self.seq.get(), nacks }).await
    }

    fn take_sockets(&self, names: Vec<wire::SocketName>, fds: Vec<OwnedFd>) {
        for (name, fd) in names.into_iter().zip(fds) {
            if [estate::ADOPT, estate::TABLE].contains(&name.id.as_str()) {
                self.estate.keep(&name.id, fd);
                continue;
            }
            if name.id == estate::STATS {
                if let Ok(copy) = fd.try_clone() {
                    self.estate.keep(&name.id, copy);
                }
                let listener = std::os::unix::net::UnixListener::from(fd);
                let taken = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
                match taken {
                    Ok(listener) => self.serve_statistics(listener),
                    Err(error) => tracing::error!(%error, "cannot serve statistics"),
                }
                continue;
            }
            // A socket that comes anew replaces the old one, which may be in use.
            if self.listening.borrow_mut().remove(&name.id) {
                self.tell_all(|| Command::Unlisten([name.id.clone()].into(), oneshot::channel().0));
            }
            self.sockets.borrow_mut().insert(name.id, fd);
        }
    }

    /// Tells a new master what is here, with copies of every descriptor.
    async fn hand_over(&self, channel: &Channel) -> io::Result<()> {
        let mut all = self.estate.copies();
        for (id, fd) in self.sockets.borrow().iter() {
            all.push((id.clone(), fd.try_clone()?));
        }
        let sockets = all.iter().map(|(name, _)| name.clone()).collect();
        let message = serde_json::to_vec(&Event::Estate { pid: std::process::id() as i32, sockets })?;
        let fds: Vec<_> = all.iter().map(|(_, fd)| fd.as_fd()).collect();
        channel.send_raw(&message, &fds).await
    }

    async fn apply_structure(&self, message: &wire::Structure) -> Vec<Nack> {
        let before: Vec<_> = self.store.borrow().listeners().map(|(spec, c)| (spec.id.clone(), c.clone())).collect();
        let mut nacks = self.store.borrow_mut().apply_structure(message);
        let table = Arc::new(self.store.borrow_mut().table());
        let wanted: BTreeSet<String> = table.by_socket.keys().cloned().collect();
        let ended: Vec<String> = self.listening.borrow().difference(&wanted).cloned().collect();
        self.end_listening(&ended).await; // by the table that they came in by
        self.wait_all(|done| Command::Table(table.clone(), done)).await;
        for id in &wanted {
            if let Err(message) = self.listen(id, table.by_socket[id].spec.protocol) {
                let listener = &table.by_socket[id].spec.id;
                nacks.push(Nack { object: format!("listener/{listener}"), path: "sockets".to_owned(), message });
            }
        }
        self.sockets.borrow_mut().retain(|id, _| wanted.contains(id));
        self.settle().await;
        self.keep_gone(before);
        if wanted.is_empty() && !ended.is_empty() {
            self.wait_all(Command::SeeOut).await;
        }
        nacks
    }

    fn keep_gone(&self, before: Vec<(String, Arc<ListenerCounters>)>) {
        let store = self.store.borrow();
        let here: BTreeSet<&str> = store.listeners().map(|(spec, _)| spec.id.as_str()).collect();
        let mut gone = self.gone.borrow_mut();
        gone.extend(before.into_iter().filter(|(id, _)| !here.contains(id.as_str())));
        gone.retain(|(_, counters)| counters.guests.count() > 0);
    }

    /// Closes sockets so that no connection is lost: the kernel lets no new one begin (its client asks again in a second, and
    /// is refused), and those that it has accepted for us are served.
    async fn end_listening(&self, ids: &[String]) {
        if ids.is_empty() {
            return;
        }
        let all: Arc<[String]> = ids.into();
        let listeners: Vec<_> = ids.iter().filter_map(|id| Some((id, self.last_of(id)?))).collect();
        self.wait_all(|done| Command::Unlisten(all.clone(), done)).await;
        for (id, listener) in listeners {
            let (done, wait) = oneshot::channel();
            if self.threads[0].send(Command::AcceptLast(id.clone(), listener, done)).is_ok() {
                let _ = wait.await;
            }
        }
        self.listening.borrow_mut().retain(|id| !ids.contains(id));
    }

    /// The socket, if it is of TCP, which takes no new connection from now on.
    fn last_of(&self, id: &str) -> Option<std::net::TcpListener> {
        let sockets = self.sockets.borrow();
        let fd = sockets.get(id)?;
        let socket = socket2::SockRef::from(fd);
        if socket.r#type().ok()? != socket2::Type::STREAM {
            return None;
        }
        if let Err(error) =
            socket.attach_filter(&NO_SYN.map(|(code, jt, jf, k)| socket2::SockFilter::new(code, jt, jf, k)))
        {
            tracing::warn!(socket = id, %error, "a connection that comes just now may be reset");
        }
        Some(fd.try_clone().ok()?.into())
    }

    fn listen(&self, id: &str, protocol: ListenerProtocol) -> Result<(), String> {
        if self.listening.borrow().contains(id) {
            return Ok(());
        }
        let sockets = self.sockets.borrow();
        let fd = sockets.get(id).ok_or_else(|| format!("the socket {id:?} was not handed over"))?;
        let datagrams = socket2::SockRef::from(fd).r#type().is_ok_and(|kind| kind == socket2::Type::DGRAM);
        let fits = match protocol {
            ListenerProtocol::Dns => true,
            ListenerProtocol::Udp => datagrams,
            _ => !datagrams,
        };
        if !fits {
            return Err(format!("the socket {id:?} has another transport than its Listener"));
        }
        if datagrams {
            let copy = fd.try_clone().map_err(|error| format!("the socket {id:?}: {error}"))?;
            let socket = std::net::UdpSocket::from(copy);
            socket.set_nonblocking(true).map_err(|error| format!("the socket {id:?}: {error}"))?;
            // One thread to a socket: a client's datagrams stay in order, and its session is one.
            let place = id.bytes().map(usize::from).sum::<usize>() % self.threads.len();
            let _ = self.threads[place].send(Command::ListenUdp(id.to_owned(), socket));
            self.listening.borrow_mut().insert(id.to_owned());
            return Ok(());
        }
        for thread in &self.threads {
            let copy = fd.try_clone().map_err(|error| format!("the socket {id:?}: {error}"))?;
            let listener = std::net::TcpListener::from(copy);
            listener.set_nonblocking(true).map_err(|error| format!("the socket {id:?}: {error}"))?;
            keepalive::ask((&listener).into());
            let _ = thread.send(Command::Listen(id.to_owned(), listener));
        }
        self.listening.borrow_mut().insert(id.to_owned());
        Ok(())
    }

    async fn drain(&self, message: wire::Drain) -> Vec<Nack> {
        if !message.listeners.is_empty() {
            let doors = self.see_out(&message.listeners);
            self.drains.borrow_mut().insert(message.id.clone(), Drain { asked: message, doors });
            return Vec::new();
        }
        let Ok(address) = message.address.parse::<IpAddr>() else {
            return vec![Nack {
                object: format!("drain/{}", message.id),
                path: "address".to_owned(),
                message: format!("{:?} is not an IP address", message.address),
            }];
        };
        self.store.borrow_mut().set_drain(&message.id, Some((address, message.port)));
        self.settle().await;
        self.drains.borrow_mut().insert(message.id.clone(), Drain { asked: message, doors: Vec::new() });
        Vec::new()
    }

    /// Tells the clients of these Listeners to go, those that are no more included: with their next answer, and after a
    /// second those who ask nothing.
    fn see_out(&self, ids: &[String]) -> Vec<Arc<ListenerCounters>> {
        let (store, gone) = (self.store.borrow(), self.gone.borrow());
        let here = store.listeners().map(|(spec, counters)| (&spec.id, counters));
        let every = here.chain(gone.iter().map(|(id, counters)| (id, counters)));
        let doors: Vec<_> = every.filter(|(id, _)| ids.contains(id)).map(|(_, counters)| counters.clone()).collect();
        doors.iter().for_each(|door| door.guests.see_out(&self.idle));
        let (late, threads) = (doors.clone(), self.threads.clone());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(IDLE_LAST).await;
            late.iter().for_each(|door| door.guests.close_idle());
            threads.iter().for_each(|thread| drop(thread.send(Command::Wake)));
        });
        doors
    }

    /// Tells of the drains that have come to their end.
    async fn tell_drained(&self, channel: &Channel) -> io::Result<()> {
        let ended: Vec<_> =
            self.drains.borrow().values().filter(|d| self.open(d) == 0).map(|d| d.asked.clone()).collect();
        for drain in ended {
            self.drains.borrow_mut().remove(&drain.id);
            let wire::Drain { id, address, port, .. } = drain;
            channel.send(&Event::Drained { id, address, port, in_flight: 0 }).await?;
        }
        Ok(())
    }

    /// What a drain still waits for.
    fn open(&self, drain: &Drain) -> u64 {
        let asked = &drain.asked;
        let at = |address| self.store.borrow().open_to(address, asked.port);
        drain.doors.iter().map(|door| door.guests.count() as u64).sum::<u64>() + asked.address.parse().map_or(0, at)
    }

    /// After a change: checks follow it, idle connections to endpoints that are going are closed.
    async fn settle(&self) {
        self.checks.follow(&self.store.borrow());
        self.resolver.follow();
        self.wait_all(Command::Settle).await;
    }

    pub async fn shut_down(&self, grace_seconds: f64) {
        self.sockets.borrow_mut().clear();
        self.wait_all(|done| Command::ShutDown(grace_seconds, done)).await;
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for thread in &self.threads {
            let _ = thread.send(command());
        }
    }

    async fn wait_all(&self, command: impl Fn(oneshot::Sender<()>) -> Command) {
        let mut waiting = Vec::with_capacity(self.threads.len());
        for thread in &self.threads {
            let (done, wait) = oneshot::channel();
            if thread.send(command(done)).is_ok() {
                waiting.push(wait);
            }
        }
        for wait in waiting {
            let _ = wait.await;
        }
    }
}
