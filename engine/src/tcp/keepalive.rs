//! The kernel's own probes of connections on which nothing is said: a peer that vanished without a word is found in some
//! minutes (2 min of silence, then 9 probes in 30 s each).

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// A connection that lives as long as this is worth the calls that it takes to ask for probes.
pub const AFTER_SECONDS: f64 = if cfg!(test) { 0.1 } else { 30.0 };
const SILENCE: Duration = Duration::from_secs(120);
const BETWEEN: Duration = Duration::from_secs(30);
/// What was sent to a peer and not acknowledged for so long will not be.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Of a listening socket it is inherited by what is accepted, which costs nothing.
pub fn ask(socket: SockRef<'_>) {
    let every = TcpKeepalive::new().with_time(SILENCE).with_interval(BETWEEN);
    let _ = socket.set_tcp_keepalive(&every);
}

/// For connections that are used again and again: one to a dead host would be found by retransmission after a quarter of an hour.
pub fn ask_soon(socket: SockRef<'_>) {
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    ask(socket);
}
