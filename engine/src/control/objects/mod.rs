//! The objects of the routing table as they are on the wire (src/fairlead/routing/table.py, field for field).
//!
//! Promises: a missing field has Python's default. Refuses: a field that is not known here, by `parse`, which names its
//! path; whoever applies an object refuses, in the same way, known fields that it does not carry.

mod access;
mod backend;
mod listener;
mod route;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use access::*;
pub use backend::*;
pub use listener::*;
pub use route::*;

/// Why an object was not taken: the field's path and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub path: String,
    pub message: String,
}

impl Refusal {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

pub fn parse<T: DeserializeOwned>(object: &Value) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let message = error.inner().to_string();
        let mut path = error.path().to_string();
        // serde names an unknown field in its message only.
        if let Some(field) = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
            && !path.ends_with(field)
        {
            path = if path == "." { field.to_owned() } else { format!("{path}.{field}") };
        }
        Refusal { path, message }
    })
}
