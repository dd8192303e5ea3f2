//! Buttons at the gateway: they work without the page, and beat every rule and every command.

use furrow_irrigation::ZoneIndex;
use furrow_wire::Quality;

use super::latest::Latest;
use crate::config::{ButtonDoes, ButtonSettings};

/// What a button wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Press {
    /// No water at all, for so long, in milliseconds.
    Stop {
        /// How long.
        hold_ms: u64,
    },
    /// Water a zone, for so long, in milliseconds.
    Water {
        /// Which.
        zone: ZoneIndex,
        /// How long.
        for_ms: u64,
    },
    /// Silence what sounds, for so long, in milliseconds.
    Silence {
        /// How long.
        for_ms: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Buttons {
    settings: Vec<ButtonSettings>,
    /// Whether each was pressed when it was last read well.
    pressed: Vec<Option<bool>>,
}

impl Buttons {
    /// These buttons; none was read yet.
    #[must_use]
    pub fn new(settings: Vec<ButtonSettings>) -> Self {
        Self {
            pressed: vec![None; settings.len()],
            settings,
        }
    }

    /// There may be new readings. `held_ms` tells for how long water is forbidden already.
    ///
    /// A stop button that is pressed when it is first read counts, and so does one that stays
    /// pressed when a hold has ended: it may lock. A press makes a shorter hold longer, whoever wanted
    /// that one. Buttons for water and for silence have to be seen released first.
    pub fn handle_readings(&mut self, latest: &Latest, held_ms: Option<u64>) -> Vec<Press> {
        let mut presses = Vec::new();
        for (button, before) in self.settings.iter().zip(&mut self.pressed) {
            let Some(now) = latest.of(button.channel) else {
                continue;
            };
            let good = now.sample.quality == Quality::Good;
            let Some(is_pressed) = now.sample.mantissa.filter(|_| good).map(|level| level != 0)
            else {
                continue;
            };
            let was = before.replace(is_pressed);
            match button.does {
                ButtonDoes::Stop { hold_ms }
                    if is_pressed
                        && held_ms.is_none_or(|left_ms| was != Some(true) && left_ms < hold_ms) =>
                {
                    presses.push(Press::Stop { hold_ms });
                }
                ButtonDoes::Water { zone, for_ms } if is_pressed && was == Some(false) => {
                    presses.push(Press::Water { zone, for_ms });
                }
                ButtonDoes::Silence { for_ms } if is_pressed && was == Some(false) => {
                    presses.push(Press::Silence { for_ms });
                }
                ButtonDoes::Stop { .. } | ButtonDoes::Water { .. } | ButtonDoes::Silence { .. } => {
                }
            }
        }
        presses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use furrow_gateway_core::FieldMs;
    use furrow_wire::Sample;

    const STOP: Press = Press::Stop { hold_ms: 1_800_000 };
    const SILENCE: Press = Press::Silence { for_ms: 60_000 };
    const WATER: Press = Press::Water {
        zone: ZoneIndex(1),
        for_ms: 300_000,
    };

    #[test]
    fn a_press_counts_once() {
        let button = |channel, does| ButtonSettings { channel, does };
        let mut buttons = Buttons::new(vec![
            button(0, ButtonDoes::Stop { hold_ms: 1_800_000 }),
            button(
                1,
                ButtonDoes::Water {
                    zone: ZoneIndex(1),
                    for_ms: 300_000,
                },
            ),
            button(2, ButtonDoes::Silence { for_ms: 60_000 }),
        ]);
        let failed = Sample {
            quality: Quality::Failed,
            mantissa: None,
        };
        let (on, off) = (Sample::good(1), Sample::good(0));
        let (free, held) = (None, Some(1_800_000));
        // Stop button, water button, how long water is forbidden: what follows. The third button,
        // for silence, is the second one's line again.
        let table: [(Sample, Sample, Option<u64>, &[Press]); 12] = [
            (off, on, free, &[]), // pressed since before the start
            (off, off, free, &[]),
            (off, on, free, &[WATER, SILENCE]),
            (off, on, free, &[]),
            (off, failed, free, &[]),
            (off, on, free, &[]), // it failed in between, and was never seen released
            (on, off, free, &[STOP]),
            (on, off, held, &[]),
            (on, on, free, &[STOP, WATER, SILENCE]), // it locks, and the hold is over
            (off, on, Some(60_000), &[]),
            (on, on, Some(60_000), &[STOP]), // somebody else's hold would have ended sooner
            (on, on, Some(60_000), &[]),
        ];
        let mut latest = Latest::new(3);
        for (tick, (stop, water, held_ms, expected)) in (0_u64..).zip(table) {
            latest.handle_sample(0, FieldMs(tick), stop, None);
            latest.handle_sample(1, FieldMs(tick), water, None);
            latest.handle_sample(2, FieldMs(tick), water, None);
            assert_eq!(
                buttons.handle_readings(&latest, held_ms),
                expected,
                "{tick}"
            );
        }
    }
}
