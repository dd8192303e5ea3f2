//! Faults: checked when they are ordered, carried out at their time.

use core::ops::RangeInclusive;

use super::World;
use super::slot::{Condition, Frozen, Slot};
use crate::faults::{Fault, FaultError, FaultOrder, Position};
use crate::greenhouse::Sensed;
use crate::layout;

/// Most faults waiting for their time: far more than a test plan has.
const ORDERS_MAX: usize = 1_000;
/// Highest number of a bus that can be stuck: one bit each.
const BUS_LAST: u8 = 31;

/// The slowest probe, in milliseconds.
const SLOW_MAX_MS: u64 = 5_000;

/// What a fault does to a chip's supply.
enum Power {
    Stays,
    Cycled,
}

impl World {
    /// Takes an order for a fault. It is checked now, and carried out at its time.
    pub(crate) fn order(&mut self, order: FaultOrder) -> Result<(), FaultError> {
        self.check(&order.fault)?;
        if self.orders.len() + 2 > ORDERS_MAX {
            return Err(FaultError::TooMany);
        }
        let at_ns = self
            .now_ns
            .saturating_add(order.after_ms.saturating_mul(1_000_000));
        if let Some(for_ms) = order.for_ms {
            let end = order.fault.end().ok_or(FaultError::NoEnd)?;
            let until_ns = at_ns.saturating_add(for_ms.saturating_mul(1_000_000));
            self.enter(until_ns, end);
        }
        self.enter(at_ns, order.fault);
        // What is due now happens now.
        self.advance(self.now_ns);
        Ok(())
    }

    /// Names were checked when the order came.
    pub(super) fn carry_out(&mut self, fault: &Fault) {
        tracing::info!(?fault, mono_ms = self.now_ns / 1_000_000, "fault");
        let water = &mut self.greenhouse.water;
        match fault {
            Fault::Unplug { device } => self.plug(device, false),
            Fault::Plug { device } => self.plug(device, true),
            Fault::BrownOut { device } => self.with_slot(device, |_| Power::Cycled),
            Fault::Freeze { device } => self.freeze(device),
            Fault::Thaw { device } => self.condition(device, |of| of.frozen = None),
            Fault::Lie { device, millivolts } => self.condition(device, |of| {
                of.lie_volts = f64::from(*millivolts) / 1_000.0;
            }),
            Fault::Nack { device, count } => self.condition(device, |of| of.nacks = *count),
            Fault::Crc { device, rate } => self.with_slot(device, |slot| {
                slot.condition.flip_rate = *rate;
                Power::Stays
            }),
            Fault::Slow { device, ms } => self.with_slot(device, |slot| {
                slot.condition.slow_ms = *ms;
                Power::Stays
            }),
            Fault::LineNoise { rate } => self.line_noise = *rate,
            Fault::BusStuck { bus } => self.stuck_busses |= 1 << bus,
            Fault::BusFree { bus } => self.stuck_busses &= !(1 << bus),
            Fault::Heat { kelvin } => self.greenhouse.set_heat(*kelvin),
            Fault::StickValve { zone, position } => water.stick(
                zone.saturating_sub(1),
                position.map(|position| position == Position::Open),
            ),
            Fault::FreeValve { zone } => water.free(zone.saturating_sub(1)),
            Fault::WeldRelay { zone } => self.relays.set_welded(zone.saturating_sub(1), true),
            Fault::FreeRelay { zone } => {
                self.relays.set_welded(zone.saturating_sub(1), false);
                self.apply_outputs();
            }
            Fault::PowerCut => self.cut_power(),
            Fault::BurstLine { zone, litres_min } => {
                water.set_hole(zone.saturating_sub(1), *litres_min);
            }
            Fault::ClogLine { zone, percent } => {
                water.set_clogged(zone.saturating_sub(1), *percent)
            }
            Fault::FailPump | Fault::RepairPump => water.set_pump_fails(*fault == Fault::FailPump),
            Fault::WeldPump | Fault::FreePump => water.set_pump_welded(*fault == Fault::WeldPump),
            Fault::Overdose { percent } => self.greenhouse.set_dose_percent(*percent),
            Fault::BounceMeter { percent } => water.set_meter_percent(*percent),
            Fault::TankEmpty | Fault::TankRefill => water.set_empty(*fault == Fault::TankEmpty),
            Fault::Leak { litres_min } => water.set_leak(*litres_min),
            Fault::JamMeter | Fault::FreeMeter => water.set_meter_jammed(*fault == Fault::JamMeter),
            Fault::ResetDrip => {
                self.drip.reset(self.now_ns, water.pulses());
                self.apply_outputs();
            }
            Fault::HoldBus { clocks } => self.held_clocks = *clocks,
            Fault::MainsOff | Fault::MainsOn => {
                self.greenhouse.set_mains(*fault == Fault::MainsOn);
            }
            Fault::PressButton | Fault::ReleaseButton => {
                self.greenhouse.site.press(*fault == Fault::PressButton);
            }
            Fault::CloseContact { pin } => drop(self.closed_contacts.insert(*pin)),
            Fault::OpenContact { pin } => drop(self.closed_contacts.remove(pin)),
            Fault::WallUnknown | Fault::WallKnown => self.wall_known = *fault == Fault::WallKnown,
            Fault::WallStep { seconds } => {
                let step_ms = seconds.saturating_mul(1_000);
                self.wall_offset_ms = self.wall_offset_ms.saturating_add(step_ms);
            }
        }
    }

    fn plug(&mut self, device: &str, is_plugged: bool) {
        self.with_slot(device, |slot| {
            slot.condition.unplugged = !is_plugged;
            if is_plugged {
                Power::Cycled
            } else {
                Power::Stays
            }
        });
    }

    fn cut_power(&mut self) {
        self.outputs.clear();
        for pin in [layout::SIREN_PIN, layout::BEACON_PIN] {
            self.note_horn(pin, false);
        }
        self.relays.handle_power_cut();
        for slot in &mut self.slots {
            if let Some(chip) = &mut slot.chip {
                chip.power_cycle(self.now_ns);
            }
        }
        self.apply_outputs();
    }

    /// Changes what is wrong with a device, and leaves its supply alone.
    fn condition(&mut self, device: &str, change: impl FnOnce(&mut Condition)) {
        self.with_slot(device, |slot| {
            change(&mut slot.condition);
            Power::Stays
        });
    }

    fn freeze(&mut self, device: &str) {
        let Ok(place) = self.find(device) else {
            return;
        };
        let frozen = Frozen::of(&Sensed {
            greenhouse: &self.greenhouse,
            now_ns: self.now_ns,
            place: u8::try_from(place).unwrap_or(u8::MAX),
        });
        if let Some(slot) = self.slots.get_mut(place) {
            slot.condition.frozen = Some(frozen);
        }
    }

    fn with_slot(&mut self, device: &str, change: impl FnOnce(&mut Slot) -> Power) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.name == device) else {
            return;
        };
        match change(slot) {
            Power::Stays => {}
            Power::Cycled => match &mut slot.chip {
                Some(chip) => {
                    chip.power_cycle(self.now_ns);
                    self.apply_outputs();
                }
                None => {
                    self.drip.reset(self.now_ns, self.greenhouse.water.pulses());
                    self.apply_outputs();
                }
            },
        }
    }

    fn enter(&mut self, at_ns: u64, fault: Fault) {
        self.orders.insert((at_ns, self.next_order), fault);
        self.next_order += 1;
    }

    /// Whether a fault is possible here.
    pub(crate) fn check(&self, fault: &Fault) -> Result<(), FaultError> {
        match fault {
            Fault::Unplug { device }
            | Fault::Plug { device }
            | Fault::BrownOut { device }
            | Fault::Nack { device, .. }
            | Fault::Thaw { device } => self.find(device).map(drop),
            Fault::Lie { device, millivolts } => {
                in_range(*millivolts, -4_000..=4_000, "millivolts", "-4000 to 4000")?;
                self.find(device).map(drop)
            }
            Fault::Freeze { device } if device == layout::DRIP => Err(FaultError::NotPossible {
                device: device.clone(),
                what: "be frozen: stick a valve or jam the meter",
            }),
            Fault::Freeze { device } => self.find(device).map(drop),
            Fault::Crc { device, rate } => {
                in_range(*rate, 0.0..=1.0, "rate", "0 to 1")?;
                self.find(device).map(drop)
            }
            Fault::Slow { device, ms } => self.check_slow(device, *ms),
            Fault::LineNoise { rate } => in_range(*rate, 0.0..=1.0, "rate", "0 to 1"),
            Fault::BusStuck { bus } | Fault::BusFree { bus } => {
                in_range(*bus, 0..=BUS_LAST, "bus", "0 to 31")
            }
            Fault::CloseContact { pin } | Fault::OpenContact { pin } => free_pin(*pin),
            Fault::HoldBus { clocks } => in_range(*clocks, 1..=9, "clocks", "1 to 9"),
            Fault::Heat { kelvin } => in_range(*kelvin, -40.0..=40.0, "kelvin", "-40 to 40"),
            Fault::StickValve { zone, .. }
            | Fault::FreeValve { zone }
            | Fault::WeldRelay { zone }
            | Fault::FreeRelay { zone } => self.check_zone(*zone),
            Fault::BurstLine { zone, litres_min } => {
                in_range(*litres_min, 0..=100, "litres-min", "0 to 100")?;
                self.check_zone(*zone)
            }
            Fault::ClogLine { zone, percent } => {
                in_range(*percent, 0..=100, "percent", "0 to 100")?;
                self.check_zone(*zone)
            }
            Fault::Overdose { percent } | Fault::BounceMeter { percent } => {
                in_range(*percent, 0..=1_000, "percent", "0 to 1000")
            }
            Fault::Leak { litres_min } => {
                in_range(*litres_min, 0..=1_000, "litres-min", "0 to 1000")
            }
            Fault::FailPump
            | Fault::RepairPump
            | Fault::WeldPump
            | Fault::FreePump
            | Fault::TankEmpty
            | Fault::TankRefill
            | Fault::PowerCut
            | Fault::JamMeter
            | Fault::FreeMeter
            | Fault::ResetDrip
            | Fault::MainsOff
            | Fault::MainsOn
            | Fault::PressButton
            | Fault::ReleaseButton
            | Fault::WallUnknown
            | Fault::WallKnown
            | Fault::WallStep { .. } => Ok(()),
        }
    }

    fn check_slow(&self, device: &str, ms: u64) -> Result<(), FaultError> {
        in_range(ms, 0..=SLOW_MAX_MS, "ms", "0 to 5000")?;
        let place = self.find(device)?;
        let bus = self.slots.get(place).map(|slot| slot.bus);
        if bus == Some(layout::RS485_BUS) {
            return Ok(());
        }
        Err(FaultError::NotPossible {
            device: device.to_owned(),
            what: "be slow: it is not on the RS-485 line",
        })
    }

    fn check_zone(&self, zone: usize) -> Result<(), FaultError> {
        let zones = self.greenhouse.water.zones();
        if (1..=zones).contains(&zone) {
            return Ok(());
        }
        Err(FaultError::Zone { zone, zones })
    }

    fn find(&self, device: &str) -> Result<usize, FaultError> {
        self.slots
            .iter()
            .position(|slot| slot.name == device)
            .ok_or_else(|| {
                let names: Vec<&str> = self.slots.iter().map(|slot| slot.name).collect();
                FaultError::Device {
                    name: device.to_owned(),
                    known: names.join(", "),
                }
            })
    }
}

fn free_pin(pin: u8) -> Result<(), FaultError> {
    let (name, range) = ("pin", "one of 0 to 27 where nothing else is wired");
    let free = layout::is_free_pin(pin).then_some(());
    free.ok_or(FaultError::Range { name, range })
}

fn in_range<T: PartialOrd>(
    value: T,
    allowed: RangeInclusive<T>,
    name: &'static str,
    range: &'static str,
) -> Result<(), FaultError> {
    if allowed.contains(&value) {
        Ok(())
    } else {
        Err(FaultError::Range { name, range })
    }
}
