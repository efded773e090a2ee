//! HPACK's Huffman code (RFC 7541, 5.2 and appendix B).
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols. So the lengths are all that
//! has to be written down; the tables are computed by the compiler. Refuses: the end-of-string symbol, padding that is
//! longer than seven bits or not all ones.

use super::Malformed;

const SYMBOLS: usize = 257;
const LONGEST: usize = 30;
/// Codes up to this length are found with one look.
const SHORT: usize = 8;

/// Bits of each symbol's code; the last is the end of the string.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

struct Tables {
    /// Symbols by the length of their code, then by value.
    ordered: [u16; SYMBOLS],
    /// By length: the first code, how many there are, and where they begin in `ordered`.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    start: [u32; LONGEST + 1],
    /// By the next eight bits: symbol and length, where the code is so short; else length 0.
    short: [(u8, u8); 1 << SHORT],
    codes: [u32; SYMBOLS],
}

static TABLES: Tables = build();

const fn build() -> Tables {
    let mut t = Tables {
        ordered: [0; SYMBOLS],
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        start: [0; LONGEST + 1],
        short: [(0, 0); 1 << SHORT],
        codes: [0; SYMBOLS],
    };
    let (mut code, mut placed, mut length) = (0u32, 0usize, 1usize);
    while length <= LONGEST {
        code <<= 1;
        t.first[length] = code;
        t.start[length] = placed as u32;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                t.ordered[placed] = symbol as u16;
                t.codes[symbol] = code;
                if length <= SHORT {
                    let from = (code as usize) << (SHORT - length);
                    let mut at = from;
                    while at < from + (1 << (SHORT - length)) {
                        t.short[at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                placed += 1;
                code += 1;
                t.count[length] += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    t
}

/// Appends the text that `input` is the code of.
pub fn decode(input: &[u8], output: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut rest = input.iter();
    let (mut bits, mut count) = (0u64, 0u32);
    loop {
        while count <= 56 {
            let Some(byte) = rest.next() else { break };
            bits = bits << 8 | u64::from(*byte);
            count += 8;
        }
        if count < 8 && bits.trailing_ones() >= count {
            return Ok(());
        }
        let window = if count >= 32 { (bits >> (count - 32)) as u32 } else { (bits << (32 - count)) as u32 };
        let (symbol, length) = match TABLES.short[(window >> 24) as usize] {
            (_, 0) => long(window)?,
            (symbol, length) => (symbol, u32::from(length)),
        };
        if length > count {
            return Err(Malformed);
        }
        output.push(symbol);
        count -= length;
        bits &= (1 << count) - 1;
    }
}

#[cold]
fn long(window: u32) -> Result<(u8, u32), Malformed> {
    for length in SHORT + 1..=LONGEST {
        let nth = (window >> (32 - length)).wrapping_sub(TABLES.first[length]);
        if nth < TABLES.count[length] {
            let symbol = TABLES.ordered[(TABLES.start[length] + nth) as usize];
            return Ok((u8::try_from(symbol).map_err(|_| Malformed)?, length as u32));
        }
    }
    Err(Malformed)
}

/// The code of a text; we send literals as they are, so only tests need it.
#[cfg(test)]
pub fn encode(input: &[u8], output: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u64, 0u32);
    for byte in input {
        let length = u32::from(LENGTHS[usize::from(*byte)]);
        bits = bits << length | u64::from(TABLES.codes[usize::from(*byte)]);
        count += length;
        while count >= 8 {
            count -= 8;
            output.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        output.push((bits << (8 - count)) as u8 | (0xff >> count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(input: &[u8]) -> Option<Vec<u8>> {
        let mut output = Vec::new();
        decode(input, &mut output).ok().map(|()| output)
    }

    #[test]
    fn the_rfcs_own_example() {
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoded(&coded).unwrap(), b"www.example.com");
        let mut output = Vec::new();
        encode(b"www.example.com", &mut output);
        assert_eq!(output, coded);
    }

    #[test]
    fn every_byte_comes_back() {
        for first in 0..=255u8 {
            let text: Vec<u8> = (0..=255u8).map(|b| b.wrapping_mul(first | 1).wrapping_add(first)).collect();
            let mut coded = Vec::new();
            encode(&text, &mut coded);
            assert_eq!(decoded(&coded).unwrap(), text);
        }
    }

    #[test]
    fn padding_is_at_most_seven_ones_and_no_end_of_string_comes() {
        assert_eq!(decoded(&[]), Some(vec![]));
        assert_eq!(decoded(&[0b0000_0111]), Some(b"0".to_vec()), "three ones");
        assert_eq!(decoded(&[0b0000_0110]), None, "a zero in the padding");
        assert_eq!(decoded(&[0b0000_0111, 0xff]), None, "eleven ones");
        assert_eq!(decoded(&[0xff]), None);
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None, "the end of the string");
    }
}
