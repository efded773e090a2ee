//! `fairlead-engine`: the master and worker that carry the traffic, and the shim that parents a process pod.
//! docs/protocol.md is its contract.
fn main() {}
