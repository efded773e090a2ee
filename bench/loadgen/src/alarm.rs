//! A timer with microsecond precision that wakes the poll loop (a poll's own timeout has whole milliseconds).

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fd::OwnedFd;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

pub struct Alarm {
    fd: OwnedFd,
    set_for: Option<Instant>,
}

impl Alarm {
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { fd, set_for: None })
    }

    /// Wakes the loop at `when`; a later call replaces an earlier one.
    pub fn set(&mut self, when: Instant) -> io::Result<()> {
        if self.set_for == Some(when) {
            return Ok(());
        }
        self.set_for = Some(when);
        let left = when.saturating_duration_since(Instant::now());
        let value = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()).max(1),
        };
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: none, it_value: value };
        rustix::time::timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &spec)?;
        Ok(())
    }

    /// To be called after a wake-up, so that the next `set` counts.
    pub fn rang(&mut self) {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&self.fd, &mut count);
        self.set_for = None;
    }
}
