//! A serial line with Modbus RTU devices, over `tokio-modbus`.
//!
//! Owns: the port, the silence between frames, time-outs and the one repeat. The thread of the line's
//! worker owns it and waits in it: a slow probe holds up its own line and nobody else.
//! What registers mean is the drivers'.
//!
//! **Late answers.** Modbus RTU numbers no requests, so an answer that comes late could be taken for
//! that of the next request. Before each request what came in meanwhile is thrown away; and when a
//! repeat was answered, which may have been the answer to the first, the line is listened to until the
//! second one must have come, too.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use furrow_drivers::registers::{Ask, Function};
use furrow_drivers::{BusFault, Cause, RegisterSource};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;
use tokio_modbus::Slave;
use tokio_modbus::client::{Reader as _, rtu};
use tokio_serial::{ClearBuffer, DataBits, SerialPort as _, SerialStream, StopBits};

use crate::config::{Parity, SerialSettings};

/// Requests for one reading: one repeat, as the Modbus guides have it.
const TRIES: u32 = 2;
/// Bits of a character on the line, at most: start, eight data, parity, stop.
const CHARACTER_BITS: u32 = 11;
/// Above this speed the silence between frames is fixed (Modbus over serial line 1.02, 2.5.1.1), bits
/// per second.
const FIXED_ABOVE_BAUD: u32 = 19_200;
/// That fixed silence.
const FIXED_SILENCE: Duration = Duration::from_micros(1_750);
/// Bytes of a request for registers, and of an answer beside its words.
const FRAME_BYTES: u32 = 8 + 5;
/// An answer to a repeat may come this much later than the first one did.
const LATE_SPREAD: Duration = Duration::from_millis(20);

/// A line. Clones are the same line; it opens when it is first used, and again after it was lost.
#[derive(Debug, Clone)]
pub struct Rs485(Rc<RefCell<Line>>);

impl Rs485 {
    /// Nothing is opened yet. To be kept by one thread, outside an event loop.
    #[must_use]
    pub fn new(settings: &SerialSettings) -> Self {
        Self(Rc::new(RefCell::new(Line {
            settings: settings.clone(),
            port: None,
        })))
    }

    /// One request without a repeat.
    ///
    /// # Errors
    /// As of a reading.
    pub fn once(&self, ask: Ask) -> Result<Vec<u16>, Cause> {
        self.0.borrow_mut().ask(ask, 1)
    }
}

impl RegisterSource for Rs485 {
    fn registers(&mut self, ask: Ask) -> Result<Vec<u16>, Cause> {
        // A request calls no driver, so the line is never borrowed twice.
        self.0.borrow_mut().ask(ask, TRIES)
    }
}

#[derive(Debug)]
struct Line {
    settings: SerialSettings,
    port: Option<Open>,
}

#[derive(Debug)]
struct Open {
    runtime: Runtime,
    shared: Shared,
}

/// How one request ended.
enum Failed {
    /// Nothing came, or nothing that is a frame.
    Silent { bytes: usize },
    /// A frame came that does not answer the request.
    Other,
    /// The device refuses, with its exception code.
    Refused(u8),
    /// The port is lost.
    Lost(io::Error),
}

impl Line {
    fn ask(&mut self, ask: Ask, tries: u32) -> Result<Vec<u16>, Cause> {
        let timeout = answer_within(&self.settings, ask.count);
        let silence = silence(self.settings.baud);
        let first = Instant::now();
        let mut cause = Cause::Bus(BusFault::Other);
        for tried in 0..tries {
            let port = match self.open() {
                Ok(port) => port,
                Err(error) => {
                    let device = self.settings.device.display();
                    tracing::debug!(%device, %error, "serial port can't be opened");
                    return Err(Cause::Bus(BusFault::Other));
                }
            };
            let sent = Instant::now();
            let answer = port.exchange(ask, silence, timeout);
            if tried > 0 && !matches!(answer, Err(Failed::Silent { .. } | Failed::Lost(_))) {
                // As long after the repeat as this answer came after the first request.
                port.rest(sent.saturating_duration_since(first) + LATE_SPREAD);
            }
            cause = match answer {
                Ok(words) => return Ok(words),
                Err(Failed::Refused(found)) => return Err(Cause::Status { found }),
                Err(Failed::Silent { bytes: 0 }) => Cause::NoAnswer {
                    waited_ms: u32::try_from(first.elapsed().as_millis()).unwrap_or(u32::MAX),
                },
                Err(Failed::Silent { .. }) => Cause::Checksum,
                Err(Failed::Other) => Cause::Bus(BusFault::Other),
                Err(Failed::Lost(error)) => {
                    let device = self.settings.device.display();
                    tracing::debug!(%device, %error, "serial port lost");
                    self.port = None;
                    Cause::Bus(BusFault::Other)
                }
            };
            tracing::debug!(slave = ask.slave, cause = %cause, tried, "no good answer");
        }
        Err(cause)
    }

    fn open(&mut self) -> io::Result<&mut Open> {
        if self.port.is_none() {
            self.port = Some(Open::new(&self.settings)?);
        }
        self.port
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Open {
    fn new(settings: &SerialSettings) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let parity = match settings.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        };
        let path = settings.device.to_string_lossy();
        let builder = tokio_serial::new(path, settings.baud)
            .data_bits(DataBits::Eight)
            .stop_bits(StopBits::One)
            .parity(parity);
        let guard = runtime.enter();
        let port = SerialStream::open(&builder).map_err(io::Error::from)?;
        drop(guard);
        Ok(Self {
            runtime,
            shared: Shared(Arc::new(Mutex::new(Port { port, bytes: 0 }))),
        })
    }

    fn exchange(
        &mut self,
        ask: Ask,
        silence: Duration,
        timeout: Duration,
    ) -> Result<Vec<u16>, Failed> {
        self.rest(silence);
        self.shared.discard().map_err(Failed::Lost)?;
        // A new one each time: nothing of a broken frame stays in it.
        let mut modbus = rtu::attach_slave(self.shared.clone(), Slave(ask.slave));
        let answer = self.runtime.block_on(async {
            let answer = async {
                match ask.function {
                    Function::Holding => modbus.read_holding_registers(ask.first, ask.count).await,
                    Function::Input => modbus.read_input_registers(ask.first, ask.count).await,
                }
            };
            tokio::time::timeout(timeout, answer).await
        });
        let bytes = self.shared.lock().bytes;
        match answer {
            Ok(Ok(Ok(words))) if words.len() == usize::from(ask.count) => Ok(words),
            Ok(Ok(Ok(_))) => Err(Failed::Other),
            Ok(Ok(Err(exception))) => Err(Failed::Refused(exception.into())),
            Ok(Err(tokio_modbus::Error::Protocol(error))) => {
                tracing::debug!(%error, "answer of another device");
                Err(Failed::Other)
            }
            // Too much that is no frame.
            Ok(Err(tokio_modbus::Error::Transport(error)))
                if error.kind() == io::ErrorKind::InvalidData =>
            {
                Err(Failed::Silent { bytes })
            }
            Ok(Err(tokio_modbus::Error::Transport(error))) => Err(Failed::Lost(error)),
            Err(_) => Err(Failed::Silent { bytes }),
        }
    }

    /// Leaves the line alone. Its times are real ones, also beside a simulated bus.
    fn rest(&self, length: Duration) {
        // Inside the block: a sleep needs the runtime around it when it is made.
        self.runtime
            .block_on(async { tokio::time::sleep(length).await });
    }
}

/// The port, in the hands of the line and of one exchange at a time.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Port>>);

#[derive(Debug)]
struct Port {
    port: SerialStream,
    /// Received since the last [`Shared::discard`].
    bytes: usize,
}

impl Shared {
    /// Throws away what came in.
    fn discard(&self) -> io::Result<()> {
        let mut port = self.lock();
        port.bytes = 0;
        port.port.clear(ClearBuffer::Input).map_err(io::Error::from)
    }

    fn lock(&self) -> MutexGuard<'_, Port> {
        // Nothing panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut port = self.lock();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut port.port).poll_read(context, buffer);
        port.bytes = port
            .bytes
            .saturating_add(buffer.filled().len().saturating_sub(before));
        polled
    }
}

impl AsyncWrite for Shared {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.lock().port).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().port).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().port).poll_shutdown(context)
    }
}

/// 3.5 characters.
fn silence(baud: u32) -> Duration {
    if baud > FIXED_ABOVE_BAUD {
        return FIXED_SILENCE;
    }
    characters(7, baud) / 2
}

/// The settings' time-out, and what request and answer take on the line.
fn answer_within(settings: &SerialSettings, registers: u16) -> Duration {
    let bytes = FRAME_BYTES + 2 * u32::from(registers);
    settings.timeout + characters(bytes, settings.baud)
}

fn characters(count: u32, baud: u32) -> Duration {
    Duration::from_secs(1) * (count * CHARACTER_BITS) / baud.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_the_speed() {
        let settings = |baud| SerialSettings {
            device: "/dev/null".into(),
            baud,
            parity: Parity::None,
            timeout: Duration::from_millis(300),
        };
        for (baud, silence_us, answer_us) in [
            (1_200, 32_083, 492_500),
            (9_600, 4_010, 324_062),
            (19_200, 2_005, 312_031),
            (115_200, 1_750, 302_005),
        ] {
            assert_eq!(silence(baud).as_micros(), silence_us, "{baud}");
            let within = answer_within(&settings(baud), 4);
            assert_eq!(within.as_micros(), answer_us, "{baud}");
        }
    }

    #[test]
    fn a_port_that_is_not_there_is_a_failure_each_time() {
        let line = Rs485::new(&SerialSettings {
            device: "/dev/furrow-has-no-such-port".into(),
            baud: 9_600,
            parity: Parity::None,
            timeout: Duration::from_millis(300),
        });
        let ask = Ask {
            slave: 1,
            function: Function::Holding,
            first: 0,
            count: 4,
        };
        for _ in 0..2 {
            assert_eq!(line.once(ask), Err(Cause::Bus(BusFault::Other)));
        }
    }
}
