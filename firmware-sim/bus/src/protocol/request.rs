//! What a client says.

use super::bytes::{Fields, Frame};
use super::{MAGIC, MAX_OPERATIONS, MAX_TRANSFER_BYTES, ProtocolError, VERSION};

const HELLO: u8 = 0x01;
const WAIT: u8 = 0x10;
const HOLD: u8 = 0x11;
const I2C: u8 = 0x20;
const PULSES: u8 = 0x30;
const INPUT: u8 = 0x31;
const OUTPUT: u8 = 0x32;

const ROLE_CLOCK: u8 = 1;
const ROLE_BUS: u8 = 2;
const FLAG_STOP_BETWEEN: u8 = 0x01;
const OPERATION_WRITE: u8 = 0;
const OPERATION_READ: u8 = 1;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Time: `Wait` and `Hold`. Such a connection is a client that time waits for.
    Clock,
    /// I2C and GPIO: one answer to each request. Time does not wait for it.
    Bus,
}

/// What stands on the bus between the operations of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stops {
    /// A repeated START: what `embedded-hal` asks for.
    Repeated,
    /// A STOP and a new START: what some adapters do, and what some chips can't bear.
    Between,
}

/// One part of an I2C transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Bytes to the chip.
    Write(Vec<u8>),
    /// So many bytes from the chip.
    Read(u16),
}

/// An I2C transaction with one 7-bit address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Number of the bus, as in `/dev/i2c-N`.
    pub bus: u8,
    /// 7-bit address, 0 to 127.
    pub address: u8,
    /// What stands between the operations.
    pub stops: Stops,
    /// At most [`MAX_OPERATIONS`].
    pub operations: Vec<Operation>,
}

/// A message from a client to the simulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// First message of every connection.
    Hello {
        /// What the connection is for.
        role: Role,
        /// The program's name, for logs and status.
        client: String,
    },
    /// Clock: the client has nothing to do before the deadline.
    Wait {
        /// Number of this statement; the answer quotes it. Each is one more than the last, wrapping.
        seq: u32,
        /// On the monotonic field clock.
        deadline_ns: u64,
    },
    /// Clock: the client takes back its last `Wait`; time stands still again. Answered by `Held`.
    Hold {
        /// As in `Wait`.
        seq: u32,
    },
    /// Bus: an I2C transaction.
    I2c(Transaction),
    /// Bus: rising edges on a pin since the simulator started.
    Pulses {
        /// BCM number of the pin.
        pin: u8,
    },
    /// Bus: the level of an input.
    Input {
        /// BCM number of the pin.
        pin: u8,
    },
    /// Bus: drive an output.
    Output {
        /// BCM number of the pin.
        pin: u8,
        /// Whether it is driven high.
        high: bool,
    },
}

impl Request {
    /// Appends this message as a frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { role, client } => {
                let mut frame = Frame::begin(out, HELLO);
                let role = match role {
                    Role::Clock => ROLE_CLOCK,
                    Role::Bus => ROLE_BUS,
                };
                frame.bytes(&MAGIC).u8(VERSION).u8(role).text(client);
                frame.finish();
            }
            Self::Wait { seq, deadline_ns } => {
                let mut frame = Frame::begin(out, WAIT);
                frame.u32(*seq).u64(*deadline_ns);
                frame.finish();
            }
            Self::Hold { seq } => {
                let mut frame = Frame::begin(out, HOLD);
                frame.u32(*seq);
                frame.finish();
            }
            Self::I2c(transaction) => transaction.encode(out),
            Self::Pulses { pin } => pin_frame(out, PULSES, &[*pin]),
            Self::Input { pin } => pin_frame(out, INPUT, &[*pin]),
            Self::Output { pin, high } => pin_frame(out, OUTPUT, &[*pin, u8::from(*high)]),
        }
    }

    /// Reads one message; `message` is a frame without its length.
    ///
    /// # Errors
    /// [`ProtocolError`] for everything that is not exactly one request of this version.
    pub fn decode(message: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Fields::of(message)?;
        let request = match fields.kind() {
            HELLO => decode_hello(&mut fields)?,
            WAIT => Self::Wait {
                seq: fields.u32()?,
                deadline_ns: fields.u64()?,
            },
            HOLD => Self::Hold { seq: fields.u32()? },
            I2C => Self::I2c(Transaction::decode(&mut fields)?),
            PULSES => Self::Pulses { pin: fields.u8()? },
            INPUT => Self::Input { pin: fields.u8()? },
            OUTPUT => Self::Output {
                pin: fields.u8()?,
                high: match fields.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(fields.bad("level")),
                },
            },
            kind => return Err(ProtocolError::Kind(kind)),
        };
        fields.end()?;
        Ok(request)
    }
}

impl Transaction {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut frame = Frame::begin(out, I2C);
        let flags = match self.stops {
            Stops::Repeated => 0,
            Stops::Between => FLAG_STOP_BETWEEN,
        };
        let count = u8::try_from(self.operations.len()).unwrap_or(u8::MAX);
        frame.u8(self.bus).u8(self.address).u8(flags).u8(count);
        for operation in &self.operations {
            match operation {
                Operation::Write(bytes) => {
                    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
                    frame.u8(OPERATION_WRITE).u16(length).bytes(bytes);
                }
                Operation::Read(length) => {
                    frame.u8(OPERATION_READ).u16(*length);
                }
            }
        }
        frame.finish();
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, ProtocolError> {
        let bus = fields.u8()?;
        let address = fields.u8()?;
        if address > 0x7F {
            return Err(fields.bad("address"));
        }
        let stops = match fields.u8()? {
            0 => Stops::Repeated,
            FLAG_STOP_BETWEEN => Stops::Between,
            _ => return Err(fields.bad("flags")),
        };
        let count = usize::from(fields.u8()?);
        if count > MAX_OPERATIONS {
            return Err(fields.bad("number of operations"));
        }
        let (mut written, mut read) = (0, 0);
        let mut operations = Vec::with_capacity(count);
        for _ in 0..count {
            let kind = fields.u8()?;
            let length = fields.u16()?;
            match kind {
                OPERATION_WRITE => {
                    written += usize::from(length);
                    operations.push(Operation::Write(fields.take(usize::from(length))?.to_vec()));
                }
                OPERATION_READ => {
                    read += usize::from(length);
                    operations.push(Operation::Read(length));
                }
                _ => return Err(fields.bad("operation")),
            }
        }
        if written > MAX_TRANSFER_BYTES || read > MAX_TRANSFER_BYTES {
            return Err(fields.bad("number of bytes"));
        }
        Ok(Self {
            bus,
            address,
            stops,
            operations,
        })
    }
}

fn pin_frame(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let mut frame = Frame::begin(out, kind);
    frame.bytes(body);
    frame.finish();
}

fn decode_hello(fields: &mut Fields<'_>) -> Result<Request, ProtocolError> {
    if fields.take(MAGIC.len())? != MAGIC {
        return Err(ProtocolError::Magic);
    }
    let version = fields.u8()?;
    if version != VERSION {
        return Err(ProtocolError::Version(version));
    }
    let role = match fields.u8()? {
        ROLE_CLOCK => Role::Clock,
        ROLE_BUS => Role::Bus,
        _ => return Err(fields.bad("role")),
    };
    Ok(Request::Hello {
        role,
        client: fields.text()?,
    })
}
