//! Route netlink (RFC 3549; linux/netlink.h): sends messages that somebody else wrote, and hears what the kernel says.
//!
//! Promises: a socket speaks to the network namespace in which it was opened, wherever its process goes; the first error
//! of a batch is its result, after all of it was tried. Refuses: what is not whole messages, each of which asks for an
//! acknowledgement.

use std::io::{self, Read, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use socket2::{Domain, Protocol, Socket, Type};

const AF_NETLINK: i32 = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_ACK: u16 = 4;
const HEAD_BYTES: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);

/// Some messages, in the pod's network namespace or in the one that it is connected to.
#[derive(Deserialize)]
pub struct Batch {
    inside: bool,
    /// In base64.
    messages: String,
}

pub struct Netlink(Socket);

/// Sends the batches one after another. `outside` was opened before the pod's namespace was entered.
pub fn connect(outside: &mut Netlink, batches: &[Batch]) -> io::Result<()> {
    let mut inside = Netlink::open()?;
    for batch in batches {
        let messages = STANDARD.decode(&batch.messages).map_err(io::Error::other)?;
        if batch.inside { &mut inside } else { &mut *outside }.transact(&messages)?;
    }
    Ok(())
}

impl Netlink {
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(0)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    pub fn transact(&mut self, messages: &[u8]) -> io::Result<()> {
        let mut unanswered = 0;
        for (_, flags, _) in walk(messages) {
            if flags & NLM_F_ACK == 0 {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            unanswered += 1;
        }
        self.0.write_all(messages)?;
        let mut first = None;
        let mut answer = [0u8; 16 << 10];
        while unanswered > 0 {
            let length = self.0.read(&mut answer)?;
            for (_, _, body) in walk(&answer[..length]).filter(|(kind, ..)| *kind == NLMSG_ERROR) {
                unanswered -= 1;
                // nlmsgerr starts with a negative errno, 0 for "done".
                let code = body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                if code != 0 {
                    first.get_or_insert(io::Error::from_raw_os_error(-code));
                }
            }
        }
        first.map_or(Ok(()), Err)
    }
}

/// Type, flags and body of each message.
fn walk(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.first_chunk::<HEAD_BYTES>()?;
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let body = bytes.get(HEAD_BYTES..length)?;
        let found = (u16::from_ne_bytes([head[4], head[5]]), u16::from_ne_bytes([head[6], head[7]]), body);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let length = (HEAD_BYTES + body.len()) as u32;
        let mut made = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8], body].concat();
        made.resize(made.len().next_multiple_of(4), 0);
        made
    }

    #[test]
    fn messages_are_told_apart_and_what_is_cut_off_is_none() {
        let mut two = [message(16, 5, b"abc"), message(20, 4, b"")].concat();
        two.extend([9, 9]);
        let found: Vec<_> = walk(&two).collect();
        assert_eq!(found, [(16, 5, &b"abc"[..]), (20, 4, &b""[..])]);
        assert_eq!(walk(&two[..18]).count(), 0);
        assert_eq!(walk(&[0; 16]).count(), 0);
    }

    #[test]
    fn a_message_without_an_answer_is_refused_and_an_error_is_told() {
        let mut netlink = Netlink::open().unwrap();
        let refused = netlink.transact(&message(16, 1, &[0; 16])).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        // "Delete a link without a name": the kernel refuses it, whoever asks.
        assert!(netlink.transact(&message(17, 5, &[0; 16])).is_err());
    }
}
