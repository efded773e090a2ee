//! The messages of docs/protocol.md, version 1, as serde types.
//!
//! Promises: every message of both ways parses and prints here; unknown fields of a message are ignored; objects stay
//! JSON (`Objects`) until someone needs them, so that the master can keep and replay them as they came.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub const VERSION: u32 = 1;

/// Objects of one kind: a list, or a map from id to object (the id is put into the object then).
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Objects(pub Vec<Value>);

impl<'de> Deserialize<'de> for Objects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::default()),
            Value::Array(list) => Ok(Self(list)),
            Value::Object(map) => Ok(Self(
                map.into_iter()
                    .map(|(id, mut object)| {
                        if let Value::Object(fields) = &mut object {
                            fields.entry("id").or_insert(Value::String(id));
                        }
                        object
                    })
                    .collect(),
            )),
            other => Err(serde::de::Error::custom(format!("objects are a list or a map, not {other}"))),
        }
    }
}

/// An object's id; "" when it has none.
pub fn object_id(object: &Value) -> &str {
    object.get("id").and_then(Value::as_str).unwrap_or("")
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SocketName {
    pub id: String,
    #[serde(default)]
    pub family: String,
    #[serde(default)]
    pub transport: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Removed {
    pub listeners: Vec<String>,
    pub routes: Vec<String>,
    pub backends: Vec<String>,
    pub certificates: Vec<String>,
    pub names: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Structure {
    pub epoch: u64,
    pub seq: u64,
    pub full: bool,
    pub listeners: Objects,
    pub routes: Objects,
    pub backends: Objects,
    pub certificates: Objects,
    pub names: Objects,
    pub removed: Removed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BackendEndpoints {
    pub backend: String,
    #[serde(default)]
    pub endpoints: Vec<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Endpoints {
    pub epoch: u64,
    pub seq: u64,
    #[serde(default)]
    pub backends: Vec<BackendEndpoints>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Probes {
    pub epoch: u64,
    pub seq: u64,
    #[serde(default)]
    pub full: bool,
    #[serde(default)]
    pub set: Objects,
    #[serde(default)]
    pub removed: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Drain {
    pub epoch: u64,
    pub seq: u64,
    pub id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Instead of an address: whose clients are seen out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
}

/// Controller to engine, and (the same frames) master to worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    Hello {
        #[serde(default)]
        version: u32,
    },
    Sockets {
        sockets: Vec<SocketName>,
    },
    Structure(Structure),
    Endpoints(Endpoints),
    Probes(Probes),
    Drain(Drain),
    Undrain {
        epoch: u64,
        seq: u64,
        id: String,
    },
    Ping {
        id: Value,
    },
    Shutdown {
        #[serde(default)]
        grace_seconds: f64,
    },
    Upgrade {
        path: String,
    },
    /// A new master takes this worker over; answered by `estate`.
    Adopt,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    pub object: String,
    pub path: String,
    pub message: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hashes {
    pub listeners: std::collections::BTreeMap<String, String>,
    pub routes: std::collections::BTreeMap<String, String>,
    pub backends: std::collections::BTreeMap<String, String>,
    pub certificates: std::collections::BTreeMap<String, String>,
    pub names: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Welcome {
    pub version: u32,
    pub engine_version: String,
    pub master_pid: i32,
    pub worker_pid: i32,
    pub epoch: u64,
    pub seq: u64,
    pub hashes: Hashes,
    pub sockets: Vec<String>,
}

/// Engine to controller, and (the same frames) worker to master.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    Welcome(Welcome),
    Ack {
        epoch: u64,
        seq: u64,
        nacks: Vec<Nack>,
    },
    Error {
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
    },
    Drained {
        id: String,
        address: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        in_flight: u64,
    },
    Probe {
        id: String,
        ok: bool,
        message: String,
        at: f64,
    },
    Endpoint {
        backend: String,
        address: String,
        port: u16,
        state: String,
        reason: String,
    },
    Demand {
        backend: String,
        waiting: u64,
    },
    Worker {
        pid: i32,
        restarts: u64,
        reason: String,
    },
    Pong {
        id: Value,
    },
    /// What a worker holds, one descriptor each.
    Estate {
        pid: i32,
        sockets: Vec<String>,
    },
}
