//! The last good table: every object as it came, merged by id. Pure.
//!
//! Promises: `replay` gives messages that bring an empty worker to where the controller's last message left it; `hashes`
//! are those of docs/protocol.md (the first 16 hexadecimal digits of SHA-256 over the object's bytes). Refuses: messages
//! of an older epoch. What an object means is nobody's business here: only `id`, and of Listeners `sockets`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

const SECTIONS: [&str; 5] = ["listeners", "routes", "backends", "certificates", "names"];

type Objects = BTreeMap<String, Box<RawValue>>;

#[derive(Default)]
pub struct Table {
    pub epoch: u64,
    pub seq: u64,
    sections: [Objects; 5],
    endpoints: Objects,
    probes: Objects,
    drains: BTreeMap<String, Drain>,
}

/// See `Table::replay`.
#[derive(Debug, PartialEq, Eq)]
pub struct Replay {
    pub first: Vec<Vec<u8>>,
    pub last: Vec<u8>,
}

impl Replay {
    pub fn messages(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.first.iter().chain([&self.last])
    }
}

struct Drain {
    epoch: u64,
    address: String,
    port: Option<u16>,
    listeners: Vec<String>,
}

/// What the table makes of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the table now; the worker answers it.
    Taken {
        structure: bool,
    },
    /// It does not change the table (ping and the like).
    Other,
    Refused {
        message: String,
        epoch: Option<u64>,
        seq: Option<u64>,
    },
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(default)]
    epoch: u64,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    full: bool,
    #[serde(borrow, default)]
    listeners: Option<&'a RawValue>,
    #[serde(borrow, default)]
    routes: Option<&'a RawValue>,
    #[serde(borrow, default)]
    backends: Option<&'a RawValue>,
    #[serde(borrow, default)]
    certificates: Option<&'a RawValue>,
    #[serde(borrow, default)]
    names: Option<&'a RawValue>,
    #[serde(borrow, default)]
    removed: Option<&'a RawValue>,
    #[serde(borrow, default)]
    set: Option<&'a RawValue>,
    #[serde(default)]
    id: Option<serde_json::Value>,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: Option<u16>,
}

#[derive(Deserialize)]
struct EndpointSet {
    backend: String,
    endpoints: Box<RawValue>,
}

impl Table {
    pub fn merge(&mut self, json: &[u8]) -> Verdict {
        let message: Message<'_> = match serde_json::from_slice(json) {
            Ok(message) => message,
            Err(error) => return refused(format!("the message was not understood: {error}"), None),
        };
        if !["structure", "endpoints", "probes", "drain", "undrain"].contains(&message.kind) {
            return Verdict::Other;
        }
        let place = Some((message.epoch, message.seq));
        if message.epoch < self.epoch {
            return refused(format!("epoch {} is older than {}", message.epoch, self.epoch), place);
        }
        let merged = match message.kind {
            "structure" => self.merge_structure(&message),
            "endpoints" => self.merge_endpoints(&message),
            "probes" => self.merge_probes(&message),
            _ => self.merge_drain(&message),
        };
        if let Err(error) = merged {
            return refused(format!("the message was not understood: {error}"), place);
        }
        (self.epoch, self.seq) = (message.epoch, message.seq);
        Verdict::Taken { structure: message.kind == "structure" }
    }

    fn merge_structure(&mut self, message: &Message<'_>) -> serde_json::Result<()> {
        let raw = [message.listeners, message.routes, message.backends, message.certificates, message.names];
        let mut changed = Vec::with_capacity(5);
        for section in raw {
            changed.push(section.map_or(Ok(Objects::new()), objects_of)?);
        }
        let removed: BTreeMap<String, Vec<String>> =
            message.removed.map_or(Ok(BTreeMap::new()), |raw| serde_json::from_str(raw.get()))?;
        for (place, objects) in changed.into_iter().enumerate() {
            if message.full {
                self.sections[place].clear();
            }
            self.sections[place].extend(objects);
            for id in removed.get(SECTIONS[place]).into_iter().flatten() {
                self.sections[place].remove(id);
            }
        }
        // Endpoints live as long as their Backend.
        let backends = &self.sections[2];
        self.endpoints.retain(|backend, _| backends.contains_key(backend));
        Ok(())
    }

    fn merge_endpoints(&mut self, message: &Message<'_>) -> serde_json::Result<()> {
        let Some(raw) = message.backends else { return Ok(()) };
        let sets: Vec<EndpointSet> = serde_json::from_str(raw.get())?;
        self.endpoints.extend(sets.into_iter().map(|set| (set.backend, set.endpoints)));
        Ok(())
    }

    fn merge_probes(&mut self, message: &Message<'_>) -> serde_json::Result<()> {
        let set = message.set.map_or(Ok(Objects::new()), objects_of)?;
        let removed: Vec<String> = message.removed.map_or(Ok(Vec::new()), |raw| serde_json::from_str(raw.get()))?;
        if message.full {
            self.probes.clear();
        }
        self.probes.extend(set);
        removed.iter().for_each(|id| drop(self.probes.remove(id)));
        Ok(())
    }

    fn merge_drain(&mut self, message: &Message<'_>) -> serde_json::Result<()> {
        let id = message.id.as_ref().and_then(serde_json::Value::as_str);
        let id = id.ok_or_else(|| serde::de::Error::missing_field("id"))?.to_owned();
        if message.kind == "drain" {
            let Message { epoch, port, .. } = *message;
            let listeners = message.listeners.map_or(Ok(Vec::new()), |raw| serde_json::from_str(raw.get()))?;
            self.drains.insert(id, Drain { epoch, address: message.address.clone(), port, listeners });
        } else {
            self.drains.remove(&id);
        }
        Ok(())
    }

    /// The messages that tell a new worker everything. Each is answered by one ack. The Listeners come last (`last`), so
    /// that no request is taken before its endpoints are known; sockets are to be handed over in between.
    pub fn replay(&self) -> Replay {
        let mut structure = self.head("structure") + ",\"full\":true";
        for (name, objects) in SECTIONS.iter().zip(&self.sections).skip(1) {
            structure += &format!(",\"{name}\":{}", list_of(objects));
        }
        let sets: Vec<String> = self
            .endpoints
            .iter()
            .map(|(backend, raw)| format!("{{\"backend\":{},\"endpoints\":{}}}", quoted(backend), raw.get()))
            .collect();
        let endpoints = format!("{},\"backends\":[{}]}}", self.head("endpoints"), sets.join(","));
        let probes = format!("{},\"full\":true,\"set\":{}}}", self.head("probes"), list_of(&self.probes));
        let drains = self.drains.iter().map(|(id, drain)| {
            let port = drain.port.map_or(String::new(), |port| format!(",\"port\":{port}"));
            let (address, listeners) = (quoted(&drain.address), serde_json::json!(drain.listeners));
            let what = format!("\"address\":{address}{port},\"listeners\":{listeners}");
            format!("{},\"id\":{},{what}}}", self.head("drain"), quoted(id))
        });
        let first = [structure + "}", endpoints, probes].into_iter().chain(drains).map(String::into_bytes).collect();
        let last = format!("{},\"listeners\":{}}}", self.head("structure"), list_of(&self.sections[0]));
        Replay { first, last: last.into_bytes() }
    }

    fn head(&self, kind: &str) -> String {
        format!("{{\"type\":\"{kind}\",\"epoch\":{},\"seq\":{}", self.epoch, self.seq)
    }

    /// Drains that a controller of an earlier life left and the present one has not repeated.
    pub fn take_stale_drains(&mut self) -> Vec<Vec<u8>> {
        let epoch = self.epoch;
        let stale: Vec<String> =
            self.drains.iter().filter(|(_, drain)| drain.epoch < epoch).map(|(id, _)| id.clone()).collect();
        let undrain = |id: &String| {
            self.drains.remove(id);
            let seq = self.seq;
            format!("{{\"type\":\"undrain\",\"epoch\":{epoch},\"seq\":{seq},\"id\":{}}}", quoted(id)).into_bytes()
        };
        stale.iter().map(undrain).collect()
    }

    pub fn has_stale_drains(&self) -> bool {
        self.drains.values().any(|drain| drain.epoch < self.epoch)
    }

    /// Section -> id -> hash.
    pub fn hashes(&self) -> BTreeMap<&'static str, BTreeMap<&str, String>> {
        let named = SECTIONS.iter().copied().zip(&self.sections);
        let all = named.chain([("endpoints", &self.endpoints), ("probes", &self.probes)]);
        all.map(|(name, objects)| {
            (name, objects.iter().map(|(id, raw)| (id.as_str(), hash_of(raw.get().as_bytes()))).collect())
        })
        .collect()
    }

    /// The sockets that Listeners name.
    pub fn sockets(&self) -> BTreeSet<String> {
        #[derive(Deserialize, Default)]
        struct Listener {
            #[serde(default)]
            sockets: Vec<String>,
        }
        let listeners = self.sections[0].values();
        listeners.flat_map(|raw| serde_json::from_str::<Listener>(raw.get()).unwrap_or_default().sockets).collect()
    }
}

fn refused(message: String, place: Option<(u64, u64)>) -> Verdict {
    Verdict::Refused { message, epoch: place.map(|(epoch, _)| epoch), seq: place.map(|(_, seq)| seq) }
}

/// A list of objects that carry their `id`, or a map from id to object.
fn objects_of(raw: &RawValue) -> serde_json::Result<Objects> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    if raw.get().starts_with('{') {
        let map: BTreeMap<String, Box<RawValue>> = serde_json::from_str(raw.get())?;
        return map.into_iter().map(|(id, object)| Ok((id.clone(), with_id(&id, object)?))).collect();
    }
    let list: Vec<Box<RawValue>> = serde_json::from_str(raw.get())?;
    list.into_iter().map(|object| Ok((serde_json::from_str::<Named>(object.get())?.id, object))).collect()
}

fn with_id(id: &str, object: Box<RawValue>) -> serde_json::Result<Box<RawValue>> {
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(object.get())?;
    if fields.contains_key("id") {
        return Ok(object);
    }
    fields.insert("id".to_owned(), id.into());
    serde_json::value::to_raw_value(&fields)
}

fn list_of(objects: &Objects) -> String {
    let parts: Vec<&str> = objects.values().map(|raw| raw.get()).collect();
    format!("[{}]", parts.join(","))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn hash_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(messages: &[&str]) -> Table {
        let mut table = Table::default();
        for message in messages {
            let verdict = table.merge(message.as_bytes());
            assert!(matches!(verdict, Verdict::Taken { .. }), "{message}: {verdict:?}");
        }
        table
    }

    const WHOLE: &str = r#"{"type":"structure","epoch":5,"seq":1,"full":true,
        "listeners":[{"id":"edge","protocol":"http","sockets":["tcp:127.0.0.1:80"]}],
        "backends":[{"id":"a","x":1.50},{"id":"b"}]}"#;
    const SETS: &str = r#"{"type":"endpoints","epoch":5,"seq":2,
        "backends":[{"backend":"a","endpoints":[{"address":"10.0.0.1","port":80}]}]}"#;
    const DRAIN: &str = r#"{"type":"drain","epoch":5,"seq":3,"id":"d1","address":"10.0.0.1"}"#;

    #[test]
    fn a_replay_makes_the_same_table() {
        let doors = r#"{"type":"drain","epoch":5,"seq":3,"id":"d2","listeners":["edge"]}"#;
        let table = merged(&[WHOLE, SETS, DRAIN, doors, r#"{"type":"probes","epoch":5,"seq":4,"set":[{"id":"p"}]}"#]);
        let mut copy = Table::default();
        for message in table.replay().messages() {
            assert!(matches!(copy.merge(message), Verdict::Taken { .. }));
        }
        assert_eq!(copy.hashes(), table.hashes());
        assert_eq!(copy.replay(), table.replay());
        assert!(copy.replay().first.iter().any(|message| String::from_utf8_lossy(message).contains(r#"["edge"]"#)));
        assert_eq!((copy.epoch, copy.seq), (5, 4));
    }

    #[test]
    fn hashes_are_of_the_bytes_as_they_came() {
        let table = merged(&[WHOLE, SETS]);
        // sha256 of {"id":"a","x":1.50} and of the endpoints' array.
        assert_eq!(table.hashes()["backends"]["a"], hash_of(br#"{"id":"a","x":1.50}"#));
        assert_eq!(table.hashes()["endpoints"]["a"], hash_of(br#"[{"address":"10.0.0.1","port":80}]"#));
        assert_eq!(hash_of(b"abc"), "ba7816bf8f01cfea");
    }

    #[test]
    fn a_full_structure_replaces_and_a_partial_one_adds_and_removes() {
        let part = r#"{"type":"structure","epoch":5,"seq":3,"backends":{"c":{"y":2}},"removed":{"backends":["a"]}}"#;
        let table = merged(&[WHOLE, SETS, part]);
        let hashes = table.hashes();
        assert_eq!(hashes["backends"].keys().collect::<Vec<_>>(), [&"b", &"c"]);
        assert!(hashes["endpoints"].is_empty());
        let table = merged(&[WHOLE, r#"{"type":"structure","epoch":6,"seq":1,"full":true}"#]);
        assert!(table.hashes()["backends"].is_empty());
    }

    #[test]
    fn an_older_epoch_is_refused_and_changes_nothing() {
        let mut table = merged(&[WHOLE]);
        let verdict = table.merge(br#"{"type":"structure","epoch":4,"seq":9,"full":true}"#);
        assert!(matches!(verdict, Verdict::Refused { epoch: Some(4), seq: Some(9), .. }), "{verdict:?}");
        assert_eq!(table.hashes()["backends"].len(), 2);
    }

    #[test]
    fn drains_that_a_new_controller_does_not_repeat_are_forgotten() {
        let other = r#"{"type":"drain","epoch":6,"seq":1,"id":"d2","address":"10.0.0.2"}"#;
        let mut table = merged(&[WHOLE, DRAIN, other]);
        assert!(table.has_stale_drains());
        let undrains = table.take_stale_drains();
        assert_eq!(undrains.len(), 1);
        assert!(String::from_utf8_lossy(&undrains[0]).contains("\"d1\""));
        assert!(!table.has_stale_drains());
    }

    #[test]
    fn nonsense_is_refused_whole() {
        let mut table = merged(&[WHOLE]);
        for message in ["", "{", "[]", r#"{"type":"structure","epoch":5,"seq":2,"backends":[{"no":"id"}]}"#] {
            assert!(matches!(table.merge(message.as_bytes()), Verdict::Refused { .. }), "{message}");
        }
        assert_eq!(table.seq, 1);
        assert_eq!(table.merge(br#"{"type":"ping","id":7}"#), Verdict::Other);
    }
}
