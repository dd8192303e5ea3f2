//! What one chip feels: the state of the greenhouse, with the sensor's lag and noise, or a recorded row.

use super::*;

impl Sensed<'_> {
    /// Two draws for this chip at this moment; `quantity` keeps its inputs apart.
    fn noise(&self, quantity: u8) -> (f64, f64) {
        let moment = i64::try_from(self.now_ns / NOISE_NS).unwrap_or(i64::MAX);
        let index = moment.wrapping_mul(8).wrapping_add(i64::from(quantity));
        self.greenhouse
            .noise
            .normals(Purpose::Chip(self.place), index)
    }
}

impl Field for Sensed<'_> {
    fn air(&self, place: Place) -> Air {
        let greenhouse = self.greenhouse;
        let air = match &greenhouse.trace {
            Some(trace) => {
                let row = trace.at(greenhouse.unix_ms(self.now_ns));
                match place {
                    Place::Inside => row.inside,
                    Place::Outside => row.outside.air,
                }
            }
            None => {
                let air = match place {
                    Place::Inside => greenhouse.felt.inside,
                    Place::Outside => greenhouse.felt.outside,
                };
                let (a, b) = self.noise(0);
                Air {
                    temperature_c: air.temperature_c + NOISE_TEMPERATURE_K * a,
                    humidity_pct: (air.humidity_pct + NOISE_HUMIDITY_PCT * b).clamp(0.0, 100.0),
                }
            }
        };
        let heat_k = match place {
            Place::Inside => greenhouse.heat.now(self.now_ns),
            Place::Outside => 0.0,
        };
        // Not even a rounding error may touch a replayed row.
        if heat_k.abs() < 1e-6 {
            air
        } else {
            air.warmed(heat_k)
        }
    }

    fn co2_ppm(&self) -> f64 {
        let greenhouse = self.greenhouse;
        match &greenhouse.trace {
            Some(trace) => trace.at(greenhouse.unix_ms(self.now_ns)).co2_ppm,
            None => greenhouse.felt.co2_ppm + NOISE_CO2_PPM * self.noise(1).0,
        }
    }

    fn volts(&self, input: u8) -> f64 {
        let greenhouse = self.greenhouse;
        let global_w_m2 = match &greenhouse.trace {
            Some(trace) => {
                let row = trace.at(greenhouse.unix_ms(self.now_ns));
                row.outside.global_w_m2
            }
            None => greenhouse.outside.global_w_m2,
        };
        let volts = match input {
            // Pyranometer with amplifier: 2 mV per W/m².
            0 => (0.002 * global_w_m2).min(2.5),
            // 4 to 20 mA over 100 Ω for 0 to 2.5 m of water.
            1 => 0.4 + 1.6 * greenhouse.water.tank_m() / 2.5,
            // Capacitive probe: 2.90 V dry, 1.30 V in water.
            2 => 2.90 - 1.60 * greenhouse.felt.soil_water / crate::physics::climate::SATURATION,
            // 4 to 20 mA over 100 Ω for 0 to 6 bar behind the pump, if there is one.
            3 if greenhouse.water.plant().pump.is_some() => {
                let bar = greenhouse.water.bar();
                0.4 + 1.6 * (bar / PRESSURE_MAX_BAR).min(1.0)
            }
            _ => 0.0,
        };
        if greenhouse.trace.is_some() {
            volts
        } else {
            // No amplifier here has a negative supply.
            (volts + NOISE_VOLTS * self.noise(2 + input).0).max(0.0)
        }
    }

    fn pulses(&self) -> u64 {
        self.greenhouse.water.pulses()
    }

    fn valve_switches(&self) -> u8 {
        self.greenhouse.water.switches()
    }

    fn site(&self) -> Site {
        let site = self.greenhouse.site_at(self.now_ns);
        if self.greenhouse.trace.is_some() {
            return site;
        }
        // One draw each for what a chip of its own senses.
        let (a, b) = self.noise(7);
        let noisy = |supply: Supply| Supply {
            volts: (supply.volts + 0.003 * a).max(0.0),
            amperes: supply.amperes + 0.000_3 * b,
        };
        Site {
            light_lux: (site.light_lux * (1.0 + 0.005 * a)).max(0.0),
            pressure_hpa: site.pressure_hpa + 0.03 * a,
            mains: noisy(site.mains),
            battery: noisy(site.battery),
            ph: site.ph + 0.002 * a,
            conductivity_us_cm: site.conductivity_us_cm + 2.0 * a,
            ..site
        }
    }
}
