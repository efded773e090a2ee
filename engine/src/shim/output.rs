//! Where a child's output goes: to the container's log, or into bounded memory for the answer of an exec.

use std::os::fd::{AsFd, OwnedFd};

use super::logs::{Log, Stream};

/// How much is still read of a pipe whose process is gone: somebody else may hold it and write for ever.
const MOST_LEFTOVER_BYTES: usize = 2 << 20;
const PIECE_BYTES: usize = 16 << 10;

pub enum Sink {
    Log(Box<Log>),
    Capture(Capture),
    /// Somebody's stream (`streams`): only the copies count.
    Nowhere,
}

/// Output on its way to those who watch, in order.
pub type Copies = Vec<(Stream, Vec<u8>)>;

/// At most `limit_bytes` of each stream; the rest is read and thrown away, so that the command does not hang.
pub struct Capture {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub truncated: bool,
    limit_bytes: usize,
}

impl Capture {
    pub fn new(limit_bytes: usize) -> Self {
        Self { stdout: Vec::new(), stderr: Vec::new(), truncated: false, limit_bytes }
    }
}

impl Sink {
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) {
        match self {
            Self::Log(log) => log.append(stream, bytes),
            Self::Capture(capture) => {
                let kept = if stream == Stream::Stdout { &mut capture.stdout } else { &mut capture.stderr };
                let room = capture.limit_bytes - kept.len();
                kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
                capture.truncated |= bytes.len() > room;
            }
            Self::Nowhere => {}
        }
    }

    pub fn finish(&mut self, stream: Stream) {
        if let Self::Log(log) = self {
            log.finish(stream);
        }
    }
}

/// The read ends of a child's standard output and error (a terminal has one for both).
#[derive(Default)]
pub struct Pipes {
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// A terminal that nobody has open any more, but whose process lives: to close it would hang it up (SIGHUP), and a
    /// command that has closed its output on its way out would seem to have died of that.
    let_go: Option<OwnedFd>,
}

impl Pipes {
    pub fn new(stdout: OwnedFd, stderr: Option<OwnedFd>) -> Self {
        Self { stdout: Some(stdout), stderr, let_go: None }
    }

    pub fn get(&self, stream: Stream) -> Option<&OwnedFd> {
        if stream == Stream::Stdout { self.stdout.as_ref() } else { self.stderr.as_ref() }
    }

    fn close(&mut self, stream: Stream) {
        *(if stream == Stream::Stdout { &mut self.stdout } else { &mut self.stderr }) = None;
    }

    /// Reads one piece. Closes the pipe at its end; `false` when there is nothing more now.
    pub fn pump(&mut self, stream: Stream, sink: &mut Sink, copies: Option<&mut Copies>) -> bool {
        let Some(pipe) = self.get(stream) else { return false };
        let mut piece = [0u8; PIECE_BYTES];
        match rustix::io::read(pipe.as_fd(), &mut piece) {
            Ok(0) => {
                sink.finish(stream);
                self.close(stream);
                false
            }
            Ok(length) => {
                sink.append(stream, &piece[..length]);
                if let Some(copies) = copies {
                    copies.push((stream, piece[..length].to_vec()));
                }
                true
            }
            Err(rustix::io::Errno::INTR) => true,
            Err(rustix::io::Errno::AGAIN) => false,
            // A terminal whose other end is closed says EIO.
            Err(error) => {
                sink.finish(stream);
                if error == rustix::io::Errno::IO && stream == Stream::Stdout {
                    self.let_go = self.stdout.take();
                }
                self.close(stream);
                false
            }
        }
    }

    /// The process is gone: takes what is left in the pipes and closes them.
    pub fn drain(&mut self, sink: &mut Sink, mut copies: Option<&mut Copies>) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut pieces = MOST_LEFTOVER_BYTES / PIECE_BYTES;
            while pieces > 0 && self.pump(stream, sink, copies.as_deref_mut()) {
                pieces -= 1;
            }
            if self.get(stream).is_some() {
                sink.finish(stream);
                self.close(stream);
            }
        }
        self.let_go = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_keeps_its_limit_and_says_that_there_was_more() {
        let mut sink = Sink::Capture(Capture::new(5));
        sink.append(Stream::Stdout, b"abc");
        sink.append(Stream::Stdout, b"defg");
        let Sink::Capture(capture) = sink else { panic!("the sink changed") };
        assert_eq!((capture.stdout.as_slice(), capture.truncated), (b"abcde".as_slice(), true));
    }
}
