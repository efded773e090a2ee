//! Who has a name and a password (RFC 7617). Refuses hashes that this engine does not compute, with the user's index.

use base64::Engine;

use super::password::Password;
use crate::control::objects::{BasicAuth, Refusal};

pub struct Basic {
    pub realm: String,
    users: Vec<(String, Password)>,
}

impl Basic {
    pub fn compile(spec: &BasicAuth) -> Result<Self, Refusal> {
        let users = spec.users.iter().enumerate().map(|(i, (name, hash))| {
            let refusal =
                || Refusal::new(format!("access.basic.users[{i}]"), "that kind of password hash is not computed");
            Ok((name.clone(), Password::parse(hash).ok_or_else(refusal)?))
        });
        if spec.realm.contains(['"', '\\']) || spec.realm.chars().any(char::is_control) {
            return Err(Refusal::new("access.basic.realm", "it cannot stand in quotes"));
        }
        Ok(Self { realm: spec.realm.clone(), users: users.collect::<Result<_, _>>()? })
    }

    /// Whether the Authorization field's value is one of the users'.
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some((name, word)) = authorization.and_then(credentials) else { return false };
        let known = self.users.iter().find(|(known, _)| known.as_bytes() == name);
        known.is_some_and(|(_, password)| password.is(&word))
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

    #[test]
    fn only_whole_credentials_admit() {
        let users = vec![("me".to_owned(), "{PLAIN}secret".to_owned())];
        let basic = Basic::compile(&BasicAuth { realm: "r".to_owned(), users }).unwrap_or_else(|r| panic!("{r:?}"));
        assert!(basic.admits(Some(b"Basic bWU6c2VjcmV0"))); // me:secret
        assert!(basic.admits(Some(b"basic bWU6c2VjcmV0")));
        for bad in [None, Some(&b"Basic bWU6c2VjcmV1"[..]), Some(b"Basic bWU="), Some(b"Bearer x"), Some(b"Basic")] {
            assert!(!basic.admits(bad), "{bad:?}");
        }
    }
}
