//! A link that can be cut: a small TCP relay between gateways and the broker.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;

/// Bytes relayed at a time.
const CHUNK: usize = 16 * 1024;
/// How long a half-open relay may idle before it looks whether it should end.
const LOOK: Duration = Duration::from_millis(200);

/// A relay on a loopback port. Dropping it cuts it for good.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    cut: AtomicBool,
    closed: AtomicBool,
    carried: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Link {
    /// Opens a relay to `target`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn open(target: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("open the link's port")?;
        let address = listener.local_addr().context("read the link's port")?;
        let shared = Arc::new(Shared {
            target,
            cut: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            carried: AtomicU64::new(0),
            open: Mutex::new(Vec::new()),
        });
        let for_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || accept(&listener, &for_thread))
            .context("start the link")?;
        Ok(Link { address, shared })
    }

    /// Where gateways connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes carried so far, both directions together, without TCP's own.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }

    /// Drops every connection and refuses new ones.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        self.shared.drop_all();
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the accepting thread so that it sees the end; a failure means it is gone already.
        TcpStream::connect_timeout(&self.address, LOOK).ok();
    }
}

impl Shared {
    fn drop_all(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for near in listener.incoming() {
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(near) = near else { continue };
        if shared.cut.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(far) = TcpStream::connect_timeout(&shared.target, LOOK) else {
            continue;
        };
        if relay_both_ways(near, far, shared).is_err() {
            // Out of threads or handles: the client sees a closed connection and tries again.
            continue;
        }
    }
}

fn relay_both_ways(near: TcpStream, far: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    {
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|stream| stream.peer_addr().is_ok());
        open.push(near.try_clone()?);
        open.push(far.try_clone()?);
    }
    let (near_again, far_again) = (near.try_clone()?, far.try_clone()?);
    let thread = |from: TcpStream, to: TcpStream| {
        let shared = Arc::clone(shared);
        std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || relay(from, to, &shared.carried))
    };
    thread(near, far)?;
    thread(far_again, near_again)?;
    Ok(())
}

fn relay(mut from: TcpStream, mut to: TcpStream, carried: &AtomicU64) {
    let mut buffer = [0u8; CHUNK];
    while let Ok(count) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        if to.write_all(bytes).is_err() {
            break;
        }
        carried.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
