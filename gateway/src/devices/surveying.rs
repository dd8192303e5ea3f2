//! A look at the addresses of a bus, by the thread that owns it, between its readings.

use std::path::PathBuf;

use super::Part;
use super::reading::UnderWay;
use crate::bus::{FieldDelay, FieldI2c, Rs485, SharedI2c};
use crate::config::{BusKind, BusSettings, DeviceSettings, Settings};
use crate::survey::{Addresses, I2cWalk, Next, Place, SerialWalk, TOLD_EVERY, one_wire};

/// A chip that prepares an answer is left alone for this much longer than it takes, in milliseconds: the
/// bus may be busy then. Not for ever, since whoever asked may be gone.
const HELD_MORE_MS: u64 = 200;

/// What a bus is surveyed by.
#[derive(Debug)]
pub(super) enum Way {
    I2c(SharedI2c<FieldI2c>),
    Line(Rs485),
    OneWire(PathBuf),
    /// Lines alone: nobody can see what hangs there.
    Nothing,
}

impl Way {
    pub(super) fn new(
        bus: &BusSettings,
        i2c: Option<SharedI2c<FieldI2c>>,
        line: Option<Rs485>,
    ) -> Self {
        match (&bus.kind, i2c, line) {
            (BusKind::OneWire { root }, _, _) => Way::OneWire(root.clone()),
            (_, Some(i2c), _) => Way::I2c(i2c),
            (_, None, Some(line)) => Way::Line(line),
            (_, None, None) => Way::Nothing,
        }
    }
}

/// One bus's survey; at most one at a time.
#[derive(Debug)]
pub(super) struct Surveying {
    bus: usize,
    way: Way,
    walk: Walk,
    /// Until when the chip that [`I2cWalk::holds`] names is left alone, in monotonic milliseconds.
    held_until_ms: u64,
}

#[derive(Debug)]
enum Walk {
    None,
    I2c(I2cWalk),
    Line(SerialWalk),
}

impl Surveying {
    pub(super) fn new(bus: usize, way: Way) -> Self {
        Self {
            bus,
            way,
            walk: Walk::None,
            held_until_ms: 0,
        }
    }

    /// Until when a device must not be read: it prepares an answer to the survey.
    pub(super) fn holds(&self, device: &DeviceSettings, now_ms: u64) -> Option<u64> {
        let Walk::I2c(walk) = &self.walk else {
            return None;
        };
        let holds = walk.holds(place_of(device)?) && now_ms < self.held_until_ms;
        holds.then_some(self.held_until_ms)
    }

    pub(super) fn step(
        &mut self,
        settings: &Settings,
        (part, addresses): (u32, Addresses),
        under_way: &UnderWay,
        delay: &mut FieldDelay,
        now_ms: impl Fn() -> u64,
    ) -> Part {
        if part == 0 {
            self.walk = match self.way {
                Way::I2c(_) => Walk::I2c(I2cWalk::default()),
                Way::Line(_) => Walk::Line(SerialWalk::new(Some(settings), self.bus, addresses)),
                Way::OneWire(_) | Way::Nothing => Walk::None,
            };
        }
        let mut seen = Vec::new();
        let mut slave = None;
        let next = match (&mut self.way, &mut self.walk) {
            (Way::I2c(i2c), Walk::I2c(walk)) => {
                let is_held = |place| {
                    let mut devices = settings.devices().iter().enumerate();
                    devices.any(|(index, device)| {
                        device.bus == self.bus
                            && place_of(device) == Some(place)
                            && under_way.has(index)
                    })
                };
                walk.step(i2c, delay, is_held, &mut seen)
                    .map_err(|fault| fault.to_string())
            }
            (Way::Line(line), Walk::Line(walk)) => {
                slave = walk.slave().filter(|slave| slave % TOLD_EVERY == 0);
                walk.step(line, Some(settings), self.bus, &mut seen)
            }
            (Way::OneWire(root), _) => one_wire(root).map(|found| {
                seen = found;
                Next::Done
            }),
            (Way::I2c(_) | Way::Line(_) | Way::Nothing, _) => Ok(Next::Done),
        };
        match &next {
            Ok(Next::After { ms }) => {
                let until_ms = now_ms().saturating_add((*ms).into());
                self.held_until_ms = until_ms.saturating_add(HELD_MORE_MS);
            }
            Ok(Next::Done) | Err(_) => self.walk = Walk::None,
        }
        Part { seen, next, slave }
    }
}

fn place_of(device: &DeviceSettings) -> Option<Place> {
    Some(Place {
        address: device.address()?,
        behind: device.route.map(|route| (route.mux, route.channel)),
    })
}
