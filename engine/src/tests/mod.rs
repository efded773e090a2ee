//! Server, proxy and client in one process: the engine's threads carry real sockets between threads of the test.
//!
//! No sleeps: whoever waits, waits for a message, a byte or an end.

mod abuse;
mod access_log;
mod affinity;
mod age;
mod checks;
mod claims;
mod client_certificates;
mod closing;
mod dns_names;
mod doors;
mod external;
mod fixtures;
mod fuzz;
mod harness;
mod health;
mod http2;
mod http2_streams;
mod http2_websocket;
mod http_bad_answers;
mod http_forward;
mod http_malformed;
mod http_retry;
mod leaving;
mod memory;
mod order;
mod pages;
mod passwords;
mod paths;
mod policies;
mod proxy_out;
mod resolved;
mod rules;
mod session_log;
mod table_of;
mod tcp_forward;
mod tls;
mod tls_backend;
mod tls_sessions;
mod udp_forward;
mod waiting;
