//! Sensirion SCD41: CO2, temperature and humidity.
//!
//! Two-byte commands, arguments and answers in words with a checksum. While it measures it refuses
//! nearly every other command, and it goes on measuring when the program that started it is gone. A
//! reading is there once per interval; asking again is not acknowledged.

use super::crc::{checked_word, checked_words, to_word};
use super::sht4x::temperature_word;
use super::{Chip, Field, MS, Nack, Place};

/// T offset of 4 °C, the state after a factory reset.
const OFFSET_DEFAULT: u16 = 1_498;
/// A forced recalibration needs three minutes of operation before.
const RECALIBRATION_AFTER_NS: u64 = 180_000 * MS;
const PERIOD_NS: u64 = 5_000 * MS;
const PERIOD_LOW_POWER_NS: u64 = 30_000 * MS;

/// What the chip is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Idle,
    Measuring {
        since_ns: u64,
        period_ns: u64,
        /// Number of the reading that was read last, from 1.
        taken: u64,
    },
    /// A single shot is done at this time.
    Shot {
        ready_ns: u64,
    },
    Asleep,
}

/// What survives a loss of power once it is persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    offset: u16,
    altitude_m: u16,
    self_calibration: u16,
    self_calibration_target: u16,
    initial_period_h: u16,
    standard_period_h: u16,
}

/// What a command word asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Start { period_ns: u64 },
    Stop,
    Ready,
    Read,
    Pressure,
    Set(Setting),
    Get(Setting),
    Recalibrate,
    Persist,
    Serial,
    SelfTest,
    FactoryReset,
    Reinit,
    Variant,
    Shot { ms: u64 },
    PowerDown,
    WakeUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    Offset,
    Altitude,
    SelfCalibration,
    SelfCalibrationTarget,
    InitialPeriod,
    StandardPeriod,
}

/// An SCD41.
#[derive(Debug)]
pub(crate) struct Scd4x {
    serial: u64,
    mode: Mode,
    settings: Settings,
    persisted: Settings,
    pressure_hpa: u16,
    /// Added by forced recalibrations, ppm.
    correction_ppm: i16,
    /// Measured since power-up.
    operated_ns: u64,
    busy_until_ns: u64,
    answer: Option<Answer>,
}

#[derive(Debug)]
struct Answer {
    bytes: Vec<u8>,
    /// Reading it empties the measurement buffer.
    measurement: bool,
}

impl Settings {
    const FACTORY: Self = Self {
        offset: OFFSET_DEFAULT,
        altitude_m: 0,
        self_calibration: 1,
        self_calibration_target: 400,
        initial_period_h: 44,
        standard_period_h: 156,
    };

    fn of(&mut self, setting: Setting) -> &mut u16 {
        match setting {
            Setting::Offset => &mut self.offset,
            Setting::Altitude => &mut self.altitude_m,
            Setting::SelfCalibration => &mut self.self_calibration,
            Setting::SelfCalibrationTarget => &mut self.self_calibration_target,
            Setting::InitialPeriod => &mut self.initial_period_h,
            Setting::StandardPeriod => &mut self.standard_period_h,
        }
    }
}

impl Command {
    fn of(word: u16) -> Option<Self> {
        Some(match word {
            0x21B1 => Self::Start {
                period_ns: PERIOD_NS,
            },
            0x21AC => Self::Start {
                period_ns: PERIOD_LOW_POWER_NS,
            },
            0x3F86 => Self::Stop,
            0xE4B8 => Self::Ready,
            0xEC05 => Self::Read,
            0xE000 => Self::Pressure,
            0x241D => Self::Set(Setting::Offset),
            0x2318 => Self::Get(Setting::Offset),
            0x2427 => Self::Set(Setting::Altitude),
            0x2322 => Self::Get(Setting::Altitude),
            0x2416 => Self::Set(Setting::SelfCalibration),
            0x2313 => Self::Get(Setting::SelfCalibration),
            0x243A => Self::Set(Setting::SelfCalibrationTarget),
            0x233F => Self::Get(Setting::SelfCalibrationTarget),
            0x2445 => Self::Set(Setting::InitialPeriod),
            0x2340 => Self::Get(Setting::InitialPeriod),
            0x244E => Self::Set(Setting::StandardPeriod),
            0x234B => Self::Get(Setting::StandardPeriod),
            0x362F => Self::Recalibrate,
            0x3615 => Self::Persist,
            0x3682 => Self::Serial,
            0x3639 => Self::SelfTest,
            0x3632 => Self::FactoryReset,
            0x3646 => Self::Reinit,
            0x202F => Self::Variant,
            0x219D => Self::Shot { ms: 5_000 },
            0x2196 => Self::Shot { ms: 50 },
            0x36E0 => Self::PowerDown,
            0x36F6 => Self::WakeUp,
            _ => return None,
        })
    }

    /// Whether it is accepted while measuring.
    fn while_measuring(self) -> bool {
        matches!(
            self,
            Self::Stop | Self::Ready | Self::Read | Self::Pressure | Self::Variant
        )
    }

    /// How long the chip is busy with it.
    fn duration_ms(self) -> u64 {
        match self {
            Self::Start { .. } => 0,
            Self::Stop => 500,
            Self::Recalibrate => 400,
            Self::Persist => 800,
            Self::SelfTest => 10_000,
            Self::FactoryReset => 1_200,
            Self::Reinit | Self::WakeUp => 30,
            Self::Shot { ms } => ms,
            Self::Ready
            | Self::Read
            | Self::Pressure
            | Self::Set(_)
            | Self::Get(_)
            | Self::Serial
            | Self::Variant
            | Self::PowerDown => 1,
        }
    }
}

impl Scd4x {
    /// `serial` has 48 bits.
    pub(crate) fn new(serial: u64) -> Self {
        Self {
            serial,
            mode: Mode::Idle,
            settings: Settings::FACTORY,
            persisted: Settings::FACTORY,
            pressure_hpa: 1_013,
            correction_ppm: 0,
            operated_ns: 0,
            busy_until_ns: 0,
            answer: None,
        }
    }

    /// Number of the newest reading, 0 before the first.
    fn newest(&self, now_ns: u64) -> u64 {
        match self.mode {
            Mode::Measuring {
                since_ns,
                period_ns,
                ..
            } => now_ns.saturating_sub(since_ns) / period_ns,
            Mode::Shot { ready_ns } => u64::from(now_ns >= ready_ns),
            Mode::Idle | Mode::Asleep => 0,
        }
    }

    fn is_ready(&self, now_ns: u64) -> bool {
        match self.mode {
            Mode::Measuring { taken, .. } => self.newest(now_ns) > taken,
            Mode::Shot { ready_ns } => now_ns >= ready_ns,
            Mode::Idle | Mode::Asleep => false,
        }
    }

    fn reading(&self, field: &dyn Field) -> Vec<u8> {
        // The chip is 4 °C warmer than the air; what it says is that less the offset.
        let surplus = i32::from(OFFSET_DEFAULT) - i32::from(self.settings.offset);
        let mut air = field.air(Place::Inside);
        if surplus != 0 {
            air = air.warmed(f64::from(surplus) * 175.0 / 65_535.0);
        }
        checked_words(&[
            to_word(field.co2_ppm() + f64::from(self.correction_ppm)),
            temperature_word(air.temperature_c),
            to_word(air.humidity_pct / 100.0 * 65_535.0),
        ])
    }

    fn recalibrate(&mut self, target_ppm: u16, field: &dyn Field) -> u16 {
        if self.operated_ns < RECALIBRATION_AFTER_NS {
            return 0xFFFF;
        }
        let before = i32::from(to_word(field.co2_ppm() + f64::from(self.correction_ppm)));
        let step = i32::from(target_ppm) - before;
        let step = i16::try_from(step).unwrap_or(i16::MAX);
        self.correction_ppm = self.correction_ppm.saturating_add(step);
        // 0x8000 stands for no correction.
        step.cast_unsigned().wrapping_add(0x8000)
    }

    fn serial_words(&self) -> Vec<u8> {
        let [_, _, a, b, c, d, e, f] = self.serial.to_be_bytes();
        checked_words(&[
            u16::from_be_bytes([a, b]),
            u16::from_be_bytes([c, d]),
            u16::from_be_bytes([e, f]),
        ])
    }

    /// What the chip says, if anything, once it is no longer busy.
    fn carry_out(
        &mut self,
        now_ns: u64,
        command: Command,
        argument: Option<u16>,
        field: &dyn Field,
    ) -> Option<Vec<u8>> {
        match (command, argument) {
            (Command::Start { period_ns }, _) => {
                self.mode = Mode::Measuring {
                    since_ns: now_ns,
                    period_ns,
                    taken: 0,
                };
                None
            }
            (Command::Stop, _) => {
                if let Mode::Measuring { since_ns, .. } = self.mode {
                    self.operated_ns += now_ns.saturating_sub(since_ns);
                }
                self.mode = Mode::Idle;
                None
            }
            (Command::Ready, _) => {
                let ready = self.is_ready(now_ns);
                Some(checked_words(&[if ready { 0x8006 } else { 0x8000 }]))
            }
            (Command::Read, _) => self.is_ready(now_ns).then(|| self.reading(field)),
            (Command::Pressure, Some(hpa)) => {
                self.pressure_hpa = hpa;
                None
            }
            (Command::Pressure, None) => Some(checked_words(&[self.pressure_hpa])),
            (Command::Set(setting), value) => {
                if let Some(value) = value {
                    *self.settings.of(setting) = value;
                }
                None
            }
            (Command::Get(setting), _) => Some(checked_words(&[*self.settings.of(setting)])),
            (Command::Recalibrate, target) => {
                target.map(|target| checked_words(&[self.recalibrate(target, field)]))
            }
            (Command::Persist, _) => {
                self.persisted = self.settings;
                None
            }
            (Command::Serial, _) => Some(self.serial_words()),
            (Command::SelfTest, _) => Some(checked_words(&[0])),
            (Command::Variant, _) => Some(checked_words(&[0x1440])),
            (Command::FactoryReset, _) => {
                self.settings = Settings::FACTORY;
                self.persisted = Settings::FACTORY;
                self.correction_ppm = 0;
                None
            }
            (Command::Reinit, _) => {
                self.settings = self.persisted;
                None
            }
            (Command::Shot { ms }, _) => {
                self.mode = Mode::Shot {
                    ready_ns: now_ns + ms * MS,
                };
                None
            }
            (Command::PowerDown, _) => {
                self.mode = Mode::Asleep;
                None
            }
            (Command::WakeUp, _) => None,
        }
    }
}

impl Chip for Scd4x {
    fn write(&mut self, now_ns: u64, bytes: &[u8], field: &dyn Field) -> Result<(), Nack> {
        if now_ns < self.busy_until_ns {
            return Err(Nack::Address);
        }
        let (&[high, low], rest) = match bytes.split_first_chunk() {
            Some(split) => split,
            // An empty write asks whether somebody is there.
            None if bytes.is_empty() && self.mode != Mode::Asleep => return Ok(()),
            None => return Err(Nack::Data),
        };
        let command = Command::of(u16::from_be_bytes([high, low]));
        if self.mode == Mode::Asleep {
            // The wake-up call itself is not acknowledged.
            if command == Some(Command::WakeUp) {
                self.mode = Mode::Idle;
                self.busy_until_ns = now_ns + Command::WakeUp.duration_ms() * MS;
            }
            return Err(Nack::Address);
        }
        let command = command.ok_or(Nack::Data)?;
        let measuring = matches!(self.mode, Mode::Measuring { .. });
        if measuring && !command.while_measuring() {
            return Err(Nack::Data);
        }
        let argument = if rest.is_empty() {
            None
        } else {
            Some(checked_word(rest).ok_or(Nack::Data)?)
        };
        self.answer = self
            .carry_out(now_ns, command, argument, field)
            .map(|bytes| Answer {
                bytes,
                measurement: command == Command::Read,
            });
        self.busy_until_ns = now_ns + command.duration_ms() * MS;
        Ok(())
    }

    fn read(&mut self, now_ns: u64, bytes: &mut [u8], _: &dyn Field) -> Result<(), Nack> {
        if now_ns < self.busy_until_ns {
            return Err(Nack::Address);
        }
        let answer = self.answer.take().ok_or(Nack::Address)?;
        if answer.measurement {
            let newest = self.newest(now_ns);
            match &mut self.mode {
                Mode::Measuring { taken, .. } => *taken = newest,
                Mode::Shot { .. } => self.mode = Mode::Idle,
                Mode::Idle | Mode::Asleep => {}
            }
        }
        super::fill(bytes, &answer.bytes);
        Ok(())
    }

    fn power_cycle(&mut self, now_ns: u64) {
        *self = Self {
            settings: self.persisted,
            persisted: self.persisted,
            correction_ppm: self.correction_ppm,
            busy_until_ns: now_ns + 30 * MS,
            ..Self::new(self.serial)
        };
    }
}

#[cfg(test)]
mod tests;
