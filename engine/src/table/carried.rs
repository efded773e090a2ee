//! What this engine carries: a known field that it does not is refused, never half applied.

use crate::balance::Algorithm;
use crate::control::objects::{self, BackendProtocol, ListenerProtocol, Refusal};
use crate::table::backend;

type Outcome = Result<(), Refusal>;

fn refuse_if(refused: bool, path: &str) -> Outcome {
    if refused { Err(Refusal::new(path, "this engine does not carry this field yet")) } else { Ok(()) }
}

pub fn listener(spec: &objects::Listener) -> Outcome {
    use ListenerProtocol::*;
    refuse_if(!matches!(spec.protocol, Http | Tcp), "protocol")?;
    refuse_if(!spec.certificates.is_empty(), "certificates")?;
    refuse_if(!spec.client_ca.is_empty(), "client_ca")?;
    refuse_if(spec.transparent, "transparent")?;
    refuse_if(spec.proxy_protocol_in, "proxy_protocol_in")?;
    refuse_if(spec.http.as_ref().is_some_and(|h| h.h2c), "http.h2c")
}

pub fn route(spec: &objects::Route) -> Outcome {
    refuse_if(spec.redirect.is_some(), "redirect")?;
    refuse_if(spec.rewrite.is_some(), "rewrite")?;
    refuse_if(spec.request_headers.is_some(), "request_headers")?;
    refuse_if(spec.response_headers.is_some(), "response_headers")?;
    refuse_if(!spec.mirrors.is_empty(), "mirrors")?;
    refuse_if(spec.cors.is_some(), "cors")?;
    refuse_if(spec.limit.is_some(), "limit")
}

pub fn backend(spec: &objects::Backend) -> Result<Algorithm, Refusal> {
    refuse_if(!matches!(spec.protocol, BackendProtocol::Http | BackendProtocol::Tcp), "protocol")?;
    refuse_if(spec.affinity.is_some(), "affinity")?;
    refuse_if(spec.health.is_some(), "health")?;
    refuse_if(spec.outlier.is_some(), "outlier")?;
    refuse_if(spec.slow_start_seconds > 0.0, "slow_start_seconds")?;
    refuse_if(spec.panic_threshold > 0.0, "panic_threshold")?;
    refuse_if(spec.limits.is_some(), "limits")?;
    refuse_if(spec.tls.is_some(), "tls")?;
    refuse_if(spec.hold, "hold")?;
    Algorithm::parse(&spec.algorithm, backend::layer7(spec.protocol)).ok_or_else(|| {
        Refusal::new("algorithm", format!("this engine does not carry the algorithm {:?}", spec.algorithm))
    })
}
