//! The climate of one greenhouse: eight states, one compartment, steps of ten seconds.
//!
//! Sub-models and numbers follow Vanthoor (2011) and Van Henten (2003): ventilation through netted
//! openings, Stanghellini transpiration, condensation, photosynthesis, and the drainage law of AquaCrop.
//! Exchange terms are integrated implicitly, so that a gust can't make a step overshoot. Everything is
//! per m² of floor. It knows no sensor, no valve and no clock.

use libm::{cbrt, exp, fabs, pow, sqrt};

use super::air::{Air, KELVIN, saturation_pa};
use super::bed::Bed;
use super::weather::Weather;

/// Length of a step, s.
pub(crate) const STEP_S: f64 = 10.0;
/// Most beds, each with its own soil.
pub(crate) const ZONES_MAX: usize = 8;

/// Mean height of the house, m.
const HEIGHT_M: f64 = 4.0;
/// Volumetric heat of air, J/(m³ K).
const AIR_HEAT: f64 = 1_200.0;
/// Latent heat of water, J/kg.
const LATENT_HEAT: f64 = 2.45e6;
/// Psychrometric constant, Pa/K.
const PSYCHROMETRIC: f64 = 65.8;
/// Gas constant over the molar mass of water, J/(kg K).
const VAPOUR_GAS: f64 = 8_314.0 / 18.0;
/// Share of the light that cover and shade net let through.
const TRANSMISSION: f64 = 0.58;
/// CO2 outside, mg/m³.
const CO2_OUTSIDE: f64 = 740.0;
/// ppm of CO2 per mg/m³.
const PPM: f64 = 0.554;
/// Roof and side openings per floor area.
const ROOF_OPENING: f64 = 0.25;
const SIDE_OPENING: f64 = 0.10;
/// Flow through a net of porosity 0.30, as a share of that through a free opening: ζ(2-ζ).
const NET: f64 = 0.30 * (2.0 - 0.30);
/// Heat loss through the cover, W/(m² K).
const COVER_LOSS: f64 = 6.5;
/// Water content at saturation, m³/m³, and the least that a bed dries to.
pub(crate) const SATURATION: f64 = 0.46;
const DRIEST: f64 = 0.05;
/// Salt of the irrigation water, dS/m.
const WATER_SALT: f64 = 0.8;

/// The openings of the house, 0 closed to 1 open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Openings {
    pub(crate) roof: f64,
    pub(crate) side: f64,
}

/// Water and salt in the root zone of one bed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Soil {
    /// θ, m³/m³.
    pub(crate) water: f64,
    /// The wet bulb under a dripper, m³/m³ above θ: it rises with the water and spreads in hours.
    pub(crate) bulb: f64,
    /// S, dS/m times m of water.
    pub(crate) salt: f64,
}

/// State of the house.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Climate {
    bed: Bed,
    /// T, air, °C.
    pub(crate) air_c: f64,
    /// e, vapour pressure, Pa.
    pub(crate) vapour_pa: f64,
    /// C, CO2, mg/m³.
    pub(crate) co2_mg_m3: f64,
    /// Tc, canopy, °C.
    pub(crate) canopy_c: f64,
    /// Tf, floor, °C.
    pub(crate) floor_c: f64,
    /// Ts, substrate, °C.
    pub(crate) substrate_c: f64,
    /// θ and S, by bed.
    pub(crate) soil: Vec<Soil>,
    /// Water transpired since the start, mm.
    pub(crate) transpired_mm: f64,
}

/// Rates that a step needs more than once.
struct Rates {
    /// Ventilation, m³/(m² s).
    vent: f64,
    /// Transpiration without water stress, kg/(m² s); negative is dew on the leaves.
    transpiration: f64,
    /// Evaporation from the soil, kg/(m² s).
    evaporation: f64,
    /// Condensation on the cover, kg/(m² s).
    condensation: f64,
}

impl Climate {
    /// A house in balance with the air outside.
    pub(crate) fn at_rest(outside: Weather, zones: usize, bed: Bed) -> Self {
        let air_c = outside.air.temperature_c;
        let soil = Soil {
            water: 0.28,
            bulb: 0.0,
            salt: 1.5 * 0.28 * bed.root_depth_m,
        };
        Self {
            bed,
            air_c,
            vapour_pa: outside.air.vapour_pa(),
            co2_mg_m3: CO2_OUTSIDE,
            canopy_c: air_c,
            floor_c: air_c,
            substrate_c: 26.0,
            soil: vec![soil; zones.min(ZONES_MAX)],
            transpired_mm: 0.0,
        }
    }

    /// The beds hold so much water, m³/m³.
    pub(crate) fn set_soil_water(&mut self, water: f64) {
        for soil in &mut self.soil {
            soil.water = water.clamp(self.bed.wilting_point, SATURATION);
            soil.salt = 1.5 * soil.water * self.bed.root_depth_m;
        }
    }

    /// Air inside.
    pub(crate) fn air(&self) -> Air {
        Air::of_vapour(self.air_c, self.vapour_pa)
    }

    /// What grows in what.
    pub(crate) fn bed(&self) -> &Bed {
        &self.bed
    }

    /// CO2, ppm.
    pub(crate) fn co2_ppm(&self) -> f64 {
        PPM * self.co2_mg_m3
    }

    /// Advances by [`STEP_S`]. `water_mm` is what each bed was given during the step.
    pub(crate) fn step(&mut self, outside: Weather, openings: Openings, water_mm: &[f64]) {
        let light = TRANSMISSION * outside.global_w_m2;
        let seen_by_leaves = 1.0 - exp(-0.7 * self.bed.leaf_area);
        let canopy_light = 0.9 * 0.85 * light * seen_by_leaves;
        let floor_light = 0.9 * 0.80 * light * (1.0 - seen_by_leaves);
        let rates = self.rates(outside, openings, canopy_light);
        let stress = self.water_stress();
        let transpiration = if rates.transpiration > 0.0 {
            rates.transpiration * stress
        } else {
            rates.transpiration
        };
        self.step_co2(light, seen_by_leaves, rates.vent);
        self.step_vapour(outside, &rates, transpiration);
        self.step_heat(
            outside,
            &rates,
            transpiration,
            [0.1 * light, canopy_light, floor_light],
        );
        self.transpired_mm += transpiration.max(0.0) * STEP_S;
        for (soil, given) in self.soil.iter_mut().zip(water_mm) {
            soil.step(
                &self.bed,
                *given,
                transpiration.max(0.0) + rates.evaporation,
            );
        }
    }

    fn rates(&self, outside: Weather, openings: Openings, canopy_light: f64) -> Rates {
        let cover_c = 0.5 * (self.air_c + outside.air.temperature_c) - 0.7;
        let above = (self.vapour_pa - saturation_pa(cover_c)).max(0.0);
        let hec = 1.7 * cbrt(fabs(self.air_c - cover_c));
        let wetness = self.mean_soil_water() / SATURATION;
        Rates {
            vent: ventilation(
                self.air_c - outside.air.temperature_c,
                self.air_c,
                outside.wind_m_s,
                openings,
            ),
            transpiration: self.transpiration(canopy_light),
            evaporation: 3e-9
                * wetness
                * (saturation_pa(self.substrate_c) - self.vapour_pa).max(0.0),
            condensation: 6.4e-9 * hec * above,
        }
    }

    /// Stanghellini, kg/(m² s).
    fn transpiration(&self, canopy_light: f64) -> f64 {
        let deficit = saturation_pa(self.canopy_c) - self.vapour_pa;
        // 1 by day, 0 by night, around 5 W/m².
        let day = 1.0 / (1.0 + exp(5.0 - canopy_light));
        let by_co2 = 6.1e-7 * day + 1.1e-11 * (1.0 - day);
        let by_deficit = 4.3e-6 * day + 5.2e-6 * (1.0 - day);
        let ppm_above = self.co2_ppm() - 200.0;
        let stomata = 82.0 * (canopy_light + 4.3) / (canopy_light + 0.54)
            * (1.0 + by_co2 * ppm_above * ppm_above).min(1.5)
            * (1.0 + by_deficit * deficit * deficit).min(5.8);
        2.0 * AIR_HEAT * self.bed.leaf_area / (LATENT_HEAT * PSYCHROMETRIC * (275.0 + stomata))
            * deficit
    }

    fn step_co2(&mut self, light: f64, seen_by_leaves: f64, vent: f64) {
        // Van Henten, kg/(m² s); CO2 in kg/m³.
        let t = self.air_c;
        let by_warmth = (-5.11e-6 * t * t + 2.3e-4 * t - 6.29e-4).max(1e-6);
        let supply = by_warmth * (self.co2_mg_m3 * 1e-6 - 5.2e-5).max(0.0);
        let by_light = 3.55e-9 * light;
        let photosynthesis = if light > 0.0 {
            seen_by_leaves * by_light * supply / (by_light + supply)
        } else {
            0.0
        };
        let respiration = 4.87e-7 * 0.25 * pow(2.0, 0.1 * t - 2.5);
        let gain = 1e6 * (respiration - photosynthesis) / HEIGHT_M;
        self.co2_mg_m3 = relax(self.co2_mg_m3, gain, vent / HEIGHT_M, CO2_OUTSIDE);
    }

    fn step_vapour(&mut self, outside: Weather, rates: &Rates, transpiration: f64) {
        let kelvin = self.air_c + KELVIN;
        let net = transpiration + rates.evaporation - rates.condensation;
        let gain = VAPOUR_GAS * kelvin / HEIGHT_M * net;
        let from_outside = outside.air.vapour_pa() * kelvin / (outside.air.temperature_c + KELVIN);
        let vapour = relax(self.vapour_pa, gain, rates.vent / HEIGHT_M, from_outside);
        self.vapour_pa = vapour.clamp(1.0, saturation_pa(self.air_c));
    }

    /// `absorbed` is the light taken up by the structure, the canopy and the floor, W/m².
    fn step_heat(
        &mut self,
        outside: Weather,
        rates: &Rates,
        transpiration: f64,
        absorbed: [f64; 3],
    ) {
        let [by_structure, by_canopy, by_floor] = absorbed;
        let outside_c = outside.air.temperature_c;
        let sky_c = outside_c - 10.0;
        let canopy_air = 2.0 * 5.0 * self.bed.leaf_area;
        let warmer_floor = self.floor_c - self.air_c;
        let floor_air = if warmer_floor > 0.0 {
            1.7 * pow(warmer_floor, 0.33)
        } else {
            1.3 * pow(-warmer_floor, 0.25)
        };
        let loss = COVER_LOSS + AIR_HEAT * rates.vent;
        // Three times the air's own heat: the structure follows it.
        let air_capacity = 3.0 * HEIGHT_M * AIR_HEAT;
        let air_pull = loss + canopy_air + floor_air;
        let air_target = (by_structure
            + loss * outside_c
            + canopy_air * self.canopy_c
            + floor_air * self.floor_c)
            / air_pull;
        let air_c = relax(self.air_c, 0.0, air_pull / air_capacity, air_target);

        let canopy_capacity = 1_200.0 * self.bed.leaf_area;
        let canopy_sky = 1.2;
        let canopy_pull = canopy_air + canopy_sky;
        let canopy_target = (by_canopy - LATENT_HEAT * transpiration
            + canopy_air * self.air_c
            + canopy_sky * sky_c)
            / canopy_pull;
        self.canopy_c = relax(
            self.canopy_c,
            0.0,
            canopy_pull / canopy_capacity,
            canopy_target,
        );

        let ground = 4.0;
        let floor_pull = floor_air + ground;
        let floor_target =
            (by_floor + floor_air * self.air_c + ground * self.substrate_c) / floor_pull;
        self.floor_c = relax(self.floor_c, 0.0, floor_pull / 40_000.0, floor_target);
        self.substrate_c = relax(
            self.substrate_c,
            0.0,
            1.0 / 14_400.0,
            0.7 * self.floor_c + 0.3 * air_c,
        );
        self.air_c = air_c;
    }

    fn mean_soil_water(&self) -> f64 {
        let count = self.soil.len().max(1);
        let sum: f64 = self.soil.iter().map(|soil| soil.water).sum();
        #[allow(clippy::cast_precision_loss, reason = "at most eight beds")]
        let count = count as f64;
        sum / count
    }

    /// Ks of FAO-56 for the house, 0 to 1.
    fn water_stress(&self) -> f64 {
        let total = self.bed.field_capacity - self.bed.wilting_point;
        let left = self.mean_soil_water() - self.bed.wilting_point;
        (left / ((1.0 - self.bed.easy_share) * total)).clamp(0.0, 1.0)
    }
}

impl Soil {
    /// `taken` in kg/(m² s).
    fn step(&mut self, bed: &Bed, given_mm: f64, taken: f64) {
        let depth_mm = 1_000.0 * bed.root_depth_m;
        let drained_mm = self.drainage_mm_day(bed) * STEP_S / 86_400.0;
        let salt_per_mm = self.salt / (self.water.max(0.01) * depth_mm);
        self.salt += (given_mm * WATER_SALT / 1_000.0) - drained_mm * salt_per_mm;
        self.water = (self.water + (given_mm - drained_mm - taken * STEP_S) / depth_mm)
            .clamp(DRIEST, SATURATION);
        self.bulb = relax(self.bulb, 0.0, 1.0 / 7_200.0, 0.0) + 0.012 * given_mm;
    }

    /// Electrical conductivity of the soil water, dS/m.
    pub(crate) fn conductivity(&self, bed: &Bed) -> f64 {
        self.salt / (self.water.max(0.01) * bed.root_depth_m)
    }

    /// What a probe beside a dripper would see at once, m³/m³.
    pub(crate) fn at_dripper(&self) -> f64 {
        (self.water + self.bulb).min(SATURATION)
    }

    fn drainage_mm_day(&self, bed: &Bed) -> f64 {
        let above = self.water - bed.field_capacity;
        if above <= 0.0 {
            return 0.0;
        }
        let room = SATURATION - bed.field_capacity;
        let share = (exp(above) - 1.0) / (exp(room) - 1.0);
        bed.drainage * room * share * 1_000.0 * bed.root_depth_m
    }
}

/// Ventilation by wind and by warmth, m³ per m² of floor and second.
fn ventilation(warmer_k: f64, air_c: f64, wind_m_s: f64, openings: Openings) -> f64 {
    let roof = ROOF_OPENING * openings.roof;
    let side = SIDE_OPENING * openings.side;
    let both = roof * roof + side * side;
    let stack = if both > 0.0 {
        roof * roof * side * side / both * 2.0 * 9.81 * 2.0 * fabs(warmer_k) / (air_c + KELVIN)
    } else {
        0.0
    };
    let mean = 0.5 * (roof + side);
    let wind = mean * mean * 0.09 * wind_m_s * wind_m_s;
    let leak = 1e-4 * wind_m_s.max(0.25);
    NET * 0.75 * sqrt(stack + wind) + leak
}

/// One implicit step of dx/dt = gain + rate·(target - x), rate in 1/s.
pub(crate) fn relax(value: f64, gain: f64, rate: f64, target: f64) -> f64 {
    (value + STEP_S * (gain + rate * target)) / (1.0 + STEP_S * rate)
}

#[cfg(test)]
mod tests;
