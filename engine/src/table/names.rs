//! The table's Names, and the zone that follows from them.
//!
//! Promises: the zone is made anew only when Names or Backends have changed; endpoints are looked at when they are asked
//! for. Refuses: Names and values that cannot be written into a DNS message.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::backend::Shared;
use crate::balance::flags;
use crate::control::objects::{self, Refusal};
use crate::control::wire;
use crate::dns::zone::{self, Endpoints, Zone};

#[derive(Default)]
pub struct Names {
    specs: BTreeMap<String, objects::Name>,
    zone: RefCell<Option<Arc<Zone>>>,
}

impl Endpoints for Shared {
    fn ready(&self) -> Vec<(IpAddr, u16, String)> {
        let all = self.endpoints();
        let ready = all.iter().filter(|endpoint| !endpoint.has(flags::DRAINING | flags::HELD));
        let called = |endpoint: &super::endpoint::Endpoint| match &*endpoint.hostname {
            "" => endpoint.name.clone(),
            hostname => hostname.to_owned(),
        };
        ready.map(|endpoint| (endpoint.address.ip(), endpoint.address.port(), called(endpoint))).collect()
    }
}

impl Names {
    /// Removes what the message removes, and forgets the zone if the message may change it.
    pub fn begin(&mut self, message: &wire::Structure) {
        if message.full {
            let named: std::collections::HashSet<&str> = message.names.0.iter().map(wire::object_id).collect();
            self.specs.retain(|id, _| named.contains(id.as_str()));
        }
        message.removed.names.iter().for_each(|id| drop(self.specs.remove(id)));
        let removed = !message.removed.names.is_empty() || !message.removed.backends.is_empty();
        if message.full || removed || !message.names.0.is_empty() || !message.backends.0.is_empty() {
            self.zone.replace(None);
        }
    }

    pub fn take(&mut self, object: &Value) -> Result<(), Refusal> {
        let spec: objects::Name = objects::parse(object)?;
        zone::valid_name(&spec.name).map_err(|problem| Refusal::new("name", problem))?;
        for (place, value) in spec.values.iter().enumerate() {
            zone::parse_value(value).map_err(|problem| Refusal::new(format!("values[{place}]"), problem))?;
        }
        self.specs.insert(spec.id.clone(), spec);
        Ok(())
    }

    pub fn zone(&self, backends: &HashMap<String, Arc<Shared>>) -> Arc<Zone> {
        let mut known = self.zone.borrow_mut();
        known.get_or_insert_with(|| Arc::new(self.build(backends))).clone()
    }

    fn build(&self, backends: &HashMap<String, Arc<Shared>>) -> Zone {
        let mut zone = Zone::default();
        for spec in self.specs.values() {
            let backend = backends.get(&spec.backend).map(|shared| shared.clone() as Arc<dyn Endpoints>);
            zone.add(spec, backend);
        }
        zone
    }
}
