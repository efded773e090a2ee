//! The control protocol of docs/protocol.md: messages, objects, framing with file descriptors.

pub mod channel;
pub mod frame;
pub mod objects;
pub mod wire;
