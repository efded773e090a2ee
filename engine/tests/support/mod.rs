//! What the integration tests share: a folder that goes away, a framed connection, a shim with a client.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub const ENGINE: &str = env!("CARGO_BIN_EXE_fairlead-engine");
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const NOBODY: u32 = 65534;

/// A folder of this test's own, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fairlead-test-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A connection that speaks frames of JSON.
pub struct Framed {
    pub stream: UnixStream,
    pub unseen: Vec<Value>,
}

impl Framed {
    pub fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, unseen: Vec::new() }
    }

    pub fn send(&mut self, message: &Value) {
        let json = serde_json::to_vec(message).unwrap();
        self.stream.write_all(&(json.len() as u32).to_be_bytes()).unwrap();
        self.stream.write_all(&json).unwrap();
    }

    pub fn receive(&mut self) -> Value {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes(head) as usize];
        self.stream.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// The first message that fits, also of those that came while something else was waited for.
    pub fn await_message(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.unseen.iter().position(&fits) {
            return self.unseen.remove(place);
        }
        loop {
            let message = self.receive();
            if fits(&message) {
                return message;
            }
            self.unseen.push(message);
        }
    }

    pub fn await_type(&mut self, kind: &str) -> Value {
        self.await_message(|message| message["type"] == kind)
    }
}

/// A running shim; stopped at the end.
pub struct Shim {
    pub folder: Folder,
    pub client: Framed,
    pid: i32,
    next_id: u64,
}

impl Shim {
    pub fn start(name: &str, config: &Value) -> Self {
        Self::start_as(name, config, None)
    }

    pub fn start_as(name: &str, config: &Value, user: Option<u32>) -> Self {
        let folder = Folder::new(name);
        std::fs::write(folder.path("shim.json"), config.to_string()).unwrap();
        if let Some(user) = user {
            std::os::unix::fs::chown(&folder.0, Some(user), Some(user)).unwrap();
        }
        let output = launch(&folder, user);
        assert!(output.status.success(), "{output:?}");
        let client = Framed::connect(&folder.0.join("shim.sock"));
        let mut shim = Self { folder, client, pid: 0, next_id: 1 };
        shim.pid = shim.ask(json!({"type": "state"}))["shim_pid"].as_i64().unwrap() as i32;
        shim
    }

    pub fn ask(&mut self, mut request: Value) -> Value {
        let id = self.send(&mut request);
        self.answer(id)
    }

    pub fn send(&mut self, request: &mut Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        request["id"] = json!(id);
        self.client.send(request);
        id
    }

    pub fn answer(&mut self, id: u64) -> Value {
        self.client.await_message(|message| message["id"] == id)
    }

    pub fn start_container(&mut self, container: &str, argv: &[&str]) -> Value {
        self.start_with(container, argv, json!({}))
    }

    pub fn start_with(&mut self, container: &str, argv: &[&str], more: Value) -> Value {
        let mut request = json!({
            "type": "start", "container": container, "argv": argv, "env": {"PATH": "/usr/bin:/bin"}, "cwd": "/",
            "log": self.folder.path(&format!("{container}.log")),
        });
        for (key, value) in more.as_object().unwrap() {
            request[key] = value.clone();
        }
        self.ask(request)
    }

    pub fn exec(&mut self, container: &str, argv: &[&str]) -> Value {
        self.ask(json!({"type": "exec", "container": container, "argv": argv, "timeout_seconds": 10.0}))
    }

    /// Standard output of a command in a container.
    pub fn output(&mut self, container: &str, script: &str) -> String {
        let answer = self.exec(container, &["sh", "-c", script]);
        assert_eq!(answer["type"], "exec", "{answer}");
        text_of(&answer["stdout"]).trim().to_owned()
    }

    pub fn await_exit(&mut self, container: &str) -> Value {
        self.client.await_message(|message| message["type"] == "exited" && message["container"] == container)
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("shim.log: {}", std::fs::read_to_string(self.folder.path("shim.log")).unwrap_or_default());
        }
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), nix::sys::signal::Signal::SIGTERM);
        await_true("the shim ends", || !is_alive(self.pid));
    }
}

pub fn launch(folder: &Folder, user: Option<u32>) -> Output {
    let mut binary = PathBuf::from(ENGINE);
    if user.is_some() {
        // The folder that the project is in may be nobody's to look into.
        binary = folder.0.join("fairlead-engine");
        std::fs::copy(ENGINE, &binary).unwrap();
    }
    let mut command = Command::new(binary);
    command.arg("shim").arg(&folder.0).arg("--daemon");
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.output().unwrap()
}

pub fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

/// Waits until `holds`; there is no event to wait for where this is used (another process's state).
pub fn await_true(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn text_of(base64: &Value) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut word, mut bits) = (0u32, 0);
    for letter in base64.as_str().unwrap().bytes().take_while(|letter| *letter != b'=') {
        word = word << 6 | LETTERS.iter().position(|known| *known == letter).unwrap() as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Root with every user of the machine, not only of a user namespace made without privilege.
pub fn has_users() -> bool {
    is_root() && std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.contains("4294967295"))
}

pub fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

impl Framed {
    /// Sends a message with one descriptor for each of `fds`.
    pub fn send_with(&mut self, message: &Value, fds: &[std::os::fd::BorrowedFd<'_>]) {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
        let json = serde_json::to_vec(message).unwrap();
        let bytes = [&(json.len() as u32).to_be_bytes()[..], &json].concat();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        let pieces = [std::io::IoSlice::new(&bytes)];
        let sent = rustix::net::sendmsg(&self.stream, &pieces, &mut control, SendFlags::empty()).unwrap();
        self.stream.write_all(&bytes[sent..]).unwrap();
    }
}
