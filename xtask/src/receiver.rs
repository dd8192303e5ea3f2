//! Where ingest's webhook posts alerts to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

use serde_json::Value;

use crate::say;

/// Bytes of a request: an alert has some hundreds.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Something that was posted.
#[derive(Debug)]
pub(crate) struct Posted {
    /// When it was there.
    pub(crate) unix_ms: i64,
    /// The body.
    pub(crate) body: Value,
}

/// A receiver on a free port and threads of its own, until the process ends.
pub(crate) fn start() -> anyhow::Result<(SocketAddr, mpsc::Receiver<Posted>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                if let Err(error) = serve(stream, &sender) {
                    say!("an alert could not be read: {error:#}");
                }
            });
        }
    });
    Ok((address, receiver))
}

/// One connection, kept alive by its sender: POST after POST.
fn serve(stream: TcpStream, sender: &mpsc::Sender<Posted>) -> anyhow::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        if requests.read_line(&mut line)? == 0 {
            return Ok(());
        }
        while line.trim_end() != "" {
            line.clear();
            requests.read_line(&mut line)?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        anyhow::ensure!(length <= MAX_BODY_BYTES, "{length} bytes");
        let mut body = vec![0; length];
        requests.read_exact(&mut body)?;
        let unix_ms = jiff::Timestamp::now().as_millisecond();
        answers.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        let body = serde_json::from_slice(&body)?;
        // An error says that nobody listens any more.
        if sender.send(Posted { unix_ms, body }).is_err() {
            return Ok(());
        }
    }
}
