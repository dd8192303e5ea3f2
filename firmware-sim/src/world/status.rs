//! What the world says of itself, for people and tests.

use std::collections::BTreeMap;

use super::World;
use super::slot::Slot;
use crate::greenhouse::Truth;

/// A valve's output was driven.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct ValveChange {
    pub(super) mono_ms: u64,
    pub(super) unix_ms: i64,
    /// The output, from 1.
    pub(super) zone: usize,
    /// `zone`, `pump`, `master-valve` or `dosing`.
    pub(super) drives: &'static str,
    pub(super) open: bool,
    pub(super) cause: &'static str,
}

/// A device in the status.
#[derive(Debug, Clone, serde::Serialize)]
struct DeviceStatus {
    bus: u8,
    address: u8,
    plugged: bool,
    frozen: bool,
    crc_rate: f64,
    transactions: u64,
    refused: u64,
}

/// What brings the water, in the status.
#[derive(Debug, Clone, serde::Serialize)]
struct PlantStatus {
    /// Whether the pump turns; always where none is wired.
    pump_turns: bool,
    pressure_bar: f64,
    pump_s: f64,
    /// The pump turned and all its water's ways were shut: in all, and the longest time at once.
    pump_against_closed_s: f64,
    pump_against_closed_longest_s: f64,
    /// It turned without water.
    pump_dry_s: f64,
    /// Outputs whose switch says open, by what they drive.
    open: Vec<&'static str>,
}

/// The world in the status.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct WorldStatus {
    /// Time of the simulated world, RFC 3339.
    time: String,
    mono_ms: u64,
    /// What the machine believes; null while it does not know.
    wall_unix_ms: Option<i64>,
    boot: String,
    /// Zones whose valve switch says open, from 1.
    valves_open: Vec<usize>,
    /// Zones that hold a lease, from 1.
    valves_commanded: Vec<usize>,
    /// Zones whose relay is closed, from 1.
    relays_closed: Vec<usize>,
    /// Whether the relays have their supply.
    relay_supply: bool,
    pulses: u64,
    litres: f64,
    /// What the soil of each zone got.
    zone_litres: Vec<f64>,
    /// How long each output's switch said open, s.
    zone_open_s: Vec<f64>,
    /// Where a pump or a master valve is wired.
    #[serde(skip_serializing_if = "Option::is_none")]
    plant: Option<PlantStatus>,
    truth: Truth,
    chips: BTreeMap<&'static str, DeviceStatus>,
    outputs: BTreeMap<u8, bool>,
    stuck_busses: Vec<u8>,
    /// Faults waiting for their time.
    faults_waiting: usize,
    valve_log: Vec<ValveChange>,
    valve_log_dropped: u64,
}

impl World {
    pub(crate) fn status(&self) -> WorldStatus {
        let chips = self.slots.iter().map(|slot| (slot.name, slot.status()));
        let water = &self.greenhouse.water;
        let zones = (0..8).fold(0, |mask, output| {
            mask | u8::from(water.plant().is_zone(output)) << output
        });
        WorldStatus {
            time: jiff::Timestamp::from_millisecond(self.unix_ms())
                .map(|time| time.to_string())
                .unwrap_or_default(),
            mono_ms: self.now_ns / 1_000_000,
            wall_unix_ms: self.wall_offset_ms().map(|offset| {
                offset.saturating_add(i64::try_from(self.now_ns / 1_000_000).unwrap_or(i64::MAX))
            }),
            boot: format!("{:016x}", self.boot),
            valves_open: zones_of(water.switches() & zones),
            valves_commanded: zones_of(self.drip.commanded() & zones),
            relays_closed: zones_of(self.relays.contacts()),
            relay_supply: !self.relays.is_cut(),
            pulses: self.greenhouse.water.pulses(),
            litres: self.greenhouse.water.litres(),
            zone_litres: water.given_litres(),
            zone_open_s: seconds_of(water.times().open).take(water.zones()).collect(),
            plant: self.plant_status(),
            truth: self.greenhouse.truth(),
            chips: chips.collect(),
            outputs: self.outputs.clone(),
            stuck_busses: (0..32)
                .filter(|bus| self.stuck_busses >> bus & 1 == 1)
                .collect(),
            faults_waiting: self.orders.len(),
            valve_log: self.valve_log.iter().cloned().collect(),
            valve_log_dropped: self.valve_log_dropped,
        }
    }

    fn plant_status(&self) -> Option<PlantStatus> {
        let water = &self.greenhouse.water;
        let plant = water.plant();
        let others = |output: &usize| !plant.is_zone(*output);
        (0..8).find(others)?;
        let times = water.times();
        let [pump_s, shut, longest, dry] =
            [times.pump, times.shut, times.shut_longest, times.dry].map(seconds);
        let open = (0..8).filter(|output| water.switches() >> output & 1 == 1);
        Some(PlantStatus {
            pump_turns: water.turns(),
            pressure_bar: water.bar(),
            pump_s,
            pump_against_closed_s: shut,
            pump_against_closed_longest_s: longest,
            pump_dry_s: dry,
            open: open
                .filter(others)
                .map(|output| plant.name(output))
                .collect(),
        })
    }
}

fn seconds_of(times: [u64; 8]) -> impl Iterator<Item = f64> {
    times.into_iter().map(seconds)
}

fn seconds(ns: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "milliseconds for people")]
    let ms = (ns / 1_000_000) as f64;
    ms / 1_000.0
}

impl Slot {
    fn status(&self) -> DeviceStatus {
        DeviceStatus {
            bus: self.bus,
            address: self.address,
            plugged: !self.condition.unplugged,
            frozen: self.condition.frozen.is_some(),
            crc_rate: self.condition.flip_rate,
            transactions: self.condition.transactions,
            refused: self.condition.refused,
        }
    }
}

fn zones_of(mask: u8) -> Vec<usize> {
    (0..8)
        .filter(|zone| mask >> zone & 1 == 1)
        .map(|zone| zone + 1)
        .collect()
}
