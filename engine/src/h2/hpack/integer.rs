//! HPACK's integers (RFC 7541, 5.1), up to 2^28: nothing longer has a use here.

use super::Malformed;

const MAX_SHIFT: u32 = 28;

/// Reads an integer whose first byte has `prefix` bits for it; `input` is moved behind it.
pub fn decode(input: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    let (first, mut rest) = input.split_first().ok_or(Malformed)?;
    let mask = (1usize << prefix) - 1;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (byte, after) = rest.split_first().ok_or(Malformed)?;
            rest = after;
            if shift >= MAX_SHIFT {
                return Err(Malformed);
            }
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *input = rest;
    Ok(value)
}

/// Writes an integer behind the bits of `flags`.
pub fn encode(value: usize, prefix: u32, flags: u8, output: &mut Vec<u8>) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        output.push(flags | value as u8);
        return;
    }
    output.push(flags | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        output.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    output.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_examples_and_every_size_come_back() {
        let mut output = Vec::new();
        encode(10, 5, 0, &mut output);
        encode(1337, 5, 0, &mut output);
        encode(42, 8, 0, &mut output);
        assert_eq!(output, [0x0a, 0x1f, 0x9a, 0x0a, 0x2a]);
        for prefix in 4..=7 {
            for value in [0, 1, 14, 15, 16, 127, 128, 254, 255, 256, 16_383, 16_384, 1 << 20, (1 << 27) - 1] {
                let mut output = Vec::new();
                encode(value, prefix, 0, &mut output);
                let mut input = &output[..];
                assert_eq!(decode(&mut input, prefix), Ok(value));
                assert!(input.is_empty());
            }
        }
    }

    #[test]
    fn what_never_ends_is_refused() {
        assert_eq!(decode(&mut &[0x1f, 0x80][..], 5), Err(Malformed));
        assert_eq!(decode(&mut &[0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01][..], 5), Err(Malformed));
        assert_eq!(decode(&mut &[][..], 5), Err(Malformed));
    }
}
