//! Header blocks to lines.

use std::collections::VecDeque;

use super::super::class;
use super::line::{Kept, Line};
use super::{Malformed, TABLE_BYTES, fixed, huffman, integer};

/// One direction's decoder, with its dynamic table.
pub struct Decoder {
    /// The newest first.
    entries: VecDeque<Kept>,
    used: usize,
    /// What the peer has chosen, at most `TABLE_BYTES`, which is what we let it.
    limit: usize,
    scratch: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { entries: VecDeque::new(), used: 0, limit: TABLE_BYTES, scratch: Vec::new() }
    }
}

impl Decoder {
    /// Shows every field of a whole block to `sink`.
    pub fn decode(&mut self, block: &[u8], mut sink: impl FnMut(Line<'_>)) -> Result<(), Malformed> {
        let mut rest = block;
        let mut began = false;
        while let Some(first) = rest.first().copied() {
            match first {
                0x80.. => {
                    let index = integer::decode(&mut rest, 7)?;
                    sink(self.find(index)?);
                }
                0x20..0x40 if began => return Err(Malformed), // only before the first field
                0x20..0x40 => {
                    self.resize(integer::decode(&mut rest, 5)?)?;
                    continue;
                }
                _ => self.literal(&mut rest, first & 0x40 != 0, &mut sink)?,
            }
            began = true;
        }
        Ok(())
    }

    fn find(&self, index: usize) -> Result<Line<'_>, Malformed> {
        match fixed::line(index) {
            Some(line) => Ok(line),
            None => self.entries.get(index.wrapping_sub(62)).map(Kept::line).ok_or(Malformed),
        }
    }

    fn literal(&mut self, rest: &mut &[u8], indexed: bool, sink: &mut impl FnMut(Line<'_>)) -> Result<(), Malformed> {
        let index = integer::decode(rest, if indexed { 6 } else { 4 })?;
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        if index == 0 {
            string(rest, &mut text)?;
        } else {
            text.extend_from_slice(self.find(index)?.name());
        }
        let name_bytes = text.len();
        text.extend_from_slice(b": ");
        string(rest, &mut text)?;
        let class = class::of(&text[..name_bytes], &text[name_bytes + 2..]);
        text.extend_from_slice(b"\r\n");
        let line = Line { text: &text, name_bytes, class };
        sink(line);
        if indexed {
            self.insert(line);
        }
        self.scratch = text;
        Ok(())
    }

    fn insert(&mut self, line: Line<'_>) {
        let size = line.size();
        self.evict(self.limit.saturating_sub(size));
        if size <= self.limit {
            self.used += size;
            self.entries.push_front(Kept::new(line));
        }
    }

    fn evict(&mut self, most: usize) {
        while self.used > most {
            let Some(last) = self.entries.pop_back() else { return };
            self.used -= last.line().size();
        }
    }

    fn resize(&mut self, limit: usize) -> Result<(), Malformed> {
        if limit > TABLE_BYTES {
            return Err(Malformed);
        }
        self.limit = limit;
        self.evict(limit);
        Ok(())
    }
}

fn string(rest: &mut &[u8], output: &mut Vec<u8>) -> Result<(), Malformed> {
    let coded = rest.first().ok_or(Malformed)? & 0x80 != 0;
    let bytes = integer::decode(rest, 7)?;
    let (text, after) = rest.split_at_checked(bytes).ok_or(Malformed)?;
    *rest = after;
    if coded {
        return huffman::decode(text, output);
    }
    output.extend_from_slice(text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
    }

    fn fields(decoder: &mut Decoder, block: &str) -> Result<String, Malformed> {
        let mut text = Vec::new();
        decoder.decode(&hex(block), |line| text.extend_from_slice(line.text))?;
        Ok(String::from_utf8(text).unwrap())
    }

    #[test]
    fn the_rfcs_three_requests_with_huffman_codes() {
        let mut decoder = Decoder::default();
        let start = ":method: GET\r\n:scheme: http\r\n:path: /\r\n:authority: www.example.com\r\n";
        assert_eq!(fields(&mut decoder, "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff").unwrap(), start);
        assert_eq!(decoder.used, 57);
        let second = format!("{start}cache-control: no-cache\r\n");
        assert_eq!(fields(&mut decoder, "8286 84be 5886 a8eb 1064 9cbf").unwrap(), second);
        let third = ":method: GET\r\n:scheme: https\r\n:path: /index.html\r\n:authority: www.example.com\r\ncustom-key: custom-value\r\n";
        let block = "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf";
        assert_eq!(fields(&mut decoder, block).unwrap(), third);
        assert_eq!(decoder.used, 164);
    }

    #[test]
    fn entries_go_when_the_table_shrinks_or_a_larger_one_comes() {
        let mut decoder = Decoder::default();
        fields(&mut decoder, "4001 6101 62").unwrap();
        assert_eq!(fields(&mut decoder, "be").unwrap(), "a: b\r\n");
        assert_eq!(fields(&mut decoder, "20"), Ok(String::new()));
        assert_eq!(fields(&mut decoder, "be"), Err(Malformed));
        fields(&mut decoder, "3f03 4001 6101 62").unwrap();
        assert_eq!(fields(&mut decoder, "4001 6301 64").unwrap(), "c: d\r\n");
        assert_eq!((decoder.entries.len(), decoder.used), (1, 34), "34 bytes is all there is room for");
        assert_eq!(fields(&mut decoder, "4001 6302 6465"), Ok("c: de\r\n".to_owned()));
        assert_eq!((decoder.entries.len(), decoder.used), (0, 0), "too large an entry empties the table");
    }

    #[test]
    fn malformed_blocks() {
        for block in [
            "80",                // index 0
            "be",                // nothing there
            "ff 8080 8080 8001", // an index without end
            "82 20",             // a size behind a field
            "3fe2 1f",           // a size of 4097
            "40 05 61",          // a name that is cut off
            "00 01 61",          // no value
            "40 81 ff 00",       // padding of eight ones
        ] {
            assert_eq!(fields(&mut Decoder::default(), block), Err(Malformed), "{block}");
        }
    }
}
