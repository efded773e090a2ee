//! HPACK (RFC 7541): header blocks to lines of HTTP/1.1, and back.
//!
//! Promises: work and memory are bounded by the block's size and the table's; an error is the connection's end
//! (COMPRESSION_ERROR), because the table is then not the peer's any more.

pub mod decode;
pub mod encode;
mod fixed;
mod huffman;
mod integer;
pub mod line;

pub use decode::Decoder;
pub use encode::Encoder;
pub use line::Line;

/// What both sides begin with, and the most that we use.
pub const TABLE_BYTES: usize = 4096;

#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;
