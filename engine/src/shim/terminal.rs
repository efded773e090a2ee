//! A pseudo-terminal for a process (pty(7)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// Our end (non-blocking) and the process's, which belongs to `uid`.
pub fn open(uid: Option<u32>, width: u16, height: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&ours)?;
    rustix::pty::unlockpt(&ours)?;
    let name = rustix::pty::ptsname(&ours, Vec::new())?;
    let theirs =
        rustix::fs::openat(rustix::fs::CWD, &name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    if let Some(uid) = uid {
        rustix::fs::fchown(&theirs, Some(Uid::from_raw(uid)), None::<Gid>)?;
    }
    resize(&theirs, width, height)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

/// Zero leaves a size as it is: nobody has said it yet.
pub fn resize(terminal: impl AsFd, width: u16, height: u16) -> io::Result<()> {
    if width > 0 && height > 0 {
        let size = Winsize { ws_col: width, ws_row: height, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(terminal, size)?;
    }
    Ok(())
}
