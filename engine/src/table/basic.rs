//! Who has a name and a password (RFC 7617). Refuses hashes that this engine does not compute, with the user's index.
//!
//! A slow hash is not computed here: `admits` hands a `Check` out, unless the same password was right lately.

use std::sync::Arc;

use base64::Engine;

use super::password::Password;
use super::verified::{Key, Verified};
use crate::control::objects::{BasicAuth, Refusal};

pub struct Basic {
    pub realm: String,
    users: Vec<(String, Arc<Stored>)>,
    verified: Arc<Verified>,
}

struct Stored {
    text: String,
    password: Password,
}

pub enum Admission {
    Yes,
    No,
    /// Only computing a slow hash can tell.
    Slow(Check),
}

/// A password that is still to be compared with its slow hash.
#[derive(Clone)]
pub struct Check {
    stored: Arc<Stored>,
    word: Vec<u8>,
    key: Key,
    verified: Arc<Verified>,
}

impl Check {
    /// Somebody else's check may have told meanwhile.
    pub fn known(&self, now_nanos: u64) -> bool {
        self.verified.has(&self.key, now_nanos)
    }

    /// Takes milliseconds to a second; not for an event loop.
    pub fn compute(&self) -> bool {
        self.stored.password.is(&self.word)
    }

    pub fn remember(&self, now_nanos: u64) {
        self.verified.remember(self.key, now_nanos);
    }
}

impl Basic {
    pub fn compile(spec: &BasicAuth, verified: &Arc<Verified>) -> Result<Self, Refusal> {
        let users = spec.users.iter().enumerate().map(|(i, (name, hash))| {
            let refusal =
                || Refusal::new(format!("access.basic.users[{i}]"), "that kind of password hash is not computed");
            let password = Password::parse(hash).ok_or_else(refusal)?;
            Ok((name.clone(), Arc::new(Stored { text: hash.clone(), password })))
        });
        if spec.realm.contains(['"', '\\']) || spec.realm.chars().any(char::is_control) {
            return Err(Refusal::new("access.basic.realm", "it cannot stand in quotes"));
        }
        Ok(Self { realm: spec.realm.clone(), users: users.collect::<Result<_, _>>()?, verified: verified.clone() })
    }

    /// Whether the Authorization field's value is one of the users'.
    pub fn admits(&self, authorization: Option<&[u8]>, now_nanos: u64) -> Admission {
        let Some((name, word)) = authorization.and_then(credentials) else { return Admission::No };
        let Some((_, stored)) = self.users.iter().find(|(known, _)| known.as_bytes() == name) else {
            return Admission::No;
        };
        if !stored.password.is_slow() {
            return if stored.password.is(&word) { Admission::Yes } else { Admission::No };
        }
        let key = self.verified.key(&stored.text, &word);
        if self.verified.has(&key, now_nanos) {
            return Admission::Yes;
        }
        Admission::Slow(Check { stored: stored.clone(), word, key, verified: self.verified.clone() })
    }
}

fn credentials(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let plain = base64::engine::general_purpose::STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = plain.iter().position(|b| *b == b':')?;
    Some((plain[..colon].to_vec(), plain[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"; // secret

    fn basic(hash: &str) -> Basic {
        let users = vec![("me".to_owned(), hash.to_owned())];
        Basic::compile(&BasicAuth { realm: "r".to_owned(), users }, &Arc::default()).unwrap_or_else(|r| panic!("{r:?}"))
    }

    #[test]
    fn only_whole_credentials_admit() {
        let basic = basic("{PLAIN}secret");
        let admits = |value: Option<&[u8]>| matches!(basic.admits(value, 0), Admission::Yes);
        assert!(admits(Some(b"Basic bWU6c2VjcmV0"))); // me:secret
        assert!(admits(Some(b"basic bWU6c2VjcmV0")));
        for bad in [None, Some(&b"Basic bWU6c2VjcmV1"[..]), Some(b"Basic bWU="), Some(b"Bearer x"), Some(b"Basic")] {
            assert!(!admits(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_slow_hash_is_computed_elsewhere_and_once() {
        let basic = basic(BCRYPT);
        let right = Some(&b"Basic bWU6c2VjcmV0"[..]);
        let Admission::Slow(check) = basic.admits(right, 0) else { panic!("not handed out") };
        assert!(!check.known(0));
        assert!(check.compute());
        check.remember(0);
        assert!(check.known(0));
        assert!(matches!(basic.admits(right, 0), Admission::Yes));
        let Admission::Slow(wrong) = basic.admits(Some(b"Basic bWU6c2VjcmV1"), 0) else { panic!("not handed out") };
        assert!(!wrong.compute());
        assert!(matches!(basic.admits(Some(b"Basic eW91OnNlY3JldA=="), 0), Admission::No), "no such user");
    }
}
