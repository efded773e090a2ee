//! Brings up `lo` of the network namespace that this process is in, over rtnetlink (RFC 3549; linux/rtnetlink.h).
//!
//! A new network namespace has a loopback interface that is down. The message is small enough to be written by hand;
//! an ioctl would need unsafe code.

use std::io::{self, Read, Write};

use socket2::{Domain, Protocol, Socket, Type};

const AF_NETLINK: i32 = 16;
const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_ACK: u16 = 0x1 | 0x4;
const IFF_UP: u32 = 1;
const LOOPBACK_INDEX: i32 = 1;

pub fn up() -> io::Result<()> {
    let mut socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(0)))?;
    socket.set_read_timeout(Some(std::time::Duration::from_secs(2)))?;
    socket.write_all(&request())?;
    let mut answer = [0u8; 256];
    let length = socket.read(&mut answer)?;
    // nlmsghdr is 16 bytes with the type at 4; nlmsgerr starts with a negative errno.
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    match (length, kind, code) {
        (20.., NLMSG_ERROR, 0) => Ok(()),
        (20.., NLMSG_ERROR, code) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::other("an unexpected answer of rtnetlink")),
    }
}

/// nlmsghdr and ifinfomsg: "interface 1 is up".
fn request() -> Vec<u8> {
    let mut message = Vec::with_capacity(32);
    message.extend(32u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend(1u32.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend([0, 0, 0, 0]);
    message.extend(LOOPBACK_INDEX.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message
}
