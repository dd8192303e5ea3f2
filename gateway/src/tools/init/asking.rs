//! What `init` asks a person, and takes from flags.

use std::fs;
use std::path::{Path, PathBuf};

use furrow_wire::GreenhouseId;

use super::find::{self, At, Detail, Found, candidates};
use super::questions::{NoAnswer, Questions};
use super::spot::{Analog, AnalogKind, BOARDS, Contact};
use super::write::{LinkPlan, WherePlan};
use super::{Init, InitError, STATE_DIR};

/// Where the kernel shows serial ports by names that stay.
const SERIAL_PORTS: &str = "/dev/serial/by-id";

impl Init {
    /// Serial ports to look at: a person is offered those that are plugged in.
    pub(super) fn ports(&self, questions: &mut Questions<'_>) -> Result<Vec<PathBuf>, InitError> {
        if !self.serial.is_empty() || !questions.has_person() {
            return Ok(self.serial.clone());
        }
        let mut ports = Vec::new();
        let plugged_in = fs::read_dir(SERIAL_PORTS).into_iter().flatten().flatten();
        for port in plugged_in.map(|entry| entry.path()) {
            let question = format!(
                "Are there Modbus soil probes at {}? Other devices may not like to be asked: yes, no?",
                port.display()
            );
            let answer: Option<String> =
                questions.ask(("--serial", None), &question, Some("no"))?;
            if answer.is_some_and(|answer| answer.to_lowercase().starts_with('y')) {
                ports.push(port);
            }
        }
        Ok(ports)
    }

    /// Who and where; `None` when something is missing.
    pub(super) fn place(
        &self,
        questions: &mut Questions<'_>,
    ) -> Result<Option<WherePlan>, InitError> {
        let flag = self.cooperative.clone();
        let cooperative = questions.ask(("--cooperative", flag), "Id of the cooperative", None)?;
        let flag = self.gateway.clone();
        let gateway = questions.ask(("--gateway", flag), "Id of this gateway", Some("gw-01"))?;
        let flag = self.greenhouse.clone();
        let what = "Id of the greenhouse";
        let greenhouse: Option<GreenhouseId> =
            questions.ask(("--greenhouse", flag), what, Some("greenhouse-1"))?;
        let name = greenhouse
            .as_ref()
            .map_or("?", GreenhouseId::as_str)
            .to_owned();
        let flag = self.greenhouse_name.clone();
        let what = "Its name for people";
        let greenhouse_name = questions.ask(("--greenhouse-name", flag), what, Some(&name))?;
        let zone = jiff::tz::TimeZone::system();
        let zone = zone.iana_name().unwrap_or("UTC").to_owned();
        let flag = self.timezone.clone();
        let timezone = questions.ask(("--timezone", flag), "Time zone", Some(&zone))?;
        let flag = self.state_dir.clone();
        let what = "Folder for readings";
        let state_dir = questions.ask(("--state-dir", flag), what, Some(STATE_DIR))?;
        let (Some(cooperative), Some(gateway), Some(greenhouse)) =
            (cooperative, gateway, greenhouse)
        else {
            return Ok(None);
        };
        let (Some(greenhouse_name), Some(timezone), Some(state_dir)) =
            (greenhouse_name, timezone, state_dir)
        else {
            return Ok(None);
        };
        Ok(Some(WherePlan {
            cooperative,
            gateway,
            greenhouse,
            greenhouse_name,
            timezone,
            state_dir,
        }))
    }

    /// How readings leave; `None` when something is missing.
    pub(super) fn link(
        &self,
        config: &Path,
        questions: &mut Questions<'_>,
    ) -> Result<Option<LinkPlan>, InitError> {
        let beside = config.parent().unwrap_or(Path::new("."));
        let password_file = beside.join("mqtt-password").display().to_string();
        let port = if self.ca_file.is_some() {
            "8883"
        } else {
            "1883"
        };
        let flag = self.mqtt_host.clone();
        let mqtt_host = questions.ask(("--mqtt-host", flag), "Host of the ingest service", None)?;
        let mqtt_port = questions.ask(("--mqtt-port", self.mqtt_port), "Its port", Some(port))?;
        let flag = self.password_file.clone();
        let what = "File with the gateway's password";
        let file = questions.ask(("--password-file", flag), what, Some(&password_file))?;
        let (Some(mqtt_host), Some(mqtt_port), Some(password_file)) = (mqtt_host, mqtt_port, file)
        else {
            return Ok(None);
        };
        Ok(Some(LinkPlan {
            mqtt_host,
            mqtt_port,
            password_file,
            ca_file: self.ca_file.clone(),
        }))
    }

    /// What hangs on the analog inputs: only a person can know.
    pub(super) fn analog(
        &self,
        questions: &mut Questions<'_>,
        found: &Found,
    ) -> Result<Vec<Analog>, InitError> {
        let mut analog = self.analog.clone();
        if !questions.has_person() {
            return Ok(analog);
        }
        for device in &found.devices {
            let (Detail::Inputs(inputs), At::I2c { spot, .. }) = (&device.detail, &device.at)
            else {
                continue;
            };
            for (input, volts) in (0_u8..).zip(inputs) {
                let spot = *spot;
                let is_known = |one: &Analog| one.spot == spot && one.input == input;
                let Some(volts) = volts.filter(|_| !self.analog.iter().any(is_known)) else {
                    continue;
                };
                let question = format!(
                    "Input {input} of the ADS1115 at {spot} reads {volts:.3} V. What hangs there: \
                     pyranometer, current-loop, capacitive-moisture, nothing?"
                );
                let kind: Option<AnalogKind> =
                    questions.ask(("--analog", None), &question, Some("nothing"))?;
                analog.extend(kind.map(|kind| Analog { spot, input, kind }));
            }
        }
        Ok(analog)
    }

    /// What hangs on boards of contacts: only a person can know.
    pub(super) fn contacts(
        &self,
        questions: &mut Questions<'_>,
        found: &Found,
    ) -> Result<Vec<Contact>, InitError> {
        let mut contacts = self.contact.clone();
        if !questions.has_person() {
            return Ok(contacts);
        }
        for device in &found.devices {
            let board = BOARDS.iter().find(|(kind, _)| *kind == device.kind);
            let (Some((kind, lines)), At::I2c { spot, .. }) = (board, &device.at) else {
                continue;
            };
            if contacts.iter().any(|one| one.spot == *spot) {
                continue;
            }
            let question = format!(
                "What hangs on the {kind} at {spot}, lines 0 to {}? For example 0=float-switch 3=door, or nothing",
                lines - 1
            );
            let answer: Option<Contacts> =
                questions.ask(("--contact", None), &question, Some("nothing"))?;
            let named = answer.map(|Contacts(named)| named).unwrap_or_default();
            for (line, kind) in named {
                let text = format!("{spot}:{line}={kind}");
                contacts.extend(text.parse::<Contact>().ok());
            }
        }
        Ok(contacts)
    }
}

/// `0=float-switch 3=door`, or `nothing`.
pub(super) struct Contacts(pub(super) Vec<(u8, String)>);

impl std::str::FromStr for Contacts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut named = Vec::new();
        for part in text.split_whitespace().filter(|part| *part != "nothing") {
            // Checked as the flag is; the address does not matter here.
            let contact: Contact = format!("0x20:{part}").parse()?;
            named.push((contact.line, contact.kind.name().to_owned()));
        }
        Ok(Self(named))
    }
}

/// Modbus has no identity: a person looks at the label, and at what each profile would make of it.
pub(super) fn ask_probes(
    questions: &mut Questions<'_>,
    found: &mut Found,
) -> Result<(), InitError> {
    if !questions.has_person() {
        return Ok(());
    }
    for probe in std::mem::take(&mut found.probes) {
        let mut question = format!(
            "Address {} at {} answers.",
            probe.slave,
            probe.port.display()
        );
        for (profile, readings) in &probe.readings {
            question.push_str(&format!("\n  as {profile} it reads {readings}"));
        }
        let profiles: Vec<&'static str> = find::profiles().collect();
        question.push_str(&format!("\nWhich is it: {}, nothing?", profiles.join(", ")));
        let answer: Option<String> =
            questions.ask(("--probe", None), &question, Some("nothing"))?;
        let profile = profiles
            .into_iter()
            .find(|profile| Some(*profile) == answer.as_deref());
        match profile {
            Some(profile) => found.handle_told(probe, profile),
            None => found.probes.push(probe),
        }
    }
    Ok(())
}

/// A person may know what nothing identifies.
pub(super) fn ask_strangers(
    questions: &mut Questions<'_>,
    found: &mut Found,
) -> Result<(), InitError> {
    if !questions.has_person() {
        return Ok(());
    }
    let mut left = Vec::new();
    for stranger in std::mem::take(&mut found.strangers) {
        let kinds = candidates(&stranger);
        let (bus, spot) = (stranger.bus, stranger.spot);
        let mut told = None;
        if !kinds.is_empty() {
            let question = format!(
                "{spot} on i2c-{bus} answers, and nothing identifies it. What is it: {}, nothing?",
                kinds.join(", ")
            );
            let answer: Option<String> =
                questions.ask(("--device", None), &question, Some("nothing"))?;
            told = kinds
                .into_iter()
                .find(|kind| Some(*kind) == answer.as_deref());
        }
        match told {
            Some(kind) => found.devices.push(find::Device {
                at: At::I2c { bus, spot },
                kind,
                evidence: "you say so".to_owned(),
                detail: Detail::None,
            }),
            None => left.push(stranger),
        }
    }
    found.strangers = left;
    Ok(())
}

pub(super) fn missing(questions: &Questions<'_>) -> InitError {
    let Questions::Defaults { missing } = questions else {
        return NoAnswer::Useless.into();
    };
    InitError::Missing(missing.join(", "))
}
