//! The backend: many small HTTP/1.1 servers in one thread, one per port. It answers with `x-pod: b<index>`:
//! `/` a small fixed body, `/bytes?n=N` a streamed body, `/slow?ms=N` after a time, `/cost?us=N` after work in a
//! simulated queue (see `simulate`), `/burn?us=N` after so much CPU time; `/reset` begins every server's simulation anew, and `Connection: upgrade` becomes an
//! echo. The first line printed is `{"ports": [...]}`.

use crate::alarm::Alarm;
use crate::client::READ_BYTES;
use crate::simulate::Server;
use crate::spec::Backend;
use crate::wire::{Request, RequestReader};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

const ALARM: Token = Token(usize::MAX - 1);
const BACKLOG: i32 = 4096;
static ZEROS: [u8; 65_536] = [b'z'; 65_536];

/// What one connection still has to write.
enum Piece {
    Bytes(Rc<[u8]>, usize),
    Body(u64),
}

struct Connection {
    stream: TcpStream,
    server: usize,
    reader: RequestReader,
    out: VecDeque<Piece>,
    /// The request that waits for its time, and input that came behind it.
    delayed: Option<Request>,
    behind: Vec<u8>,
    echo: bool,
    close: bool,
    serial: u64,
}

struct Loop {
    poll: Poll,
    alarm: Alarm,
    listeners: Vec<TcpListener>,
    servers: Vec<Server>,
    names: Vec<String>,
    answers: Vec<Rc<[u8]>>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    due: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    serial: u64,
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn head(name: &str, length: u64) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nX-Pod: {name}\r\n\r\n")
}

pub fn run(spec: Backend) -> io::Result<()> {
    let poll = Poll::new()?;
    let alarm = Alarm::new(poll.registry(), ALARM)?;
    let ip: IpAddr = spec.address.parse().map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    let begin = Instant::now();
    let (mut listeners, mut ports, mut servers) = (Vec::new(), Vec::new(), Vec::new());
    let (mut names, mut answers) = (Vec::new(), Vec::new());
    for index in 0..spec.servers {
        let port = spec.ports.get(index).copied().unwrap_or(0);
        let mut listener = listen(SocketAddr::new(ip, port))?;
        poll.registry().register(&mut listener, Token(index), Interest::READABLE)?;
        ports.push(listener.local_addr()?.port());
        listeners.push(listener);
        let stall = spec.stalls.iter().copied().find(|stall| stall.server == index);
        let slowness = spec.slowness.get(index).copied().unwrap_or(1.0);
        servers.push(Server::new(spec.workers, slowness, stall, begin));
        let name = if spec.name.is_empty() { format!("b{index}") } else { spec.name.clone() };
        let mut answer = head(&name, spec.answer_bytes as u64).into_bytes();
        names.push(name);
        answer.resize(answer.len() + spec.answer_bytes, b'a');
        answers.push(answer.into());
    }
    println!("{}", serde_json::json!({ "ports": ports }));
    let (connections, free, due) = (Vec::new(), Vec::new(), BinaryHeap::new());
    Loop { poll, alarm, listeners, servers, names, answers, connections, free, due, serial: 0 }.turn()
}

fn number(target: &str, name: &str) -> Option<u64> {
    let (_, query) = target.split_once('?')?;
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    value.parse().ok()
}

/// Uses so much CPU time of this thread.
fn burn(time: Duration) {
    let used = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    };
    let end = used() + time;
    while used() < end {
        std::hint::spin_loop();
    }
}

impl Loop {
    fn turn(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            if let Some(Reverse((when, _, _))) = self.due.peek() {
                self.alarm.set(*when)?;
            }
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    ALARM => self.alarm.rang(),
                    Token(index) if index < self.listeners.len() => self.accept(index)?,
                    Token(token) => self.event(token - self.listeners.len(), event, &mut buffer),
                }
            }
            self.answer_due();
        }
    }

    fn accept(&mut self, server: usize) -> io::Result<()> {
        loop {
            let mut stream = match self.listeners[server].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => continue,
            };
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let token = Token(index + self.listeners.len());
            self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            self.serial += 1;
            self.connections[index] = Some(Connection {
                stream,
                server,
                reader: RequestReader::default(),
                out: VecDeque::new(),
                delayed: None,
                behind: Vec::new(),
                echo: false,
                close: false,
                serial: self.serial,
            });
        }
    }

    fn event(&mut self, index: usize, event: &mio::event::Event, buffer: &mut [u8]) {
        let mut open = true;
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            open = self.read(index, buffer).unwrap_or(false);
        }
        if let Some(connection) = &mut self.connections[index] {
            open = open && connection.flush().unwrap_or(false);
        }
        if !open && self.connections[index].take().is_some() {
            self.free.push(index);
        }
    }

    /// False when the connection has ended.
    fn read(&mut self, index: usize, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            let Some(connection) = &mut self.connections[index] else { return Ok(false) };
            let n = match connection.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            self.take(index, &buffer[..n])?;
            if n < buffer.len() {
                return Ok(true);
            }
        }
    }

    fn take(&mut self, index: usize, data: &[u8]) -> io::Result<()> {
        let mut at = 0;
        while at < data.len() {
            let Some(connection) = &mut self.connections[index] else { return Ok(()) };
            if connection.echo {
                connection.out.push_back(Piece::Bytes(data[at..].into(), 0));
                return Ok(());
            }
            if connection.delayed.is_some() {
                connection.behind.extend_from_slice(&data[at..]);
                return Ok(());
            }
            let (n, request) = connection.reader.push(&data[at..])?;
            at += n;
            if let Some(request) = request {
                self.request(index, request);
            }
        }
        Ok(())
    }

    fn request(&mut self, index: usize, request: Request) {
        let Some(connection) = &mut self.connections[index] else { return };
        let target = &request.target;
        let now = Instant::now();
        let when = if target == "/reset" {
            self.servers.iter_mut().for_each(|server| server.reset(now));
            None
        } else if target == "/" {
            None
        } else if target.starts_with("/burn") {
            burn(Duration::from_micros(number(target, "us").unwrap_or(0)));
            None
        } else if let Some(us) = number(target, "us") {
            Some(self.servers[connection.server].finish(now, Duration::from_micros(us)))
        } else {
            number(target, "ms").map(|ms| now + Duration::from_millis(ms))
        };
        match when {
            None => connection.answer(&request, &self.names, &self.answers),
            Some(when) => {
                connection.delayed = Some(request);
                self.due.push(Reverse((when, index, connection.serial)));
            }
        }
    }

    fn answer_due(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((when, index, serial))) = self.due.peek().copied() {
            if when > now {
                break;
            }
            self.due.pop();
            let Some(connection) = &mut self.connections[index] else { continue };
            if connection.serial != serial {
                continue;
            }
            let Some(request) = connection.delayed.take() else { continue };
            connection.answer(&request, &self.names, &self.answers);
            let behind = std::mem::take(&mut connection.behind);
            let open = connection.flush().unwrap_or(false) && self.take(index, &behind).is_ok();
            if !open {
                self.connections[index] = None;
                self.free.push(index);
            }
        }
    }
}

impl Connection {
    fn answer(&mut self, request: &Request, names: &[String], answers: &[Rc<[u8]>]) {
        self.close = request.close;
        if request.upgrade {
            let text = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            self.out.push_back(Piece::Bytes(text.as_bytes().into(), 0));
            self.echo = true;
            return;
        }
        if let Some(n) = number(&request.target, "n") {
            self.out.push_back(Piece::Bytes(head(&names[self.server], n).into_bytes().into(), 0));
            if !request.head_only {
                self.out.push_back(Piece::Body(n));
            }
            return;
        }
        let answer = &answers[self.server];
        if request.head_only {
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
            self.out.push_back(Piece::Bytes(answer[..end].into(), 0));
            return;
        }
        self.out.push_back(Piece::Bytes(Rc::clone(answer), 0));
    }

    /// False when everything is written and the connection is to be closed.
    fn flush(&mut self) -> io::Result<bool> {
        while let Some(piece) = self.out.front_mut() {
            let bytes = match piece {
                Piece::Bytes(bytes, at) => &bytes[*at..],
                Piece::Body(left) => &ZEROS[..usize::try_from(*left).unwrap_or(usize::MAX).min(ZEROS.len())],
            };
            if !bytes.is_empty() {
                match self.stream.write(bytes) {
                    Ok(n) => piece.advance(n),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
            }
            if piece.done() {
                self.out.pop_front();
            }
        }
        Ok(!self.close || self.delayed.is_some())
    }
}

impl Piece {
    fn advance(&mut self, n: usize) {
        match self {
            Piece::Bytes(_, at) => *at += n,
            Piece::Body(left) => *left -= n as u64,
        }
    }

    fn done(&self) -> bool {
        match self {
            Piece::Bytes(bytes, at) => *at == bytes.len(),
            Piece::Body(left) => *left == 0,
        }
    }
}
