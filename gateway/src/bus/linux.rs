//! I2C and GPIO of any Linux board, through the kernel's character devices. The only file that names
//! the crates behind them.
//!
//! `I2cdev`'s own `embedded-hal` transaction opens the device again for every other address, asks
//! for neighbours without a START between them, which few adapters can send, and does not look at
//! how many messages were done: some adapters say "none" instead of an error, and the reading would
//! be zeros. So this wrapper joins neighbours itself, sends one I2C_RDWR and counts.
//!
//! Pulses need no thread: the kernel numbers the edges of a line, after its debouncing, and keeps the
//! newest ones; what it had to drop in between is counted all the same.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use embedded_hal::i2c::{ErrorKind, Operation};
use gpiocdev::Request;
use gpiocdev::line::{Bias, EdgeDetection, Value};
use linux_embedded_hal::I2cdev;
use linux_embedded_hal::i2cdev::core::{I2CDevice as _, I2CMessage as _, I2CTransfer as _};
use linux_embedded_hal::i2cdev::linux::{LinuxI2CDevice, LinuxI2CMessage};

use super::fault_codes;
use super::trouble::{self, Trouble};

/// Longest message of an I2C transaction, in bytes: the kernel's own limit.
const MESSAGE_MAX_BYTES: usize = 8_192;
/// Most messages of an I2C transaction: the kernel's own limit.
const MESSAGES_MAX: usize = 42;
/// Edges that the kernel keeps for a line. The newest alone tells the count.
const EDGES_KEPT: u32 = 16;
/// Most reads of kept edges at one reading: a line that rattles faster than this program reads must
/// not hold it.
const EDGE_READS_MAX: usize = 64;
/// Most edges between two readings, beyond which the number is not believed: an hour at 1 MHz.
const EDGES_MAX: u32 = 3_600_000_000;
/// Who holds a line, for `gpioinfo`.
const CONSUMER: &str = "furrow-gateway";
/// Who holds an output, for `gpioinfo`.
const CONSUMER_OF_OUTPUTS: &str = "furrow-guard";

/// An I2C bus, opened when it is first used and again after it failed to open.
pub(super) struct LinuxI2c {
    path: PathBuf,
    open: Option<I2cdev>,
    /// The address that the open device was set to.
    address: Option<u8>,
    trouble: Trouble,
}

impl std::fmt::Debug for LinuxI2c {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinuxI2c")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl LinuxI2c {
    pub(super) fn new(number: u8) -> Self {
        Self::at(PathBuf::from(format!("/dev/i2c-{number}")))
    }

    fn at(path: PathBuf) -> Self {
        Self {
            path,
            open: None,
            address: None,
            trouble: Trouble::default(),
        }
    }

    /// As `embedded_hal::i2c::I2c::transaction`.
    pub(super) fn transaction(
        &mut self,
        address: u8,
        operations: &mut [Operation<'_>],
    ) -> Result<(), ErrorKind> {
        if let [Operation::Write([])] = operations {
            return self.knock(address);
        }
        let messages = joined(operations)?;
        if messages.is_empty() {
            return Ok(());
        }
        let bus = self.bus(address)?;
        match carry(bus, messages) {
            Ok(messages) => {
                hand_out(&messages, operations);
                Ok(())
            }
            Err(error) => Err(self.failed(address, &error)),
        }
    }

    /// An address without data: the kernel has a call of its own for it. On a handle of its own, so
    /// that the other one's address stays known.
    fn knock(&mut self, address: u8) -> Result<(), ErrorKind> {
        if self.open.is_none() {
            // So that a bus that does not open is told here, too.
            self.open()?;
        }
        let knocked = LinuxI2CDevice::new(&self.path, u16::from(address))
            .and_then(|mut device| device.smbus_write_quick(false));
        knocked.map_err(|error| self.failed(address, &error.into()))
    }

    /// The bus, set to an address. The kernel refuses one that a driver of its own uses.
    fn bus(&mut self, address: u8) -> Result<&mut I2cdev, ErrorKind> {
        if self.open.is_none() {
            self.open()?;
        }
        let bus = self.open.as_mut().ok_or(ErrorKind::Other)?;
        if self.address != Some(address) {
            self.address = None;
            if let Err(error) = bus.set_slave_address(u16::from(address)) {
                tracing::debug!(
                    bus = %self.path.display(), address, %error, "I2C address is not to be had"
                );
                return Err(ErrorKind::Other);
            }
            self.address = Some(address);
        }
        Ok(bus)
    }

    fn open(&mut self) -> Result<(), ErrorKind> {
        let path = self.path.display();
        match I2cdev::new(&self.path) {
            Ok(bus) => {
                self.trouble.handle_opened(&path);
                self.open = Some(bus);
                self.address = None;
                Ok(())
            }
            Err(error) => {
                self.trouble.handle_failed(&path, &error, trouble::I2C);
                Err(ErrorKind::Other)
            }
        }
    }

    fn failed(&self, address: u8, error: &io::Error) -> ErrorKind {
        tracing::trace!(bus = %self.path.display(), address, %error, "I2C transaction failed");
        fault_codes::kind(error)
    }
}

/// A message of a transaction, with the bytes that are written or that take what is read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Message {
    Write(Vec<u8>),
    Read(Vec<u8>),
}

/// Neighbours of one kind are one message, as the `embedded-hal` contract says.
fn joined(operations: &[Operation<'_>]) -> Result<Vec<Message>, ErrorKind> {
    let mut messages: Vec<Message> = Vec::new();
    for operation in operations {
        match (operation, messages.last_mut()) {
            (Operation::Write(more), Some(Message::Write(bytes))) => bytes.extend_from_slice(more),
            (Operation::Read(into), Some(Message::Read(bytes))) => {
                bytes.resize(bytes.len() + into.len(), 0);
            }
            (Operation::Write(more), _) => messages.push(Message::Write(more.to_vec())),
            (Operation::Read(into), _) => messages.push(Message::Read(vec![0; into.len()])),
        }
    }
    let is_long = |message: &Message| match message {
        Message::Write(bytes) | Message::Read(bytes) => bytes.len() > MESSAGE_MAX_BYTES,
    };
    if messages.len() > MESSAGES_MAX || messages.iter().any(is_long) {
        return Err(ErrorKind::Other);
    }
    Ok(messages)
}

/// All messages in one transfer, with a repeated START between them.
fn carry(bus: &mut I2cdev, mut messages: Vec<Message>) -> io::Result<Vec<Message>> {
    let mut raw: Vec<LinuxI2CMessage<'_>> = messages
        .iter_mut()
        .map(|message| match message {
            Message::Write(bytes) => LinuxI2CMessage::write(bytes),
            Message::Read(bytes) => LinuxI2CMessage::read(bytes),
        })
        .collect();
    let done = bus.transfer(&mut raw)?;
    whole(done, raw.len())?;
    Ok(messages)
}

/// A transfer that ended early is no reading.
fn whole(done: u32, wanted: usize) -> io::Result<()> {
    if usize::try_from(done).is_ok_and(|done| done == wanted) {
        return Ok(());
    }
    Err(io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// What was read, to where it is wanted.
fn hand_out(messages: &[Message], operations: &mut [Operation<'_>]) {
    let read = messages.iter().flat_map(|message| match message {
        Message::Read(bytes) => bytes.as_slice(),
        Message::Write(_) => &[],
    });
    let wanted = operations.iter_mut().flat_map(|operation| match operation {
        Operation::Read(into) => into.iter_mut(),
        Operation::Write(_) => [].iter_mut(),
    });
    for (to, from) in wanted.zip(read) {
        *to = *from;
    }
}

/// One line of a GPIO chip.
#[derive(Debug, Clone)]
struct Line {
    /// A path, or a name or label as `gpiodetect` shows them.
    chip: String,
    offset: u32,
    debounce: Duration,
    trouble: Trouble,
}

impl Line {
    fn request(&self, edges: Option<EdgeDetection>) -> Result<Request, gpiocdev::Error> {
        let mut builder = Request::builder();
        builder
            .on_chip(path_of(&self.chip)?)
            .with_consumer(CONSUMER)
            .with_line(self.offset)
            .as_input()
            .with_bias(Bias::PullUp)
            .with_debounce_period(self.debounce);
        if edges.is_some() {
            builder
                .with_edge_detection(edges)
                .with_kernel_event_buffer_size(EDGES_KEPT);
        }
        builder.request()
    }

    fn open(&mut self, edges: Option<EdgeDetection>) -> Option<Request> {
        let what = format!("line {} of {}", self.offset, self.chip);
        match self.request(edges) {
            Ok(request) => {
                self.trouble.handle_opened(&what);
                Some(request)
            }
            Err(error) => {
                self.trouble.handle_failed(&what, &error, trouble::GPIO);
                None
            }
        }
    }
}

/// Numbers of chips change with the kernel, their labels don't.
fn path_of(chip: &str) -> Result<PathBuf, gpiocdev::Error> {
    if chip.starts_with('/') {
        return Ok(PathBuf::from(chip));
    }
    for path in gpiocdev::chip::chips()? {
        let Ok(info) = gpiocdev::Chip::from_path(&path).and_then(|chip| chip.info()) else {
            continue;
        };
        if info.name == chip || info.label == chip {
            return Ok(path);
        }
    }
    Ok(Path::new("/dev").join(chip))
}

/// Counts rising edges.
#[derive(Debug)]
pub(super) struct LinuxPulses {
    line: Line,
    count: Count,
    open: Option<Request>,
}

impl LinuxPulses {
    /// `chip` is a path, a name or a label. Edges closer together than `debounce` are one.
    pub(super) fn new(chip: &str, line: u8, debounce: Duration) -> Self {
        let mut line = Line {
            chip: chip.to_owned(),
            offset: u32::from(line),
            debounce,
            trouble: Trouble::default(),
        };
        // Counting starts now; a failure shows at the first reading.
        let open = line.open(Some(EdgeDetection::RisingEdge));
        Self {
            line,
            count: Count::default(),
            open,
        }
    }

    pub(super) fn pulses(&mut self) -> Result<u64, &'static str> {
        if self.open.is_none() {
            self.open = self.line.open(Some(EdgeDetection::RisingEdge));
            self.count.newest = 0;
        }
        let Some(request) = &self.open else {
            return Err("the GPIO line does not open");
        };
        match newest_edge(request) {
            Ok(newest) => {
                if let Some(newest) = newest {
                    self.count.handle_edge(newest);
                }
                Ok(self.count.pulses)
            }
            Err(error) => {
                tracing::debug!(line = self.line.offset, %error, "GPIO line gives no edges");
                self.open = None;
                Err("the GPIO line gives no edges")
            }
        }
    }
}

/// Pulses of a line, from the numbers that the kernel gives its edges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    pulses: u64,
    /// Number of the newest edge; the first one of a request has 1.
    newest: u32,
}

impl Count {
    fn handle_edge(&mut self, number: u32) {
        let edges = number.wrapping_sub(self.newest);
        if edges <= EDGES_MAX {
            self.pulses = self.pulses.saturating_add(u64::from(edges));
        }
        self.newest = number;
    }
}

/// The number of the newest edge, when there were any since it was asked last. Several edges come
/// with one read, and the crate's `read_edge_event` gives the first one only.
fn newest_edge(request: &Request) -> Result<Option<u32>, gpiocdev::Error> {
    let size = request.edge_event_u64_size().max(1);
    let mut buffer = vec![0; size * EDGES_KEPT as usize];
    let mut newest = None;
    for _ in 0..EDGE_READS_MAX {
        if !request.has_edge_event()? {
            break;
        }
        let words = request.read_edge_events_into_slice(&mut buffer)?;
        let Some(last) = buffer.get(words.saturating_sub(size)..words) else {
            break;
        };
        newest = Some(request.edge_event_from_slice(last)?.line_seqno);
    }
    Ok(newest)
}

/// A line that is read, opened when it is first read.
#[derive(Debug)]
pub(super) struct LinuxInput {
    line: Line,
    open: Option<Request>,
}

impl LinuxInput {
    /// `chip` is a path, a name or a label. The level is the one that lasted for `debounce`.
    pub(super) fn new(chip: &str, line: u8, debounce: Duration) -> Self {
        let line = Line {
            chip: chip.to_owned(),
            offset: u32::from(line),
            debounce,
            trouble: Trouble::default(),
        };
        Self { line, open: None }
    }

    /// `None` when the line does not open or can't be read.
    pub(super) fn is_high(&mut self) -> Option<bool> {
        if self.open.is_none() {
            self.open = self.line.open(None);
        }
        let level = self.open.as_ref()?.value(self.line.offset);
        match level {
            Ok(level) => Some(level == Value::Active),
            Err(error) => {
                tracing::debug!(line = self.line.offset, %error, "GPIO line can't be read");
                self.open = None;
                None
            }
        }
    }
}

/// A line that is driven, opened when it is first driven. Where the kernel gives the line back to the
/// chip when the program ends, it may float then: the guard's unit closes it once more.
#[derive(Debug)]
pub(super) struct LinuxOutput {
    chip: String,
    offset: u32,
    open: Option<Request>,
}

impl LinuxOutput {
    /// `chip` is a path, a name or a label.
    pub(super) fn new(chip: &str, line: u8) -> Self {
        Self {
            chip: chip.to_owned(),
            offset: u32::from(line),
            open: None,
        }
    }

    /// Whether the line opened and took the level.
    pub(super) fn drive(&mut self, high: bool) -> bool {
        let value = if high { Value::Active } else { Value::Inactive };
        let driven = match &self.open {
            Some(request) => request.set_value(self.offset, value).map(drop),
            None => self.request(value).map(|request| self.open = Some(request)),
        };
        if let Err(error) = &driven {
            tracing::debug!(chip = self.chip, line = self.offset, %error, "GPIO line is not driven");
            self.open = None;
        }
        driven.is_ok()
    }

    /// The level of the line; `None` before it was driven, or when it can't be read.
    pub(super) fn is_high(&self) -> Option<bool> {
        let level = self.open.as_ref()?.value(self.offset);
        level.ok().map(|level| level == Value::Active)
    }

    fn request(&self, value: Value) -> Result<Request, gpiocdev::Error> {
        Request::builder()
            .on_chip(path_of(&self.chip)?)
            .with_consumer(CONSUMER_OF_OUTPUTS)
            .with_line(self.offset)
            .as_output(value)
            .request()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_and_what_was_read_is_handed_out() {
        let (mut one, mut two, mut three) = ([0], [0; 2], [0; 2]);
        let mut operations = [
            Operation::Write(&[1, 2]),
            Operation::Write(&[3]),
            Operation::Read(&mut one),
            Operation::Read(&mut two),
            Operation::Write(&[4]),
            Operation::Read(&mut three),
        ];
        let mut messages = joined(&operations).unwrap();
        assert_eq!(
            messages,
            [
                Message::Write(vec![1, 2, 3]),
                Message::Read(vec![0; 3]),
                Message::Write(vec![4]),
                Message::Read(vec![0; 2]),
            ]
        );
        messages[1] = Message::Read(vec![10, 11, 12]);
        messages[3] = Message::Read(vec![13, 14]);
        hand_out(&messages, &mut operations);
        assert_eq!((one, two, three), ([10], [11, 12], [13, 14]));
        assert_eq!(joined(&[]), Ok(Vec::new()));
    }

    #[test]
    fn what_the_kernel_would_cut_is_refused() {
        let long = vec![0; MESSAGE_MAX_BYTES + 1];
        assert_eq!(joined(&[Operation::Write(&long)]), Err(ErrorKind::Other));
        let half = vec![0; MESSAGE_MAX_BYTES / 2 + 1];
        let halves = [Operation::Write(&half), Operation::Write(&half)];
        assert_eq!(joined(&halves), Err(ErrorKind::Other));
        let mut bytes = [0; 22];
        let many = bytes.iter_mut().flat_map(|byte| {
            [
                Operation::Write(&[1]),
                Operation::Read(std::slice::from_mut(byte)),
            ]
        });
        let many: Vec<Operation<'_>> = many.collect();
        assert!(joined(&many[..MESSAGES_MAX]).is_ok());
        assert_eq!(joined(&many), Err(ErrorKind::Other));
    }

    #[test]
    fn a_transfer_that_ended_early_is_no_reading() {
        assert!(whole(2, 2).is_ok());
        for done in [0, 1, 3] {
            let error = whole(done, 2).unwrap_err();
            assert_eq!(fault_codes::kind(&error), ErrorKind::Other, "{done}");
        }
    }

    /// No bus at all, no device, a device of another kind.
    #[test]
    fn what_is_no_i2c_bus_fails_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("i2c-1");
        std::fs::write(&file, "text").unwrap();
        let wrong = [
            folder.path().join("i2c-9"),
            folder.path().to_owned(),
            file,
            PathBuf::from("/dev/null"),
        ];
        for path in wrong {
            let mut bus = LinuxI2c::at(path.clone());
            let mut byte = [0x55];
            for _ in 0..2 {
                let mut read = [Operation::Write(&[0]), Operation::Read(&mut byte)];
                let failed = bus.transaction(0x44, &mut read);
                assert_eq!(failed, Err(ErrorKind::Other), "{}", path.display());
                let knocked = bus.transaction(0x44, &mut [Operation::Write(&[])]);
                assert_eq!(knocked, Err(ErrorKind::Other), "{}", path.display());
            }
            assert_eq!(byte, [0x55], "{}", path.display());
        }
        let mut bus = LinuxI2c::new(255);
        assert_eq!(bus.path, Path::new("/dev/i2c-255"));
        assert_eq!(
            bus.transaction(0x44, &mut [Operation::Write(&[1])]),
            Err(ErrorKind::Other)
        );
    }

    #[test]
    fn what_is_no_gpio_chip_fails_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gpiochip0");
        std::fs::write(&file, "text").unwrap();
        let wrong = [
            folder.path().join("gone").display().to_string(),
            folder.path().display().to_string(),
            file.display().to_string(),
            "/dev/null".to_owned(),
            "a label that no chip has".to_owned(),
        ];
        for chip in wrong {
            let debounce = Duration::from_millis(1);
            let mut pulses = LinuxPulses::new(&chip, 17, debounce);
            let mut input = LinuxInput::new(&chip, 17, debounce);
            for _ in 0..2 {
                assert_eq!(
                    pulses.pulses(),
                    Err("the GPIO line does not open"),
                    "{chip}"
                );
                assert_eq!(input.is_high(), None, "{chip}");
            }
            let mut output = LinuxOutput::new(&chip, 17);
            assert_eq!(
                (output.drive(true), output.is_high()),
                (false, None),
                "{chip}"
            );
        }
    }

    #[test]
    fn edges_are_counted_by_their_numbers() {
        let mut count = Count::default();
        let check = |count: &mut Count, number, pulses| {
            count.handle_edge(number);
            let newest = number;
            assert_eq!(*count, Count { pulses, newest });
        };
        check(&mut count, 1, 1);
        check(&mut count, 1, 1);
        // The kernel kept the newest only.
        check(&mut count, 5_000, 5_000);
        count.newest = u32::MAX;
        check(&mut count, 2, 5_003);
        // Nothing goes back: such a number is not believed.
        check(&mut count, 1, 5_003);
    }
}
