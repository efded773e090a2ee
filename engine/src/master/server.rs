//! The master's loop: one controller, one worker (and those that drain), signals and timers.
//!
//! relay.rs says what is made of each message; workers.rs keeps a worker running; this file only waits, reads and writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::estate::{Estate, Orphan};
use super::link::Link;
use super::options::Options;
use super::table::Table;
use super::worker::{Pauses, Worker};
use super::workers::kill;
use super::{door, estate, handover};
use crate::shim::clock;
use crate::shim::spawn::Report;
use crate::worker::estate::{ADOPT, STATS, TABLE};

/// SIGTERM's grace for requests in flight.
const TERM_GRACE_SECONDS: f64 = 10.0;
/// How much longer than its grace a worker may take before it is killed.
pub(super) const KILL_AFTER_SECONDS: f64 = 3.0;
/// A new controller repeats its drains within this time; those of the one before are forgotten then.
pub(super) const STALE_DRAINS_SECONDS: f64 = 10.0;

pub struct Master {
    pub(super) options: Options,
    pub(super) lock: Arc<OwnedFd>,
    pub(super) listener: UnixListener,
    pub(super) stats: Arc<OwnedFd>,
    pub(super) estate: Estate,
    signals: SignalFd,
    pub(super) controller: Option<Link>,
    pub(super) worker: Option<Worker>,
    /// Workers of before an upgrade, which finish what they have.
    pub(super) retired: Vec<Worker>,
    pub(super) table: Table,
    pub(super) sockets: BTreeMap<String, Arc<OwnedFd>>,
    pub(super) restarts: u64,
    pub(super) reason: String,
    pub(super) pauses: Pauses,
    pub(super) start_at: Option<f64>,
    pub(super) forget_drains_at: Option<f64>,
    /// Events that wait for the retired workers' end.
    pub(super) held: Vec<Vec<u8>>,
    pub(super) kill_at: Option<f64>,
}

#[derive(Clone, Copy)]
enum Source {
    Listener,
    Signals,
    Controller,
    Worker,
    Retired(i32),
}

/// Starts the master in a process of its own and returns when its socket listens.
pub fn daemon(arguments: &[String]) -> Result<(), String> {
    use std::io::Read;
    use std::os::unix::process::CommandExt;
    let failed = |error: io::Error| format!("cannot start: {error}");
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
    let mut child = std::process::Command::new("/proc/self/exe")
        .arg0("fairlead-engine")
        .arg("master")
        .args(arguments.iter().filter(|one| *one != "--daemon"))
        .arg("--announce")
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .map_err(failed)?;
    let mut word = [0; 5];
    match ours.read_exact(&mut word) {
        Ok(()) if &word == b"ready" => Ok(()),
        _ => Err(format!("it ended before its socket listened ({})", child.wait().map_err(failed)?)),
    }
}

pub fn run(options: Options) -> Result<(), String> {
    let announce = options.announce;
    let mut master = if options.takeover { handover::receive()? } else { Master::begin(options)? };
    if announce {
        let _ = rustix::io::write(rustix::stdio::stdin(), b"ready");
    }
    if let Ok(null) = File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(null);
    }
    while !master.is_over() {
        master.turn();
    }
    let _ = std::fs::remove_file(&master.options.socket);
    let _ = std::fs::remove_file(master.options.socket.with_file_name("stats.sock"));
    let _ = std::fs::remove_file(estate::path_of(&master.options.socket));
    Ok(())
}

impl Master {
    fn begin(options: Options) -> Result<Self, String> {
        let _ = nix::unistd::setsid();
        let lock = door::lock(&options.socket)?;
        raise_file_limit();
        let orphan = estate::find_orphan(&options.socket);
        let listener = door::bind(&options.socket)?;
        let lock = Arc::new(lock.into());
        if let Some(orphan) = orphan {
            return Self::adopt(options, lock, listener, orphan);
        }
        let stats = Arc::new(door::bind(&options.socket.with_file_name("stats.sock"))?.into());
        let adopt = Arc::new(door::bind(&estate::path_of(&options.socket))?.into());
        Self::new(options, lock, listener, stats, adopt)
    }

    /// Goes on where another master was killed: with its worker, its sockets and its table.
    fn adopt(options: Options, lock: Arc<OwnedFd>, listener: UnixListener, orphan: Orphan) -> Result<Self, String> {
        let mut fds: BTreeMap<String, Arc<OwnedFd>> =
            orphan.fds.into_iter().map(|(name, fd)| (name, Arc::new(fd))).collect();
        let mut own = |name: &str| fds.remove(name).ok_or_else(|| format!("the worker does not have {name:?}"));
        let (stats, adopt, memory) = (own(STATS)?, own(ADOPT)?, own(TABLE)?);
        let memory = memory.try_clone().map_err(|error| format!("cannot read the table: {error}"))?;
        let mut master = Self::new(options, lock, listener, stats, adopt)?;
        master.table = estate::read_table(memory).map_err(|error| format!("cannot read the table: {error}"))?;
        master.sockets = fds;
        let started_at = clock::monotonic_seconds();
        complain!("fairlead-engine master: adopted worker {}", orphan.pid);
        master.worker = Some(Worker {
            pid: orphan.pid,
            link: orphan.link,
            report: Report::over(),
            started_at,
            replaying: 0,
            place: (0, 0),
            nacks: Vec::new(),
            adopted: true,
            ending: false,
        });
        master.start_at = None;
        master.write_down();
        Ok(master)
    }

    pub(super) fn new(
        options: Options,
        lock: Arc<OwnedFd>,
        listener: UnixListener,
        stats: Arc<OwnedFd>,
        adopt: Arc<OwnedFd>,
    ) -> Result<Self, String> {
        let _ = nix::sys::prctl::set_name(c"fairlead-master");
        Ok(Self {
            options,
            lock,
            listener,
            stats,
            estate: Estate::new(adopt),
            signals: take_over_signals()?,
            controller: None,
            worker: None,
            retired: Vec::new(),
            table: Table::default(),
            sockets: BTreeMap::new(),
            restarts: 0,
            reason: String::new(),
            pauses: Pauses::default(),
            start_at: Some(0.0),
            forget_drains_at: None,
            held: Vec::new(),
            kill_at: None,
        })
    }

    fn is_over(&self) -> bool {
        self.kill_at.is_some() && self.worker.is_none() && self.retired.is_empty()
    }

    fn turn(&mut self) {
        self.fire_timers(clock::monotonic_seconds());
        if self.is_over() {
            return;
        }
        for (source, flags) in self.wait() {
            match source {
                Source::Listener => self.accept(),
                Source::Signals => self.take_signals(),
                Source::Controller => self.serve_controller(flags),
                Source::Worker => self.serve_worker(flags),
                Source::Retired(pid) => self.serve_retired(pid, flags),
            }
        }
    }

    fn wait(&self) -> Vec<(Source, PollFlags)> {
        let mut sources = vec![Source::Listener, Source::Signals];
        let mut fds = vec![
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
        ];
        let mut add = |source, link, wanted| {
            sources.push(source);
            fds.push(PollFd::new(link, wanted));
        };
        let out = |link: &Link| if link.has_output() { PollFlags::OUT } else { PollFlags::empty() };
        if let Some(link) = &self.controller {
            // A worker that does not keep up slows the controller down; nothing is lost.
            let full = self.worker.as_ref().is_some_and(|worker| worker.link.is_full());
            let wanted = if full { PollFlags::empty() } else { PollFlags::IN };
            add(Source::Controller, &link.stream, wanted | out(link));
        }
        if let Some(worker) = &self.worker {
            add(Source::Worker, &worker.link.stream, PollFlags::IN | out(&worker.link));
        }
        for worker in &self.retired {
            add(Source::Retired(worker.pid), &worker.link.stream, PollFlags::IN | out(&worker.link));
        }
        let timeout = self.next_timer().map(|at| timespec((at - clock::monotonic_seconds()).max(0.0)));
        if rustix::event::poll(&mut fds, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        let ready = sources.into_iter().zip(fds.iter().map(PollFd::revents));
        ready.filter(|(_, flags)| !flags.is_empty()).collect()
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        let peer = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials);
        let permitted = peer.is_ok_and(|peer| peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw());
        // One controller at a time: the newer replaces the older.
        if permitted && let Ok(link) = Link::new(stream) {
            self.controller = Some(link);
        }
    }

    fn serve_controller(&mut self, flags: PollFlags) {
        let Some(link) = &mut self.controller else { return };
        let mut open = !flags.contains(PollFlags::OUT) || link.flush().is_ok();
        if open && flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            open = link.fill().unwrap_or(false);
            // What came before the end counts.
            while let Some(link) = &mut self.controller {
                match link.reader.next_frame() {
                    Ok(Some(body)) => self.obey(&body),
                    Ok(None) => break,
                    Err(_) => {
                        open = false;
                        break;
                    }
                }
            }
        }
        if !open {
            self.controller = None;
        }
    }

    fn serve_worker(&mut self, flags: PollFlags) {
        let Some(worker) = &mut self.worker else { return };
        if flags.contains(PollFlags::OUT) {
            // A worker that is gone is noticed by its death.
            let _ = worker.link.flush();
        }
        if !flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        let open = worker.link.fill().unwrap_or(false);
        while let Some(Ok(Some(body))) = self.worker.as_mut().map(|worker| worker.link.reader.next_frame()) {
            self.hear(&body);
        }
        if !open {
            self.end_silent_worker();
        }
    }

    fn serve_retired(&mut self, pid: i32, flags: PollFlags) {
        let Some(worker) = self.retired.iter_mut().find(|worker| worker.pid == pid) else { return };
        if flags.contains(PollFlags::OUT) {
            let _ = worker.link.flush();
        }
        let open = worker.link.fill().unwrap_or(false);
        while let Ok(Some(_)) = worker.link.reader.next_frame() {}
        if !open {
            self.reap();
            self.retired.retain(|worker| worker.pid != pid || !worker.adopted);
            if self.retired.iter().any(|worker| worker.pid == pid) {
                kill(pid);
                self.await_death(pid);
            }
        }
    }

    fn take_signals(&mut self) {
        let mut asked_to_end = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            asked_to_end |= [Signal::SIGTERM as u32, Signal::SIGINT as u32].contains(&signal.ssi_signo);
        }
        self.reap();
        if asked_to_end {
            self.shut_down(TERM_GRACE_SECONDS);
        }
    }

    fn next_timer(&self) -> Option<f64> {
        [self.start_at, self.forget_drains_at, self.kill_at].into_iter().flatten().min_by(f64::total_cmp)
    }

    fn fire_timers(&mut self, now: f64) {
        if self.start_at.is_some_and(|at| at <= now) {
            self.start_at = None;
            self.start_worker(now);
        }
        if self.forget_drains_at.is_some_and(|at| at <= now) {
            self.forget_drains_at = None;
            self.forget_drains();
        }
        if self.kill_at.is_some_and(|at| at <= now) {
            let all = self.worker.iter().chain(&self.retired);
            all.for_each(|worker| kill(worker.pid));
            self.kill_at = Some(now + KILL_AFTER_SECONDS);
        }
    }
}

pub(super) fn take_over_signals() -> Result<SignalFd, String> {
    let mut mask = SigSet::empty();
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().for_each(|one| mask.add(one));
    mask.thread_block().map_err(|error| format!("cannot block signals: {error}"))?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| format!("cannot receive signals: {error}"))
}

/// Every connection is a descriptor, here and (by inheritance) in the worker.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if setrlimit(Resource::RLIMIT_NOFILE, 1 << 20, 1 << 20).is_err()
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn timespec(seconds: f64) -> Timespec {
    let millis = (seconds.min(3600.0) * 1000.0).ceil() as i64;
    Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
}
