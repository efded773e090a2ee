//! The master with a real worker: sockets, replay, restarts, upgrades.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{ENGINE, Folder, Framed, await_true, is_alive};

/// A master, one HTTP listener in front of one backend, and their controller.
struct World {
    folder: Folder,
    master: Child,
    controller: Framed,
    front: SocketAddr,
    welcome: Value,
}

impl World {
    fn start(name: &str) -> Self {
        let folder = Folder::new(name);
        let master = start_master(&folder);
        await_true("the master listens", || std::path::Path::new(&folder.path("stats.sock")).exists());
        let mut controller = Framed::connect(&folder.0.join("engine.sock"));
        let welcome = greet(&mut controller);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = listener.local_addr().unwrap();
        let backend = serve_backend();
        controller.send_with(&json!({"type": "sockets", "sockets": [{"id": "front"}]}), &[listener.as_fd()]);
        let structure = json!({"type": "structure", "epoch": 7, "seq": 1, "full": true,
            "listeners": [{"id": "edge", "protocol": "http", "sockets": ["front"]}],
            "routes": [{"id": "all", "listeners": ["edge"], "backends": [{"backend": "app"}]}],
            "backends": [{"id": "app"}]});
        controller.send(&structure);
        let endpoints = json!([{"address": backend.ip().to_string(), "port": backend.port()}]);
        controller.send(&json!({"type": "endpoints", "epoch": 7, "seq": 2,
            "backends": [{"backend": "app", "endpoints": endpoints}]}));
        let ack = controller.await_message(|message| message["type"] == "ack" && message["seq"] == 2);
        assert_eq!(ack["nacks"], json!([]));
        Self { folder, master, controller, front, welcome }
    }

    /// Kills the master and starts the next one, as fairlead does.
    fn replace_master(&mut self) -> Value {
        self.master.kill().unwrap();
        self.master.wait().unwrap();
        self.master = start_master(&self.folder);
        // The socket of the old one is there still, until the new one has bound its own.
        await_true("the next master listens", || {
            std::os::unix::net::UnixStream::connect(self.folder.0.join("engine.sock")).is_ok()
        });
        self.reconnect()
    }

    fn reconnect(&mut self) -> Value {
        self.controller = Framed::connect(&self.folder.0.join("engine.sock"));
        greet(&mut self.controller)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.master.id() as i32), Signal::SIGTERM);
        let _ = self.master.wait();
    }
}

fn start_master(folder: &Folder) -> Child {
    let socket = folder.path("engine.sock");
    Command::new(ENGINE).args(["master", "--socket", &socket, "--threads", "1"]).stdin(Stdio::null()).spawn().unwrap()
}

fn greet(controller: &mut Framed) -> Value {
    controller.send(&json!({"type": "hello", "version": 1}));
    controller.await_type("welcome")
}

/// Answers `/slow` after a second, `/stream` in 40 pieces over a second, echoes after an upgrade, and answers everything else at
/// once.
fn serve_backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length) = stream.read(&mut piece) {
        if length == 0 {
            return;
        }
        request.extend_from_slice(&piece[..length]);
        if request.windows(4).any(|window| window == b"\r\n\r\n") {
            if request.starts_with(b"GET /slow") {
                std::thread::sleep(Duration::from_secs(1));
            }
            if request.starts_with(b"GET /stream") {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
                for _ in 0..40 {
                    std::thread::sleep(Duration::from_millis(25));
                    stream.write_all(b"1\r\nx\r\n").unwrap();
                }
                stream.write_all(b"0\r\n\r\n").unwrap();
                request.clear();
                continue;
            }
            if request.windows(20).any(|window| window.eq_ignore_ascii_case(b"\r\nupgrade: websocket")) {
                let switched = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
                stream.write_all(switched).unwrap();
                let mut back = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut stream, &mut back);
                return;
            }
            request.clear();
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    }
}

/// One request on a connection of its own; the status line.
fn get(front: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(front)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    text.lines().next().map(str::to_owned).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

const OK: &str = "HTTP/1.1 200 OK";

/// Requests one after another until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    thread: JoinHandle<(Vec<String>, Duration)>,
}

impl Load {
    fn on(front: SocketAddr) -> Self {
        let (stop, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), good.clone());
        let thread = std::thread::spawn(move || {
            let (mut bad, mut longest, mut last) = (Vec::new(), Duration::ZERO, Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                match get(front, "/") {
                    Ok(line) if line == OK => {
                        counted.fetch_add(1, Ordering::Relaxed);
                        longest = longest.max(last.elapsed());
                        last = Instant::now();
                    }
                    Ok(line) => bad.push(line),
                    Err(error) => bad.push(error.to_string()),
                }
            }
            (bad, longest)
        });
        Self { stop, good, thread }
    }

    fn await_more(&self, count: u64) {
        let now = self.good.load(Ordering::Relaxed);
        await_true("more requests were answered", || self.good.load(Ordering::Relaxed) >= now + count);
    }

    /// What failed, and the longest time without a success.
    fn end(self) -> (Vec<String>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn pid_of(value: &Value) -> Pid {
    Pid::from_raw(value.as_i64().unwrap() as i32)
}

#[test]
fn the_control_socket_is_private_and_messages_are_acked_in_order() {
    let mut world = World::start("acks");
    assert_eq!(world.welcome["master_pid"], world.master.id());
    assert_eq!((world.welcome["epoch"].clone(), world.welcome["sockets"].clone()), (json!(0), json!([])));
    let mode = std::fs::metadata(world.folder.path("engine.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(get(world.front, "/").unwrap(), OK);
    world.controller.send(&json!({"type": "ping", "id": "x"}));
    assert_eq!(world.controller.await_type("pong")["id"], "x");
    world.controller.send(&json!({"type": "endpoints", "epoch": 6, "seq": 3, "backends": []}));
    let error = world.controller.await_type("error");
    assert_eq!((error["epoch"].clone(), error["seq"].clone()), (json!(6), json!(3)));
    world.controller.send(&json!({"type": "nonsense"}));
    world.controller.await_type("error");
}

#[test]
fn a_worker_killed_under_load_is_replaced_and_no_connection_is_refused() {
    let mut world = World::start("killed");
    let load = Load::on(world.front);
    load.await_more(20);
    let mut worker = pid_of(&world.welcome["worker_pid"]);
    for restarts in 1..=2 {
        kill(worker, Signal::SIGKILL).unwrap();
        let event = world.controller.await_type("worker");
        assert_eq!((event["restarts"].clone(), event["reason"].clone()), (json!(restarts), json!("signal 9")));
        worker = pid_of(&event["pid"]);
        load.await_more(20);
    }
    let (bad, longest) = load.end();
    // What was in flight at that moment, nothing more.
    assert!(bad.len() <= 2, "{bad:?}");
    assert!(bad.iter().all(|problem| !problem.contains("refused")), "{bad:?}");
    assert!(longest < Duration::from_millis(500), "{longest:?} without an answer");
}

#[test]
fn a_master_killed_under_load_is_followed_by_one_that_adopts_its_worker() {
    let mut world = World::start("adopt");
    let worker = world.welcome["worker_pid"].clone();
    let load = Load::on(world.front);
    load.await_more(20);
    for _ in 0..2 {
        let welcome = world.replace_master();
        assert_eq!(
            (welcome["worker_pid"].clone(), welcome["master_pid"].clone()),
            (worker.clone(), json!(world.master.id()))
        );
        assert_eq!((welcome["epoch"].clone(), welcome["seq"].clone()), (json!(7), json!(2)));
        assert_eq!(welcome["sockets"], json!(["front"]));
        assert_eq!(welcome["hashes"]["backends"], json!({"app": "a579692e62790d27"}));
        load.await_more(20);
    }
    world.controller.send(&json!({"type": "endpoints", "epoch": 8, "seq": 1, "backends": []}));
    world.controller.await_message(|message| message["type"] == "ack" && message["epoch"] == 8);
    assert_eq!(load.end().0, Vec::<String>::new());
    assert!(in_flight(&world.folder) == 0, "the statistics are served still");
    // The new master is a master like any other.
    kill(pid_of(&worker), Signal::SIGKILL).unwrap();
    world.controller.await_type("worker");
    assert_eq!(get(world.front, "/").unwrap(), OK);
}

#[test]
fn an_adopted_worker_can_be_upgraded_away() {
    let mut world = World::start("adopted-upgrade");
    let old = world.replace_master()["worker_pid"].as_i64().unwrap() as i32;
    let load = Load::on(world.front);
    load.await_more(20);
    world.controller.send(&json!({"type": "upgrade", "path": ENGINE}));
    world.controller.await_type("ack");
    await_true("the old worker has ended", || !is_alive(old));
    load.await_more(20);
    assert_eq!(load.end().0, Vec::<String>::new());
    let pid = world.reconnect()["worker_pid"].as_i64().unwrap() as i32;
    assert_ne!(pid, old);
    world.controller.send(&json!({"type": "shutdown"}));
    await_true("the new worker has ended", || !is_alive(pid));
}

#[test]
fn a_returning_controller_is_told_what_is_here() {
    let mut world = World::start("returns");
    let load = Load::on(world.front);
    drop(std::mem::replace(&mut world.controller.stream, std::os::unix::net::UnixStream::pair().unwrap().0));
    load.await_more(20);
    let welcome = world.reconnect();
    assert_eq!((welcome["epoch"].clone(), welcome["seq"].clone()), (json!(7), json!(2)));
    assert_eq!(welcome["sockets"], json!(["front"]));
    // The hash of {"id":"app"}, as Python has it.
    assert_eq!(welcome["hashes"]["backends"], json!({"app": "a579692e62790d27"}));
    assert_eq!(welcome["hashes"]["endpoints"].as_object().unwrap().len(), 1);
    assert_eq!(load.end().0, Vec::<String>::new());
}

#[test]
fn a_newer_controller_replaces_the_older() {
    let mut world = World::start("newer");
    let mut older = std::mem::replace(&mut world.controller, Framed::connect(&world.folder.0.join("engine.sock")));
    greet(&mut world.controller);
    // The connection ends (after what was said before).
    older.stream.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn the_worker_has_a_user_of_its_own_and_no_capability() {
    if !support::has_users() {
        return;
    }
    let world = World::start("user");
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.welcome["worker_pid"])).unwrap();
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert_eq!(line("Uid:"), "Uid:\t64735\t64735\t64735\t64735");
    assert_eq!(line("Groups:").trim(), "Groups:");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(line(set).ends_with("0000000000000000"), "{}", line(set));
    }
    assert_eq!(line("NoNewPrivs"), "NoNewPrivs:\t1");
}

#[test]
fn an_upgrade_loses_no_connection_and_keeps_the_pid() {
    let mut world = World::start("upgrade");
    let front = world.front;
    let slow = std::thread::spawn(move || get(front, "/slow"));
    let load = Load::on(world.front);
    load.await_more(20);
    let old_worker = world.welcome["worker_pid"].as_i64().unwrap() as i32;
    world.controller.send(&json!({"type": "upgrade", "path": ENGINE}));
    // The same connection goes on: the replay's ack comes over it.
    world.controller.await_type("ack");
    load.await_more(20);
    world.controller.send(&json!({"type": "endpoints", "epoch": 7, "seq": 3, "backends": []}));
    world.controller.await_message(|message| message["type"] == "ack" && message["seq"] == 3);
    assert_eq!(slow.join().unwrap().unwrap(), OK);
    await_true("the old worker has ended", || !is_alive(old_worker));
    assert_eq!(load.end().0, Vec::<String>::new());
    let welcome = world.reconnect();
    assert_eq!(welcome["master_pid"], world.master.id());
    assert_ne!(welcome["worker_pid"], old_worker);
    assert_eq!(welcome["sockets"], json!(["front"]));
}

/// An upgraded connection to a backend that echoes.
struct Tunnel(TcpStream);

impl Tunnel {
    fn open(front: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(front).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        Self(stream)
    }

    fn echoes(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
        let mut back = vec![0; text.len()];
        self.0.read_exact(&mut back).unwrap();
        assert_eq!(back, text.as_bytes());
    }
}

#[test]
fn an_upgrade_leaves_upgraded_connections_and_streaming_answers_open() {
    let mut world = World::start("tunnels");
    let old_worker = world.welcome["worker_pid"].as_i64().unwrap() as i32;
    let mut tunnels: Vec<_> = (0..5).map(|_| Tunnel::open(world.front)).collect();
    tunnels.iter_mut().for_each(|tunnel| tunnel.echoes("before"));
    let mut streaming = TcpStream::connect(world.front).unwrap();
    streaming.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    streaming.write_all(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    await_true("the answer streams", || in_flight(&world.folder) > 5);
    let load = Load::on(world.front);
    world.controller.send(&json!({"type": "upgrade", "path": ENGINE}));
    world.controller.await_type("ack");
    load.await_more(20);
    tunnels.iter_mut().for_each(|tunnel| tunnel.echoes("after"));
    let mut answer = String::new();
    let mut piece = [0; 4096];
    while !answer.ends_with("0\r\n\r\n") {
        let length = streaming.read(&mut piece).unwrap();
        assert!(length > 0, "it broke off: {answer:?}");
        answer.push_str(std::str::from_utf8(&piece[..length]).unwrap());
    }
    assert_eq!(answer.matches("1\r\nx\r\n").count(), 40, "{answer:?}");
    let mut newer = Tunnel::open(world.front);
    assert!(is_alive(old_worker), "it serves what it has");
    tunnels.iter_mut().for_each(|tunnel| tunnel.echoes("still"));
    drop(tunnels);
    drop(streaming);
    await_true("the old worker has ended", || !is_alive(old_worker));
    newer.echoes("on the new one");
    assert_eq!(load.end().0, Vec::<String>::new());
}

#[test]
fn listeners_come_and_go_under_load_and_no_request_fails() {
    let mut world = World::start("listeners");
    let load = Load::on(world.front);
    let mut kept = Tunnel::open(world.front);
    for round in 0..25u64 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (door, id) = (listener.local_addr().unwrap(), format!("door-{round}"));
        world.controller.send_with(&json!({"type": "sockets", "sockets": [{"id": id}]}), &[listener.as_fd()]);
        drop(listener); // or it would go on listening here
        let mut change = |seq: u64, message: Value| {
            let mut message = message;
            message["type"] = json!("structure");
            message["epoch"] = json!(7);
            message["seq"] = json!(seq);
            world.controller.send(&message);
            let ack = world.controller.await_message(|m| m["type"] == "ack" && m["seq"] == seq);
            assert_eq!(ack["nacks"], json!([]));
        };
        change(
            3 + 2 * round,
            json!({
            "listeners": [{"id": id, "protocol": "http", "sockets": [id]}],
            "routes": [{"id": id, "listeners": [id], "backends": [{"backend": "app"}]}]}),
        );
        assert_eq!(get(door, "/").unwrap(), OK);
        let slow = (round == 0).then(|| {
            let slow = std::thread::spawn(move || get(door, "/slow"));
            await_true("the slow request is in flight", || in_flight(&world.folder) > 1);
            slow
        });
        change(4 + 2 * round, json!({"removed": {"listeners": [id], "routes": [id]}}));
        await_true("nobody listens there", || TcpStream::connect(door).is_err());
        if let Some(slow) = slow {
            assert_eq!(slow.join().unwrap().unwrap(), OK, "what was in flight there ends well");
        }
    }
    load.await_more(20);
    kept.echoes("still here");
    assert_eq!(load.end().0, Vec::<String>::new());
}

#[test]
fn an_upgrade_to_something_else_is_refused_and_all_goes_on() {
    let mut world = World::start("refused");
    for (path, expected) in [("/no/such/file", "cannot run"), ("/bin/true", "is not a fairlead-engine")] {
        world.controller.send(&json!({"type": "upgrade", "path": path}));
        let error = world.controller.await_type("error");
        assert!(error["message"].as_str().unwrap().contains(expected), "{error}");
    }
    assert_eq!(get(world.front, "/").unwrap(), OK);
}

#[test]
fn a_shutdown_finishes_what_is_in_flight_and_leaves_nothing() {
    let mut world = World::start("shutdown");
    let front = world.front;
    let worker = world.welcome["worker_pid"].as_i64().unwrap() as i32;
    let slow = std::thread::spawn(move || get(front, "/slow"));
    await_true("the slow request is in flight", || in_flight(&world.folder) > 0);
    world.controller.send(&json!({"type": "shutdown", "grace_seconds": 5.0}));
    assert_eq!(slow.join().unwrap().unwrap(), OK);
    assert!(world.master.wait().unwrap().success());
    assert!(!is_alive(worker));
    assert!(TcpStream::connect(front).is_err());
    assert!(!std::path::Path::new(&world.folder.path("engine.sock")).exists());
}

/// Requests that the backend has not answered, by the worker's statistics: what a connection to `stats.sock` says.
fn in_flight(folder: &Folder) -> u64 {
    let mut stream = std::os::unix::net::UnixStream::connect(folder.0.join("stats.sock")).unwrap();
    stream.write_all(b"GET /stats HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let count = |text: &str| -> Option<u64> {
        let rest = text.split("\"in_flight\":").nth(1)?;
        rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
    };
    count(&text).unwrap_or(0)
}

#[test]
fn a_second_master_for_the_socket_says_who_has_it() {
    let world = World::start("second");
    let output = Command::new(ENGINE).args(["master", "--socket", &world.folder.path("engine.sock")]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("another master"), "{text}");
    assert_eq!(get(world.front, "/").unwrap(), OK);
}

#[test]
fn a_daemon_returns_once_it_listens_and_lives_on() {
    let folder = Folder::new("daemon");
    let socket = folder.path("engine.sock");
    let status = Command::new(ENGINE)
        .args(["master", "--socket", &socket, "--threads", "1", "--daemon"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let mut controller = Framed::connect(&folder.0.join("engine.sock"));
    let welcome = greet(&mut controller);
    let master = welcome["master_pid"].as_i64().unwrap() as i32;
    controller.send(&json!({"type": "shutdown", "grace_seconds": 0.0}));
    await_true("the daemon has ended", || !is_alive(master));
}
