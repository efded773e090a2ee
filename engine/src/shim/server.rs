//! The shim's one loop: clients, children's output, deaths and timers.
//!
//! Promises: nothing in it waits but poll(2); each turn reads at most one piece of each pipe, so a flood of one
//! container starves nobody. Rooms: containers.rs starts and ends containers, execs.rs and probes.rs run commands in
//! them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{WaitOptions, WaitStatus};
use serde_json::Value;

use super::children::{Child, ClientId, Containers, Role};
use super::client::{Client, Mode};
use super::config::Config;
use super::dial::Dial;
use super::logs::Stream;
use super::output::Copies;
use super::probes::Probe;
use super::wire::{Body, Message, Request};
use super::{clock, kill, launch};

/// How long `stop` waits for processes that do not die (in the kernel, on a dead disk).
const STOP_PATIENCE_SECONDS: f64 = 10.0;
const KILL_AGAIN_SECONDS: f64 = 0.05;

pub struct Server {
    pub(super) config: Config,
    pub(super) directory: PathBuf,
    pub(super) host_pid: i32,
    listener: UnixListener,
    signals: SignalFd,
    pub(super) clients: BTreeMap<ClientId, Client>,
    next_client: ClientId,
    pub(super) children: BTreeMap<i32, Child>,
    pub(super) containers: Containers,
    pub(super) probes: BTreeMap<(ClientId, String), Probe>,
    pub(super) dials: BTreeMap<u64, Dial>,
    pub(super) next_dial: u64,
    stopping: Option<Stopping>,
}

struct Stopping {
    asked_by: Option<(ClientId, Value)>,
    give_up_at: f64,
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

pub fn run(directory: &Path) -> Result<u8, String> {
    let _ = nix::sys::prctl::set_name(c"fairlead-shim");
    let mut lock = launch::lock(directory)?;
    let mut server = Server::new(directory)?;
    write_pid(&mut lock, server.host_pid).map_err(|error| format!("cannot write shim.pid: {error}"))?;
    say_ready();
    while !server.stopped() {
        server.turn();
    }
    server.clients.values_mut().for_each(Client::flush_at_end);
    let _ = fs::remove_file("shim.sock");
    Ok(0)
}

fn write_pid(file: &mut fs::File, pid: i32) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{pid}")
}

/// Tells the launcher, then lets go of it.
fn say_ready() {
    let _ = rustix::io::write(rustix::stdio::stdin(), launch::READY);
    if let Ok(null) = fs::File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(null);
    }
}

impl Server {
    fn new(directory: &Path) -> Result<Self, String> {
        let config = Config::read(directory)?;
        let directory = directory.canonicalize().map_err(|error| format!("{directory:?}: {error}"))?;
        // Paths of Unix sockets are short; a relative one always fits.
        std::env::set_current_dir(&directory).map_err(|error| format!("{directory:?}: {error}"))?;
        let _ = nix::unistd::setsid();
        nix::sys::prctl::set_child_subreaper(true).map_err(|error| format!("cannot adopt orphans: {error}"))?;
        let mut mask = SigSet::empty();
        [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().for_each(|one| mask.add(one));
        mask.thread_block().map_err(|error| format!("cannot block signals: {error}"))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|error| format!("cannot receive signals: {error}"))?;
        let host_pid = fs::read_link("/proc/self")
            .ok()
            .and_then(|path| path.to_str()?.parse().ok())
            .unwrap_or(std::process::id() as i32);
        Ok(Self {
            config,
            directory,
            host_pid,
            listener: listen()?,
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
            PollFd::new(&self.listener, PollFlags::IN),
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
        match self.listener.accept().and_then(|(stream, _)| Client::accept(stream)) {
            Ok(client) => {
                self.clients.insert(self.next_client, client);
                self.next_client += 1;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => eprintln!("refused a connection: {error}"),
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

    fn take_frame(&mut self, client: ClientId, frame: &[u8]) {
        match self.clients.get(&client).map(|one| one.mode) {
            Some(Mode::Requests) => self.obey(client, frame),
            Some(Mode::Streams { pid }) => self.take_stream_frame(client, pid, frame),
            None => {}
        }
    }

    fn obey(&mut self, client: ClientId, frame: &[u8]) {
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

    fn take_signals(&mut self) {
        let mut asked_to_end = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            asked_to_end |= matches!(signal.ssi_signo as i32, libc_term::TERM | libc_term::INT);
        }
        self.reap();
        if asked_to_end {
            self.stop(None);
        }
    }

    /// Every dead child is waited for, ours or an orphan that was handed to us.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if let Some(child) = self.children.remove(&pid) {
                self.bury(pid, child, status);
            }
        }
    }

    fn bury(&mut self, pid: i32, mut child: Child, status: WaitStatus) {
        let had_report = child.report.channel.is_none();
        if !child.report.read() {
            child.report.channel = None;
        }
        if !had_report {
            self.told(pid, &child.role, &child.report);
        }
        kill::group(pid);
        if let Role::Container { name } = &child.role
            && let Some(container) = self.containers.get(name)
        {
            kill::cgroups(&container.start.cgroups);
        }
        let mut copies = Copies::new();
        child.pipes.drain(&mut child.sink, (!child.watchers.is_empty()).then_some(&mut copies));
        self.show(&child.watchers, &copies);
        let (code, signal) = exit_of(status);
        self.end_streams(&child, code, signal);
        match child.role.clone() {
            Role::Container { name } => self.container_exited(&name, pid, code, signal),
            Role::Exec { client, id } => self.exec_ended(client, id, child, code),
            Role::Probe { client, id } => self.probe_ended((client, id), child, code),
            // Its end was told over its own channel.
            Role::Stream { .. } => {}
        }
    }

    fn read_report(&mut self, pid: i32) {
        let Some(mut child) = self.children.remove(&pid) else { return };
        if child.report.read() {
            self.told(pid, &child.role, &child.report);
        }
        self.children.insert(pid, child);
    }

    fn told(&mut self, pid: i32, role: &Role, report: &super::spawn::Report) {
        match role {
            Role::Container { name } => self.container_told(name, pid, report),
            Role::Stream { client, id } => self.stream_told(*client, id, pid, report),
            Role::Exec { .. } | Role::Probe { .. } => {}
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

    fn state(&self, id: &Value) -> Message {
        let known = self.containers.iter().filter(|(_, one)| one.running || one.exited.is_some());
        Message::State {
            id: id.clone(),
            shim_pid: self.host_pid,
            containers: known.map(|(name, container)| (name.clone(), container.state())).collect(),
            netns_pid: self.config.has(super::config::Namespace::Net).then_some(self.host_pid),
        }
    }

    fn stop(&mut self, asked_by: Option<(ClientId, Value)>) {
        self.probes.clear();
        let give_up_at = clock::monotonic_seconds() + STOP_PATIENCE_SECONDS;
        self.stopping.get_or_insert(Stopping { asked_by, give_up_at });
        kill::everything();
    }

    /// Whether `stop` has come to its end; answers it.
    fn stopped(&mut self) -> bool {
        let Some(stopping) = &self.stopping else { return false };
        let none_left = matches!(
            rustix::process::waitid(rustix::process::WaitId::All, NOTHING_TAKEN),
            Err(rustix::io::Errno::CHILD)
        );
        if !none_left && clock::monotonic_seconds() < stopping.give_up_at {
            return false;
        }
        if let Some((client, id)) = stopping.asked_by.clone() {
            self.send(client, &Message::Ok { id });
        }
        true
    }
}

/// Looks for children without reaping one.
const NOTHING_TAKEN: rustix::process::WaitIdOptions = rustix::process::WaitIdOptions::EXITED
    .union(rustix::process::WaitIdOptions::NOHANG)
    .union(rustix::process::WaitIdOptions::NOWAIT);

/// Signal numbers as signalfd has them.
mod libc_term {
    use nix::sys::signal::Signal;
    pub const TERM: i32 = Signal::SIGTERM as i32;
    pub const INT: i32 = Signal::SIGINT as i32;
}

fn exit_of(status: WaitStatus) -> (i32, Option<i32>) {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code, None),
        (None, Some(signal)) => (128 + signal, Some(signal)),
        (None, None) => (128, None),
    }
}

fn timespec(seconds: f64) -> Timespec {
    let whole = seconds.min(3600.0);
    // Rounded up to the next millisecond, so that a timer has run out when poll returns.
    let millis = (whole * 1000.0).ceil() as i64;
    Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
}

fn listen() -> Result<UnixListener, String> {
    let _ = fs::remove_file("shim.sock");
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind("shim.sock");
    nix::sys::stat::umask(before);
    let listener = listener.map_err(|error| format!("cannot listen on shim.sock: {error}"))?;
    listener.set_nonblocking(true).map_err(|error| format!("cannot listen on shim.sock: {error}"))?;
    Ok(listener)
}
