//! The sockets beneath the protocol: TCP with `TCP_NODELAY`, and Unix sockets.
//!
//! Knows addresses, connecting, listening and time-outs; knows no message.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::error::BusError;

/// Longest a connection attempt, a write, or the answer to a bus request may take, in real time.
/// Loopback answers in microseconds: five seconds means that the other end hangs.
pub const IO_TIMEOUT: Duration = Duration::from_secs(5);

/// `tcp:HOST:PORT` or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host and port; port 0 lets the system choose when listening.
    Tcp(String),
    /// Path of a socket file.
    Unix(PathBuf),
}

/// One end of a connection.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// A listening socket. Its file, if it has one, goes with it.
#[derive(Debug)]
pub enum Listener {
    /// Over TCP.
    Tcp(TcpListener),
    /// Over a Unix socket.
    Unix {
        /// The socket.
        listener: UnixListener,
        /// Its file.
        path: PathBuf,
    },
}

impl FromStr for Address {
    type Err = BusError;

    fn from_str(text: &str) -> Result<Self, BusError> {
        let wrong = || BusError::Address(text.to_owned());
        if let Some(rest) = text.strip_prefix("tcp:") {
            let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
            if host.is_empty() || port.parse::<u16>().is_err() {
                return Err(wrong());
            }
            Ok(Self::Tcp(rest.to_owned()))
        } else if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(wrong());
            }
            Ok(Self::Unix(PathBuf::from(path)))
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Connects, within [`IO_TIMEOUT`].
    ///
    /// # Errors
    /// What the operating system says.
    pub fn connect(&self) -> io::Result<Stream> {
        let stream = match self {
            Self::Tcp(address) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "host has no address");
                let mut found = None;
                for address in address.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, IO_TIMEOUT) {
                        Ok(stream) => {
                            found = Some(stream);
                            break;
                        }
                        Err(error) => last = error,
                    }
                }
                Stream::Tcp(found.ok_or(last)?)
            }
            Self::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        stream.prepare()?;
        Ok(stream)
    }

    /// Listens. A socket file that nobody answers at is taken over.
    ///
    /// # Errors
    /// What the operating system says; `AddrInUse` when somebody answers.
    pub fn listen(&self) -> io::Result<Listener> {
        match self {
            Self::Tcp(address) => TcpListener::bind(address.as_str()).map(Listener::Tcp),
            Self::Unix(path) => {
                if path.exists() {
                    if UnixStream::connect(path).is_ok() {
                        return Err(io::ErrorKind::AddrInUse.into());
                    }
                    std::fs::remove_file(path)?;
                }
                Ok(Listener::Unix {
                    listener: UnixListener::bind(path)?,
                    path: path.clone(),
                })
            }
        }
    }
}

impl Listener {
    /// Waits for a connection.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn accept(&self) -> io::Result<Stream> {
        let stream = match self {
            Self::Tcp(listener) => Stream::Tcp(listener.accept()?.0),
            Self::Unix { listener, .. } => Stream::Unix(listener.accept()?.0),
        };
        stream.prepare()?;
        Ok(stream)
    }

    /// Where it listens, with the port that the system chose.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn address(&self) -> io::Result<Address> {
        Ok(match self {
            Self::Tcp(listener) => Address::Tcp(listener.local_addr()?.to_string()),
            Self::Unix { path, .. } => Address::Unix(path.clone()),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            // Nothing to do about a file that is gone already.
            drop(std::fs::remove_file(path));
        }
    }
}

impl Stream {
    fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(IO_TIMEOUT))
            }
            Self::Unix(stream) => stream.set_write_timeout(Some(IO_TIMEOUT)),
        }
    }

    /// Sends all bytes, within [`IO_TIMEOUT`].
    ///
    /// # Errors
    /// What the operating system says.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// A second handle of the same connection.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    /// Limits how long a read may take; `None` is without limit.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(limit),
            Self::Unix(stream) => stream.set_read_timeout(limit),
        }
    }

    /// Ends the connection in both directions, for every handle of it.
    pub fn close(&self) {
        // An error says that the connection is gone already, which is what was wanted.
        drop(match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        });
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Address>) {
        assert_eq!(text.parse::<Address>().ok(), expected, "{text}");
        if let Some(address) = expected {
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn addresses() {
        check(
            "tcp:127.0.0.1:7000",
            Some(Address::Tcp("127.0.0.1:7000".into())),
        );
        check("tcp:[::1]:0", Some(Address::Tcp("[::1]:0".into())));
        check("unix:/run/sim", Some(Address::Unix("/run/sim".into())));
        for wrong in [
            "",
            "tcp:",
            "tcp:7000",
            "tcp::7000",
            "tcp:host:port",
            "unix:",
            "/run/sim",
        ] {
            check(wrong, None);
        }
    }
}
