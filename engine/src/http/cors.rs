//! Cross-origin requests (the Fetch standard's CORS protocol), as Gateway API's CORS filter says it.
//!
//! Promises: an origin that is not allowed gets no CORS field; with credentials the origin itself is named, never `*`.

use crate::control::objects::Cors;
use crate::table::router::Request;

/// The fields for the answer to a request of this origin; `None` when it is not allowed.
pub fn fields(cors: &Cors, request: &dyn Request, preflight: bool) -> Option<Vec<u8>> {
    let origin = request.header("origin")?;
    let allowed = cors.allow_origins.iter().find(|pattern| fits(pattern.as_bytes(), origin, cors.one_label))?;
    let mut out = Vec::new();
    let mut line = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    let any = allowed == "*" && !cors.allow_credentials;
    line("Access-Control-Allow-Origin", if any { b"*" } else { origin });
    if !any {
        line("Vary", b"Origin");
    }
    if cors.allow_credentials {
        line("Access-Control-Allow-Credentials", b"true");
    }
    if preflight {
        let listed = |list: &[String], asked: Option<&[u8]>| match (list, asked) {
            ([only], Some(asked)) if only == "*" => asked.to_vec(),
            _ => list.join(", ").into_bytes(),
        };
        line(
            "Access-Control-Allow-Methods",
            &listed(&cors.allow_methods, request.header("access-control-request-method")),
        );
        let headers = listed(&cors.allow_headers, request.header("access-control-request-headers"));
        if !headers.is_empty() {
            line("Access-Control-Allow-Headers", &headers);
        }
        line("Access-Control-Max-Age", cors.max_age_seconds.to_string().as_bytes());
    } else if !cors.expose_headers.is_empty() {
        line("Access-Control-Expose-Headers", cors.expose_headers.join(", ").as_bytes());
    }
    Some(out)
}

pub fn is_preflight(request: &dyn Request) -> bool {
    request.method() == b"OPTIONS"
        && request.header("origin").is_some()
        && request.header("access-control-request-method").is_some()
}

/// `*` stands for anything, or for one label, once in a pattern.
fn fits(pattern: &[u8], origin: &[u8], one_label: bool) -> bool {
    match pattern.iter().position(|b| *b == b'*') {
        None => pattern.eq_ignore_ascii_case(origin),
        Some(at) => {
            let (front, back) = (&pattern[..at], &pattern[at + 1..]);
            let long_enough = origin.len() >= front.len() + back.len();
            if !long_enough || !origin.starts_with(front) || !origin.ends_with(back) {
                return false;
            }
            let between = &origin[front.len()..origin.len() - back.len()];
            let label = !between.is_empty() && between.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
            label || !one_label || pattern == b"*"
        }
    }
}
