//! One try of a probe: connect, and what its kind asks for. Messages are worded as the kubelet's, which users know.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::net::TcpStream;

use super::{get, grpc};
use crate::control::objects::{CheckKind, Probe};

/// Tries once within the probe's timeout. The text is what to tell the user.
pub async fn once(probe: &Probe) -> Result<String, String> {
    let limit = Duration::from_secs_f64(probe.timeout_seconds);
    let tried = tokio::time::timeout(limit, async {
        match probe.kind {
            CheckKind::Tcp => tcp(probe).await,
            CheckKind::Http => get::get(probe).await,
            CheckKind::Grpc => grpc::check(probe).await,
        }
    });
    tried.await.unwrap_or_else(|_| Err(timed_out(probe)))
}

fn timed_out(probe: &Probe) -> String {
    let Probe { address, port, timeout_seconds, .. } = probe;
    match probe.kind {
        CheckKind::Tcp => format!("dial tcp {}: i/o timeout", place(address, *port)),
        CheckKind::Http => {
            format!("Get \"{}\": context deadline exceeded (no answer in {timeout_seconds} s)", get::url(probe))
        }
        CheckKind::Grpc => {
            format!("timeout: failed to connect service {:?} within {timeout_seconds} s", place(address, *port))
        }
    }
}

async fn tcp(probe: &Probe) -> Result<String, String> {
    connect(&probe.address, probe.port).await.map(|_| String::new())
}

/// The connection is reset when it is dropped, so that probes leave no TIME-WAIT behind.
pub async fn connect(address: &str, port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((address, port)).await.map_err(|error| dial_error(address, port, &error))?;
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    Ok(stream)
}

fn dial_error(address: &str, port: u16, error: &io::Error) -> String {
    let what = match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {}: {what}", place(address, port))
}

/// `address:port`, with brackets around IPv6.
pub fn place(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}
