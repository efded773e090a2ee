//! What this engine carries: a known field that it does not is refused, never half applied.

use crate::balance::Algorithm;
use crate::control::objects::{self, CheckKind, ListenerProtocol, Refusal};
use crate::http::field;
use crate::table::backend;
use crate::table::template::HashOn;

type Outcome = Result<(), Refusal>;

fn refuse_if(refused: bool, path: &str) -> Outcome {
    if refused { Err(Refusal::new(path, "this engine does not carry this field yet")) } else { Ok(()) }
}

pub fn listener(spec: &objects::Listener) -> Outcome {
    use ListenerProtocol::*;
    refuse_if(spec.transparent && matches!(spec.protocol, Udp | Dns), "transparent")?;
    refuse_if(spec.proxy_protocol_in && matches!(spec.protocol, Udp | Dns), "proxy_protocol_in")
}

pub fn route(spec: &objects::Route) -> Outcome {
    if let Some(access) = &spec.access {
        refuse_if(access.request.is_some(), "access.request")?;
        refuse_if(access.certificate.is_some(), "access.certificate")?;
    }
    refuse_if(spec.errors.is_some(), "errors")
}

pub fn backend(spec: &objects::Backend) -> Result<(Algorithm, HashOn), Refusal> {
    let layer7 = backend::layer7(spec.protocol);
    refuse_if(spec.health.as_ref().is_some_and(|h| h.kind == CheckKind::Grpc), "health.kind")?;
    refuse_if(spec.hold && !layer7, "hold")?;
    refuse_if(spec.subset > 0, "subset")?;
    refuse_if(!spec.resolve.is_empty(), "resolve")?;
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
    let algorithm = Algorithm::parse(&spec.algorithm, layer7)
        .ok_or_else(|| Refusal::new("algorithm", format!("there is no algorithm {:?}", spec.algorithm)))?;
    if spec.load_bound > 0.0 && !algorithm.may_be_bounded() {
        return Err(Refusal::new("load_bound", format!("{:?} is not one of the hashing algorithms", spec.algorithm)));
    }
    let hash_on = HashOn::parse(&spec.hash_on)
        .filter(|h| layer7 || h.of_connections())
        .ok_or_else(|| Refusal::new("hash_on", format!("{:?} cannot be hashed on", spec.hash_on)))?;
    Ok((algorithm, hash_on))
}
