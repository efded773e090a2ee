//! An engine in this process, backends that say who they are, and raw clients.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::control::channel::Channel;
use crate::control::frame::{self, FrameReader};
use crate::worker::{control, thread};

pub const PATIENCE: Duration = Duration::from_secs(10);

/// The engine, told over a socketpair as a master would.
pub struct Engine {
    socket: UnixStream,
    reader: FrameReader,
    seq: u64,
    running: Option<JoinHandle<()>>,
    pub events: Vec<Value>,
}

impl Engine {
    pub fn start(threads: usize) -> Self {
        Self::start_with(threads, None)
    }

    /// With a socket for statistics at that path.
    pub fn start_with(threads: usize, statistics: Option<std::path::PathBuf>) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let running = std::thread::spawn(move || {
            let threads = thread::start(threads).unwrap();
            let options = tokio::runtime::LocalOptions::default();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(options).unwrap();
            runtime.block_on(async {
                let control = control::Control::new(threads);
                if let Some(path) = statistics {
                    control.serve_statistics(tokio::net::UnixListener::bind(path).unwrap());
                }
                if let Ok(false) = control.serve(Channel::from_fd(theirs.into()).unwrap()).await {
                    control.shut_down(0.0).await;
                }
            });
        });
        Self { socket: ours, reader: FrameReader::default(), seq: 0, running: Some(running), events: Vec::new() }
    }

    pub fn send(&self, message: &Value) {
        let bytes = frame::encode(message.to_string().as_bytes());
        (&self.socket).write_all(&bytes).unwrap();
    }

    pub fn receive(&mut self) -> Value {
        loop {
            if let Some(body) = self.reader.next_frame().unwrap() {
                return serde_json::from_slice(&body).unwrap();
            }
            assert!(self.reader.read_from(&self.socket).expect("an answer in time") > 0, "the engine hung up");
        }
    }

    /// Sends a message that changes the table and returns the nacks of its ack.
    pub fn change(&mut self, mut message: Value) -> Vec<Value> {
        self.seq += 1;
        message["epoch"] = json!(1);
        message["seq"] = json!(self.seq);
        self.send(&message);
        let ack = self.wait_for("ack");
        assert_eq!(ack["seq"], json!(self.seq), "{ack}");
        ack["nacks"].as_array().unwrap().clone()
    }

    /// The next event of that type; others are kept.
    pub fn wait_for(&mut self, kind: &str) -> Value {
        if let Some(at) = self.events.iter().position(|e| e["type"] == kind) {
            return self.events.remove(at);
        }
        loop {
            let event = self.receive();
            if event["type"] == kind {
                return event;
            }
            self.events.push(event);
        }
    }

    /// Hands over a listening socket; returns its port.
    pub fn socket(&mut self, id: &str) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        self.hand_over(id, "tcp", listener.as_fd());
        port
    }

    /// Hands over a socket for datagrams; returns its port.
    pub fn datagram_socket(&mut self, id: &str) -> u16 {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        self.hand_over(id, "udp", socket.as_fd());
        socket.local_addr().unwrap().port()
    }

    pub fn hand_over(&self, id: &str, transport: &str, fd: BorrowedFd<'_>) {
        let message = json!({"type": "sockets", "sockets": [{"id": id, "family": "ipv4", "transport": transport}]});
        let bytes = frame::encode(message.to_string().as_bytes());
        assert_eq!(frame::send(&self.socket, &bytes, &[fd]).unwrap(), bytes.len());
    }

    pub fn apply(&mut self, message: Value) {
        let nacks = self.change(message);
        assert!(nacks.is_empty(), "{nacks:?}");
    }

    pub fn endpoints(&mut self, backend: &str, ports: &[u16]) {
        let list: Vec<_> = ports.iter().map(|p| json!({"address": "127.0.0.1", "port": p})).collect();
        self.apply(json!({"type": "endpoints", "backends": [{"backend": backend, "endpoints": list}]}));
    }

    /// One http Listener, one Route for everything, one Backend `b` (with more fields) of these ports.
    pub fn simple(&mut self, ports: &[u16], backend: Value) -> u16 {
        let port = self.socket("s");
        let mut b = json!({"id": "b"});
        b.as_object_mut().unwrap().extend(backend.as_object().unwrap().clone());
        self.apply(json!({
            "type": "structure", "full": true,
            "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"]}],
            "routes": [{"id": "r", "backends": [{"backend": "b"}]}],
            "backends": [b],
        }));
        self.endpoints("b", ports);
        port
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}

/// What a backend does with a request: reads it (head and what came with it), answers on the stream. False: close.
pub type Behaviour = dyn Fn(&Seen, &mut TcpStream) -> bool + Send + Sync;

#[derive(Debug, Clone)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
    /// How many connections this backend had accepted when this one came.
    pub connection: usize,
}

impl Seen {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or("")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// An HTTP/1.1 server of one thread per connection.
pub struct Backend {
    pub port: u16,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    pub arrived: Receiver<Seen>,
}

impl Backend {
    pub fn start(behaviour: impl Fn(&Seen, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (sender, arrived) = channel();
        let (record, behaviour): (_, Arc<Behaviour>) = (seen.clone(), Arc::new(behaviour));
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let Ok(mut stream) = stream else { return };
                let (record, sender, behaviour) = (record.clone(), sender.clone(), behaviour.clone());
                std::thread::spawn(move || {
                    while let Some((head, body)) = read_message(&mut stream) {
                        let seen = Seen { head, body, connection };
                        record.lock().unwrap().push(seen.clone());
                        let _ = sender.send(seen.clone());
                        if !behaviour(&seen, &mut stream) {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, seen, arrived }
    }

    /// Answers each request with its own name.
    pub fn named(name: &'static str) -> Self {
        Self::start(move |_, stream| {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
            stream.write_all(text.as_bytes()).is_ok()
        })
    }

    /// Answers each request with these bytes.
    pub fn scripted(bytes: &'static [u8]) -> Self {
        Self::start(move |_, stream| stream.write_all(bytes).is_ok())
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn next(&self) -> Seen {
        self.arrived.recv_timeout(PATIENCE).expect("a request in time")
    }
}

/// A port on which nobody listens.
pub fn closed_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Reads a head, and a body by Content-Length or chunks (left encoded).
pub fn read_message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        read_some(stream, &mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut body = bytes[head_end..].to_vec();
    if let Some(length) = header(&head, "content-length").and_then(|v| v.parse::<usize>().ok()) {
        while body.len() < length {
            read_some(stream, &mut body)?;
        }
    } else if header(&head, "transfer-encoding").is_some() {
        while !body.ends_with(b"0\r\n\r\n") && !body.ends_with(b"\r\n\r\n") {
            read_some(stream, &mut body)?;
        }
    }
    Some((head, body))
}

fn read_some(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0u8; 65536];
    let n = stream.read(&mut piece).ok()?;
    bytes.extend_from_slice(&piece[..n]);
    (n > 0).then_some(())
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// A raw client connection.
pub struct Client(pub TcpStream);

impl Client {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// The next response that has a length or chunks.
    pub fn receive(&mut self) -> Response {
        let (head, body) = read_message(&mut self.0).expect("a response in time");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head, body }
    }

    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.receive()
    }

    /// GET on the path, Host `a.test`.
    pub fn get(&mut self, path: &str) -> Response {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
    }

    /// Everything until the other side closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes);
        bytes
    }
}

/// How often each text came.
pub fn tally(texts: impl IntoIterator<Item = String>) -> HashMap<String, usize> {
    texts.into_iter().fold(HashMap::new(), |mut counts, text| {
        *counts.entry(text).or_default() += 1;
        counts
    })
}
