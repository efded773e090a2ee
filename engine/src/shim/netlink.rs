//! Route netlink (RFC 3549; linux/netlink.h): sends messages that somebody else wrote, and hears what the kernel says.
//!
//! Promises: a socket speaks to the network namespace in which it was opened, wherever its process goes; the first error
//! of a batch is its result, after all of it was tried. Refuses: what is not whole messages, the last of which asks for
//! an acknowledgement (the kernel tells errors of the others unasked, and before it).

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
/// Of a link as the kernel tells it; what is longer is cut off, but errors are short.
const MOST_ANSWER_BYTES: usize = 2048;
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
        let Some(last) = walk(messages).last().filter(|last| last.flags & NLM_F_ACK != 0) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        self.0.write_all(messages)?;
        let mut first = None;
        let mut answer = [0u8; MOST_ANSWER_BYTES];
        loop {
            let length = self.0.read(&mut answer)?;
            for one in walk(&answer[..length]).filter(|one| one.kind == NLMSG_ERROR) {
                // nlmsgerr starts with a negative errno, 0 for "done".
                let code = one.body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                if code != 0 {
                    first.get_or_insert(io::Error::from_raw_os_error(-code));
                }
                if one.sequence == last.sequence {
                    return first.map_or(Ok(()), Err);
                }
            }
        }
    }
}

#[derive(Debug, PartialEq)]
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

fn walk(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let head = bytes.first_chunk::<HEAD_BYTES>()?;
        let short = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        let whole = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = whole(0) as usize;
        let body = bytes.get(HEAD_BYTES..length)?;
        let found = Message { kind: short(4), flags: short(6), sequence: whole(8), body };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let length = (HEAD_BYTES + body.len()) as u32;
        let numbers = [&kind.to_ne_bytes()[..], &flags.to_ne_bytes(), &sequence.to_ne_bytes(), &[0; 4]].concat();
        let mut made = [&length.to_ne_bytes()[..], &numbers, body].concat();
        made.resize(made.len().next_multiple_of(4), 0);
        made
    }

    #[test]
    fn messages_are_told_apart_and_what_is_cut_off_is_none() {
        let mut two = [message(16, 5, 1, b"abc"), message(20, 4, 2, b"")].concat();
        two.extend([9, 9]);
        let found: Vec<_> = walk(&two).collect();
        let first = Message { kind: 16, flags: 5, sequence: 1, body: b"abc" };
        assert_eq!(found, [first, Message { kind: 20, flags: 4, sequence: 2, body: b"" }]);
        assert_eq!(walk(&two[..18]).count(), 0);
        assert_eq!(walk(&[0; 16]).count(), 0);
    }

    #[test]
    fn messages_without_an_answer_at_their_end_are_refused_and_errors_are_told() {
        let mut netlink = Netlink::open().unwrap();
        let refused = netlink.transact(&message(16, 1, 1, &[0; 16])).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        // "Delete a link without a name": the kernel refuses it, whoever asks. "Look at the first link": it does not.
        let (refused, fine) = (|flags| message(17, flags, 1, &[0; 16]), {
            let mut body = [0; 16];
            body[4] = 1;
            message(18, 5, 2, &body)
        });
        assert!(netlink.transact(&refused(5)).is_err());
        assert!(netlink.transact(&[refused(1), fine.clone()].concat()).is_err());
        assert!(netlink.transact(&fine).is_ok());
    }
}
