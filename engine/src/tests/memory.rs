//! What a connection costs while nothing happens on it: the size of its task, which grows unseen otherwise.

use std::net::{Ipv4Addr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::http::serve::{self, Whence};
use crate::tcp;
use crate::tls::peer::Peer;
use crate::worker::context::{self, Context};

fn with_stream(look: impl FnOnce(Rc<Context>, TcpStream, Whence)) {
    let options = tokio::runtime::LocalOptions::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(options).unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let peer = listener.local_addr().unwrap();
        let stream = TcpStream::connect(peer).await.unwrap();
        let context = Context::new(1);
        let client = context::Client::new(&context, &Arc::default());
        look(
            context,
            stream,
            Whence { socket: "s".into(), peer, local: None, destination: None, peer_identity: Peer::Plain, client },
        );
    });
}

#[test]
fn an_idle_http_connection_is_a_small_task() {
    with_stream(|context, stream, whence| {
        let task = serve::serve(context, stream, whence, "http");
        let bytes = size_of_val(&task);
        // With what the runtime puts around it, 896: it is aligned to 128, so every step costs so much.
        assert!(bytes <= 792, "{bytes}");
    });
}

#[test]
fn an_idle_tcp_connection_is_a_small_task() {
    with_stream(|context, stream, whence| {
        let task = tcp::serve(context, stream, whence);
        let bytes = size_of_val(&task);
        assert!(bytes <= 1024, "{bytes}");
    });
}
