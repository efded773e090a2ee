//! Password hashes as htpasswd and crypt(3) write them: bcrypt (`$2y$`), SHA-crypt (`$5$`, `$6$`), MD5 (`$apr1$`, `$1$`),
//! `{SHA}`, `{SSHA}` and `{PLAIN}`.
//!
//! Promises: comparisons take the same time whatever differs; `is_slow` names those that must not be computed on an event
//! loop. Refuses hashes of which one takes seconds (bcrypt over cost 14, over 1,000,000 rounds of SHA-crypt), and DES.

use base64::Engine;
use md5::{Digest, Md5};
use sha1::Sha1;

/// One more doubles the time: 14 is about a second.
const MAX_COST: u32 = 14;
const MAX_ROUNDS: usize = 1_000_000;
/// What SHA-crypt makes of numbers outside of its range.
const MIN_ROUNDS: usize = 1000;
const DEFAULT_ROUNDS: usize = 5000;

#[derive(Clone)]
pub enum Password {
    Md5 { magic: &'static str, salt: Vec<u8>, digest: Vec<u8> },
    Sha { digest: Vec<u8>, salt: Vec<u8> },
    Plain(Vec<u8>),
    Bcrypt(String),
    Sha256Crypt { rounds: usize, salt: Vec<u8>, digest: Vec<u8> },
    Sha512Crypt { rounds: usize, salt: Vec<u8>, digest: Vec<u8> },
}

impl Password {
    pub fn parse(text: &str) -> Option<Self> {
        let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).ok();
        for magic in ["$apr1$", "$1$"] {
            let Some(rest) = text.strip_prefix(magic) else { continue };
            let (salt, digest) = rest.split_once('$')?;
            let good = !salt.is_empty() && salt.len() <= 8 && digest.len() == 22;
            return good.then(|| Self::Md5 { magic, salt: salt.into(), digest: digest.into() });
        }
        if text.starts_with("$2") {
            return is_bcrypt(text).then(|| Self::Bcrypt(text.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("$5$") {
            let (rounds, salt, digest) = sha_crypt_parts(rest, 43)?;
            return Some(Self::Sha256Crypt { rounds, salt, digest });
        }
        if let Some(rest) = text.strip_prefix("$6$") {
            let (rounds, salt, digest) = sha_crypt_parts(rest, 86)?;
            return Some(Self::Sha512Crypt { rounds, salt, digest });
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

    /// Whether `is` takes milliseconds.
    pub fn is_slow(&self) -> bool {
        matches!(self, Self::Bcrypt(_) | Self::Sha256Crypt { .. } | Self::Sha512Crypt { .. })
    }

    pub fn is(&self, word: &[u8]) -> bool {
        match self {
            Self::Md5 { magic, salt, digest } => same(&md5_crypt(word, magic, salt), digest),
            Self::Sha { digest, salt } => same(&Sha1::new().chain_update(word).chain_update(salt).finalize(), digest),
            Self::Plain(plain) => same(&Sha1::digest(word), &Sha1::digest(plain)),
            // As everywhere else, what follows 72 bytes does not count; a C string ends at its first NUL.
            Self::Bcrypt(hash) => !word.contains(&0) && bcrypt::verify(word, hash).unwrap_or(false),
            Self::Sha256Crypt { rounds, salt, digest } => sha_crypt::Sha256Params::new(*rounds)
                .and_then(|params| sha_crypt::sha256_crypt_b64(word, salt, &params))
                .is_ok_and(|found| same(found.as_bytes(), digest)),
            Self::Sha512Crypt { rounds, salt, digest } => sha_crypt::Sha512Params::new(*rounds)
                .and_then(|params| sha_crypt::sha512_crypt_b64(word, salt, &params))
                .is_ok_and(|found| same(found.as_bytes(), digest)),
        }
    }
}

fn is_bcrypt(text: &str) -> bool {
    let Some((cost, rest)) = text.get(4..).and_then(|rest| rest.split_once('$')) else { return false };
    let known = ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix));
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"./".contains(&b);
    known
        && cost.len() == 2
        && cost.parse().is_ok_and(|cost: u32| (4..=MAX_COST).contains(&cost))
        && rest.len() == 53
        && rest.bytes().all(letter)
}

/// `[rounds=N$]SALT$DIGEST`.
fn sha_crypt_parts(text: &str, digest_length: usize) -> Option<(usize, Vec<u8>, Vec<u8>)> {
    let (rounds, rest) = match text.strip_prefix("rounds=") {
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$')?;
            (rounds.parse::<usize>().ok()?.max(MIN_ROUNDS), rest)
        }
        None => (DEFAULT_ROUNDS, text),
    };
    let (salt, digest) = rest.split_once('$')?;
    let good = rounds <= MAX_ROUNDS && salt.len() <= 16 && digest.len() == digest_length;
    good.then(|| (rounds, salt.into(), digest.into()))
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

/// The last 22 characters of `$apr1$SALT$…` (APR, `apr_md5_encode`) or of `$1$SALT$…` (crypt(3)).
fn md5_crypt(word: &[u8], magic: &str, salt: &[u8]) -> Vec<u8> {
    let inner = Md5::new().chain_update(word).chain_update(salt).chain_update(word).finalize();
    let mut hash = Md5::new().chain_update(word).chain_update(magic).chain_update(salt);
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
        for (hash, word, slow) in [
            ("$apr1$fa5aV4ex$7WuZCeqPMcLFAk7qlsHK6.", "secret", false),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "secret", false),
            ("{PLAIN}secret", "secret", false),
            ("$1$saltsalt$9xy1btjgzLYfb7hivXtC//", "secret", false),
            ("$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a", "secret", true),
            ("$2b$06$abcdefghijklmnopqrstuuxLa0AkDDSrQ9VwNnETzOsObiucpMYgC", "secret", true),
            ("$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA", "secret", true),
            (
                "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
                "secret",
                true,
            ),
            (
                "$6$rounds=1000$saltsalt$LAV5VE5Y7w1d73x1mFNspYWUpazfmwv2SoepNXNKJ/otop/Zok96Hr8Q13LEv0DRY/x8v0/crpIjl8NJSAqXV/",
                "secret",
                true,
            ),
        ] {
            let password = Password::parse(hash).unwrap_or_else(|| panic!("{hash}"));
            assert_eq!(password.is_slow(), slow, "{hash}");
            assert!(password.is(word.as_bytes()), "{hash}");
            assert!(!password.is(b"other"), "{hash}");
            assert!(!password.is(b""), "{hash}");
        }
    }

    #[test]
    fn broken_and_endless_hashes_are_refused() {
        let digest = ["x"; 86].concat();
        for bad in [
            "",
            "secret",
            "$2y$05$abc",
            "$2y$15$abcdefghijklmnopqrstuuJ9dsrzSRYIQ1tLYgMnKDI1fhbgWM2Ou",
            "$2y$03$abcdefghijklmnopqrstuuJ9dsrzSRYIQ1tLYgMnKDI1fhbgWM2Ou",
            "$6$salt$x",
            &format!("$6$rounds=1000001$salt${digest}"),
            &format!("$6$rounds=many$salt${digest}"),
            &format!("$6$saltsaltsaltsalts${digest}"),
            "$apr1$$x",
            "{SHA}x",
            "{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "rqXexS6ZhobKA",
        ] {
            assert!(Password::parse(bad).is_none(), "{bad}");
        }
    }
}
