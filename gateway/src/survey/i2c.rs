//! An I2C bus, also behind multiplexers.
//!
//! First the multiplexers, which closes them: a channel that was left open would show its chips here.
//! Then what is on the bus itself, then what is behind each multiplexer. Between two steps others may
//! use the bus and open channels, so each step closes what it finds open, and what it opened.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorKind, I2c};
use furrow_drivers::ads1115::{Input, volts};
use furrow_drivers::{Ads1115, DripController, tca9548a};

use super::identify::{Asked, Look, SLOW_MS};
use super::{Detail, Heard, Identity, Next, Seen, SeenAt};

/// Addresses that the I2C specification leaves to devices.
const ADDRESSES: RangeInclusive<u8> = 0x08..=0x77;
/// Here an empty write could change an EEPROM, so one byte is read instead, as `i2cdetect` does.
const READ_INSTEAD: [RangeInclusive<u8>; 2] = [0x30..=0x37, 0x50..=0x5F];
/// Silent addresses that one step asks: together some 2 ms at 100 kHz. A step ends at one that answers,
/// whose identity takes 5 ms, or 40 ms with an ADS1115's inputs.
const PLACES_A_STEP: usize = 8;
/// Between two steps, in milliseconds: readings that became due meanwhile go first.
const PAUSE_MS: u32 = 1;
/// A chip in the middle of a reading is asked this much later, in milliseconds.
const HELD_MS: u32 = 50;

/// An address on a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Address.
    pub address: u8,
    /// Multiplexer and channel that it sits behind.
    pub behind: Option<(u8, u8)>,
}

/// The bus itself failed, at an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address:#04x}: {kind}")]
pub struct Fault {
    /// Where.
    pub address: u8,
    /// How.
    pub kind: ErrorKind,
}

/// One bus, from its first address to its last.
#[derive(Debug)]
pub struct I2cWalk {
    asks: VecDeque<Ask>,
    muxes: Vec<u8>,
    /// What answers with all channels closed is not behind one.
    here: BTreeSet<u8>,
    /// What is behind the multiplexers is among the asks.
    is_deep: bool,
    /// A circuit that was asked for its name and takes its time.
    slow: Option<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// Whether a multiplexer is there.
    Mux(u8),
    Place(Place),
}

impl Default for I2cWalk {
    fn default() -> Self {
        let muxes = tca9548a::ADDRESSES.map(Ask::Mux);
        let places = ADDRESSES.map(|address| {
            Ask::Place(Place {
                address,
                behind: None,
            })
        });
        Self {
            asks: muxes.chain(places).collect(),
            muxes: Vec::new(),
            here: BTreeSet::new(),
            is_deep: false,
            slow: None,
        }
    }
}

/// The whole bus at once, for who has it alone.
///
/// # Errors
/// The bus itself failed.
pub fn walk<B, D>(bus: &mut B, delay: &mut D, seen: &mut Vec<Seen>) -> Result<(), Fault>
where
    B: I2c<Error = ErrorKind>,
    D: DelayNs,
{
    let mut walk = I2cWalk::default();
    while let Next::After { ms } = walk.step(bus, delay, |_| false, seen)? {
        if ms > PAUSE_MS {
            delay.delay_ms(ms);
        }
    }
    Ok(())
}

impl I2cWalk {
    /// Asks the next addresses. `is_held` tells which are in the middle of a reading: they come later.
    ///
    /// # Errors
    /// The bus itself failed: there is nothing more to find on it.
    pub fn step<B, D>(
        &mut self,
        bus: &mut B,
        delay: &mut D,
        is_held: impl Fn(Place) -> bool,
        seen: &mut Vec<Seen>,
    ) -> Result<Next, Fault>
    where
        B: I2c<Error = ErrorKind>,
        D: DelayNs,
    {
        for mux in &self.muxes {
            close(bus, *mux)?;
        }
        let mut open = None;
        let next = self.look(bus, delay, is_held, seen, &mut open);
        if let Some(mux) = open {
            close(bus, mux)?;
        }
        next
    }

    /// Whether a chip must not be used now: it prepares the answer to a question of this walk.
    #[must_use]
    pub fn holds(&self, place: Place) -> bool {
        self.slow == Some(place)
    }

    fn look<B, D>(
        &mut self,
        bus: &mut B,
        delay: &mut D,
        is_held: impl Fn(Place) -> bool,
        seen: &mut Vec<Seen>,
        open: &mut Option<u8>,
    ) -> Result<Next, Fault>
    where
        B: I2c<Error = ErrorKind>,
        D: DelayNs,
    {
        if let Some(place) = self.slow.take() {
            select(bus, place.behind, open)?;
            let identity = asked(bus, delay, place.address).slow_answer();
            seen.push(found(bus, delay, place, identity));
            return Ok(self.next(PAUSE_MS));
        }
        let mut channel = None;
        let (mut looked, mut held) = (0, 0);
        while looked < PLACES_A_STEP {
            let Some(ask) = self.asks.front().copied() else {
                break;
            };
            let place = ask.place();
            // One channel a step.
            if looked > 0 && place.behind != channel {
                break;
            }
            self.asks.pop_front();
            if is_held(place) {
                self.asks.push_back(ask);
                held += 1;
                if held >= self.asks.len() {
                    return Ok(Next::After { ms: HELD_MS });
                }
                continue;
            }
            if looked == 0 {
                channel = place.behind;
                select(bus, channel, open)?;
            }
            looked += 1;
            if !probe(bus, place.address)? {
                continue;
            }
            let identity = asked(bus, delay, place.address).identify();
            match (ask, identity) {
                (Ask::Mux(mux), Look::Known(Some(identity))) if identity.is_mux => {
                    self.muxes.push(mux);
                }
                (Ask::Mux(_), Look::Known(_) | Look::Slow) => {}
                (Ask::Place(_), look) => {
                    if place.behind.is_none() {
                        self.here.insert(place.address);
                    }
                    match look {
                        Look::Slow => {
                            self.slow = Some(place);
                            return Ok(Next::After { ms: SLOW_MS });
                        }
                        Look::Known(identity) => seen.push(found(bus, delay, place, identity)),
                    }
                }
            }
            break;
        }
        Ok(self.next(PAUSE_MS))
    }

    fn next(&mut self, ms: u32) -> Next {
        if self.asks.is_empty() && !self.is_deep {
            self.is_deep = true;
            let here = &self.here;
            for mux in &self.muxes {
                for channel in 0..tca9548a::CHANNELS {
                    let places = ADDRESSES.filter(|address| !here.contains(address));
                    self.asks.extend(places.map(|address| {
                        Ask::Place(Place {
                            address,
                            behind: Some((*mux, channel)),
                        })
                    }));
                }
            }
        }
        if self.asks.is_empty() {
            Next::Done
        } else {
            Next::After { ms }
        }
    }
}

impl Ask {
    fn place(self) -> Place {
        match self {
            Ask::Mux(address) => Place {
                address,
                behind: None,
            },
            Ask::Place(place) => place,
        }
    }
}

fn asked<'a, B, D>(bus: &'a mut B, delay: &'a mut D, address: u8) -> Asked<'a, B, D> {
    Asked {
        bus,
        delay,
        address,
    }
}

fn fault(address: u8) -> impl Fn(ErrorKind) -> Fault {
    move |kind| Fault { address, kind }
}

/// One that is gone connects nothing.
fn close<B: I2c<Error = ErrorKind>>(bus: &mut B, mux: u8) -> Result<(), Fault> {
    match bus.write(mux, &[0]) {
        Ok(()) | Err(ErrorKind::NoAcknowledge(_)) => Ok(()),
        Err(kind) => Err(Fault { address: mux, kind }),
    }
}

fn select<B: I2c<Error = ErrorKind>>(
    bus: &mut B,
    behind: Option<(u8, u8)>,
    open: &mut Option<u8>,
) -> Result<(), Fault> {
    let Some((mux, channel)) = behind else {
        return Ok(());
    };
    *open = Some(mux);
    let mask = 1_u8.checked_shl(channel.into()).unwrap_or(0);
    bus.write(mux, &[mask]).map_err(fault(mux))
}

fn probe<B: I2c<Error = ErrorKind>>(bus: &mut B, address: u8) -> Result<bool, Fault> {
    let asked = if READ_INSTEAD.iter().any(|range| range.contains(&address)) {
        bus.read(address, &mut [0])
    } else {
        bus.write(address, &[])
    };
    match asked {
        Ok(()) => Ok(true),
        Err(ErrorKind::NoAcknowledge(_)) => Ok(false),
        Err(kind) => Err(Fault { address, kind }),
    }
}

fn found<B, D>(bus: &mut B, delay: &mut D, place: Place, identity: Option<Identity>) -> Seen
where
    B: I2c<Error = ErrorKind>,
    D: DelayNs,
{
    let Place { address, behind } = place;
    let kind = identity.as_ref().and_then(|one| one.kind.as_deref());
    let detail = detail(kind, bus, delay, address);
    Seen {
        at: SeenAt::I2c { address, behind },
        heard: Heard::Answer,
        identity,
        detail,
    }
}

fn detail<B, D>(kind: Option<&str>, bus: &mut B, delay: &mut D, address: u8) -> Detail
where
    B: I2c<Error = ErrorKind>,
    D: DelayNs,
{
    match kind {
        Some("ads1115") => {
            let Ok(mut adc) = Ads1115::new(bus, delay, address) else {
                return Detail::None;
            };
            let inputs = Input::ALL.iter();
            Detail::Inputs(
                inputs
                    .map(|input| adc.counts(*input).ok().map(volts))
                    .collect(),
            )
        }
        Some("drip-controller") => {
            let status = DripController::new(bus, address).and_then(|mut drip| drip.status());
            status.map_or(Detail::None, |status| Detail::Outputs(status.outputs))
        }
        Some(_) | None => Detail::None,
    }
}

#[cfg(test)]
mod tests;
