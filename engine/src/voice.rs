//! What our processes say on standard error.
//!
//! Promises: a full disk behind standard error, or a reader that has gone, ends nobody. `eprintln!` panics there, and a
//! master or a shim that died of a log line would take traffic or a pod with it; so clippy refuses it in this crate.

/// `eprintln!` that never panics: what cannot be written is lost.
macro_rules! complain {
    ($($words:tt)*) => {{
        let line = format!("{}\n", format_args!($($words)*));
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }};
}
