//! The shim's one loop: clients, children's output, deaths and timers.
//!
//! Promises: nothing in it waits but poll(2); each turn reads at most one piece of each pipe, so a flood of one
//! container starves nobody. Rooms: requests.rs answers clients, reaping.rs sees to deaths, containers.rs starts and
//! ends containers, execs.rs, streams.rs and probes.rs run commands in them.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::Value;

use super::children::{Child, ClientId, Containers};
use super::client::Client;
use super::dial::Dial;
use super::launch::{self, Seat};
use super::logs::Stream;
use super::probes::Probe;
use super::{clock, kill};

const KILL_AGAIN_SECONDS: f64 = 0.05;

pub struct Server {
    pub(super) seat: Seat,
    pub(super) host_pid: i32,
    pub(super) signals: SignalFd,
    pub(super) clients: BTreeMap<ClientId, Client>,
    next_client: ClientId,
    pub(super) children: BTreeMap<i32, Child>,
    pub(super) containers: Containers,
    pub(super) probes: BTreeMap<(ClientId, String), Probe>,
    pub(super) dials: BTreeMap<u64, Dial>,
    pub(super) next_dial: u64,
    pub(super) stopping: Option<Stopping>,
}

/// A `stop` under way.
pub(super) struct Stopping {
    pub asked_by: Option<(ClientId, Value)>,
    pub give_up_at: f64,
}

/// What a ready descriptor belongs to.
#[derive(Clone, Copy)]
enum Source {
    Listener,
    Signals,
    Client(ClientId),
    Report(i32),
    Output(i32, Stream),
    Input(i32),
    Dial(u64),
}

pub fn run(seat: Seat) -> Result<u8, String> {
    let _ = nix::sys::prctl::set_name(c"fairlead-shim");
    if let Ok(null) = fs::File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(null);
    }
    let mut server = Server::new(seat)?;
    while !server.stopped() {
        server.turn();
    }
    server.clients.values_mut().for_each(Client::flush_at_end);
    let _ = fs::remove_file("shim.sock");
    Ok(0)
}

impl Server {
    fn new(seat: Seat) -> Result<Self, String> {
        let _ = nix::unistd::setsid();
        nix::sys::prctl::set_child_subreaper(true).map_err(|error| format!("cannot adopt orphans: {error}"))?;
        let mut mask = SigSet::empty();
        [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().for_each(|one| mask.add(one));
        mask.thread_block().map_err(|error| format!("cannot block signals: {error}"))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|error| format!("cannot receive signals: {error}"))?;
        let host_pid = launch::pid_outside();
        Ok(Self {
            seat,
            host_pid,
            signals,
            clients: BTreeMap::new(),
            next_client: 1,
            children: BTreeMap::new(),
            containers: Containers::new(),
            probes: BTreeMap::new(),
            dials: BTreeMap::new(),
            next_dial: 0,
            stopping: None,
        })
    }

    fn turn(&mut self) {
        for (source, flags) in self.wait() {
            match source {
                Source::Listener => self.accept(),
                Source::Signals => self.take_signals(),
                Source::Client(id) => self.serve(id, flags),
                Source::Report(pid) => self.read_report(pid),
                Source::Output(pid, stream) => self.pump(pid, stream),
                Source::Input(pid) => {
                    if let Some(child) = self.children.get_mut(&pid) {
                        child.input.flush();
                    }
                }
                Source::Dial(number) => self.end_dial(number),
            }
        }
        self.fire_timers(clock::monotonic_seconds());
    }

    fn wait(&self) -> Vec<(Source, PollFlags)> {
        let mut sources = vec![Source::Listener, Source::Signals];
        let mut fds = vec![
            PollFd::new(&self.seat.listener, PollFlags::IN),
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
        ];
        for (id, client) in &self.clients {
            let out = if client.has_output() { PollFlags::OUT } else { PollFlags::empty() };
            sources.push(Source::Client(*id));
            let wanted = if self.is_held(client) { PollFlags::empty() } else { PollFlags::IN };
            fds.push(PollFd::new(&client.stream, wanted | out));
        }
        for (number, dial) in &self.dials {
            sources.push(Source::Dial(*number));
            fds.push(PollFd::new(&dial.socket, PollFlags::OUT));
        }
        for (pid, child) in &self.children {
            if let Some(channel) = &child.report.channel {
                sources.push(Source::Report(*pid));
                fds.push(PollFd::new(channel, PollFlags::IN));
            }
            if let Some(input) = child.input.wanting() {
                sources.push(Source::Input(*pid));
                fds.push(PollFd::new(input, PollFlags::OUT));
            }
            for stream in [Stream::Stdout, Stream::Stderr] {
                if let Some(pipe) = child.pipes.get(stream).filter(|_| !self.must_wait(child)) {
                    sources.push(Source::Output(*pid, stream));
                    fds.push(PollFd::new(pipe, PollFlags::IN));
                }
            }
        }
        let timeout = self.next_timer().map(|at| timespec((at - clock::monotonic_seconds()).max(0.0)));
        if rustix::event::poll(&mut fds, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        let ready = sources.into_iter().zip(fds.iter().map(PollFd::revents));
        ready.filter(|(_, flags)| !flags.is_empty()).collect()
    }

    fn accept(&mut self) {
        match self.seat.listener.accept().and_then(|(stream, _)| Client::accept(stream)) {
            Ok(client) => {
                self.clients.insert(self.next_client, client);
                self.next_client += 1;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => complain!("refused a connection: {error}"),
        }
    }

    fn serve(&mut self, id: ClientId, flags: PollFlags) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if flags.contains(PollFlags::OUT) && (client.flush().is_err() || client.closing && !client.has_output()) {
            return self.lose_client(id);
        }
        if !flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        match client.receive() {
            Ok(frames) => frames.iter().for_each(|frame| self.take_frame(id, frame)),
            Err(_) => self.lose_client(id),
        }
    }

    fn next_timer(&self) -> Option<f64> {
        let deadlines = self.children.values().filter_map(|child| child.deadline);
        let deadlines = deadlines.chain(self.dials.values().map(|dial| dial.deadline));
        let probes = self.probes.values().filter(|probe| !probe.running).map(Probe::due);
        let stop = self.stopping.as_ref().map(|_| clock::monotonic_seconds() + KILL_AGAIN_SECONDS);
        deadlines.chain(probes).chain(stop).min_by(f64::total_cmp)
    }

    fn fire_timers(&mut self, now: f64) {
        for (pid, child) in &mut self.children {
            if child.deadline.is_some_and(|deadline| deadline <= now) {
                child.deadline = None;
                child.timed_out = true;
                kill::group(*pid);
            }
        }
        self.give_up_dials(now);
        self.run_due_probes(now);
        if self.stopping.is_some() {
            kill::everything();
            self.reap();
        }
    }
}

fn timespec(seconds: f64) -> Timespec {
    let whole = seconds.min(3600.0);
    // Rounded up to the next millisecond, so that a timer has run out when poll returns.
    let millis = (whole * 1000.0).ceil() as i64;
    Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
}
