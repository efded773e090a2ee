//! What our processes say on standard error.
//!
//! Promises: a full disk behind standard error, or a reader that has gone, ends nobody. `eprintln!` panics there, and a
//! master or a shim that died of a log line would take traffic or a pod with it; so clippy refuses it in this crate.
//! `to_file` leads all of it, panics included, to a file that is made with the first line: most pods' shims never say one.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::OnceLock;

static FILE: OnceLock<PathBuf> = OnceLock::new();

/// `eprintln!` that never panics: what cannot be written is lost.
macro_rules! complain {
    ($($words:tt)*) => {{
        $crate::voice::say(&format!("{}\n", format_args!($($words)*)));
    }};
}

pub fn say(line: &str) {
    let _ = match FILE.get() {
        Some(path) => OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| put(&mut file, line)),
        None => put(&mut io::stderr(), line),
    };
}

fn put(to: &mut dyn Write, line: &str) -> io::Result<()> {
    to.write_all(line.as_bytes())
}

pub fn to_file(path: PathBuf) {
    if FILE.set(path).is_ok() {
        std::panic::set_hook(Box::new(|what| complain!("{what}")));
    }
}
