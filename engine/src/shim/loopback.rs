//! Brings up `lo` of the network namespace that this process is in, over rtnetlink (RFC 3549; linux/rtnetlink.h).
//!
//! A new network namespace has a loopback interface that is down. The message is small enough to be written by hand;
//! an ioctl would need unsafe code.

use std::io;

use super::netlink::Netlink;

const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST_ACK: u16 = 0x1 | 0x4;
const IFF_UP: u32 = 1;
const LOOPBACK_INDEX: i32 = 1;

pub fn up() -> io::Result<()> {
    Netlink::open()?.transact(&request())
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
