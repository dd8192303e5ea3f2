//! The configuration as it was written. No checks and no IO.
//!
//! Keys that nobody knows are kept in `unknown` and refused in the second stage, together with all
//! other mistakes: serde's `deny_unknown_fields` would report the first one alone.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::leaf::Leaf;

/// Keys that a section does not know.
pub(super) type Unknown = BTreeMap<String, Leaf>;

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawConfig {
    pub(super) gateway: Option<RawGateway>,
    pub(super) mqtt: Option<RawMqtt>,
    pub(super) journal: Option<RawJournal>,
    pub(super) irrigation: Option<RawIrrigation>,
    pub(super) guard: Option<RawGuard>,
    pub(super) page: Option<RawPage>,
    #[serde(default)]
    pub(super) button: Vec<RawButton>,
    pub(super) siren: Option<RawHorn>,
    pub(super) beacon: Option<RawHorn>,
    #[serde(default)]
    pub(super) alarm: Vec<RawAlarm>,
    #[serde(default)]
    pub(super) bus: Vec<RawBus>,
    #[serde(default)]
    pub(super) device: Vec<RawDevice>,
    #[serde(default)]
    pub(super) derived: Vec<RawDerived>,
    #[serde(default)]
    pub(super) zone: Vec<RawZone>,
    #[serde(default)]
    pub(super) planting: Vec<RawPlanting>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawGateway {
    pub(super) cooperative: Option<Leaf>,
    pub(super) id: Option<Leaf>,
    pub(super) greenhouse: Option<Leaf>,
    pub(super) greenhouse_name: Option<Leaf>,
    pub(super) timezone: Option<Leaf>,
    pub(super) state_dir: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawMqtt {
    pub(super) host: Option<Leaf>,
    pub(super) port: Option<Leaf>,
    pub(super) username: Option<Leaf>,
    pub(super) password: Option<Leaf>,
    pub(super) password_file: Option<Leaf>,
    pub(super) profile: Option<Leaf>,
    pub(super) send_interval: Option<Leaf>,
    pub(super) live_packets: Option<Leaf>,
    pub(super) tls: Option<RawTls>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawTls {
    pub(super) ca_file: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawJournal {
    pub(super) commit_interval: Option<Leaf>,
    pub(super) cap: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawIrrigation {
    pub(super) lease: Option<Leaf>,
    pub(super) max_open_zones: Option<Leaf>,
    pub(super) step: Option<Leaf>,
    pub(super) pump_litres_per_hour: Option<Leaf>,
    pub(super) daily_limit: Option<Leaf>,
    pub(super) daily_litres: Option<Leaf>,
    pub(super) leak: Option<Leaf>,
    pub(super) leak_litres: Option<Leaf>,
    #[serde(default)]
    pub(super) season: Vec<Leaf>,
    pub(super) master_valve: Option<RawOutput>,
    pub(super) pump: Option<RawOutput>,
    pub(super) dosing: Option<RawDosing>,
    pub(super) tank: Option<RawTank>,
    pub(super) pressure: Option<RawPressure>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawOutput {
    pub(super) controller: Option<Leaf>,
    pub(super) output: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawDosing {
    pub(super) controller: Option<Leaf>,
    pub(super) output: Option<Leaf>,
    pub(super) ec: Option<Leaf>,
    pub(super) ec_max: Option<Leaf>,
    pub(super) ph: Option<Leaf>,
    pub(super) ph_min: Option<Leaf>,
    pub(super) ph_max: Option<Leaf>,
    pub(super) flush: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawTank {
    pub(super) channel: Option<Leaf>,
    pub(super) low: Option<Leaf>,
    pub(super) empty: Option<Leaf>,
    pub(super) when_unknown: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawPressure {
    pub(super) channel: Option<Leaf>,
    pub(super) low: Option<Leaf>,
    #[serde(rename = "for")]
    pub(super) lasting: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawRule {
    pub(super) name: Option<Leaf>,
    pub(super) kind: Option<Leaf>,
    pub(super) channel: Option<Leaf>,
    #[serde(rename = "for")]
    pub(super) run: Option<Leaf>,
    pub(super) litres: Option<Leaf>,
    pub(super) from: Option<Leaf>,
    pub(super) to: Option<Leaf>,
    pub(super) fallback_for: Option<Leaf>,
    pub(super) fallback_every: Option<Leaf>,
    pub(super) start_below: Option<Leaf>,
    pub(super) stop_above: Option<Leaf>,
    pub(super) threshold_j_cm2: Option<Leaf>,
    pub(super) above_kpa: Option<Leaf>,
    pub(super) planting: Option<Leaf>,
    pub(super) crop: Option<Leaf>,
    pub(super) planted: Option<Leaf>,
    #[serde(default)]
    pub(super) kc: Vec<Leaf>,
    #[serde(default)]
    pub(super) stage_days: Vec<Leaf>,
    pub(super) trigger_mm: Option<Leaf>,
    pub(super) area_m2: Option<Leaf>,
    pub(super) efficiency: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawBus {
    pub(super) id: Option<Leaf>,
    pub(super) kind: Option<Leaf>,
    pub(super) i2c: Option<Leaf>,
    pub(super) address: Option<Leaf>,
    pub(super) root: Option<Leaf>,
    pub(super) gpio_chip: Option<Leaf>,
    pub(super) scl_pin: Option<Leaf>,
    pub(super) sda_pin: Option<Leaf>,
    pub(super) device: Option<Leaf>,
    pub(super) baud: Option<Leaf>,
    pub(super) parity: Option<Leaf>,
    pub(super) timeout: Option<Leaf>,
    pub(super) socket: Option<Leaf>,
    pub(super) waits_for_delivery: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawDevice {
    pub(super) id: Option<Leaf>,
    pub(super) name: Option<Leaf>,
    pub(super) kind: Option<Leaf>,
    pub(super) bus: Option<Leaf>,
    pub(super) address: Option<Leaf>,
    pub(super) every: Option<Leaf>,
    pub(super) mux: Option<Leaf>,
    pub(super) mux_channel: Option<Leaf>,
    pub(super) pin: Option<Leaf>,
    pub(super) rom: Option<Leaf>,
    pub(super) profile: Option<Leaf>,
    pub(super) profile_file: Option<Leaf>,
    pub(super) measurement_time: Option<Leaf>,
    pub(super) shunt_ohms: Option<Leaf>,
    pub(super) mm_per_tip: Option<Leaf>,
    pub(super) self_calibration: Option<Leaf>,
    pub(super) altitude_m: Option<Leaf>,
    pub(super) pulses_per_litre: Option<Leaf>,
    pub(super) litres_per_pulse: Option<Leaf>,
    #[serde(default)]
    pub(super) input: Vec<RawInput>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// A file of its own: what a probe has in which register.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawProfile {
    pub(super) function: Option<Leaf>,
    #[serde(default)]
    pub(super) register: Vec<RawRegister>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawRegister {
    pub(super) register: Option<Leaf>,
    pub(super) channel: Option<Leaf>,
    pub(super) unit: Option<Leaf>,
    pub(super) scale: Option<Leaf>,
    pub(super) signed: Option<Leaf>,
    pub(super) decimals: Option<Leaf>,
    pub(super) min: Option<Leaf>,
    pub(super) max: Option<Leaf>,
    pub(super) name: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawInput {
    pub(super) input: Option<Leaf>,
    pub(super) pin: Option<Leaf>,
    pub(super) active: Option<Leaf>,
    pub(super) debounce: Option<Leaf>,
    pub(super) kind: Option<Leaf>,
    pub(super) name: Option<Leaf>,
    pub(super) channel: Option<Leaf>,
    pub(super) unit: Option<Leaf>,
    pub(super) decimals: Option<Leaf>,
    pub(super) volts_per_unit: Option<Leaf>,
    pub(super) shunt_ohms: Option<Leaf>,
    pub(super) at_4_ma: Option<Leaf>,
    pub(super) at_20_ma: Option<Leaf>,
    pub(super) dry_volts: Option<Leaf>,
    pub(super) wet_volts: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawDerived {
    pub(super) id: Option<Leaf>,
    pub(super) name: Option<Leaf>,
    pub(super) kind: Option<Leaf>,
    pub(super) temperature: Option<Leaf>,
    pub(super) humidity: Option<Leaf>,
    pub(super) surface: Option<Leaf>,
    pub(super) radiation: Option<Leaf>,
    pub(super) photons: Option<Leaf>,
    pub(super) illuminance: Option<Leaf>,
    pub(super) transmission: Option<Leaf>,
    pub(super) altitude_m: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawZone {
    pub(super) id: Option<Leaf>,
    pub(super) name: Option<Leaf>,
    pub(super) controller: Option<Leaf>,
    pub(super) output: Option<Leaf>,
    pub(super) meter: Option<Leaf>,
    pub(super) pulses_per_litre: Option<Leaf>,
    pub(super) litres_per_pulse: Option<Leaf>,
    pub(super) max_run: Option<Leaf>,
    pub(super) daily_limit: Option<Leaf>,
    pub(super) daily_litres: Option<Leaf>,
    pub(super) min_off: Option<Leaf>,
    pub(super) starts_per_hour: Option<Leaf>,
    pub(super) priority: Option<Leaf>,
    pub(super) cycle: Option<Leaf>,
    pub(super) soak: Option<Leaf>,
    pub(super) flow: Option<Leaf>,
    pub(super) flow_litres_per_hour: Option<Leaf>,
    pub(super) fill_up: Option<Leaf>,
    pub(super) fertigate: Option<Leaf>,
    #[serde(default)]
    pub(super) schedule: Vec<RawSchedule>,
    #[serde(default)]
    pub(super) rule: Vec<RawRule>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawPlanting {
    pub(super) id: Option<Leaf>,
    #[serde(default)]
    pub(super) zones: Vec<Leaf>,
    pub(super) crop: Option<Leaf>,
    pub(super) variety: Option<Leaf>,
    pub(super) plot: Option<Leaf>,
    pub(super) household: Option<Leaf>,
    pub(super) area_m2: Option<Leaf>,
    pub(super) planted: Option<Leaf>,
    pub(super) ended: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// Not of the file: what ingest wants, laid over it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawOrders {
    pub(super) planting: Option<Vec<RawPlanting>>,
    pub(super) season: Option<Vec<Leaf>>,
    #[serde(default)]
    pub(super) zone: Vec<RawOrderedZone>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawOrderedZone {
    pub(super) id: Option<Leaf>,
    pub(super) schedule: Option<Vec<RawSchedule>>,
    pub(super) rule: Option<Vec<RawRule>>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawSchedule {
    pub(super) at: Option<Leaf>,
    pub(super) days: Option<Leaf>,
    #[serde(rename = "for")]
    pub(super) run: Option<Leaf>,
    pub(super) litres: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawButton {
    pub(super) channel: Option<Leaf>,
    pub(super) does: Option<Leaf>,
    pub(super) zone: Option<Leaf>,
    #[serde(rename = "for")]
    pub(super) run: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// A siren or a beacon.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawHorn {
    pub(super) bus: Option<Leaf>,
    pub(super) line: Option<Leaf>,
    pub(super) active: Option<Leaf>,
    pub(super) sound: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawAlarm {
    pub(super) id: Option<Leaf>,
    pub(super) name: Option<Leaf>,
    pub(super) name_en: Option<Leaf>,
    pub(super) channel: Option<Leaf>,
    pub(super) above: Option<Leaf>,
    pub(super) below: Option<Leaf>,
    pub(super) clear: Option<Leaf>,
    pub(super) absent: Option<Leaf>,
    #[serde(rename = "for")]
    pub(super) lasting: Option<Leaf>,
    pub(super) fault: Option<Leaf>,
    pub(super) severity: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawPage {
    pub(super) listen: Option<Leaf>,
    pub(super) pin: Option<Leaf>,
    pub(super) pin_file: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawGuard {
    pub(super) watchdog_bus: Option<Leaf>,
    pub(super) watchdog_line: Option<Leaf>,
    pub(super) watchdog_period: Option<Leaf>,
    #[serde(default)]
    pub(super) output: Vec<RawGuardOutput>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawGuardOutput {
    pub(super) number: Option<Leaf>,
    pub(super) name: Option<Leaf>,
    pub(super) kind: Option<Leaf>,
    pub(super) bus: Option<Leaf>,
    pub(super) line: Option<Leaf>,
    pub(super) address: Option<Leaf>,
    pub(super) pin: Option<Leaf>,
    pub(super) active: Option<Leaf>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}
