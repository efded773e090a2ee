//! Statistics of what was carried: counters (`counters`), and the doors they are read through.
//!
//! Promises: `GET /metrics` is Prometheus' text format, `GET /stats` a JSON snapshot, `GET /stats?watch=SECONDS` JSON lines
//! with what has changed, `GET /log` the access log, line by line. Runs on the control thread; the threads that carry traffic never wait for a reader.

pub mod access_log;
pub mod connects;
pub mod counters;
pub mod ejections;
mod metrics;
pub mod session_log;
mod snapshot;
mod watch;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use access_log::Lines;

use crate::table::store::Store;

const MAX_REQUEST_BYTES: usize = 8192;

pub async fn serve(listener: UnixListener, store: Rc<RefCell<Store>>) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let store = store.clone();
            tokio::task::spawn_local(async move {
                let _ = answer(stream, &store).await;
            });
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// One request, one response, then the connection ends.
async fn answer(mut stream: UnixStream, store: &RefCell<Store>) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let peer = stream.peer_cred()?.uid();
    if peer != own && peer != 0 {
        return respond(&mut stream, "403 Forbidden", "text/plain", "only the engine's own user may read this\n").await;
    }
    let mut request = Vec::new();
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        if request.len() > MAX_REQUEST_BYTES || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(&request);
    let target = line.split(' ').nth(1).unwrap_or("");
    let watch = target.strip_prefix("/stats?watch=").and_then(|s| s.parse::<f64>().ok());
    match (target, watch) {
        ("/metrics", _) => {
            let text = metrics::render(&store.borrow());
            respond(&mut stream, "200 OK", "text/plain; version=0.0.4", &text).await
        }
        ("/stats", _) => {
            let text = snapshot::take(&store.borrow()).to_string();
            respond(&mut stream, "200 OK", "application/json", &text).await
        }
        ("/log", _) => {
            let lines = store.borrow().lines();
            log(stream, &lines).await
        }
        (_, Some(seconds)) if seconds > 0.0 => self::watch(stream, store, seconds).await,
        _ => respond(&mut stream, "404 Not Found", "text/plain", "there are /metrics, /stats and /log\n").await,
    }
}

async fn respond(stream: &mut UnixStream, status: &str, content_type: &str, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}

/// What is logged from now on, and what waits already, until the reader goes.
async fn log(mut stream: UnixStream, lines: &Lines) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let (mut reader, mut writer) = stream.split();
    let mut nothing = [0u8; 1];
    loop {
        let taken = tokio::select! {
            // A reader that went takes no line with it.
            read = reader.read(&mut nothing) => match read? {
                0 => return Ok(()),
                _ => continue,
            },
            taken = lines.take() => taken,
        };
        writer.write_all(&taken).await?;
    }
}

async fn watch(mut stream: UnixStream, store: &RefCell<Store>, seconds: f64) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let mut told = watch::Told::default();
    loop {
        let news = told.news(&store.borrow());
        if let Some(news) = news {
            stream.write_all(format!("{news}\n").as_bytes()).await?;
        }
        tokio::time::sleep(Duration::from_secs_f64(seconds.min(3600.0))).await;
    }
}
