//! One greenhouse in time: weather, climate, soil and water, and what sensors in it would feel.
//!
//! The climate advances in steps of ten seconds, however often somebody looks; water runs from event to
//! event. What is felt comes from the model, with each sensor's lag and noise, or from a recorded trace,
//! exactly. No register is known here.

mod sensed;

use crate::chips::{Field, Place};
use crate::physics::air::Air;
use crate::physics::bed::Bed;
use crate::physics::climate::{Climate, Openings, STEP_S, Soil, relax};
use crate::physics::hydraulics::{Hydraulics, Valve};
use crate::physics::noise::{Noise, Purpose};
use crate::physics::plant::Plant;
use crate::physics::weather::{Sky, Weather, weather};
use crate::site::{Memory, Now, Site, Supply};
use crate::trace::Trace;

/// Length of a climate step, ns: `climate::STEP_S`.
const STEP_NS: u64 = 10_000_000_000;
/// Steps of spin-up before the start: one day.
const SPIN_UP_STEPS: u32 = 8_640;
/// Floor that one zone waters, m².
const ZONE_M2: f64 = 50.0;
/// A sensor's noise is drawn anew this often, ns.
const NOISE_NS: u64 = 10_000_000;
/// How fast a heat fault takes hold and goes, s.
const HEAT_TIME_S: f64 = 60.0;

/// Time constants of the sensors in their housings, s.
const LAG_TEMPERATURE_S: f64 = 30.0;
const LAG_HUMIDITY_S: f64 = 40.0;
const LAG_CO2_S: f64 = 60.0;
const LAG_SOIL_S: f64 = 600.0;

/// Noise of the sensors, one deviation.
const NOISE_TEMPERATURE_K: f64 = 0.02;
const NOISE_HUMIDITY_PCT: f64 = 0.15;
const NOISE_CO2_PPM: f64 = 3.0;
const NOISE_VOLTS: f64 = 0.000_4;

/// Travel of a contactor, ms.
const CONTACTOR_MS: u64 = 100;
/// Conductivity of the water, and what fertiliser adds to it, µS/cm; how fast the pipe follows, s.
const WATER_US_CM: f64 = 600.0;
const DOSE_US_CM: f64 = 1_600.0;
const DOSE_TIME_S: f64 = 20.0;
/// Highest pressure that the sensor at AIN3 senses, bar.
const PRESSURE_MAX_BAR: f64 = 6.0;

/// What can be said of a site beyond its size. The default leaves everything as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Beginning {
    /// Outputs that drive more than valves of zones.
    pub plant: Plant,
    /// The weather, if it is not left to the seed.
    pub sky: Option<Sky>,
    /// Water in the soil, m³/m³, held between wilting point 0.15 and saturation 0.46.
    pub soil_water: Option<f64>,
    /// How full the tank is, percent.
    pub tank_percent: Option<u8>,
    /// Soil and crop of all beds.
    pub bed: Bed,
}

/// Where a greenhouse starts.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) seed: u64,
    pub(crate) unix_ms: i64,
    pub(crate) mono_ns: u64,
    pub(crate) zones: usize,
    pub(crate) beginning: Beginning,
}

/// The greenhouse.
#[derive(Debug)]
pub(crate) struct Greenhouse {
    noise: Noise,
    start: Start,
    now_ns: u64,
    next_step_ns: u64,
    trace: Option<Trace>,
    outside: Weather,
    climate: Climate,
    felt: Felt,
    pub(crate) water: Hydraulics,
    /// Water of each zone up to the last step, L.
    given: Vec<f64>,
    heat: Heat,
    /// Mains, button and rain.
    pub(crate) site: Memory,
    /// Feed water behind the fertiliser pump, µS/cm.
    dosed_us_cm: f64,
    /// Strength of the fertiliser, percent of what is right.
    dose_percent: u32,
}

/// What the sensors' bodies have followed.
#[derive(Debug, Clone, Copy)]
struct Felt {
    inside: Air,
    outside: Air,
    co2_ppm: f64,
    soil_water: f64,
}

/// A house that is warmer than the model says.
#[derive(Debug, Clone, Copy, Default)]
struct Heat {
    target_k: f64,
    from_k: f64,
    since_ns: u64,
}

/// The truth, for people.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Truth {
    air_temperature_c: f64,
    relative_humidity_pct: f64,
    co2_ppm: f64,
    outside_temperature_c: f64,
    outside_relative_humidity_pct: f64,
    outside_global_w_m2: f64,
    wind_m_s: f64,
    canopy_temperature_c: f64,
    soil_water: Vec<f64>,
    soil_conductivity_ds_m: Vec<f64>,
    transpired_mm: f64,
    tank_level_m: f64,
}

/// What one chip feels at a moment.
pub(crate) struct Sensed<'a> {
    pub(crate) greenhouse: &'a Greenhouse,
    pub(crate) now_ns: u64,
    /// Place of the chip in the layout: each has its own noise.
    pub(crate) place: u8,
}

impl Greenhouse {
    pub(crate) fn new(start: Start, trace: Option<Trace>) -> Self {
        let noise = Noise::new(start.seed);
        let plant = start.beginning.plant;
        let valves = (0..start.zones).map(|zone| {
            let draw = noise.unit(Purpose::Valve, i64::try_from(zone).unwrap_or_default());
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "one to three thousand"
            )]
            let travel_ms = (1_000.0 + 2_000.0 * draw) as u64;
            let is_valve = matches!(plant.name(zone), "zone" | "master-valve");
            Valve::new(if is_valve { travel_ms } else { CONTACTOR_MS } * 1_000_000)
        });
        let mut water = Hydraulics::new(start.mono_ns, valves.collect(), plant);
        let outside = weather(&noise, start.beginning.sky, seconds(start.unix_ms));
        let mut climate = Climate::at_rest(outside, start.zones, start.beginning.bed);
        if let Some(soil_water) = start.beginning.soil_water {
            climate.set_soil_water(soil_water);
        }
        if let Some(percent) = start.beginning.tank_percent {
            water.set_tank_percent(percent);
        }
        let mut greenhouse = Self {
            felt: Felt::of(&climate, outside),
            given: vec![0.0; start.zones],
            now_ns: start.mono_ns,
            next_step_ns: start.mono_ns + STEP_NS,
            noise,
            trace,
            outside,
            climate,
            water,
            heat: Heat::default(),
            site: Memory::default(),
            dosed_us_cm: WATER_US_CM,
            dose_percent: 100,
            start,
        };
        greenhouse.spin_up();
        greenhouse
    }

    pub(crate) fn next_event_ns(&self) -> u64 {
        let water = self.water.next_event_ns().unwrap_or(u64::MAX);
        self.next_step_ns.min(water)
    }

    /// Advances to `now_ns`, which must not lie beyond the next event.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        self.water.advance(now_ns);
        self.now_ns = now_ns;
        if now_ns >= self.next_step_ns {
            self.next_step_ns += STEP_NS;
            self.water.settle();
            self.mix();
            let given = self.water.given_litres();
            let water_mm: Vec<f64> = given
                .iter()
                .zip(&self.given)
                .map(|(now, before)| (now - before) / ZONE_M2)
                .collect();
            self.given = given;
            self.step(self.unix_ms(now_ns), &water_mm);
        }
    }

    /// Unix time of the simulated world, whether or not its machines know it, ms.
    pub(crate) fn unix_ms(&self, mono_ns: u64) -> i64 {
        self.start
            .unix_ms
            .saturating_add(since_ms(mono_ns, self.start.mono_ns))
    }

    /// The house is warmer by this much, K.
    pub(crate) fn set_heat(&mut self, kelvin: f64) {
        self.heat = Heat {
            target_k: kelvin,
            from_k: self.heat.now(self.now_ns),
            since_ns: self.now_ns,
        };
    }

    /// The fertiliser is so strong, percent of what is right.
    pub(crate) fn set_dose_percent(&mut self, percent: u32) {
        self.dose_percent = percent;
    }

    /// The mains fail, or come back.
    pub(crate) fn set_mains(&mut self, on: bool) {
        let now_s = seconds(self.unix_ms(self.now_ns));
        self.site.mains_off_s = match self.site.mains_off_s {
            _ if on => None,
            Some(since) => Some(since),
            None => Some(now_s),
        };
    }

    /// Light, supplies, contacts and the rest at a moment, without noise.
    pub(crate) fn site_at(&self, now_ns: u64) -> Site {
        let unix_ms = self.unix_ms(now_ns);
        let global_w_m2 = match &self.trace {
            Some(trace) => trace.at(unix_ms).outside.global_w_m2,
            None => self.outside.global_w_m2,
        };
        self.site.site(Now {
            unix_s: seconds(unix_ms),
            global_w_m2,
            tank_m: self.water.tank_m(),
            substrate_c: self.climate.substrate_c,
            soil_water: self.felt.soil_water,
            // Of the whole soil: its water's, by the share of water.
            soil_ds_m: self.climate.soil.first().map_or(0.0, |soil| {
                soil.conductivity(self.climate.bed()) * self.felt.soil_water
            }),
            dosed_us_cm: self.water.plant().dosing.map(|_| self.dosed_us_cm),
        })
    }

    pub(crate) fn noise(&self) -> &Noise {
        &self.noise
    }

    /// Water content of each bed, m³/m³.
    pub(crate) fn soil_water(&self) -> impl Iterator<Item = f64> {
        self.climate.soil.iter().map(|soil| soil.water)
    }

    /// What the crop has transpired since the start, mm.
    pub(crate) fn transpired_mm(&self) -> f64 {
        self.climate.transpired_mm
    }

    pub(crate) fn truth(&self) -> Truth {
        let now_ms = self.unix_ms(self.now_ns);
        let (inside, co2_ppm, outside) = match &self.trace {
            Some(trace) => {
                let row = trace.at(now_ms);
                (row.inside, row.co2_ppm, row.outside)
            }
            None => (self.climate.air(), self.climate.co2_ppm(), self.outside),
        };
        let inside = inside.warmed(self.heat.now(self.now_ns));
        let soil = &self.climate.soil;
        Truth {
            air_temperature_c: inside.temperature_c,
            relative_humidity_pct: inside.humidity_pct,
            co2_ppm,
            outside_temperature_c: outside.air.temperature_c,
            outside_relative_humidity_pct: outside.air.humidity_pct,
            outside_global_w_m2: outside.global_w_m2,
            wind_m_s: outside.wind_m_s,
            canopy_temperature_c: self.climate.canopy_c,
            soil_water: soil.iter().map(|soil| soil.water).collect(),
            soil_conductivity_ds_m: soil
                .iter()
                .map(|soil| soil.conductivity(self.climate.bed()))
                .collect(),
            transpired_mm: self.climate.transpired_mm,
            tank_level_m: self.water.tank_m(),
        }
    }

    /// A day without water, so that the house does not start from nowhere; the soil starts as it was.
    fn spin_up(&mut self) {
        let soil = self.climate.soil.clone();
        let none = vec![0.0; self.start.zones];
        for step in (0..SPIN_UP_STEPS).rev() {
            let before_ms = i64::from(step) * 10_000;
            self.step(self.start.unix_ms.saturating_sub(before_ms), &none);
        }
        self.climate.soil = soil;
        self.climate.transpired_mm = 0.0;
        self.site = Memory::default();
        self.felt = Felt::of(&self.climate, self.outside);
    }

    /// The feed water follows the fertiliser pump; where it stands still it stays as it is.
    fn mix(&mut self) {
        if !self.water.is_flowing() {
            return;
        }
        let dose = if self.water.is_dosing() {
            DOSE_US_CM * f64::from(self.dose_percent) / 100.0
        } else {
            0.0
        };
        let rate = 1.0 / DOSE_TIME_S;
        self.dosed_us_cm = relax(self.dosed_us_cm, 0.0, rate, WATER_US_CM + dose);
    }

    fn step(&mut self, unix_ms: i64, water_mm: &[f64]) {
        let mut openings = Openings {
            roof: 1.0,
            side: 1.0,
        };
        self.outside = match &self.trace {
            Some(trace) => {
                let row = trace.at(unix_ms);
                if let Some((lee, wind)) = row.vents {
                    // A glasshouse has vents in its roof only.
                    openings = Openings {
                        roof: 0.5 * (lee + wind),
                        side: 0.0,
                    };
                }
                row.outside
            }
            None => weather(&self.noise, self.start.beginning.sky, seconds(unix_ms)),
        };
        self.climate.step(self.outside, openings, water_mm);
        self.site.rain_mm += self.outside.rain_mm_h * STEP_S / 3_600.0;
        self.felt.step(&self.climate, self.outside);
    }
}

impl Felt {
    fn of(climate: &Climate, outside: Weather) -> Self {
        Self {
            inside: climate.air(),
            outside: outside.air,
            co2_ppm: climate.co2_ppm(),
            soil_water: at_dripper(climate),
        }
    }

    fn step(&mut self, climate: &Climate, outside: Weather) {
        self.inside = follow(self.inside, climate.air());
        self.outside = follow(self.outside, outside.air);
        self.co2_ppm = relax(self.co2_ppm, 0.0, 1.0 / LAG_CO2_S, climate.co2_ppm());
        self.soil_water = relax(self.soil_water, 0.0, 1.0 / LAG_SOIL_S, at_dripper(climate));
    }
}

/// The moisture probe stands in the first zone.
fn at_dripper(climate: &Climate) -> f64 {
    climate.soil.first().map_or(0.0, Soil::at_dripper)
}

fn follow(felt: Air, air: Air) -> Air {
    Air {
        temperature_c: relax(
            felt.temperature_c,
            0.0,
            1.0 / LAG_TEMPERATURE_S,
            air.temperature_c,
        ),
        humidity_pct: relax(
            felt.humidity_pct,
            0.0,
            1.0 / LAG_HUMIDITY_S,
            air.humidity_pct,
        ),
    }
}

impl Heat {
    fn now(self, now_ns: u64) -> f64 {
        if self.target_k.to_bits() == self.from_k.to_bits() {
            return self.target_k;
        }
        let passed_s = ratio(now_ns.saturating_sub(self.since_ns), 1_000_000_000);
        self.target_k + (self.from_k - self.target_k) * libm::exp(-passed_s / HEAT_TIME_S)
    }
}

fn seconds(unix_ms: i64) -> f64 {
    #[allow(
        clippy::cast_precision_loss,
        reason = "milliseconds of this era are far below 2^53"
    )]
    let ms = unix_ms as f64;
    ms / 1_000.0
}

fn ratio(numerator: u64, denominator: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a share for a decay")]
    let ratio = numerator as f64 / denominator as f64;
    ratio
}

/// Milliseconds from `before_ns` to `now_ns`, rounded down.
fn since_ms(now_ns: u64, before_ns: u64) -> i64 {
    i64::try_from(now_ns.saturating_sub(before_ns) / 1_000_000).unwrap_or(i64::MAX)
}
