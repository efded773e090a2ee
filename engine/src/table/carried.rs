//! What this engine carries: a known field that it does not is refused, never half applied.

use crate::balance::Algorithm;
use crate::control::objects::{self, BackendProtocol, CheckKind, ListenerProtocol, Refusal};
use crate::http::field;
use crate::table::backend;
use crate::table::rules;
use crate::table::template::HashOn;
use crate::worker::resolver;

type Outcome = Result<(), Refusal>;

fn refuse_if(refused: bool, path: &str) -> Outcome {
    if refused { Err(Refusal::new(path, "this engine does not carry this field yet")) } else { Ok(()) }
}

pub fn listener(spec: &objects::Listener) -> Outcome {
    use ListenerProtocol::*;
    refuse_if(spec.transparent && matches!(spec.protocol, Udp | Dns), "transparent")?;
    refuse_if(spec.proxy_protocol_in && matches!(spec.protocol, Udp | Dns), "proxy_protocol_in")
}

pub fn backend(spec: &objects::Backend) -> Result<(Algorithm, HashOn), Refusal> {
    let layer7 = backend::layer7(spec.protocol);
    if let Some(health) = spec.health.as_ref().filter(|h| !h.service.is_empty() && h.kind != CheckKind::Grpc) {
        return Err(Refusal::new("health.service", format!("a check of kind {:?} asks for no service", health.kind)));
    }
    refuse_if(spec.hold && spec.protocol == BackendProtocol::Udp, "hold")?;
    if !spec.resolve.is_empty() && resolver::parse(&spec.resolve).is_none() {
        return Err(Refusal::new("resolve", format!("{:?} is not NAME:PORT", spec.resolve)));
    }
    if let Some(affinity) = &spec.affinity {
        let texts = [&affinity.cookie, &affinity.path, &affinity.domain, &affinity.same_site];
        if texts.iter().any(|text| text.contains(';') || !field::is_value(text)) {
            return Err(Refusal::new("affinity", "a part of the cookie would end it"));
        }
    }
    let cookie = spec.affinity.as_ref().is_some_and(|a| a.kind == objects::AffinityKind::Cookie);
    if cookie && !layer7 {
        return Err(Refusal::new("affinity.kind", "a cookie needs HTTP"));
    }
    if spec.load_bound != 0.0 && !(1.0..=1000.0).contains(&spec.load_bound) {
        return Err(Refusal::new("load_bound", "must be 0 (no bound), or from 1 to 1000 times an even share"));
    }
    if !(0.0..=1e6).contains(&spec.spill_factor) {
        return Err(Refusal::new("spill_factor", "must be 0 (no bound) or more"));
    }
    use objects::BackendProtocol::{H2, H2c, Udp};
    if spec.proxy_protocol > 2 || (spec.proxy_protocol > 0 && matches!(spec.protocol, H2 | H2c | Udp)) {
        let message = "it is 1 or 2, and of a connection that is one client's (not of HTTP/2 or datagrams)";
        return Err(Refusal::new("proxy_protocol", message));
    }
    let changes = [(&spec.request_headers, "request_headers"), (&spec.response_headers, "response_headers")];
    for (changes, path) in changes {
        changes.as_ref().map_or(Ok(()), |c| rules::sound(c, path))?;
    }
    let algorithm = Algorithm::parse(&spec.algorithm, layer7)
        .ok_or_else(|| Refusal::new("algorithm", format!("there is no algorithm {:?}", spec.algorithm)))?;
    if spec.load_bound > 0.0 && !algorithm.may_be_bounded() {
        return Err(Refusal::new("load_bound", format!("{:?} is not one of the hashing algorithms", spec.algorithm)));
    }
    let hash_on = HashOn::parse(&spec.hash_on)
        .filter(|h| layer7 || h.of_connections())
        .ok_or_else(|| Refusal::new("hash_on", format!("{:?} cannot be hashed on", spec.hash_on)))?;
    if spec.subset > 0 && !algorithm.hashes() {
        return Err(Refusal::new("subset", "only an algorithm that hashes chooses a subset"));
    }
    // A balanced session's key decides, whatever the algorithm is for others.
    let balanced = cookie && spec.affinity.as_ref().is_some_and(|a| a.balanced);
    Ok((if balanced { Algorithm::Hash } else { algorithm }, hash_on))
}
