//! The simulated machine within a program, without a bus server, sockets or threads: for whoever plays
//! months in minutes, with drivers on top that see `embedded-hal` only.
//!
//! Time stands still but for [`InProcess::advance`] and the delays of drivers. What valves, pump and soil
//! did is told as it was, not as a controller says.

use std::cell::RefCell;
use std::rc::Rc;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use furrow_sim_bus::protocol::{self, Failure, Stops, Transaction};

use crate::faults::{FaultError, FaultOrder};
use crate::physics::hydraulics::Change;
use crate::world::{Setup, World};

/// A simulated machine and greenhouse. Clones are the same one; for one thread.
#[derive(Clone)]
pub struct InProcess(Rc<RefCell<World>>);

/// An I2C bus of it.
#[derive(Clone)]
pub struct InProcessI2c {
    world: Rc<RefCell<World>>,
    bus: u8,
}

/// What the switches in the plumbing said from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switched {
    /// The moment, monotonic ms.
    pub at_ms: u64,
    /// Bit n is set while the switch of output n + 1 says open.
    pub open: u8,
    /// Whether the pump turned; always where none is wired.
    pub turns: bool,
    /// Whether the tank was dry.
    pub dry: bool,
}

impl Switched {
    fn of(change: Change) -> Self {
        Self {
            at_ms: change.at_ns / 1_000_000,
            open: change.open,
            turns: change.turns,
            dry: change.dry,
        }
    }
}

impl InProcess {
    /// A machine as `setup` says.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        Self(Rc::new(RefCell::new(World::new(setup, None))))
    }

    /// Monotonic time, ns.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.0.borrow().now_ns()
    }

    /// Unix time of the simulated world, known to its machine or not, ms.
    #[must_use]
    pub fn unix_ms(&self) -> i64 {
        self.0.borrow().unix_ms()
    }

    /// What the machine knows of the time of day: Unix ms = monotonic ms + this.
    #[must_use]
    pub fn wall_offset_ms(&self) -> Option<i64> {
        self.0.borrow().wall_offset_ms()
    }

    /// Names this start of the machine.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.0.borrow().boot()
    }

    /// The machine starts anew under another boot id; its monotonic clock goes on.
    pub fn reboot(&self) {
        self.0.borrow_mut().reboot();
    }

    /// Lets time pass. A time that has passed changes nothing.
    pub fn advance(&self, to_ns: u64) {
        self.0.borrow_mut().advance(to_ns);
    }

    /// Orders a fault.
    ///
    /// # Errors
    /// It is not possible here.
    pub fn order(&self, order: FaultOrder) -> Result<(), FaultError> {
        self.0.borrow_mut().order(order)
    }

    /// A bus by its number.
    #[must_use]
    pub fn i2c(&self, bus: u8) -> InProcessI2c {
        InProcessI2c {
            world: Rc::clone(&self.0),
            bus,
        }
    }

    /// What the switches said after `after_ms`, oldest first.
    #[must_use]
    pub fn switched(&self, after_ms: u64) -> Vec<Switched> {
        let world = self.0.borrow();
        let changes = world.water().changes().rev().map(Switched::of);
        let mut switched: Vec<Switched> = changes
            .take_while(|change| change.at_ms > after_ms)
            .collect();
        switched.reverse();
        switched
    }

    /// What the switches say now, and since when.
    #[must_use]
    pub fn switches(&self) -> Option<Switched> {
        self.0
            .borrow()
            .water()
            .changes()
            .next_back()
            .map(Switched::of)
    }

    /// Water drawn from the tank since the start, with leaks and holes, L.
    #[must_use]
    pub fn litres(&self) -> f64 {
        self.0.borrow().water().litres()
    }

    /// Water that the soil of each output's zone got since the start, L.
    #[must_use]
    pub fn given_litres(&self) -> Vec<f64> {
        self.0.borrow().water().given_litres()
    }

    /// Height of water in the tank, m.
    #[must_use]
    pub fn tank_m(&self) -> f64 {
        self.0.borrow().water().tank_m()
    }

    /// Water content of each output's bed, m³/m³.
    #[must_use]
    pub fn soil_water(&self) -> Vec<f64> {
        self.0.borrow().soil_water()
    }

    /// What the crop has transpired since the start, mm.
    #[must_use]
    pub fn transpired_mm(&self) -> f64 {
        self.0.borrow().transpired_mm()
    }
}

impl ErrorType for InProcessI2c {
    type Error = ErrorKind;
}

impl I2c for InProcessI2c {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [Operation<'_>],
    ) -> Result<(), ErrorKind> {
        let asked = operations.iter().map(|operation| match operation {
            Operation::Write(bytes) => protocol::Operation::Write(bytes.to_vec()),
            Operation::Read(bytes) => {
                protocol::Operation::Read(u16::try_from(bytes.len()).unwrap_or(u16::MAX))
            }
        });
        let transaction = Transaction {
            bus: self.bus,
            address,
            stops: Stops::Repeated,
            operations: asked.collect(),
        };
        let answer = self.world.borrow_mut().transact(&transaction);
        let data = answer.map_err(|refused| kind(refused.failure))?;
        let mut rest = data.as_slice();
        for operation in operations {
            if let Operation::Read(bytes) = operation {
                let (own, more) = rest.split_at(bytes.len().min(rest.len()));
                for (byte, own) in bytes.iter_mut().zip(own) {
                    *byte = *own;
                }
                rest = more;
            }
        }
        Ok(())
    }
}

/// Waiting lets time pass.
impl DelayNs for InProcess {
    fn delay_ns(&mut self, ns: u32) {
        self.advance(self.now_ns().saturating_add(u64::from(ns)));
    }

    fn delay_us(&mut self, us: u32) {
        self.advance(self.now_ns().saturating_add(u64::from(us) * 1_000));
    }

    fn delay_ms(&mut self, ms: u32) {
        self.advance(self.now_ns().saturating_add(u64::from(ms) * 1_000_000));
    }
}

fn kind(failure: Failure) -> ErrorKind {
    match failure {
        Failure::NackAddress => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
        Failure::NackData => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data),
        Failure::BusStuck => ErrorKind::Bus,
        Failure::ArbitrationLoss => ErrorKind::ArbitrationLoss,
        Failure::Refused | Failure::NoSuchPin => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Beginning;
    use crate::faults::Fault;

    #[test]
    fn time_passes_in_delays_and_valves_are_seen_where_they_are() {
        let mut machine = InProcess::new(&Setup {
            seed: 1,
            start_unix_ms: 1_776_618_000_000,
            start_mono_ns: 0,
            zones: 4,
            boards: 0,
            wall_known: true,
            boot: None,
            beginning: Beginning::default(),
            places: Vec::new(),
        });
        let mut bus = machine.i2c(3);
        // A lease of 30 s for output 1, with its checksum; then the valve travels.
        let lease = [0x10, 0, 30, crate::chips::crc::crc8(&[0x10, 0, 30])];
        bus.write(0x2C, &lease).unwrap();
        machine.delay_ms(10_000);
        assert_eq!(machine.now_ns(), 10_000_000_000);
        let seen = machine.switched(0);
        assert_eq!(seen.iter().map(|seen| seen.open).collect::<Vec<_>>(), [1]);
        assert!(machine.given_litres()[0] < 0.001 && machine.litres() > 0.5);
        machine.delay_ms(60_000);
        let last = machine.switched(seen[0].at_ms);
        assert_eq!(last.iter().map(|seen| seen.open).collect::<Vec<_>>(), [0]);
        assert!(matches!(
            bus.write(0x2D, &lease),
            Err(ErrorKind::NoAcknowledge(_))
        ));
        let unknown = Fault::Plug {
            device: "no-such-chip".into(),
        };
        let order = FaultOrder {
            fault: unknown,
            after_ms: 0,
            for_ms: None,
        };
        assert!(machine.order(order).is_err());
    }
}
