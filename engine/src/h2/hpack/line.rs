//! A header field as one line of HTTP/1.1, `name: value` CRLF, and what kind of field it is.
//!
//! Tables keep lines, so a field that a table knows is judged once and copied whole from then on. Follows RFC 9113, 8.2:
//! names are lower case tokens, values have no control characters and no white space around them, fields of one
//! connection do not exist.

use super::super::class::{self, Class};

#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    pub text: &'a [u8],
    pub name_bytes: usize,
    pub class: Class,
}

impl<'a> Line<'a> {
    pub fn name(&self) -> &'a [u8] {
        &self.text[..self.name_bytes]
    }

    pub fn value(&self) -> &'a [u8] {
        &self.text[self.name_bytes + 2..self.text.len() - 2]
    }

    /// What the field counts in tables and lists (RFC 7541, 4.1).
    pub fn size(&self) -> usize {
        self.text.len() - 4 + 32
    }
}

/// A line that owns its text.
#[derive(Debug)]
pub struct Kept {
    text: Box<[u8]>,
    name_bytes: u32,
    class: Class,
}

impl Kept {
    pub fn new(line: Line<'_>) -> Self {
        Self { text: line.text.into(), name_bytes: line.name_bytes as u32, class: line.class }
    }

    pub fn of(name: &[u8], value: &[u8]) -> Self {
        let text = [name, b": ", value, b"\r\n"].concat();
        Self { text: text.into(), name_bytes: name.len() as u32, class: class::of(name, value) }
    }

    pub fn line(&self) -> Line<'_> {
        Line { text: &self.text, name_bytes: self.name_bytes as usize, class: self.class }
    }
}
