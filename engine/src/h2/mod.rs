//! HTTP/2 (RFC 9113) on both sides, each request on its own.
//!
//! `connection` is the protocol without a socket, of both sides; `hpack`, `frame`, `settings`, `message`, `body` and `calm`
//! are its parts. A stream of a client's connection is shown to `http::serve` as a client that speaks HTTP/1.1 (`server`),
//! and a stream to a backend as a backend that does (`client`). So one state machine judges, balances, tries again and
//! limits every request, whatever it came by. WebSockets come over streams, too (`websocket`).

mod body;
mod calm;
mod class;
pub mod client;
mod connection;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod hpack;
mod message;
mod pipe;
pub mod server;
mod settings;
mod stream;
pub mod websocket;

/// Limits at the edge: streams at a time, and the flow-control windows.
pub const MAX_STREAMS: u32 = 100;
pub const WINDOW_BYTES: u32 = 65_535;
pub const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
