//! Streams into a pod: exec_stream, attach and dial.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Framed, Shim, await_true, is_alive};

/// A connection that has become a process's streams.
struct Session {
    connection: Framed,
    pid: i32,
    output: Vec<u8>,
    errors: Vec<u8>,
}

impl Session {
    fn begin(shim: &Shim, request: Value) -> Self {
        let mut connection = Framed::connect(&shim.folder.0.join("shim.sock"));
        connection.send(&request);
        let started = connection.receive();
        assert_eq!(started["type"], "started", "{started}");
        Self { connection, pid: started["pid"].as_i64().unwrap() as i32, output: Vec::new(), errors: Vec::new() }
    }

    fn exec(shim: &Shim, argv: &[&str], more: Value) -> Self {
        let mut request = json!({"type": "exec_stream", "id": 1, "container": "web", "argv": argv});
        for (key, value) in more.as_object().unwrap() {
            request[key] = value.clone();
        }
        Self::begin(shim, request)
    }

    fn send(&mut self, channel: u8, bytes: &[u8]) {
        let stream = &mut self.connection.stream;
        stream.write_all(&(bytes.len() as u32 + 1).to_be_bytes()).unwrap();
        stream.write_all(&[channel]).unwrap();
        stream.write_all(bytes).unwrap();
    }

    /// Reads one frame; how it ended when it has.
    fn read(&mut self) -> Option<Value> {
        let mut head = [0; 4];
        self.connection.stream.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes(head) as usize];
        self.connection.stream.read_exact(&mut body).unwrap();
        match body[0] {
            1 => self.output.extend_from_slice(&body[1..]),
            2 => self.errors.extend_from_slice(&body[1..]),
            3 => return Some(serde_json::from_slice(&body[1..]).unwrap()),
            other => panic!("channel {other}"),
        }
        None
    }

    fn await_output(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.output).contains(text) {
            assert_eq!(self.read(), None, "{:?}", String::from_utf8_lossy(&self.output));
        }
    }

    fn end(&mut self) -> Value {
        loop {
            if let Some(ended) = self.read() {
                assert_eq!(self.connection.stream.read(&mut [0]).unwrap(), 0, "the connection ends, too");
                return ended;
            }
        }
    }
}

fn pod(name: &str) -> Shim {
    let mut shim = Shim::start(name, &json!({"pod": "default/test"}));
    shim.start_container("web", &["sleep", "1000"]);
    shim
}

#[test]
fn a_commands_streams_are_apart_and_its_end_is_told() {
    let shim = pod("apart");
    let script = "cat; echo problem >&2; exit 5";
    let mut session = Session::exec(&shim, &["sh", "-c", script], json!({"stdin": true}));
    session.send(0, b"hello ");
    session.send(0, b"world");
    session.await_output("hello world");
    session.send(0, b"");
    assert_eq!(session.end(), json!({"exit_code": 5, "signal": null}));
    assert_eq!(session.output, b"hello world");
    assert_eq!(session.errors, b"problem\n");
}

#[test]
fn without_input_a_command_reads_nothing() {
    let shim = pod("nothing");
    let mut session = Session::exec(&shim, &["cat"], json!({}));
    assert_eq!(session.end()["exit_code"], 0);
    let mut session = Session::exec(&shim, &["sh", "-c", "kill -9 $$"], json!({}));
    assert_eq!(session.end(), json!({"exit_code": 137, "signal": 9}));
}

#[test]
fn a_command_that_cannot_start_is_an_error_and_the_connection_goes_on() {
    let shim = pod("cannot");
    let mut connection = Framed::connect(&shim.folder.0.join("shim.sock"));
    connection.send(&json!({"type": "exec_stream", "id": 1, "container": "web", "argv": ["no-such-command"]}));
    let error = connection.receive();
    assert!(error["message"].as_str().unwrap().contains("not found in PATH"), "{error}");
    connection.send(&json!({"type": "state", "id": 2}));
    assert_eq!(connection.receive()["id"], 2);
}

#[test]
fn a_terminal_has_a_size_echoes_and_ends_by_its_own_character() {
    let shim = pod("terminal");
    let more = json!({"tty": true, "stdin": true, "width": 91, "height": 23});
    let mut session = Session::exec(&shim, &["sh", "-c", "tty; stty size; echo $TERM; exec cat"], more);
    session.await_output("23 91\r\nxterm\r\n");
    assert!(session.output.starts_with(b"/dev/pts/"));
    session.send(0, b"typed\n");
    // Once echoed by the terminal, once by cat.
    session.await_output("typed\r\ntyped\r\n");
    session.send(0, b"");
    assert_eq!(session.end(), json!({"exit_code": 0, "signal": null}));
    assert_eq!(session.errors, b"");
}

#[test]
fn a_command_that_closes_its_terminal_before_it_ends_is_not_hung_up() {
    let shim = pod("letgo");
    // For as long as it takes to see the terminal's end, it is still there.
    let script = "exec 0<&- 1>&- 2>&-; sleep 0.2; exit 7";
    let mut session = Session::exec(&shim, &["sh", "-c", script], json!({"tty": true, "stdin": true}));
    assert_eq!(session.end(), json!({"exit_code": 7, "signal": null}));
}

#[test]
fn a_terminal_can_be_resized_and_the_process_is_told() {
    let shim = pod("resize");
    let script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.02; done";
    let more = json!({"tty": true, "stdin": true, "width": 80, "height": 24});
    let mut session = Session::exec(&shim, &["sh", "-c", script], more);
    session.await_output("ready");
    session.send(4, br#"{"width": 132, "height": 50}"#);
    session.await_output("50 132");
    assert_eq!(session.end()["exit_code"], 0);
}

#[test]
fn a_command_ends_with_its_clients_connection() {
    let shim = pod("ends");
    let session = Session::exec(&shim, &["sh", "-c", "sleep 1000 & wait"], json!({}));
    let pid = session.pid;
    assert!(is_alive(pid));
    drop(session);
    await_true("the command is gone", || !is_alive(pid));
}

#[test]
fn a_client_that_does_not_read_slows_the_command_and_costs_no_memory() {
    let shim = pod("slow");
    let mut session = Session::exec(&shim, &["sh", "-c", "head -c 30000000 /dev/zero"], json!({}));
    let state = || std::fs::read_to_string(format!("/proc/{}/status", shim.pid())).unwrap();
    // It fills the buffers and then waits for us; there is nothing that could tell us when.
    std::thread::sleep(Duration::from_millis(300));
    assert!(is_alive(session.pid));
    let peak = state().lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
    let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(peak < 16 << 10, "peak {peak} KiB");
    assert_eq!(session.end()["exit_code"], 0);
    assert_eq!(session.output.len(), 30_000_000);
}

#[test]
fn a_lot_of_input_arrives_whole_at_a_slow_reader() {
    let shim = pod("input");
    let mut session = Session::exec(&shim, &["sh", "-c", "sleep 0.2; wc -c"], json!({"stdin": true}));
    let piece = vec![b'x'; 100_000];
    for _ in 0..50 {
        session.send(0, &piece);
    }
    session.send(0, b"");
    assert_eq!(session.end()["exit_code"], 0);
    assert_eq!(String::from_utf8_lossy(&session.output).trim(), "5000000");
}

#[test]
fn attach_shows_what_a_container_prints_and_writes_to_it_while_the_log_goes_on() {
    let mut shim = Shim::start("attach", &json!({"pod": "default/test"}));
    let script = "while read line; do echo got $line; done; echo over; exit 3";
    shim.start_with("web", &["sh", "-c", script], json!({"stdin": true, "stdin_once": true}));
    let attach = json!({"type": "attach", "id": 1, "container": "web"});
    let mut watcher = Session::begin(&shim, attach.clone());
    let mut writer = Session::begin(&shim, attach);
    writer.send(0, b"one\n");
    writer.await_output("got one\n");
    watcher.await_output("got one\n");
    writer.send(0, b"");
    for session in [&mut writer, &mut watcher] {
        assert_eq!(session.end()["exit_code"], 3);
    }
    assert_eq!(watcher.output, b"got one\nover\n");
    shim.await_exit("web");
    let log = shim.folder.read("web.log");
    assert!(log.contains("stdout F got one\n") && log.contains("stdout F over\n"), "{log}");
}

#[test]
fn leaving_an_attached_container_does_not_end_it() {
    let shim = pod("leave");
    let session = Session::begin(&shim, json!({"type": "attach", "id": 1, "container": "web"}));
    let pid = session.pid;
    drop(session);
    let mut other = Framed::connect(&shim.folder.0.join("shim.sock"));
    other.send(&json!({"type": "state", "id": 2}));
    other.receive();
    assert!(is_alive(pid));
}

#[test]
fn a_container_with_a_terminal_logs_what_it_prints() {
    let mut shim = Shim::start("ttylog", &json!({"pod": "default/test"}));
    shim.start_with("web", &["sh", "-c", "test -t 1 && echo terminal"], json!({"tty": true, "stdin": true}));
    shim.await_exit("web");
    let log = shim.folder.read("web.log");
    assert!(log.contains("stdout F terminal\r\n"), "{log}");
}

const ECHO_SERVER: &str = "import socket
s = socket.create_server(('127.0.0.1', 8080)); print('listening', flush=True)
while True:
    c, _ = s.accept()
    c.sendall(c.recv(100).upper())
    c.close()";

#[test]
fn dial_hands_over_a_connection_made_inside_the_pods_network() {
    if !support::is_root() {
        return;
    }
    let config = json!({"pod": "default/test", "namespaces": ["net", "mnt", "pid"], "loopback_up": true});
    let mut shim = Shim::start("dial", &config);
    shim.start_container("web", &["python3", "-c", ECHO_SERVER]);
    await_true("the server listens", || shim.folder.read("web.log").contains("listening"));
    let fds = dial(&mut shim, 8080).unwrap();
    let mut stream = TcpStream::from(fds);
    stream.set_nonblocking(false).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "HELLO");
    let problem = dial(&mut shim, 81).unwrap_err();
    assert!(problem.contains("127.0.0.1:81") && problem.contains("refused"), "{problem}");
}

fn dial(shim: &mut Shim, port: u16) -> Result<std::os::fd::OwnedFd, String> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let connection = Framed::connect(&shim.folder.0.join("shim.sock"));
    let mut connection = connection;
    connection.send(&json!({"type": "dial", "id": 1, "port": port}));
    let mut bytes = [0; 4096];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut pieces = [std::io::IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(&connection.stream, &mut pieces, &mut control, RecvFlags::empty()).unwrap();
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let answer: Value = serde_json::from_slice(&bytes[4..received.bytes]).unwrap();
    match answer["type"].as_str() {
        Some("ok") => Ok(fd.unwrap()),
        _ => Err(answer["message"].to_string()),
    }
}
