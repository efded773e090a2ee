//! Templates: text with variables of the request, as parts that are never parsed again; and what hashes hash.

use std::net::IpAddr;

use super::router::{self, Request};
use crate::balance::random;
use crate::control::objects::Refusal;
use crate::http::path;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    Scheme,
    Host,
    Hostname,
    Path,
    Uri,
    EscapedUri,
    Query,
    Question,
    Method,
    Client,
    Header(String),
    Cookie(String),
    QueryValue(String),
}

impl Variable {
    fn parse(word: &str) -> Option<Self> {
        let named = |prefix: &str| word.strip_prefix(prefix).filter(|name| !name.is_empty()).map(str::to_owned);
        Some(match word {
            "scheme" => Self::Scheme,
            "host" => Self::Host,
            "hostname" => Self::Hostname,
            "path" => Self::Path,
            "uri" => Self::Uri,
            "escaped-uri" => Self::EscapedUri,
            "query" => Self::Query,
            "question" => Self::Question,
            "method" => Self::Method,
            "client" => Self::Client,
            _ => {
                return named("header:")
                    .map(Self::Header)
                    .or_else(|| named("cookie:").map(Self::Cookie))
                    .or_else(|| named("query:").map(Self::QueryValue));
            }
        })
    }

    /// Appends its value; false when the request has none.
    pub fn write(&self, subject: &Subject<'_>, output: &mut Vec<u8>) -> bool {
        let request = subject.request;
        match self {
            Self::Scheme => output.extend_from_slice(subject.scheme.as_bytes()),
            Self::Host => output.extend_from_slice(request.authority()),
            Self::Hostname => output.extend_from_slice(request.host()),
            Self::Path => path::encode(request.path(), output),
            Self::Uri => output.extend_from_slice(request.target()),
            Self::EscapedUri => escape(request.target(), output),
            Self::Query => output.extend_from_slice(request.query()),
            Self::Question => {
                if request.target().len() > request.raw_path().len() {
                    output.push(b'?');
                }
            }
            Self::Method => output.extend_from_slice(request.method()),
            Self::Client => output.extend_from_slice(subject.client.to_string().as_bytes()),
            Self::Header(name) => {
                let Some(value) = request.header(name) else { return false };
                output.extend_from_slice(value);
            }
            Self::Cookie(name) => {
                let Some(value) = request.cookie(name) else { return false };
                output.extend_from_slice(value);
            }
            Self::QueryValue(name) => {
                let Some(value) = router::query_value(request.query(), name.as_bytes()) else { return false };
                output.extend_from_slice(&value);
            }
        }
        true
    }
}

fn escape(text: &[u8], output: &mut Vec<u8>) {
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            output.push(*byte);
        } else {
            output.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

/// Whom a template speaks about.
pub struct Subject<'a> {
    pub request: &'a dyn Request,
    pub scheme: &'static str,
    pub client: IpAddr,
}

enum Part {
    Text(String),
    Variable(Variable),
}

#[derive(Default)]
pub struct Template(Vec<Part>);

impl Template {
    pub fn compile(parts: &[(String, String)], path: &str) -> Result<Self, Refusal> {
        let compiled = parts.iter().enumerate().map(|(i, (kind, value))| match kind.as_str() {
            "text" => Ok(Part::Text(value.clone())),
            "variable" => Variable::parse(value)
                .map(Part::Variable)
                .ok_or_else(|| Refusal::new(format!("{path}[{i}]"), format!("there is no variable {value:?}"))),
            _ => Err(Refusal::new(format!("{path}[{i}]"), format!("{kind:?} is neither text nor variable"))),
        });
        Ok(Self(compiled.collect::<Result<_, _>>()?))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text as a key: its parts stay apart. `None`: the request has none of its variables.
    pub fn key(&self, subject: &Subject<'_>) -> Option<Vec<u8>> {
        let (mut output, mut any) = (Vec::new(), false);
        for part in &self.0 {
            if let Part::Variable(variable) = part {
                any |= variable.write(subject, &mut output);
                output.push(0);
            }
        }
        any.then_some(output)
    }

    /// The text for a request; bytes that could end a line or a target are left out.
    pub fn render(&self, subject: &Subject<'_>) -> Vec<u8> {
        let mut output = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => output.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => drop(variable.write(subject, &mut output)),
            }
        }
        output.retain(|b| *b > 0x20 && *b != 0x7f);
        output
    }
}

/// What the hashing algorithms hash: variables joined by `+`; the client's address when there is none of them.
#[derive(Default, Clone)]
pub struct HashOn(Vec<Variable>);

impl HashOn {
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        text.split('+').map(Variable::parse).collect::<Option<_>>().map(Self)
    }

    /// Only what a connection has before its first byte.
    pub fn of_connections(&self) -> bool {
        self.0.iter().all(|v| *v == Variable::Client)
    }

    pub fn hash(&self, subject: &Subject<'_>) -> u64 {
        let mut text = Vec::new();
        let any = self.0.iter().fold(false, |any, variable| {
            let had = variable.write(subject, &mut text);
            text.push(0);
            any | had
        });
        if any { random::hash_bytes(&text) } else { hash_client(subject.client) }
    }
}

pub fn hash_client(client: IpAddr) -> u64 {
    random::hash_bytes(client.to_string().as_bytes())
}
