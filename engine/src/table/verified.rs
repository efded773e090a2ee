//! Names and passwords that were right lately, so that a slow hash is computed once and not for every request.
//!
//! Promises: nothing that leads back to a password is kept: a key is SHA-256 over the stored hash and the password, salted for
//! this process, and counts for `SECONDS`. It is bound to the stored hash: another password or a removed user is asked anew at
//! once. At most `MAX_KEYS` are kept. Wrong passwords are not remembered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

const MAX_KEYS: usize = 4096;
const SECONDS: u64 = 600;

pub type Key = [u8; 32];

pub struct Verified {
    salt: [u8; 16],
    until: Mutex<HashMap<Key, u64>>,
}

impl Default for Verified {
    fn default() -> Self {
        let mut salt = [0; 16];
        // Without it keys are still of no use to anybody who does not know the stored hashes.
        let _ = crate::tls::provider().secure_random.fill(&mut salt);
        Self { salt, until: Mutex::default() }
    }
}

impl Verified {
    pub fn key(&self, hash: &str, word: &[u8]) -> Key {
        let length = (hash.len() as u64).to_be_bytes();
        Sha256::new()
            .chain_update(self.salt)
            .chain_update(length)
            .chain_update(hash)
            .chain_update(word)
            .finalize()
            .into()
    }

    pub fn has(&self, key: &Key, now_nanos: u64) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.get(key).is_some_and(|until| *until > now_nanos)
    }

    pub fn remember(&self, key: Key, now_nanos: u64) {
        let mut known = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KEYS {
            known.retain(|_, until| *until > now_nanos);
        }
        if known.len() >= MAX_KEYS {
            known.clear();
        }
        known.insert(key, now_nanos + SECONDS * 1_000_000_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_counts_for_its_time_and_its_stored_hash_alone() {
        let verified = Verified::default();
        let key = verified.key("$2y$old", b"secret");
        assert!(!verified.has(&key, 0));
        verified.remember(key, 0);
        assert!(verified.has(&key, SECONDS * 1_000_000_000 - 1));
        assert!(!verified.has(&key, SECONDS * 1_000_000_000));
        assert!(!verified.has(&verified.key("$2y$new", b"secret"), 0));
        assert!(!verified.has(&verified.key("$2y$ol", b"dsecret"), 0));
        assert_ne!(key, Verified::default().key("$2y$old", b"secret"), "each process has its salt");
    }

    #[test]
    fn only_so_many_are_kept() {
        let verified = Verified::default();
        for i in 0..10_000_u32 {
            verified.remember(verified.key("h", &i.to_be_bytes()), 0);
        }
        assert!(verified.until.lock().unwrap_or_else(PoisonError::into_inner).len() <= MAX_KEYS);
    }
}
