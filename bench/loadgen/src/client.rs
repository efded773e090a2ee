//! One client connection: at most one request in flight, never sent twice. A connection that fails with a request in
//! flight has failed that request; one that the other side closes while idle has failed nothing.

use crate::outcome::Failure;
use crate::spec::Target;
use crate::wire::AnswerReader;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

pub const READ_BYTES: usize = 256 * 1024;

/// What an event or a start led to.
pub enum Step {
    Waiting,
    /// The answer is in `reader`.
    Answered,
    Failed(Failure, String),
    ClosedIdle,
}

pub struct Client {
    stream: TcpStream,
    pub reader: AnswerReader,
    unsent: Option<(Rc<[u8]>, usize)>,
    /// When the request in flight was due.
    pub due: Option<Instant>,
    pub sent: Option<Instant>,
    connected: bool,
}

impl Client {
    pub fn connect(registry: &Registry, token: Token, address: SocketAddr, target: &Target) -> io::Result<Self> {
        let mut stream = if target.sources == 0 {
            TcpStream::connect(address)?
        } else {
            connect_from(source(target.sources), address)?
        };
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            reader: AnswerReader::new(&target.count_header, target.method == "HEAD"),
            unsent: None,
            due: None,
            sent: None,
            connected: false,
        })
    }

    pub fn start(&mut self, request: &Rc<[u8]>, due: Instant) -> Step {
        self.due = Some(due);
        self.sent = Some(Instant::now());
        self.unsent = Some((Rc::clone(request), 0));
        self.flush()
    }

    fn flush(&mut self) -> Step {
        while let Some((request, sent)) = &mut self.unsent {
            match self.stream.write(&request[*sent..]) {
                Ok(n) => {
                    self.connected = true;
                    *sent += n;
                    if *sent == request.len() {
                        self.unsent = None;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.broken(&error),
            }
        }
        Step::Waiting
    }

    fn broken(&mut self, error: &io::Error) -> Step {
        if self.due.is_none() {
            return Step::ClosedIdle;
        }
        let failure = match error.kind() {
            _ if !self.connected => Failure::Connect,
            ErrorKind::InvalidData => Failure::Malformed,
            _ => Failure::Reset,
        };
        Step::Failed(failure, error.to_string())
    }

    pub fn event(&mut self, event: &Event, buffer: &mut [u8]) -> Step {
        if event.is_writable() && self.unsent.is_some() {
            let step = self.flush();
            // A server may answer and close before it has read everything: its answer counts.
            if !matches!(step, Step::Waiting) && !event.is_readable() {
                return step;
            }
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            return self.read(buffer);
        }
        Step::Waiting
    }

    fn read(&mut self, buffer: &mut [u8]) -> Step {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return self.end(),
                Ok(n) => match self.take(&buffer[..n]) {
                    Step::Waiting if n == buffer.len() => {}
                    step => return step,
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Waiting,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.broken(&error),
            }
        }
    }

    fn take(&mut self, data: &[u8]) -> Step {
        if self.due.is_none() {
            return Step::ClosedIdle; // an unasked answer, such as 408: the connection is of no use
        }
        match self.reader.push(data) {
            Err(error) => self.broken(&error),
            Ok((n, true)) if n < data.len() => Step::Failed(Failure::Malformed, "bytes after the answer".into()),
            Ok((_, true)) => Step::Answered,
            Ok((_, false)) => Step::Waiting,
        }
    }

    fn end(&mut self) -> Step {
        if self.due.is_none() {
            return Step::ClosedIdle;
        }
        let begun = self.reader.begun();
        if self.reader.end() {
            return Step::Answered;
        }
        let detail = if begun { "closed within the answer" } else { "closed before the answer" };
        Step::Failed(Failure::Reset, detail.into())
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

/// The next source address in turn.
fn source(sources: u8) -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let turn = NEXT.fetch_add(1, Ordering::Relaxed) % sources;
    SocketAddr::from(([127, 0, 1, turn + 1], 0))
}

fn connect_from(source: SocketAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // The port is chosen when connecting, so that one port serves for many destinations.
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&source.into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => return Err(error),
        _ => {}
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// The bytes of every request that a target can get, in order.
pub fn requests(target: &Target) -> io::Result<Vec<Rc<[u8]>>> {
    let from_file;
    let paths = if target.paths_file.is_empty() {
        &target.paths
    } else {
        let text = std::fs::read_to_string(&target.paths_file)?;
        from_file = text.lines().map(str::to_owned).collect();
        &from_file
    };
    Ok(paths.iter().map(|path| request(target, path)).collect())
}

fn request(target: &Target, path: &str) -> Rc<[u8]> {
    let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", target.method, path, target.host);
    for (name, value) in &target.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if target.body_bytes > 0 {
        text.push_str(&format!("Content-Length: {}\r\n", target.body_bytes));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len() + target.body_bytes, b'x');
    bytes.into()
}
