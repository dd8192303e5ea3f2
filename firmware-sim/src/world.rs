//! The simulated machine and greenhouse: chips on their busses, pins, water, climate and faults, all at
//! one simulated time. Deterministic: the same calls at the same times give the same bytes.

mod faulting;
mod lines;
mod relays;
mod serial;
mod slot;
mod status;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use furrow_sim_bus::protocol::{Failure, Operation, Transaction};

use crate::chips::drip::{Cause, Drip};
use crate::chips::{Chip, Field, Nack};
use crate::faults::Fault;
use crate::greenhouse::{Beginning, Greenhouse, Sensed, Start};
use crate::layout;
use crate::physics::hydraulics::Hydraulics;
use crate::physics::noise::Purpose;
use crate::trace::Trace;

pub(crate) use lines::HornChange;
use relays::Relays;
pub(crate) use serial::{Answer, REQUEST_BYTES};
use slot::{Condition, Lying, Slot};
use status::ValveChange;
pub(crate) use status::WorldStatus;

/// Valve changes kept for status; the oldest go first and are counted.
const VALVE_LOG_MAX: usize = 4_096;

/// A bus that nobody looks at.
const NOWHERE: u8 = 30;

/// How a world begins.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Decides weather, noise and faults.
    pub seed: u64,
    /// Unix time at the start, ms.
    pub start_unix_ms: i64,
    /// The monotonic clock at the start, ns.
    pub start_mono_ns: u64,
    /// Zones of the drip controller, 1 to 8.
    pub zones: usize,
    /// ADS1115 boards beyond the first, 0 to 20, for a large site.
    pub boards: usize,
    /// Whether the machine knows the time of day.
    pub wall_known: bool,
    /// Boot id; `None` draws it from the seed and the start.
    pub boot: Option<u64>,
    /// Wiring, weather, soil and tank at the start.
    pub beginning: Beginning,
    /// Chips that are elsewhere than the layout says.
    pub places: Vec<Placed>,
}

/// A chip of the layout at another place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its name in the layout, for example `sht-inside`.
    pub name: String,
    /// I2C bus.
    pub bus: u8,
    /// I2C address.
    pub address: u8,
}

/// Everything that is simulated.
pub(crate) struct World {
    now_ns: u64,
    boot: u64,
    wall_known: bool,
    wall_offset_ms: i64,
    greenhouse: Greenhouse,
    slots: Vec<Slot>,
    drip: Drip,
    relays: Relays,
    stuck_busses: u32,
    /// Pins whose contact is closed to ground.
    closed_contacts: BTreeSet<u8>,
    /// Siren and beacon, as their pins were driven.
    horn_log: Vec<HornChange>,
    /// Clocks until a chip lets go of the data line of I2C 1.
    held_clocks: u8,
    /// Share of the answers on the serial line that are disturbed.
    line_noise: f64,
    /// Answers given on it, for the draw of noise.
    serial_answers: i64,
    outputs: BTreeMap<u8, bool>,
    orders: BTreeMap<(u64, u64), Fault>,
    next_order: u64,
    valve_log: VecDeque<ValveChange>,
    valve_log_dropped: u64,
}

/// Why a bus request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) failure: Failure,
    pub(crate) text: String,
}

impl World {
    pub(crate) fn new(setup: &Setup, trace: Option<Trace>) -> Self {
        let start = Start {
            seed: setup.seed,
            unix_ms: setup.start_unix_ms,
            mono_ns: setup.start_mono_ns,
            zones: setup.zones.clamp(1, 8),
            beginning: setup.beginning,
        };
        let greenhouse = Greenhouse::new(start, trace);
        let drawn = greenhouse.noise().bits(Purpose::Boot, setup.start_unix_ms);
        let slots = layout::sockets(setup.boards).into_iter().map(|socket| {
            let placed = setup
                .places
                .iter()
                .find(|placed| placed.name == socket.name);
            let address = socket.address;
            // Where another chip was put there is no room.
            let mut others = setup.places.iter();
            let is_taken = others.any(|other| {
                socket.route.is_none() && (other.bus, other.address) == (socket.bus, address)
            });
            let bus = if is_taken { NOWHERE } else { socket.bus };
            Slot {
                name: socket.name,
                bus: placed.map_or(bus, |placed| placed.bus),
                address: placed.map_or(address, |placed| placed.address),
                route: socket.route.filter(|_| placed.is_none()),
                chip: socket.chip,
                condition: Condition::default(),
            }
        });
        let mono_ms = i64::try_from(setup.start_mono_ns / 1_000_000).unwrap_or(i64::MAX);
        Self {
            now_ns: setup.start_mono_ns,
            boot: setup.boot.unwrap_or(drawn),
            wall_known: setup.wall_known,
            wall_offset_ms: setup.start_unix_ms.saturating_sub(mono_ms),
            greenhouse,
            slots: slots.collect(),
            drip: Drip::new(setup.zones, setup.start_mono_ns),
            relays: Relays::default(),
            stuck_busses: 0,
            closed_contacts: BTreeSet::new(),
            horn_log: Vec::new(),
            held_clocks: 0,
            line_noise: 0.0,
            serial_answers: 0,
            outputs: BTreeMap::new(),
            orders: BTreeMap::new(),
            next_order: 0,
            valve_log: VecDeque::new(),
            valve_log_dropped: 0,
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    pub(crate) fn boot(&self) -> u64 {
        self.boot
    }

    /// The machine starts anew: what connects from now on finds another boot id. Its monotonic clock
    /// goes on, so that one time line is enough.
    pub(crate) fn reboot(&mut self) {
        let moment = i64::try_from(self.now_ns / 1_000_000).unwrap_or(i64::MAX);
        let index = self.unix_ms().saturating_add(moment).saturating_add(1);
        self.boot = self.greenhouse.noise().bits(Purpose::Boot, index);
    }

    /// The water of the site.
    pub(crate) fn water(&self) -> &Hydraulics {
        &self.greenhouse.water
    }

    /// Water content of each bed, m³/m³.
    pub(crate) fn soil_water(&self) -> Vec<f64> {
        self.greenhouse.soil_water().collect()
    }

    /// What the crop has transpired, mm.
    pub(crate) fn transpired_mm(&self) -> f64 {
        self.greenhouse.transpired_mm()
    }

    /// What the machine knows of the time of day: Unix ms = monotonic ms + this.
    pub(crate) fn wall_offset_ms(&self) -> Option<i64> {
        self.wall_known.then_some(self.wall_offset_ms)
    }

    /// Time of the simulated world, known to its machines or not.
    pub(crate) fn unix_ms(&self) -> i64 {
        self.greenhouse.unix_ms(self.now_ns)
    }

    /// Lets time pass, event by event. A time that has passed changes nothing.
    pub(crate) fn advance(&mut self, to_ns: u64) {
        loop {
            let event_ns = self
                .greenhouse
                .next_event_ns()
                .min(self.drip.next_event_ns().unwrap_or(u64::MAX))
                .min(self.relays.next_event_ns().unwrap_or(u64::MAX))
                .min(self.orders.keys().next().map_or(u64::MAX, |key| key.0));
            if event_ns > to_ns {
                break;
            }
            self.run_to(event_ns.max(self.now_ns));
        }
        if to_ns > self.now_ns {
            self.run_to(to_ns);
        }
    }

    /// An I2C transaction now. The bytes of all reads, in order.
    pub(crate) fn transact(&mut self, transaction: &Transaction) -> Result<Vec<u8>, Refused> {
        let (bus, address) = (transaction.bus, transaction.address);
        let refuse = |failure, what: &str| Refused {
            failure,
            text: format!("i2c {bus} address {address:#04x}: {what}"),
        };
        if self.is_stuck(bus) {
            return Err(refuse(Failure::BusStuck, "the bus is stuck"));
        }
        let result = self.transact_with_all(transaction);
        self.apply_outputs();
        result.map_err(|nack| match nack {
            Nack::Address => refuse(Failure::NackAddress, "no acknowledge"),
            Nack::Data => refuse(Failure::NackData, "no acknowledge of a data byte"),
        })
    }

    /// One event: water first, then the controller that sees its switches, then faults.
    fn run_to(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.greenhouse.advance(now_ns);
        self.drip.advance(now_ns, self.greenhouse.water.switches());
        self.relays.advance(now_ns);
        self.apply_outputs();
        while let Some(entry) = self.orders.first_entry() {
            if entry.key().0 > now_ns {
                break;
            }
            let fault = entry.remove();
            self.carry_out(&fault);
        }
    }

    /// Chips of one address that are connected at the same time all answer, and pull the data line
    /// low together.
    fn transact_with_all(&mut self, transaction: &Transaction) -> Result<Vec<u8>, Nack> {
        let mut answer: Result<Vec<u8>, Nack> = Err(Nack::Address);
        for place in 0..self.slots.len() {
            if !self.is_connected(place, transaction) {
                continue;
            }
            let more = self.transact_at(place, transaction);
            answer = match (answer, more) {
                (Ok(mut bytes), Ok(more)) => {
                    for (byte, more) in bytes.iter_mut().zip(more) {
                        *byte &= more;
                    }
                    Ok(bytes)
                }
                (Ok(bytes), Err(_)) => Ok(bytes),
                (Err(_), more) => more,
            };
        }
        answer
    }

    fn is_connected(&self, place: usize, transaction: &Transaction) -> bool {
        let Some(slot) = self.slots.get(place) else {
            return false;
        };
        if slot.bus != transaction.bus || slot.address != transaction.address {
            return false;
        }
        let Some((mux, channel)) = slot.route else {
            return slot.bus != layout::ONE_WIRE_BUS;
        };
        self.slots.iter().any(|other| {
            let is_mux = other.bus == slot.bus && other.address == mux && other.route.is_none();
            let open = other.chip.as_ref().map_or(0, |chip| chip.open_channels());
            is_mux && !other.condition.unplugged && open >> channel & 1 == 1
        })
    }

    fn transact_at(&mut self, place: usize, transaction: &Transaction) -> Result<Vec<u8>, Nack> {
        let number = u8::try_from(place).unwrap_or(u8::MAX);
        let Some(slot) = self.slots.get_mut(place) else {
            return Err(Nack::Address);
        };
        let sensed = Sensed {
            greenhouse: &self.greenhouse,
            now_ns: self.now_ns,
            place: number,
        };
        let chip: &mut dyn Chip = match &mut slot.chip {
            Some(chip) => chip.as_mut(),
            None => &mut self.drip,
        };
        let condition = &mut slot.condition;
        condition.transactions += 1;
        let (frozen, lie_volts) = (condition.frozen, condition.lie_volts);
        let felt: &dyn Field = match &frozen {
            Some(frozen) => frozen,
            None => &sensed,
        };
        let lying = Lying {
            field: felt,
            volts: lie_volts,
        };
        let field: &dyn Field = if lie_volts.abs() < f64::EPSILON {
            felt
        } else {
            &lying
        };
        let result = if condition.is_silent() {
            Err(Nack::Address)
        } else {
            carry(chip, self.now_ns, transaction, field)
        };
        match result {
            Ok(mut data) => {
                condition.flip(&mut data, &self.greenhouse, number);
                Ok(data)
            }
            Err(nack) => {
                condition.refused += 1;
                Err(nack)
            }
        }
    }

    /// Valves follow the controller's outputs and the relays.
    fn apply_outputs(&mut self) {
        // What was driven before is not a change of switches yet, but starts the controller's own watch.
        self.drip
            .advance(self.now_ns, self.greenhouse.water.switches());
        for change in self.drip.take_changes() {
            let cause = match change.cause {
                Cause::Master => "master",
                Cause::LeaseRanOut => "lease-ran-out",
                Cause::Reset => "reset",
            };
            self.note_valve(change.at_ns, change.output, change.open, cause);
        }
        let boards = self.slots.iter().filter_map(|slot| slot.chip.as_ref());
        let boards = boards.fold(0, |mask, chip| mask | chip.relays());
        let pins = relays::at_pins(|pin| self.outputs.get(&pin).copied().unwrap_or(false));
        let (changed, cause) = self.relays.settle(boards | pins);
        let contacts = self.relays.contacts();
        for zone in 0..self.greenhouse.water.zones() {
            if changed >> zone & 1 == 1 {
                self.note_valve(self.now_ns, zone, contacts >> zone & 1 == 1, cause);
            }
        }
        let fed = self.drip.commanded() | contacts;
        for zone in 0..self.greenhouse.water.zones() {
            self.greenhouse.water.drive(zone, fed >> zone & 1 == 1);
        }
    }

    fn note_valve(&mut self, at_ns: u64, zone: usize, open: bool, cause: &'static str) {
        if self.valve_log.len() == VALVE_LOG_MAX {
            self.valve_log.pop_front();
            self.valve_log_dropped += 1;
        }
        self.valve_log.push_back(ValveChange {
            mono_ms: at_ns / 1_000_000,
            unix_ms: self.greenhouse.unix_ms(at_ns),
            zone: zone + 1,
            drives: self.greenhouse.water.plant().name(zone),
            open,
            cause,
        });
    }
}

/// The parts of a transaction, one START each. Chips that mind the STOP in between would be told here;
/// those of this layout don't.
fn carry(
    chip: &mut dyn Chip,
    now_ns: u64,
    transaction: &Transaction,
    field: &dyn Field,
) -> Result<Vec<u8>, Nack> {
    let mut data = Vec::new();
    for operation in &transaction.operations {
        match operation {
            Operation::Write(bytes) => chip.write(now_ns, bytes, field)?,
            Operation::Read(length) => {
                let start = data.len();
                data.resize(start + usize::from(*length), 0);
                if let Some(bytes) = data.get_mut(start..) {
                    chip.read(now_ns, bytes, field)?;
                }
            }
        }
    }
    Ok(data)
}

#[cfg(test)]
mod tests;
