//! Password hashes as htpasswd writes them: `$apr1$`, `{SHA}`, `{SSHA}` and `{PLAIN}`.
//!
//! Promises: comparisons take the same time whatever differs. Refuses slow hashes (bcrypt, SHA-crypt): one of them would
//! hold up every connection of its thread.

use base64::Engine;
use md5::{Digest, Md5};
use sha1::Sha1;

pub enum Password {
    Apr1 { salt: Vec<u8>, digest: Vec<u8> },
    Sha { digest: Vec<u8>, salt: Vec<u8> },
    Plain(Vec<u8>),
}

impl Password {
    pub fn parse(text: &str) -> Option<Self> {
        let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).ok();
        if let Some(rest) = text.strip_prefix("$apr1$") {
            let (salt, digest) = rest.split_once('$')?;
            let good = !salt.is_empty() && salt.len() <= 8 && digest.len() == 22;
            return good.then(|| Self::Apr1 { salt: salt.into(), digest: digest.into() });
        }
        if let Some(rest) = text.strip_prefix("{SHA}") {
            return decode(rest).filter(|d| d.len() == 20).map(|digest| Self::Sha { digest, salt: Vec::new() });
        }
        if let Some(rest) = text.strip_prefix("{SSHA}") {
            let mut digest = decode(rest).filter(|d| d.len() > 20)?;
            let salt = digest.split_off(20);
            return Some(Self::Sha { digest, salt });
        }
        text.strip_prefix("{PLAIN}").map(|rest| Self::Plain(rest.into()))
    }

    pub fn is(&self, word: &[u8]) -> bool {
        match self {
            Self::Apr1 { salt, digest } => same(&apr1(word, salt), digest),
            Self::Sha { digest, salt } => same(&Sha1::new().chain_update(word).chain_update(salt).finalize(), digest),
            Self::Plain(plain) => same(&Sha1::digest(word), &Sha1::digest(plain)),
        }
    }
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

/// Apache's MD5 crypt: the last 22 characters of `$apr1$SALT$…` (APR, `apr_md5_encode`).
fn apr1(word: &[u8], salt: &[u8]) -> Vec<u8> {
    let inner = Md5::new().chain_update(word).chain_update(salt).chain_update(word).finalize();
    let mut hash = Md5::new().chain_update(word).chain_update(b"$apr1$").chain_update(salt);
    let mut left = word.len();
    while left > 0 {
        hash.update(&inner[..left.min(16)]);
        left = left.saturating_sub(16);
    }
    let mut bits = word.len();
    while bits > 0 {
        hash.update(if bits & 1 == 1 { &[0][..] } else { &word[..1] });
        bits >>= 1;
    }
    let mut digest = hash.finalize();
    for round in 0..1000 {
        let mut hash = Md5::new();
        if round & 1 == 1 {
            hash.update(word)
        } else {
            hash.update(digest)
        }
        if round % 3 != 0 {
            hash.update(salt);
        }
        if round % 7 != 0 {
            hash.update(word);
        }
        if round & 1 == 1 {
            hash.update(digest)
        } else {
            hash.update(word)
        }
        digest = hash.finalize();
    }
    encode(digest.as_slice())
}

fn encode(digest: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = Vec::with_capacity(22);
    let mut push = |mut value: u32, count: usize| {
        for _ in 0..count {
            text.push(LETTERS[(value & 63) as usize]);
            value >>= 6;
        }
    };
    for (a, b, c) in [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)] {
        push(u32::from(digest[a]) << 16 | u32::from(digest[b]) << 8 | u32::from(digest[c]), 4);
    }
    push(u32::from(digest[11]), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_htpasswd_and_openssl() {
        for (hash, word) in [
            ("$apr1$fa5aV4ex$7WuZCeqPMcLFAk7qlsHK6.", "secret"),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "secret"),
            ("{PLAIN}secret", "secret"),
        ] {
            let password = Password::parse(hash).unwrap_or_else(|| panic!("{hash}"));
            assert!(password.is(word.as_bytes()), "{hash}");
            assert!(!password.is(b"other"), "{hash}");
            assert!(!password.is(b""), "{hash}");
        }
    }

    #[test]
    fn slow_and_broken_hashes_are_refused() {
        for bad in ["", "secret", "$2y$05$abc", "$6$salt$x", "$apr1$$x", "{SHA}x", "{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ="]
        {
            assert!(Password::parse(bad).is_none(), "{bad}");
        }
    }
}
