//! HTTP/2 (RFC 9113) on both sides, each request on its own.
//!
//! A stream of a client's connection is shown to `http::serve` as a client that speaks HTTP/1.1 (`server`), and a stream to
//! a backend as a backend that does (`client`). So one state machine judges, balances, tries again and limits every request,
//! whatever it came by; the cost is a head that is written and parsed once more.

pub mod client;
pub mod encode;
pub mod server;

use std::time::Duration;

/// Limits at the edge: streams at a time, and the flow-control windows.
pub const MAX_STREAMS: u32 = 100;
pub const WINDOW_BYTES: u32 = 65_535;
pub const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Streams that were reset before we looked at them; more of them end the connection (rapid reset, CVE-2023-44487).
pub const MAX_PENDING_RESETS: usize = 20;
pub const MAX_LOCAL_RESETS: usize = 1024;
pub const RESET_MEMORY: Duration = Duration::from_secs(30);
