//! The drip controller: valves under a lease, and a flow meter. `docs/drip-controller.md` is its
//! register map.
//!
//! Registers are declared here on purpose and nowhere shared: the simulated firmware declares its
//! own, so that a mistake in one of them fails a test.

use embedded_hal::i2c::I2c;

use crate::crc::crc8;
use crate::error::Chip;
use crate::{Cause, SensorError};

/// Longest lease, in seconds.
pub const LEASE_MAX_S: u16 = 300;
/// Most outputs that a controller has.
pub const OUTPUTS_MAX: u8 = 8;
/// The version of the register map that this driver speaks; the minor one may differ.
pub const VERSION_MAJOR: u8 = 1;

const IDENTITY: u8 = 0x00;
const STATUS: u8 = 0x01;
const COMMANDED: u8 = 0x02;
const CONFIRMED: u8 = 0x03;
const FAULTS: u8 = 0x04;
const FLOW: u8 = 0x05;
const CLEAR: u8 = 0x0F;
const LEASE: u8 = 0x10;
const CLEAR_KEY: u8 = 0xA5;

/// Everything that the controller knows, read at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DripStatus {
    /// How many outputs it has, 1 to 8.
    pub outputs: u8,
    /// Seconds since it was powered up; stays at 65535.
    pub uptime_s: u16,
    /// A lease ran out since the flags were cleared.
    pub lease_ran_out: bool,
    /// It reset since the flags were cleared.
    pub was_reset: bool,
    /// Bit *z*: output *z*+1 holds a lease.
    pub commanded: u8,
    /// Bit *z*: the valve at output *z*+1 says that it is open.
    pub confirmed: u8,
    /// Bit *z*: output *z*+1 does not follow its command.
    pub faults: u8,
    /// The last fault.
    pub last_fault: Fault,
    /// Pulses since power-up; wraps.
    pub pulses: u32,
}

/// What the controller says went wrong last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// A valve did not open within 5 s of its command.
    DidNotOpen,
    /// A valve did not close within 5 s of its command.
    DidNotClose,
    /// A write had a wrong checksum or length.
    BadWrite,
    /// A write named an output or a lease that is not allowed.
    NotAllowed,
    /// A code that this version of the register map does not know.
    Unknown(u8),
}

/// The driver.
#[derive(Debug)]
pub struct DripController<I2C> {
    i2c: I2C,
    address: u8,
    /// The number of outputs, once the identity was checked.
    outputs: Option<u8>,
    chip: Chip,
}

impl<I2C: I2c> DripController<I2C> {
    /// Addresses by the two straps.
    pub const ADDRESSES: [u8; 4] = [0x2C, 0x2D, 0x2E, 0x2F];

    /// `address` is one of [`DripController::ADDRESSES`]. Sends nothing yet: identity and version are
    /// checked before the first use, and again after each failure, since another controller may
    /// have been plugged in.
    ///
    /// # Errors
    /// Another address.
    pub fn new(i2c: I2C, address: u8) -> Result<Self, SensorError> {
        let chip = Chip {
            name: "drip-controller",
            address: Some(address),
        };
        if !Self::ADDRESSES.contains(&address) {
            let cause = Cause::Refused("the address must be 0x2c to 0x2f");
            return Err(chip.error("address", cause));
        }
        Ok(Self {
            i2c,
            address,
            outputs: None,
            chip,
        })
    }

    /// Reads all there is to know: five transactions.
    ///
    /// # Errors
    /// The bus, a checksum, a wrong identity, or bits of outputs that do not exist.
    pub fn status(&mut self) -> Result<DripStatus, SensorError> {
        self.checked(|drip, outputs| {
            let [flags, _, uptime_high, uptime_low] = drip.read(STATUS, "status")?;
            let [commanded] = drip.read(COMMANDED, "commanded")?;
            let [confirmed] = drip.read(CONFIRMED, "confirmed")?;
            let [faults, code] = drip.read(FAULTS, "faults")?;
            let pulses = drip.read(FLOW, "flow")?;
            for (register, bits) in [
                ("commanded", commanded),
                ("confirmed", confirmed),
                ("faults", faults),
            ] {
                drip.check_bits(register, bits, outputs)?;
            }
            Ok(DripStatus {
                outputs,
                uptime_s: u16::from_be_bytes([uptime_high, uptime_low]),
                lease_ran_out: flags & 0x02 != 0,
                was_reset: flags & 0x04 != 0,
                commanded,
                confirmed,
                faults,
                last_fault: Fault::of(code),
                pulses: u32::from_be_bytes(pulses),
            })
        })
    }

    /// Opens an output (from 1) for so many seconds, or closes it with 0, and reads back that the
    /// controller took it: a garbled write changes nothing and is not acknowledged otherwise.
    ///
    /// # Errors
    /// An output or a lease that can't be, before anything is sent; the bus; a lease not taken.
    pub fn set_lease(&mut self, output: u8, seconds: u16) -> Result<(), SensorError> {
        if seconds > LEASE_MAX_S {
            let cause = Cause::Refused("a lease is at most 300 s");
            return Err(self.chip.error("lease", cause));
        }
        self.checked(|drip, outputs| {
            let register = drip.lease_register(output, outputs)?;
            drip.write(register, seconds.to_be_bytes(), "lease")?;
            let found = u16::from_be_bytes(drip.read(register, "lease")?);
            // A second may have passed in between.
            if found > seconds || found.saturating_add(1) < seconds || (seconds == 1 && found == 0)
            {
                return Err(drip.chip.error(
                    "lease",
                    Cause::NotTaken {
                        wrote: seconds,
                        found,
                    },
                ));
            }
            Ok(())
        })
    }

    /// Seconds left of an output's lease (from 1).
    ///
    /// # Errors
    /// An output that can't be, the bus, or more seconds than a lease may have.
    pub fn lease(&mut self, output: u8) -> Result<u16, SensorError> {
        self.checked(|drip, outputs| {
            let register = drip.lease_register(output, outputs)?;
            let seconds = u16::from_be_bytes(drip.read(register, "lease")?);
            drip.check("lease", seconds, 0, LEASE_MAX_S, "s")?;
            Ok(seconds)
        })
    }

    /// Clears the latched flags and the fault code.
    ///
    /// # Errors
    /// The bus.
    pub fn clear(&mut self) -> Result<(), SensorError> {
        self.checked(|drip, _| drip.write(CLEAR, [CLEAR_KEY], "clear"))
    }

    /// Gives the bus back. Outputs stay as they are until their leases end.
    pub fn release(self) -> I2C {
        self.i2c
    }

    /// Runs `action` with the number of outputs, identity checked.
    fn checked<T>(
        &mut self,
        action: impl FnOnce(&mut Self, u8) -> Result<T, SensorError>,
    ) -> Result<T, SensorError> {
        let outputs = match self.outputs {
            Some(outputs) => outputs,
            None => self.identify()?,
        };
        self.outputs = Some(outputs);
        let answer = action(self, outputs);
        if answer.is_err() {
            self.outputs = None;
        }
        answer
    }

    fn identify(&mut self) -> Result<u8, SensorError> {
        let [f, r, major, minor] = self.read(IDENTITY, "identity")?;
        if [f, r] != *b"FR" || major != VERSION_MAJOR {
            let found = format!("{f:02x} {r:02x}, version {major}.{minor}");
            return Err(self.chip.error("identity", Cause::Identity { found }));
        }
        let [_, outputs, _, _] = self.read(STATUS, "status")?;
        self.check(
            "status",
            u16::from(outputs),
            1,
            u16::from(OUTPUTS_MAX),
            "outputs",
        )?;
        Ok(outputs)
    }

    fn lease_register(&self, output: u8, outputs: u8) -> Result<u8, SensorError> {
        if !(1..=outputs).contains(&output) {
            let cause = Cause::Refused("the controller has no such output");
            return Err(self.chip.error("lease", cause));
        }
        Ok(LEASE.saturating_add(output).saturating_sub(1))
    }

    fn check_bits(&self, register: &'static str, bits: u8, outputs: u8) -> Result<(), SensorError> {
        let most = u16::from(u8::MAX >> OUTPUTS_MAX.saturating_sub(outputs));
        self.check(register, u16::from(bits), 0, most, "as bits of outputs")
    }

    fn check(
        &self,
        register: &'static str,
        value: u16,
        min: u16,
        max: u16,
        unit: &'static str,
    ) -> Result<(), SensorError> {
        let range = crate::error::Range {
            min: min.into(),
            max: max.into(),
            unit,
        };
        self.chip
            .in_range(register, value.into(), &range)
            .map(|_| ())
    }

    fn read<const N: usize>(
        &mut self,
        register: u8,
        name: &'static str,
    ) -> Result<[u8; N], SensorError> {
        // One byte for the register number, which the checksum covers, and one for the checksum.
        let mut frame = [0; FRAME_MAX];
        frame[0] = register;
        let answer = frame.get_mut(1..N + 2).expect("the longest register fits");
        self.i2c
            .write_read(self.address, &[register], answer)
            .map_err(|error| self.chip.bus(name, &error))?;
        let (covered, rest) = frame.split_at(N + 1);
        if rest.first() != Some(&crc8(covered)) {
            return Err(self.chip.error(name, Cause::Checksum));
        }
        let mut data = [0; N];
        data.copy_from_slice(
            covered
                .get(1..)
                .expect("the register number is its first byte"),
        );
        Ok(data)
    }

    fn write<const N: usize>(
        &mut self,
        register: u8,
        data: [u8; N],
        name: &'static str,
    ) -> Result<(), SensorError> {
        let mut frame = Vec::with_capacity(N + 2);
        frame.push(register);
        frame.extend_from_slice(&data);
        frame.push(crc8(&frame));
        self.i2c
            .write(self.address, &frame)
            .map_err(|error| self.chip.bus(name, &error))
    }
}

/// Register number, at most four bytes of data, checksum.
const FRAME_MAX: usize = 6;

impl Fault {
    fn of(code: u8) -> Self {
        match code {
            0 => Fault::None,
            1 => Fault::DidNotOpen,
            2 => Fault::DidNotClose,
            3 => Fault::BadWrite,
            4 => Fault::NotAllowed,
            other => Fault::Unknown(other),
        }
    }
}
