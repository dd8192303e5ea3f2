//! One greenhouse of a feed: its physics, a timer that waters it, and what its sensors say.
//!
//! The sensors are those of the layout, with their lag and noise; the readings are what a driver
//! would make of them, under the names and units that a gateway gives them.

use crate::chips::{Field as _, Place};
use crate::greenhouse::{Beginning, Greenhouse, Sensed, Start};
use crate::site::{self, TIP_MM};

/// Zones of the house.
const ZONES: usize = 4;
/// How often the timer looks, ns.
const TIMER_NS: u64 = 60_000_000_000;
/// Minutes of the local day at which the first zone gets water; the others follow.
const WATERINGS_MIN: [i64; 2] = [6 * 60, 14 * 60];
/// How long each zone gets water: twice a day that is about what a sunny day takes.
const WATERING_MIN: i64 = 12;
/// Local time is this far ahead of UTC, minutes.
const LOCAL_MIN: i64 = 7 * 60;
/// Pulses of the flow meter.
const PULSES_PER_LITRE: f64 = 450.0;

/// Places of the sensors in the layout: each has its own noise.
mod place {
    pub(super) const SHT_INSIDE: u8 = 0;
    pub(super) const SHT_OUTSIDE: u8 = 1;
    pub(super) const SCD41: u8 = 2;
    pub(super) const ADS1115: u8 = 3;
    pub(super) const BH1750: u8 = 6;
    pub(super) const BME280: u8 = 7;
    pub(super) const MAINS: u8 = 9;
    pub(super) const BATTERY: u8 = 10;
    pub(super) const PH: u8 = 11;
    pub(super) const CONDUCTIVITY: u8 = 12;
}

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(super) struct Reading {
    pub(super) device: &'static str,
    pub(super) channel: &'static str,
    /// Rounded to what the sensor resolves.
    pub(super) value: f64,
    /// As in UCUM, `1` for none.
    pub(super) unit: &'static str,
}

/// See the module.
#[derive(Debug)]
pub(super) struct House {
    greenhouse: Greenhouse,
    now_ns: u64,
    timer_ns: u64,
    /// The zone whose valve is open.
    watered: Option<usize>,
}

impl House {
    pub(super) fn new(seed: u64, start_unix_ms: i64) -> Self {
        let start = Start {
            seed,
            unix_ms: start_unix_ms,
            mono_ns: 0,
            zones: ZONES,
            beginning: Beginning::default(),
        };
        Self {
            greenhouse: Greenhouse::new(start, None),
            now_ns: 0,
            timer_ns: 0,
            watered: None,
        }
    }

    /// Lets time pass until so many nanoseconds after the start.
    pub(super) fn advance(&mut self, to_ns: u64) {
        loop {
            let event_ns = self.greenhouse.next_event_ns().min(self.timer_ns);
            if event_ns > to_ns {
                break;
            }
            self.run_to(event_ns.max(self.now_ns));
        }
        if to_ns > self.now_ns {
            self.run_to(to_ns);
        }
    }

    /// What all sensors say now.
    pub(super) fn readings(&self) -> Vec<Reading> {
        let at = |place| Sensed {
            greenhouse: &self.greenhouse,
            now_ns: self.now_ns,
            place,
        };
        let mut readings = Vec::new();
        let mut add = |device, channel, value: f64, unit, decimals: i32| {
            let steps = libm::pow(10.0, f64::from(decimals));
            let value = libm::round(value * steps) / steps;
            readings.push(Reading {
                device,
                channel,
                value,
                unit,
            });
        };
        for (device, number, place) in [
            ("sht-inside", place::SHT_INSIDE, Place::Inside),
            ("sht-outside", place::SHT_OUTSIDE, Place::Outside),
        ] {
            let air = at(number).air(place);
            add(device, "air_temperature", air.temperature_c, "Cel", 2);
            add(device, "relative_humidity", air.humidity_pct, "%RH", 2);
        }
        add("scd41", "co2", at(place::SCD41).co2_ppm(), "[ppm]", 0);
        let analog = at(place::ADS1115);
        let radiation = analog.volts(0) / 0.002;
        let tank_m = (analog.volts(1) - 0.4) / 1.6 * 2.5;
        // Between dry and wet: a capacitive probe knows no share of water.
        let moisture = (2.90 - analog.volts(2)) / 1.60 * 100.0;
        add("ads1115", "global_radiation", radiation, "W/m2", 2);
        add("ads1115", "tank_level", tank_m, "m", 3);
        add("ads1115", "soil_moisture_index", moisture, "%", 1);
        let light = at(place::BH1750).site().light_lux;
        add("bh1750", "illuminance", light, "lx", 0);
        let pressure = at(place::BME280).site().pressure_hpa;
        add("bme280", "air_pressure", pressure, "hPa", 2);
        let mains = at(place::MAINS).site().mains;
        let battery = at(place::BATTERY).site().battery;
        for (device, supply) in [("ina219-mains", mains), ("ina219-battery", battery)] {
            add(device, "voltage", supply.volts, "V", 3);
            add(device, "current", supply.amperes, "A", 4);
        }
        let ph = at(place::PH).site().ph;
        let conductivity = at(place::CONDUCTIVITY).site().conductivity_us_cm / 1_000.0;
        add("ezo-ph", "ph", ph, "[pH]", 3);
        add("ezo-ec", "electrical_conductivity", conductivity, "dS/m", 3);
        let site = self.greenhouse.site_at(self.now_ns);
        add("ds18b20-1", "temperature", site.substrate_c, "Cel", 2);
        let is_high = |bit: u16| f64::from(site.contacts >> bit & 1);
        let is_low = |bit: u16| 1.0 - is_high(bit);
        add("contacts", "float_switch", is_low(site::FLOAT), "1", 0);
        add("contacts", "door_open", is_high(site::DOOR), "1", 0);
        add("contacts", "mains_present", is_low(site::MAINS), "1", 0);
        let litres = count(self.greenhouse.water.pulses()) / PULSES_PER_LITRE;
        add("flow-meter", "water_volume", litres, "L", 2);
        add("rain-gauge", "rain", count(site.tips) * TIP_MM, "mm", 1);
        readings
    }

    fn run_to(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.greenhouse.advance(now_ns);
        if now_ns >= self.timer_ns {
            self.timer_ns += TIMER_NS;
            self.water(watered_at(self.greenhouse.unix_ms(now_ns)));
        }
    }

    fn water(&mut self, zone: Option<usize>) {
        if zone == self.watered {
            return;
        }
        if let Some(before) = self.watered {
            self.greenhouse.water.drive(before, false);
        }
        if let Some(zone) = zone {
            self.greenhouse.water.drive(zone, true);
        }
        self.watered = zone;
    }
}

/// The zone that the timer waters at a moment.
fn watered_at(unix_ms: i64) -> Option<usize> {
    let local_min = (unix_ms.div_euclid(60_000) + LOCAL_MIN).rem_euclid(24 * 60);
    WATERINGS_MIN.iter().find_map(|begin_min| {
        let turn = (local_min - begin_min).div_euclid(WATERING_MIN);
        usize::try_from(turn).ok().filter(|zone| *zone < ZONES)
    })
}

fn count(number: u64) -> f64 {
    #[allow(
        clippy::cast_precision_loss,
        reason = "pulses and tips are far below 2^53"
    )]
    let count = number as f64;
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 18 April 2026, noon in Vietnam.
    const NOON_MS: i64 = 1_776_488_400_000;
    const HOUR_NS: u64 = 3_600_000_000_000;

    fn value(house: &House, device: &str, channel: &str) -> f64 {
        let readings = house.readings();
        let mut found = readings
            .iter()
            .filter(|reading| reading.device == device && reading.channel == channel);
        let value = found.next().unwrap().value;
        assert_eq!(found.next(), None);
        value
    }

    #[test]
    fn the_timer_waters_each_zone_twice_a_day() {
        let check = |hour: i64, minute: i64, expected| {
            let unix_ms = NOON_MS + ((hour - 12) * 60 + minute) * 60_000;
            assert_eq!(watered_at(unix_ms), expected, "{hour}:{minute}");
        };
        check(5, 59, None);
        check(6, 0, Some(0));
        check(6, 11, Some(0));
        check(6, 12, Some(1));
        check(6, 47, Some(3));
        check(6, 48, None);
        check(14, 0, Some(0));
        check(14, 48, None);
        check(23, 59, None);
    }

    #[test]
    fn a_day_has_sun_and_water_in_it() {
        let mut house = House::new(1, NOON_MS);
        house.advance(0);
        let noon = value(&house, "ads1115", "global_radiation");
        assert!(noon > 100.0, "{noon}");
        assert!((value(&house, "flow-meter", "water_volume")).abs() < 1e-9);
        house.advance(12 * HOUR_NS);
        let night = value(&house, "ads1115", "global_radiation");
        assert!(night < 2.0, "{night}");
        let litres = value(&house, "flow-meter", "water_volume");
        // Four zones of some 8 L/min for 12 minutes each.
        assert!((300.0..500.0).contains(&litres), "{litres}");
        let warm = value(&house, "sht-inside", "air_temperature");
        assert!((15.0..40.0).contains(&warm), "{warm}");
    }

    #[test]
    fn the_soil_neither_dries_out_nor_drowns_in_a_fortnight() {
        let mut house = House::new(1, NOON_MS);
        house.advance(14 * 24 * HOUR_NS);
        let moisture = value(&house, "ads1115", "soil_moisture_index");
        assert!((45.0..100.0).contains(&moisture), "{moisture}");
    }

    #[test]
    fn the_same_seed_gives_the_same_readings_however_often_one_looks() {
        let (mut once, mut often) = (House::new(7, NOON_MS), House::new(7, NOON_MS));
        once.advance(HOUR_NS);
        (0..=60).for_each(|minute| often.advance(minute * HOUR_NS / 60));
        assert_eq!(once.readings(), often.readings());
        assert_ne!(once.readings(), {
            let mut other = House::new(8, NOON_MS);
            other.advance(HOUR_NS);
            other.readings()
        });
    }
}
