//! What happened: watering runs, faults, starts. Journalled at once, never dropped for space.

mod codes;

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::alarm::{AlarmRaised, AlarmResolved, AlarmSilenced};
use crate::clock::ClockState;
use crate::decision::Decision;
use crate::ids::{BootId, ChannelName, DeviceId, PlantingId, ZoneId};
use crate::orders::OrdersOutcome;
use crate::{BodyError, decode_message, proto};

use self::codes::{decode_cause, decode_end, encode_cause, encode_end};

/// Most events in one record.
pub const MAX_EVENTS: usize = 256;
/// Longest text of an event, in bytes; longer ones are cut at a character when encoded.
pub const MAX_EVENT_TEXT_BYTES: usize = 512;

/// Why a run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunCause {
    /// The zone's daily schedule.
    Schedule,
    /// A person at the gateway.
    Manual,
    /// An irrigation rule.
    Rule,
    /// A command from the cloud.
    Command,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// As planned.
    Completed,
    /// A person or a command stopped it.
    Stopped,
    /// The valve or its controller did not do as told.
    Fault,
    /// The gateway went away during the run.
    Interrupted,
    /// The lease ran out before it could be renewed.
    LeaseLost,
    /// The zone's daily budget was spent.
    Budget,
    /// An interlock.
    Interlock,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A valve was opened.
    RunStarted {
        /// Number of the run, unique within the gateway.
        run: u64,
        /// Why.
        cause: RunCause,
        /// The rule that wanted it, if one did.
        rule: Option<String>,
        /// For how long, in milliseconds.
        planned_ms: u64,
        /// How much, in millilitres, where a volume was wanted.
        planned_millilitres: Option<u64>,
    },
    /// A valve was closed.
    RunEnded {
        /// Number of the run.
        run: u64,
        /// Why it began.
        cause: RunCause,
        /// When it began, monotonic milliseconds of the boot it began in.
        started_mono_ms: u64,
        /// How long the valve was open, in milliseconds.
        open_ms: u64,
        /// How much water the meter counted, if there is one.
        millilitres: Option<u64>,
        /// Why it ended.
        end: EndReason,
        /// Which interlock, if one ended it, for people; else empty.
        text: String,
    },
    /// The gateway's process began.
    GatewayStarted {
        /// Version.
        software: String,
        /// Whether the process before ended as it should.
        clean_stop_before: bool,
    },
    /// A device stopped answering.
    DeviceFault {
        /// Which.
        device: DeviceId,
        /// Register and cause.
        text: String,
    },
    /// It answers again.
    DeviceRecovered {
        /// Which.
        device: DeviceId,
    },
    /// A zone will not water until a person looked.
    Lockout {
        /// Why.
        text: String,
    },
    /// A channel's values are calibrated in another way from now on. Travels in a record of its own:
    /// an ingest that does not know it yet sets that record aside and loses no other event.
    Calibrated {
        /// Which device.
        device: DeviceId,
        /// Which of its channels.
        channel: ChannelName,
        /// Version of the device's calibrations, as in the catalog that follows.
        version: u32,
        /// The calibration with its raw values, for people.
        text: String,
    },
    /// A rule decided otherwise than before.
    Decision(Box<Decision>),
    /// Something is wrong that stops nothing.
    Alarm {
        /// What.
        text: String,
    },
    /// What flow of a zone is right was learnt in a run.
    FlowLearnt {
        /// The flow.
        millilitres_per_hour: u64,
    },
    /// A person wants no water for a while, or wants it again.
    Held {
        /// From where: `button`, `page`, `tool` or `cloud`.
        by: String,
        /// For how long, in milliseconds; absent when water may flow again.
        hold_ms: Option<u64>,
    },
    /// A person has looked at a fault that kept zones shut.
    Reset {
        /// From where: `button`, `page`, `tool` or `cloud`.
        by: String,
    },
    /// What became of orders from ingest.
    Ordered {
        /// Which.
        version: u64,
        /// What became of them.
        outcome: OrdersOutcome,
        /// Who wanted them.
        by: String,
        /// Why, for people; may be empty.
        text: String,
    },
    /// An alarm of the gateway is raised. The records of these three hold nothing else, as with
    /// [`EventKind::Calibrated`].
    AlarmRaised(AlarmRaised),
    /// A person has silenced a raised alarm.
    AlarmSilenced(AlarmSilenced),
    /// A raised alarm is over.
    AlarmResolved(AlarmResolved),
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, monotonic milliseconds.
    pub at_mono_ms: u64,
    /// Where, if it concerns one zone.
    pub zone: Option<ZoneId>,
    /// What grew there.
    pub planting: Option<PlantingId>,
    /// What happened.
    #[serde(flatten)]
    pub what: EventKind,
}

/// A record of events of one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Which boot the times belong to.
    pub boot: BootId,
    /// How wall time was known.
    pub clock: ClockState,
    /// Unix milliseconds = monotonic milliseconds + this; only if it was known to be right.
    pub wall_offset_ms: Option<i64>,
    /// In the order in which they happened.
    pub events: Vec<Event>,
}

impl Events {
    /// The record's body.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        proto::Events {
            boot: self.boot.0,
            clock: self.clock.to_proto().into(),
            wall_offset_ms: self.wall_offset_ms,
            events: self.events.iter().map(encode_event).collect(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads a record's body.
    ///
    /// # Errors
    /// [`BodyError`] when it is not events, or holds more than [`MAX_EVENTS`].
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let raw: proto::Events = decode_message("events", body)?;
        if raw.events.len() > MAX_EVENTS {
            let reason = format!("{} (must be at most {MAX_EVENTS})", raw.events.len());
            return Err(BodyError::invalid("events", "number of events", reason));
        }
        Ok(Events {
            boot: BootId(raw.boot),
            clock: ClockState::from_proto("events", raw.clock)?,
            wall_offset_ms: raw.wall_offset_ms,
            events: raw
                .events
                .into_iter()
                .map(decode_event)
                .collect::<Result<_, _>>()?,
        })
    }
}

fn encode_event(event: &Event) -> proto::Event {
    let text = |id: Option<String>| id.unwrap_or_default();
    proto::Event {
        at_mono_ms: event.at_mono_ms,
        zone: text(event.zone.as_ref().map(ToString::to_string)),
        planting: text(event.planting.as_ref().map(ToString::to_string)),
        device: text(device_of(&event.what).map(ToString::to_string)),
        what: Some(encode_what(&event.what)),
    }
}

fn device_of(what: &EventKind) -> Option<&DeviceId> {
    match what {
        EventKind::DeviceFault { device, .. }
        | EventKind::DeviceRecovered { device }
        | EventKind::Calibrated { device, .. } => Some(device),
        EventKind::RunStarted { .. }
        | EventKind::RunEnded { .. }
        | EventKind::GatewayStarted { .. }
        | EventKind::Lockout { .. }
        | EventKind::Decision(_)
        | EventKind::Alarm { .. }
        | EventKind::FlowLearnt { .. }
        | EventKind::Held { .. }
        | EventKind::Reset { .. }
        | EventKind::Ordered { .. }
        | EventKind::AlarmRaised(_)
        | EventKind::AlarmSilenced(_)
        | EventKind::AlarmResolved(_) => None,
    }
}

#[expect(clippy::too_many_lines, reason = "one arm a kind")]
fn encode_what(what: &EventKind) -> proto::event::What {
    use proto::event::{
        Calibrated, FlowLearnt, GatewayStarted, Held, Ordered, Reset, RunEnded, RunStarted, Text,
        What,
    };
    match what {
        EventKind::RunStarted {
            run,
            cause,
            rule,
            planned_ms,
            planned_millilitres,
        } => What::RunStarted(RunStarted {
            run: *run,
            cause: encode_cause(*cause).into(),
            planned_ms: *planned_ms,
            planned_millilitres: *planned_millilitres,
            rule: rule.as_deref().map(cut).unwrap_or_default(),
        }),
        EventKind::RunEnded {
            run,
            cause,
            started_mono_ms,
            open_ms,
            millilitres,
            end,
            text,
        } => What::RunEnded(RunEnded {
            run: *run,
            cause: encode_cause(*cause).into(),
            started_mono_ms: *started_mono_ms,
            open_ms: *open_ms,
            millilitres: *millilitres,
            end: encode_end(*end).into(),
            text: cut(text),
        }),
        EventKind::GatewayStarted {
            software,
            clean_stop_before,
        } => What::GatewayStarted(GatewayStarted {
            software: cut(software),
            clean_stop_before: *clean_stop_before,
        }),
        EventKind::DeviceFault { text, .. } => What::DeviceFault(Text { text: cut(text) }),
        EventKind::DeviceRecovered { .. } => What::DeviceRecovered(Text::default()),
        EventKind::Lockout { text } => What::Lockout(Text { text: cut(text) }),
        EventKind::Calibrated {
            channel,
            version,
            text,
            ..
        } => What::Calibrated(Calibrated {
            channel: channel.to_string(),
            version: *version,
            text: cut(text),
        }),
        EventKind::Decision(decision) => What::Decision(decision.encode()),
        EventKind::Alarm { text } => What::Alarm(Text { text: cut(text) }),
        EventKind::FlowLearnt {
            millilitres_per_hour,
        } => What::FlowLearnt(FlowLearnt {
            millilitres_per_hour: *millilitres_per_hour,
        }),
        EventKind::Held { by, hold_ms } => What::Held(Held {
            by: cut(by),
            hold_ms: *hold_ms,
        }),
        EventKind::Reset { by } => What::Reset(Reset { by: cut(by) }),
        EventKind::Ordered {
            version,
            outcome,
            by,
            text,
        } => What::Ordered(Ordered {
            version: *version,
            outcome: outcome.to_proto().into(),
            by: cut(by),
            text: cut(text),
        }),
        EventKind::AlarmRaised(alarm) => What::AlarmRaised(alarm.encode()),
        EventKind::AlarmSilenced(alarm) => What::AlarmSilenced(alarm.encode()),
        EventKind::AlarmResolved(alarm) => What::AlarmResolved(alarm.encode()),
    }
}

fn decode_event(raw: proto::Event) -> Result<Event, BodyError> {
    use proto::event::What;
    let device = |text: &str| parse("device", text);
    let what = match raw.what {
        Some(What::RunStarted(run)) => EventKind::RunStarted {
            run: run.run,
            cause: decode_cause(run.cause)?,
            rule: Some(run.rule).filter(|rule| !rule.is_empty()),
            planned_ms: run.planned_ms,
            planned_millilitres: run.planned_millilitres,
        },
        Some(What::RunEnded(run)) => EventKind::RunEnded {
            run: run.run,
            cause: decode_cause(run.cause)?,
            started_mono_ms: run.started_mono_ms,
            open_ms: run.open_ms,
            millilitres: run.millilitres,
            end: decode_end(run.end)?,
            text: run.text,
        },
        Some(What::GatewayStarted(started)) => EventKind::GatewayStarted {
            software: started.software,
            clean_stop_before: started.clean_stop_before,
        },
        Some(What::DeviceFault(text)) => EventKind::DeviceFault {
            device: device(&raw.device)?,
            text: text.text,
        },
        Some(What::DeviceRecovered(_)) => EventKind::DeviceRecovered {
            device: device(&raw.device)?,
        },
        Some(What::Lockout(text)) => EventKind::Lockout { text: text.text },
        Some(What::Calibrated(calibrated)) => EventKind::Calibrated {
            device: device(&raw.device)?,
            channel: parse("channel", &calibrated.channel)?,
            version: calibrated.version,
            text: calibrated.text,
        },
        Some(What::Decision(decision)) => {
            EventKind::Decision(Box::new(Decision::decode(decision)?))
        }
        Some(What::Alarm(text)) => EventKind::Alarm { text: text.text },
        Some(What::FlowLearnt(learnt)) => EventKind::FlowLearnt {
            millilitres_per_hour: learnt.millilitres_per_hour,
        },
        Some(What::Held(held)) => EventKind::Held {
            by: held.by,
            hold_ms: held.hold_ms,
        },
        Some(What::Reset(reset)) => EventKind::Reset { by: reset.by },
        Some(What::Ordered(ordered)) => EventKind::Ordered {
            version: ordered.version,
            outcome: OrdersOutcome::from_proto(ordered.outcome)?,
            by: ordered.by,
            text: ordered.text,
        },
        Some(What::AlarmRaised(raw)) => EventKind::AlarmRaised(AlarmRaised::decode(raw)),
        Some(What::AlarmSilenced(raw)) => EventKind::AlarmSilenced(AlarmSilenced::decode(raw)),
        Some(What::AlarmResolved(raw)) => EventKind::AlarmResolved(AlarmResolved::decode(raw)),
        None => {
            let reason = "of a newer version".to_owned();
            return Err(BodyError::invalid("events", "event", reason));
        }
    };
    Ok(Event {
        at_mono_ms: raw.at_mono_ms,
        zone: optional("zone", &raw.zone)?,
        planting: optional("planting", &raw.planting)?,
        what,
    })
}

fn parse<T>(field: &'static str, text: &str) -> Result<T, BodyError>
where
    T: std::str::FromStr<Err = crate::IdError>,
{
    parse_id("events", field, text)
}

pub(crate) fn parse_id<T>(
    message: &'static str,
    field: &'static str,
    text: &str,
) -> Result<T, BodyError>
where
    T: std::str::FromStr<Err = crate::IdError>,
{
    text.parse()
        .map_err(|error: crate::IdError| BodyError::invalid(message, field, error.to_string()))
}

fn optional<T>(field: &'static str, text: &str) -> Result<Option<T>, BodyError>
where
    T: std::str::FromStr<Err = crate::IdError>,
{
    if text.is_empty() {
        Ok(None)
    } else {
        parse(field, text).map(Some)
    }
}

pub(crate) fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_EVENT_TEXT_BYTES);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exact;
    use proptest::prelude::*;

    fn decision() -> Decision {
        Decision {
            rule: "dry".into(),
            verdict: "water".into(),
            refusal: String::new(),
            input: "probe-1/soil_moisture".into(),
            value: Some(Exact(0.1 + 0.2)),
            age_ms: Some(8_000),
            sum: Exact(-0.0),
            is_thirsty: true,
            minute: Some(1_439),
            since_run_ms: None,
            wanted_ms: Some(600_000),
            wanted_millilitres: Some(40_000),
        }
    }

    fn alarms() -> [EventKind; 3] {
        let alarm = || "heat".to_owned();
        [
            EventKind::AlarmRaised(AlarmRaised {
                alarm: alarm(),
                severity: "critical".into(),
                text: "Quá nóng: 39.2".into(),
            }),
            EventKind::AlarmSilenced(AlarmSilenced {
                alarm: alarm(),
                by: "button".into(),
                silence_ms: 1_800_000,
            }),
            EventKind::AlarmResolved(AlarmResolved { alarm: alarm() }),
        ]
    }

    fn all_ends() -> Vec<EventKind> {
        let mut kinds = Vec::new();
        let ends = [
            EndReason::Completed,
            EndReason::Stopped,
            EndReason::Fault,
            EndReason::Interrupted,
            EndReason::LeaseLost,
            EndReason::Budget,
            EndReason::Interlock,
        ];
        for (place, end) in ends.into_iter().enumerate() {
            kinds.push(EventKind::RunEnded {
                run: 4,
                cause: RunCause::Manual,
                started_mono_ms: 10,
                open_ms: 60_000,
                millilitres: (place > 0).then_some(12_345),
                end,
                text: String::new(),
            });
        }
        kinds
    }

    fn all() -> Events {
        let device: DeviceId = "drip".parse().unwrap();
        let mut kinds = vec![
            EventKind::GatewayStarted {
                software: "0.1.0".into(),
                clean_stop_before: true,
            },
            EventKind::DeviceFault {
                device: device.clone(),
                text: "register 0x01: no answer".into(),
            },
            EventKind::Calibrated {
                device: device.clone(),
                channel: "water_volume".parse().unwrap(),
                version: 3,
                text: "offset 0.20, read 4.80".into(),
            },
            EventKind::DeviceRecovered { device },
            EventKind::Lockout {
                text: "chảy tràn".into(),
            },
            EventKind::Decision(Box::new(decision())),
            EventKind::Alarm {
                text: "more flows than should".into(),
            },
            EventKind::FlowLearnt {
                millilitres_per_hour: 612_000,
            },
            EventKind::Held {
                by: "button".into(),
                hold_ms: Some(1_800_000),
            },
            EventKind::Reset { by: "page".into() },
            EventKind::Ordered {
                version: 7,
                outcome: OrdersOutcome::RolledBack,
                by: "chị Hoa".into(),
                text: "zone-1 was locked".into(),
            },
        ];
        kinds.extend(alarms());
        for cause in [
            RunCause::Schedule,
            RunCause::Manual,
            RunCause::Rule,
            RunCause::Command,
        ] {
            kinds.push(EventKind::RunStarted {
                run: 4,
                cause,
                rule: (cause == RunCause::Rule).then(|| "dry".to_owned()),
                planned_ms: 600_000,
                planned_millilitres: None,
            });
        }
        kinds.extend(all_ends());
        let event = |what| Event {
            at_mono_ms: 77,
            zone: Some("zone-1".parse().unwrap()),
            planting: None,
            what,
        };
        Events {
            boot: BootId(5),
            clock: ClockState::Estimated,
            wall_offset_ms: Some(-4),
            events: kinds.into_iter().map(event).collect(),
        }
    }

    #[test]
    fn every_kind_round_trips() {
        assert_eq!(Events::decode(&all().encode()), Ok(all()));
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let mut events = all();
        events.events.truncate(1);
        events.events[0].what = EventKind::Lockout {
            text: "ă".repeat(400),
        };
        let back = Events::decode(&events.encode()).unwrap();
        assert_eq!(
            back.events[0].what,
            EventKind::Lockout {
                text: "ă".repeat(256)
            }
        );
    }

    #[test]
    fn too_many_events_are_refused() {
        let mut events = all();
        events.events = vec![events.events[0].clone(); MAX_EVENTS + 1];
        assert!(Events::decode(&events.encode()).is_err());
    }

    proptest! {
        #[test]
        fn damaged_bodies_never_panic(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
            let mut body = all().encode().to_vec();
            let at = at.index(body.len());
            body[at] = byte;
            Events::decode(&body[..cut.index(body.len())]).ok();
            Events::decode(&body).ok();
        }
    }
}
