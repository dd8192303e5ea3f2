//! A link that can be cut, held and slowed: a small TCP relay between gateways and the broker.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;

use crate::process::pause;

/// Bytes relayed at a time.
const CHUNK: usize = 16 * 1024;
/// How long a half-open relay may idle before it looks whether it should end.
const LOOK: Duration = Duration::from_millis(200);
/// How often a relay that is held looks whether it may go on.
const HELD_LOOK: Duration = Duration::from_millis(10);

/// Bytes that a link records at most, both directions together.
const RECORDED_MAX: usize = 16 * 1024 * 1024;

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
    held: AtomicBool,
    /// Before each chunk, in milliseconds.
    delay_ms: AtomicU64,
    /// Bytes a second in each direction; 0: as many as come.
    bandwidth: AtomicU64,
    closed: AtomicBool,
    carried: AtomicU64,
    /// What each direction of each connection carried, once asked for.
    recorded: Mutex<Option<Vec<Vec<u8>>>>,
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
            held: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
            bandwidth: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            carried: AtomicU64::new(0),
            recorded: Mutex::new(None),
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

    /// Keeps what connections from now on carry, up to a limit of 16 MiB.
    pub fn record(&self) {
        let mut recorded = self.shared.recorded();
        recorded.get_or_insert_default();
    }

    /// What was recorded: one for each direction of each connection.
    #[must_use]
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        self.shared.recorded().clone().unwrap_or_default()
    }

    /// Drops every connection and refuses new ones.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        self.shared.drop_all();
    }

    /// Carries nothing, yet drops no connection: what a partition looks like from both ends.
    pub fn hold(&self) {
        self.shared.held.store(true, Ordering::SeqCst);
    }

    /// Carries each chunk after `delay_ms` milliseconds, and at most `bandwidth` bytes a second each
    /// way (from 1).
    pub fn slow(&self, delay_ms: u64, bandwidth: u64) {
        self.shared.delay_ms.store(delay_ms, Ordering::SeqCst);
        self.shared.bandwidth.store(bandwidth, Ordering::SeqCst);
    }

    /// Lets everything through again, at once.
    pub fn mend(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
        self.shared.held.store(false, Ordering::SeqCst);
        self.slow(0, 0);
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

    fn recorded(&self) -> MutexGuard<'_, Option<Vec<Vec<u8>>>> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for what one direction carries; `None` while nothing is recorded.
    fn new_record(&self) -> Option<usize> {
        let mut recorded = self.recorded();
        let recorded = recorded.as_mut()?;
        recorded.push(Vec::new());
        Some(recorded.len() - 1)
    }

    fn keep(&self, place: Option<usize>, bytes: &[u8]) {
        let Some(place) = place else { return };
        let mut recorded = self.recorded();
        let Some(recorded) = recorded.as_mut() else {
            return;
        };
        let kept: usize = recorded.iter().map(Vec::len).sum();
        if let Some(record) = recorded.get_mut(place)
            && kept + bytes.len() <= RECORDED_MAX
        {
            record.extend_from_slice(bytes);
        }
    }

    fn is_shut(&self) -> bool {
        self.cut.load(Ordering::SeqCst) || self.closed.load(Ordering::SeqCst)
    }

    /// Takes the time that the link takes for a chunk.
    fn impede(&self, bytes: usize) {
        while self.held.load(Ordering::SeqCst) && !self.is_shut() {
            pause(HELD_LOOK);
        }
        let mut time = Duration::from_millis(self.delay_ms.load(Ordering::SeqCst));
        let bandwidth = self.bandwidth.load(Ordering::SeqCst);
        let micros = u64::try_from(bytes).unwrap_or(u64::MAX) * 1_000_000;
        time += Duration::from_micros(micros.checked_div(bandwidth).unwrap_or(0));
        if !time.is_zero() {
            pause(time);
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
        let place = shared.new_record();
        std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || relay(from, to, place, &shared))
    };
    thread(near, far)?;
    thread(far_again, near_again)?;
    Ok(())
}

fn relay(mut from: TcpStream, mut to: TcpStream, place: Option<usize>, shared: &Shared) {
    let mut buffer = [0u8; CHUNK];
    while let Ok(count) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        shared.impede(count);
        if shared.is_shut() || to.write_all(bytes).is_err() {
            break;
        }
        shared.keep(place, bytes);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        shared.carried.fetch_add(count, Ordering::Relaxed);
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn linked() -> (Link, TcpStream, TcpStream) {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Link::open(target.local_addr().unwrap()).unwrap();
        let near = TcpStream::connect(link.address()).unwrap();
        let (far, _) = target.accept().unwrap();
        far.set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        (link, near, far)
    }

    fn read(far: &mut TcpStream) -> Option<u8> {
        let mut byte = [0];
        far.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    #[test]
    fn what_a_connection_carries_is_recorded_each_way_once_asked_for() {
        let (link, mut near, mut far) = linked();
        near.write_all(&[1]).unwrap();
        assert_eq!(read(&mut far), Some(1));
        assert!(link.recorded().is_empty());
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Link::open(target.local_addr().unwrap()).unwrap();
        link.record();
        let mut near = TcpStream::connect(link.address()).unwrap();
        let (mut far, _) = target.accept().unwrap();
        near.write_all(&[2, 3]).unwrap();
        assert_eq!([read(&mut far), read(&mut far)], [Some(2), Some(3)]);
        far.write_all(&[4]).unwrap();
        assert_eq!(read(&mut near), Some(4));
        let begin = Instant::now();
        let mut recorded = link.recorded();
        // The relay notes what it carried just after it did.
        while recorded.iter().map(Vec::len).sum::<usize>() < 3 && begin.elapsed() < PATIENCE {
            recorded = link.recorded();
        }
        recorded.sort();
        assert_eq!(recorded, [vec![2, 3], vec![4]]);
    }

    #[test]
    fn what_is_held_comes_when_it_is_mended() {
        let (link, mut near, mut far) = linked();
        link.hold();
        near.write_all(&[7]).unwrap();
        assert_eq!(read(&mut far), None);
        link.mend();
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(read(&mut far), Some(7));
    }

    #[test]
    fn a_slow_link_takes_its_time() {
        let (link, mut near, mut far) = linked();
        link.slow(50, 100);
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        let begin = Instant::now();
        near.write_all(&[7; 10]).unwrap();
        assert_eq!(read(&mut far), Some(7));
        assert!(begin.elapsed() >= Duration::from_millis(150));
    }

    #[test]
    fn a_cut_link_that_was_held_is_gone() {
        let (link, mut near, mut far) = linked();
        link.hold();
        near.write_all(&[7]).unwrap();
        link.cut();
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(read(&mut far), None);
    }
}
