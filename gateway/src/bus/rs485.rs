//! A serial line with Modbus RTU devices, over `tokio-modbus`.
//!
//! Owns: the port, the silence between frames, time-outs and the one repeat. The thread of the line's
//! worker owns it and waits in it: a slow probe holds up its own line and nobody else.
//! What registers mean is the drivers'.
//!
//! **Late answers.** Modbus RTU numbers no requests, so an answer that comes late could be taken for
//! that of the next request. Before each request what came in meanwhile is thrown away; and when a
//! repeat was answered, which may have been the answer to the first, the line is listened to until the
//! second one must have come, too. A device that still owes an answer after that is first asked for a
//! number of registers that it was never asked for: devices answer in order and no other answer has
//! that length, so when this one comes, all before it have. When that fails, too, the device is left
//! alone until nothing of it can come any more.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
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
use tokio_modbus::client::{Client as _, rtu};
use tokio_modbus::{Request, Response, Slave};
use tokio_serial::{ClearBuffer, DataBits, SerialPort as _, SerialStream, StopBits};

use super::trouble::{self, Trouble};
use crate::config::{Parity, SerialSettings};

/// Requests for one reading: one repeat, as the Modbus guides have it.
const TRIES: u32 = 2;
/// Most registers of a request: one more than a reading has, so that there is a number that no reading
/// asks for.
const REGISTERS_MAX: u16 = 17;
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
/// Time-outs after which an answer that has not come never will. Probes answer within one; a probe that
/// takes longer than ten wants a longer time-out in the settings.
const LATE_TIMEOUTS: u32 = 10;
/// The shortest answer: a refusal with its checksum, in bytes.
const ANSWER_MIN_BYTES: u32 = 5;

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
            trouble: Trouble::default(),
            problem: None,
            slaves: BTreeMap::new(),
        })))
    }

    /// One request without a repeat.
    ///
    /// # Errors
    /// As of a reading.
    pub fn once(&self, ask: Ask) -> Result<Vec<u16>, Cause> {
        self.0.borrow_mut().ask(ask, 1)
    }

    /// Why the port is not open after a request, for people.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        let line = self.0.borrow();
        match &line.port {
            Some(_) => None,
            None => Some(line.problem.clone().unwrap_or_default()),
        }
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
    trouble: Trouble,
    /// Why the port did not open, or was lost.
    problem: Option<String>,
    /// By address; at most 247.
    slaves: BTreeMap<u8, Owing>,
}

/// What a device was asked for, and whether an answer may still come.
#[derive(Debug)]
struct Owing {
    /// Numbers of registers of its readings.
    counts: BTreeSet<u16>,
    /// The lowest register of its readings: of all, it most likely has neighbours.
    lowest: u16,
    owes: Option<Owes>,
}

/// Since when, in a request's own time.
#[derive(Debug, Clone, Copy)]
enum Owes {
    /// Answers to readings.
    Readings(Instant),
    /// Also those to what should have told.
    All(Instant),
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
        let slave = self.slaves.entry(ask.slave).or_insert_with(|| Owing {
            counts: BTreeSet::new(),
            lowest: ask.first,
            owes: None,
        });
        slave.counts.insert(ask.count);
        slave.lowest = slave.lowest.min(ask.first);
        let late_max = self.settings.timeout * LATE_TIMEOUTS;
        match slave.owes {
            Some(Owes::Readings(since)) if since.elapsed() < late_max => self.settle(ask)?,
            Some(Owes::All(since)) if since.elapsed() < late_max => {
                let waited_ms = u32::try_from(since.elapsed().as_millis()).unwrap_or(u32::MAX);
                return Err(Cause::NoAnswer { waited_ms });
            }
            Some(Owes::Readings(_) | Owes::All(_)) | None => {}
        }
        let (outcome, owes) = self.exchange(ask, tries);
        self.set_owes(ask.slave, owes.then(|| Owes::Readings(Instant::now())));
        outcome
    }

    /// Makes sure that an answer which is still owed can't be taken for that of this request.
    fn settle(&mut self, ask: Ask) -> Result<(), Cause> {
        let Some(owing) = self.slaves.get(&ask.slave) else {
            return Ok(());
        };
        let count = (1..=REGISTERS_MAX).find(|count| !owing.counts.contains(count));
        let probe = Ask {
            first: owing.lowest,
            count: count.unwrap_or(REGISTERS_MAX),
            ..ask
        };
        let (outcome, owes) = self.exchange(probe, TRIES);
        if !owes {
            return Ok(());
        }
        self.set_owes(ask.slave, Some(Owes::All(Instant::now())));
        tracing::debug!(slave = ask.slave, "still owes an answer, left alone");
        Err(outcome.err().unwrap_or(Cause::Bus(BusFault::Other)))
    }

    fn set_owes(&mut self, slave: u8, owes: Option<Owes>) {
        if let Some(owing) = self.slaves.get_mut(&slave) {
            owing.owes = owes;
        }
    }

    /// Asks, and once more where no answer comes; also whether one may still come. A refusal names no
    /// length: whose answer it is can't be told.
    fn exchange(&mut self, ask: Ask, tries: u32) -> (Result<Vec<u16>, Cause>, bool) {
        let silence = silence(self.settings.baud);
        let timeout = answer_within(&self.settings, ask.count);
        let first = Instant::now();
        let mut unanswered = 0_u32;
        let mut outcome = Err(Cause::Bus(BusFault::Other));
        for tried in 0..tries {
            let sent = Instant::now();
            let answer = match self.open() {
                Ok(port) => port.exchange(ask, silence, timeout),
                // Whatever is under way, nobody hears it.
                Err(cause) => return (Err(cause), false),
            };
            unanswered += u32::from(answer.is_err());
            if answer.is_ok() && unanswered > 0 {
                // As long after the repeat as this answer came after the first request.
                let came_in = sent.saturating_duration_since(first) + LATE_SPREAD;
                let heard = self.open().is_ok_and(|port| port.hears(came_in));
                unanswered -= u32::from(heard);
            }
            let is_last = matches!(answer, Ok(_) | Err(Failed::Refused(_) | Failed::Lost(_)));
            outcome = answer.map_err(|failed| self.cause(&failed, first));
            if is_last {
                break;
            }
            tracing::debug!(slave = ask.slave, ?outcome, tried, "no good answer");
        }
        (outcome, unanswered > 0)
    }

    fn cause(&mut self, failed: &Failed, first: Instant) -> Cause {
        match failed {
            Failed::Refused(found) => Cause::Status { found: *found },
            Failed::Silent { bytes: 0 } => Cause::NoAnswer {
                waited_ms: u32::try_from(first.elapsed().as_millis()).unwrap_or(u32::MAX),
            },
            Failed::Silent { .. } => Cause::Checksum,
            Failed::Other => Cause::Bus(BusFault::Other),
            Failed::Lost(error) => {
                let device = self.settings.device.display();
                self.trouble.handle_failed(&device, error, trouble::SERIAL);
                self.problem = Some(format!("{device}: {error}; {}", trouble::SERIAL));
                self.port = None;
                Cause::Bus(BusFault::Other)
            }
        }
    }

    fn open(&mut self) -> Result<&mut Open, Cause> {
        let device = self.settings.device.display();
        if self.port.is_none() {
            match Open::new(&self.settings) {
                Ok(open) => {
                    self.trouble.handle_opened(&device);
                    self.port = Some(open);
                }
                Err(error) => {
                    self.trouble.handle_failed(&device, &error, trouble::SERIAL);
                    self.problem = Some(format!("{device}: {error}; {}", trouble::SERIAL));
                }
            }
        }
        self.port.as_mut().ok_or(Cause::Bus(BusFault::Other))
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
        let (first, count) = (ask.first, ask.count);
        // Not by the crate's own readers: those panic at a wrong length where assertions are on.
        let request = match ask.function {
            Function::Holding => Request::ReadHoldingRegisters(first, count),
            Function::Input => Request::ReadInputRegisters(first, count),
        };
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(timeout, modbus.call(request)).await });
        let bytes = self.shared.lock().bytes;
        match answer {
            Ok(Ok(Ok(
                Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words),
            ))) if words.len() == usize::from(count) => Ok(words),
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

    /// Whether an answer comes within a time.
    fn hears(&self, length: Duration) -> bool {
        self.rest(length);
        let bytes = self.shared.lock().port.bytes_to_read();
        bytes.is_ok_and(|bytes| bytes >= ANSWER_MIN_BYTES)
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

    type Heard = Arc<Mutex<Vec<u8>>>;

    /// A device that answers each request with these bytes, whatever they are; and what it heard.
    fn answering(answers: Vec<Vec<u8>>) -> (SerialSettings, Heard) {
        use std::io::{Read as _, Write as _};
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let guard = runtime.enter();
        let (mut device, port) = SerialStream::pair().unwrap();
        drop(guard);
        let path = port.name().unwrap();
        let heard = Heard::default();
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            let _open = (port, runtime);
            let mut heard = 0;
            let mut answers = answers.into_iter();
            let end = Instant::now() + Duration::from_secs(60);
            while Instant::now() < end {
                let mut bytes = [0; 64];
                let count = device.read(&mut bytes).unwrap_or(0);
                all.lock().unwrap().extend(&bytes[..count]);
                heard += count;
                if heard >= 8 {
                    heard = 0;
                    let Some(answer) = answers.next() else { return };
                    device.write_all(&answer).unwrap();
                }
                std::thread::yield_now();
            }
        });
        let settings = SerialSettings {
            device: path.into(),
            baud: 115_200,
            parity: Parity::None,
            timeout: Duration::from_millis(50),
        };
        (settings, heard)
    }

    fn crc16(bytes: &[u8]) -> [u8; 2] {
        let crc = bytes.iter().fold(0xFFFF_u16, |crc, byte| {
            (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
                crc >> 1 ^ if crc & 1 == 1 { 0xA001 } else { 0 }
            })
        });
        crc.to_le_bytes()
    }

    const ASK: Ask = Ask {
        slave: 1,
        function: Function::Holding,
        first: 0,
        count: 4,
    };

    /// The maker's example: 65.8 %, -10.1 degrees, 1000 uS/cm, pH 5.6.
    const EXAMPLE: [u8; 13] = [
        0x01, 0x03, 0x08, 0x02, 0x92, 0xFF, 0x9B, 0x03, 0xE8, 0x00, 0x38, 0x57, 0xB6,
    ];

    #[test]
    fn the_makers_bytes_are_its_words_and_nothing_else_is() {
        let framed = |frame: &[u8]| [frame, &crc16(frame)].concat();
        assert_eq!(crc16(&EXAMPLE[..11]), EXAMPLE[11..]);
        assert_eq!(crc16(b"123456789"), [0x37, 0x4B]);
        let mut flipped = EXAMPLE;
        flipped[4] ^= 1;
        let table = [
            (EXAMPLE.to_vec(), Ok(vec![0x0292, 0xFF9B, 0x03E8, 0x0038])),
            (flipped.to_vec(), Err(Cause::Checksum)),
            // Shorter than asked for, another device, another function.
            (framed(&[1, 3, 2, 0, 7]), Err(Cause::Bus(BusFault::Other))),
            (
                framed(&[2, 3, 8, 0, 1, 0, 2, 0, 3, 0, 4]),
                Err(Cause::Bus(BusFault::Other)),
            ),
            (
                framed(&[1, 4, 8, 0, 1, 0, 2, 0, 3, 0, 4]),
                Err(Cause::Bus(BusFault::Other)),
            ),
            (framed(&[1, 0x83, 2]), Err(Cause::Status { found: 2 })),
        ];
        for (bytes, expected) in table {
            let (settings, heard) = answering(vec![bytes.clone()]);
            assert_eq!(Rs485::new(&settings).once(ASK), expected, "{bytes:02x?}");
            let asked = heard.lock().unwrap().clone();
            assert_eq!(asked, [0x01, 0x03, 0x00, 0x00, 0x00, 0x04, 0x44, 0x09]);
        }
    }

    #[test]
    fn three_registers_are_asked_for_as_the_maker_does() {
        let (settings, heard) = answering(vec![vec![1, 3, 6, 0, 1, 0, 2, 0, 3, 0xFD, 0x74]]);
        let ask = Ask { count: 3, ..ASK };
        assert_eq!(crc16(&[1, 3, 6, 0, 1, 0, 2, 0, 3]), [0xFD, 0x74]);
        assert_eq!(Rs485::new(&settings).once(ask), Ok(vec![1, 2, 3]));
        let asked = heard.lock().unwrap().clone();
        assert_eq!(asked, [0x01, 0x03, 0x00, 0x00, 0x00, 0x03, 0x05, 0xCB]);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(48))]

        #[test]
        fn no_bytes_panic_or_are_taken_for_an_answer(
            mut frame in proptest::collection::vec(proptest::num::u8::ANY, 1..40),
            header in proptest::option::of(0_u8..10),
            is_whole in proptest::bool::ANY,
        ) {
            if let Some(length) = header {
                frame.splice(0..0, [1, 3, length]);
            }
            if is_whole {
                let crc = crc16(&frame);
                frame.extend(crc);
            }
            let (settings, _) = answering(vec![frame.clone()]);
            let line = Rs485::new(&settings);
            if let Ok(words) = line.once(ASK) {
                let mut good = vec![1, 3, 8];
                good.extend(words.iter().flat_map(|word| word.to_be_bytes()));
                good.extend(crc16(&good));
                let found = frame.windows(good.len()).any(|window| window == good);
                assert!(found, "{frame:02x?} is not {words:04x?}");
            }
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
