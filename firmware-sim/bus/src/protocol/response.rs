//! What the simulator says.

use super::ProtocolError;
use super::bytes::{Fields, Frame};

const WELCOME: u8 = 0x81;
const WOKEN: u8 = 0x90;
const HELD: u8 = 0x91;
const TIME: u8 = 0x92;
const ENDED: u8 = 0x93;
const I2C_DONE: u8 = 0xA0;
const COUNT: u8 = 0xB0;
const LEVEL: u8 = 0xB1;
const DONE: u8 = 0xB2;
const FAILED: u8 = 0xFF;

const FLOW_LOCK_STEP: u8 = 0;
const FLOW_FREE: u8 = 1;

/// How simulated time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It jumps to the earliest deadline once every client waits.
    LockStep,
    /// It follows the real clock.
    Free {
        /// Thousandths of simulated seconds a real second; 1000 is real time. At least 1.
        speed_permille: u32,
    },
}

/// Everything a client needs to tell the time by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeState {
    /// Names this start of the simulated machine, as a kernel's boot id does.
    pub boot: u64,
    /// The monotonic field clock when this was sent.
    pub mono_ns: u64,
    /// Unix time in ms = `mono_ns` / 1,000,000 + this; `None` while the wall clock is not known.
    pub wall_offset_ms: Option<i64>,
    /// How time passes from here on.
    pub flow: Flow,
}

/// Why an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing acknowledged the address: no chip there, or it is busy.
    NackAddress,
    /// The chip did not acknowledge a data byte.
    NackData,
    /// The bus is stuck.
    BusStuck,
    /// Another master won.
    ArbitrationLoss,
    /// The simulator did not accept the request.
    Refused,
    /// There is no such pin, or it does not do that.
    NoSuchPin,
}

impl Failure {
    const ALL: [Self; 6] = [
        Self::NackAddress,
        Self::NackData,
        Self::BusStuck,
        Self::ArbitrationLoss,
        Self::Refused,
        Self::NoSuchPin,
    ];

    fn code(self) -> u8 {
        match self {
            Self::NackAddress => 1,
            Self::NackData => 2,
            Self::BusStuck => 3,
            Self::ArbitrationLoss => 4,
            Self::Refused => 5,
            Self::NoSuchPin => 6,
        }
    }
}

/// A message from the simulator to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Answers `Hello`.
    Welcome(TimeState),
    /// Clock, lock-step: the deadline of the `Wait` has come; time stands still until the next `Wait`.
    Woken {
        /// The `Wait` that is answered.
        seq: u32,
        /// Now.
        mono_ns: u64,
    },
    /// Clock: the `Hold` is in force.
    Held {
        /// The `Hold` that is answered.
        seq: u32,
        /// Now.
        mono_ns: u64,
    },
    /// Clock: time passes differently from here on, or the wall clock changed.
    Time(TimeState),
    /// Clock: simulated time will not advance any more. Busses still answer.
    Ended {
        /// Now, for ever.
        mono_ns: u64,
        /// Why, for people.
        reason: String,
    },
    /// Bus: the bytes of all reads of the transaction, in order.
    I2cDone(Vec<u8>),
    /// Bus: answers `Pulses`.
    Count(u64),
    /// Bus: answers `Input`; true is high.
    Level(bool),
    /// Bus: answers `Output`.
    Done,
    /// Any request: it failed.
    Failed {
        /// The kind of failure.
        failure: Failure,
        /// For people.
        text: String,
    },
}

impl Response {
    /// Appends this message as a frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Welcome(state) => state.encode(out, WELCOME),
            Self::Time(state) => state.encode(out, TIME),
            Self::Woken { seq, mono_ns } => clock_frame(out, WOKEN, *seq, *mono_ns),
            Self::Held { seq, mono_ns } => clock_frame(out, HELD, *seq, *mono_ns),
            Self::Ended { mono_ns, reason } => {
                let mut frame = Frame::begin(out, ENDED);
                frame.u64(*mono_ns).text(reason);
                frame.finish();
            }
            Self::I2cDone(data) => {
                let mut frame = Frame::begin(out, I2C_DONE);
                frame.bytes(data);
                frame.finish();
            }
            Self::Count(count) => {
                let mut frame = Frame::begin(out, COUNT);
                frame.u64(*count);
                frame.finish();
            }
            Self::Level(high) => {
                let mut frame = Frame::begin(out, LEVEL);
                frame.u8(u8::from(*high));
                frame.finish();
            }
            Self::Done => Frame::begin(out, DONE).finish(),
            Self::Failed { failure, text } => {
                let mut frame = Frame::begin(out, FAILED);
                frame.u8(failure.code()).text(text);
                frame.finish();
            }
        }
    }

    /// Reads one message; `message` is a frame without its length.
    ///
    /// # Errors
    /// [`ProtocolError`] for everything that is not exactly one response of this version.
    pub fn decode(message: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Fields::of(message)?;
        let response = match fields.kind() {
            WELCOME => Self::Welcome(TimeState::decode(&mut fields)?),
            TIME => Self::Time(TimeState::decode(&mut fields)?),
            WOKEN => Self::Woken {
                seq: fields.u32()?,
                mono_ns: fields.u64()?,
            },
            HELD => Self::Held {
                seq: fields.u32()?,
                mono_ns: fields.u64()?,
            },
            ENDED => Self::Ended {
                mono_ns: fields.u64()?,
                reason: fields.text()?,
            },
            I2C_DONE => Self::I2cDone(fields.rest().to_vec()),
            COUNT => Self::Count(fields.u64()?),
            LEVEL => Self::Level(flag(&mut fields, "level")?),
            DONE => Self::Done,
            FAILED => {
                let code = fields.u8()?;
                let failure = Failure::ALL
                    .into_iter()
                    .find(|failure| failure.code() == code)
                    .ok_or_else(|| fields.bad("failure"))?;
                Self::Failed {
                    failure,
                    text: fields.text()?,
                }
            }
            kind => return Err(ProtocolError::Kind(kind)),
        };
        fields.end()?;
        Ok(response)
    }
}

impl TimeState {
    fn encode(&self, out: &mut Vec<u8>, kind: u8) {
        let mut frame = Frame::begin(out, kind);
        let (flow, speed_permille) = match self.flow {
            Flow::LockStep => (FLOW_LOCK_STEP, 0),
            Flow::Free { speed_permille } => (FLOW_FREE, speed_permille),
        };
        frame
            .u64(self.boot)
            .u64(self.mono_ns)
            .u8(u8::from(self.wall_offset_ms.is_some()))
            .i64(self.wall_offset_ms.unwrap_or_default())
            .u8(flow)
            .u32(speed_permille);
        frame.finish();
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, ProtocolError> {
        let boot = fields.u64()?;
        let mono_ns = fields.u64()?;
        let known = flag(fields, "wall clock")?;
        let offset_ms = fields.i64()?;
        let flow = fields.u8()?;
        let speed_permille = fields.u32()?;
        let flow = match (flow, speed_permille) {
            (FLOW_LOCK_STEP, _) => Flow::LockStep,
            (FLOW_FREE, 1..) => Flow::Free { speed_permille },
            _ => return Err(fields.bad("flow")),
        };
        Ok(Self {
            boot,
            mono_ns,
            wall_offset_ms: known.then_some(offset_ms),
            flow,
        })
    }
}

fn clock_frame(out: &mut Vec<u8>, kind: u8, seq: u32, mono_ns: u64) {
    let mut frame = Frame::begin(out, kind);
    frame.u32(seq).u64(mono_ns);
    frame.finish();
}

fn flag(fields: &mut Fields<'_>, name: &'static str) -> Result<bool, ProtocolError> {
    match fields.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(fields.bad(name)),
    }
}
