//! Buttons at the gateway.

use furrow_irrigation::ZoneIndex;

use super::looked_at::LookedAt;
use super::section::Section;
use super::zones::millis;
use crate::config::button::{ButtonDoes, ButtonSettings};
use crate::config::mistakes::Mistakes;
use crate::config::raw::RawButton;
use crate::config::settings::ZoneSettings;

/// Most buttons of a gateway.
const BUTTONS_MAX: usize = 16;

pub(super) fn buttons(
    raw: &[RawButton],
    zones: &[ZoneSettings],
    looked_at: &LookedAt<'_>,
    found: &mut Mistakes,
) -> Option<Vec<ButtonSettings>> {
    if raw.len() > BUTTONS_MAX {
        let problem = format!("there are {} buttons", raw.len());
        found.add("button", problem, format!("keep at most {BUTTONS_MAX}"));
        return None;
    }
    let built: Vec<_> = raw
        .iter()
        .enumerate()
        .map(|(index, raw)| {
            let mut section = Section::new(format!("button[{index}]"), found);
            button(raw, zones, looked_at, &mut section)
        })
        .collect();
    built.into_iter().collect()
}

fn button(
    raw: &RawButton,
    zones: &[ZoneSettings],
    looked_at: &LookedAt<'_>,
    section: &mut Section<'_>,
) -> Option<ButtonSettings> {
    section.refuse_unknown(&raw.unknown, "channel, does, zone, for");
    let channel = looked_at.place(
        "channel",
        raw.channel.as_ref(),
        "lines/stop_button",
        section,
    );
    let does = section.text("does", raw.does.as_ref(), "stop")?;
    let does = match does.as_str() {
        "stop" => {
            section.refuse("zone", raw.zone.as_ref(), "a stop button stops all zones");
            let hold = section.duration("for", raw.run.as_ref(), ("1min", "12h"), Some("30min"));
            ButtonDoes::Stop {
                hold_ms: millis(hold?),
            }
        }
        "water" => {
            let run = section.duration("for", raw.run.as_ref(), ("10s", "4h"), None);
            let name = section.text("zone", raw.zone.as_ref(), "zone-1")?;
            let place = zones.iter().position(|zone| zone.id.as_str() == name);
            let Some(place) = place else {
                let problem = format!("there is no zone {name:?}");
                return section.mistake("zone", problem, "name a zone of this file");
            };
            ButtonDoes::Water {
                zone: ZoneIndex(place),
                for_ms: millis(run?),
            }
        }
        "silence" => {
            let why = "a silence button silences every alarm";
            section.refuse("zone", raw.zone.as_ref(), why);
            let silence = section.duration("for", raw.run.as_ref(), ("1min", "12h"), Some("30min"));
            ButtonDoes::Silence {
                for_ms: millis(silence?),
            }
        }
        other => {
            let problem = format!("{other:?} is nothing that a button does");
            return section.mistake("does", problem, "write stop, water or silence");
        }
    };
    Some(ButtonSettings {
        channel: channel?,
        does,
    })
}
