//! Somebody's configuration, as the gateway of a scenario gets it: a copy whose buses are simulated,
//! whose state is kept in a folder of its own, and which reaches nobody. The user's file is only read.
//!
//! Plumbing and wiring follow from it: which output is which zone, pump or master valve, and at which
//! bus and address each chip answers.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use toml::{Table, Value};

use super::BadInput;
use super::file::read_text;
use crate::layout::{
    BEACON_PIN, DRIP, FLOW_METER_PIN, ONE_WIRE_IDS, RAIN_GAUGE_PIN, RELAY_PINS, SIREN_PIN,
    boards_of, chips_of,
};
use crate::physics::plant::Plant;
use crate::world::Placed;

/// Largest configuration, bytes.
const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What the supply can have.
const SUPPLY: [&str; 3] = ["master_valve", "pump", "dosing"];
/// Outputs that the simulated plumbing has.
const OUTPUTS_MAX: usize = 8;
/// Where the RS-485 line is linked, below a scenario's folder.
pub(super) const SERIAL: &str = "serial";
/// Nobody listens there.
const NO_BROKER_PORT: i64 = 9;

/// A configuration and the plumbing that follows from it.
#[derive(Debug)]
pub(super) struct Site {
    path: PathBuf,
    table: Table,
    /// Zones and supply by name, with their output from 0.
    outputs_by_name: Vec<(String, usize)>,
    pub(super) outputs: usize,
    pub(super) plant: Plant,
    pub(super) places: Vec<Placed>,
    pub(super) boards: usize,
    pub(super) has_guard: bool,
    pub(super) time_zone: TimeZone,
}

/// An output as the configuration names it: controller and number.
type Wired = (String, i64);

impl Site {
    /// Reads `gateway.toml` of a folder.
    pub(super) fn read(folder: &Path) -> Result<Self, BadInput> {
        let path = folder.join("gateway.toml");
        let text = read_text(&path, CONFIG_BYTES_MAX)?;
        let bad = |problem: String| BadInput {
            path: path.clone(),
            line: None,
            problem,
        };
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map(|span| text.split_at_checked(span.start));
            BadInput {
                line: line
                    .flatten()
                    .map(|(before, _)| 1 + before.matches('\n').count()),
                ..bad(error.message().to_owned())
            }
        })?;
        let time_zone = text_of(section(&table, "gateway"), "timezone").unwrap_or("UTC");
        let time_zone =
            TimeZone::get(time_zone).map_err(|error| bad(format!("gateway.timezone: {error}")))?;
        let mut site = Self {
            has_guard: table.contains_key("guard"),
            path: path.clone(),
            table,
            outputs_by_name: Vec::new(),
            outputs: 1,
            plant: Plant::default(),
            places: Vec::new(),
            boards: 0,
            time_zone,
        };
        site.wire().map_err(&bad)?;
        site.place();
        Ok(site)
    }

    /// A mistake of this configuration.
    pub(super) fn bad(&self, problem: &str) -> BadInput {
        BadInput {
            path: self.path.clone(),
            line: None,
            problem: problem.to_owned(),
        }
    }

    /// The output of a zone, or of the supply, from 0.
    pub(super) fn output(&self, name: &str) -> Option<usize> {
        let found = self.outputs_by_name.iter().find(|(known, _)| known == name);
        found.map(|(_, output)| *output)
    }

    /// What an output is called.
    pub(super) fn name(&self, output: usize) -> &str {
        let found = self
            .outputs_by_name
            .iter()
            .find(|(_, known)| *known == output);
        found.map_or("?", |(name, _)| name)
    }

    /// All names.
    pub(super) fn names(&self) -> Vec<&str> {
        self.outputs_by_name
            .iter()
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The copy for a simulator at `bus`, with everything that is kept below `folder`.
    pub(super) fn copy(&self, bus: &str, folder: &Path) -> String {
        let mut table = self.table.clone();
        let below = |name: &str| Value::String(folder.join(name).display().to_string());
        let gateway = section_mut(&mut table, "gateway");
        gateway.insert("state_dir".into(), below("state"));
        let mqtt = section_mut(&mut table, "mqtt");
        mqtt.remove("password_file");
        mqtt.remove("tls");
        mqtt.insert("password".into(), Value::String("scenario".into()));
        mqtt.insert("host".into(), Value::String("127.0.0.1".into()));
        mqtt.insert("port".into(), Value::Integer(NO_BROKER_PORT));
        let mut spare = 200;
        for entry in tables_mut(&mut table, "bus") {
            match text_of(Some(entry), "kind") {
                Some("guard") => {
                    entry.insert("socket".into(), below("guard.sock"));
                    continue;
                }
                Some("one-wire") => {
                    entry.insert("root".into(), below("one-wire"));
                    continue;
                }
                Some("rs485") => {
                    entry.insert("device".into(), below(SERIAL));
                    continue;
                }
                Some(_) | None => {}
            }
            entry.remove("gpio_chip");
            entry.insert("kind".into(), Value::String("simulated".into()));
            entry.insert("address".into(), Value::String(bus.to_owned()));
            entry.insert("waits_for_delivery".into(), Value::Boolean(false));
            if !entry.contains_key("i2c") {
                entry.insert("i2c".into(), Value::Integer(spare));
                spare += 1;
            }
        }
        self.rewire(&mut table);
        toml::to_string(&table).expect("a table that was read can be written")
    }

    /// Pins and serial numbers are the simulator's.
    fn rewire(&self, table: &mut Table) {
        let mut serials = ONE_WIRE_IDS.iter();
        let mut pins = [
            ("flow-meter", Some(FLOW_METER_PIN)),
            ("rain-gauge", Some(RAIN_GAUGE_PIN)),
        ];
        for device in tables_mut(table, "device") {
            let kind = text_of(Some(device), "kind").unwrap_or_default().to_owned();
            if kind == "ds18b20"
                && let Some((_, serial)) = serials.next()
            {
                device.insert("rom".into(), Value::String((*serial).to_owned()));
            }
            let pin = pins.iter_mut().find(|(of, _)| *of == kind);
            if let Some(pin) = pin.and_then(|(_, pin)| pin.take()) {
                device.insert("pin".into(), Value::Integer(pin.into()));
            }
        }
        for (name, pin) in [("siren", SIREN_PIN), ("beacon", BEACON_PIN)] {
            if let Some(horn) = table.get_mut(name).and_then(Value::as_table_mut) {
                horn.insert("line".into(), Value::Integer(pin.into()));
                horn.insert("active".into(), Value::String("high".into()));
            }
        }
        let guarded = self.guarded();
        let Some(guard) = table.get_mut("guard").and_then(Value::as_table_mut) else {
            return;
        };
        for output in tables_mut(guard, "output") {
            let number = output
                .get("number")
                .and_then(Value::as_integer)
                .unwrap_or_default();
            let Some((_, place)) = guarded.iter().find(|(known, _)| *known == number) else {
                continue;
            };
            let is_line = text_of(Some(output), "kind") == Some("gpio");
            let pin = RELAY_PINS.get(*place).copied().filter(|_| is_line);
            match pin {
                Some(pin) => {
                    output.insert("line".into(), Value::Integer(pin.into()));
                    output.insert("active".into(), Value::String("high".into()));
                }
                None => {
                    output.insert("pin".into(), Value::Integer(integer(*place)));
                    output.insert("active".into(), Value::String("low".into()));
                }
            }
        }
    }

    /// Which output is what. A drip controller's outputs keep their numbers; those of a guard take what
    /// is left, in their order.
    fn wire(&mut self) -> Result<(), String> {
        let mut wanted: Vec<(String, Wired)> = Vec::new();
        for zone in tables(&self.table, "zone") {
            let name = text_of(Some(zone), "id").unwrap_or_default().to_owned();
            wanted.extend(wired(zone).map(|wired| (name, wired)));
        }
        let irrigation = section(&self.table, "irrigation");
        for key in SUPPLY {
            let output = irrigation
                .and_then(|own| own.get(key))
                .and_then(Value::as_table);
            let name = key.replace('_', "-");
            wanted.extend(output.and_then(wired).map(|wired| (name, wired)));
        }
        let drips = self.controllers("drip-controller");
        if drips.len() > 1 {
            return Err("there are several drip controllers: the simulator has one".into());
        }
        let guarded = self.guarded();
        for (name, (controller, number)) in wanted {
            let output = if drips.contains(&controller) {
                usize::try_from(number - 1).ok()
            } else {
                let found = guarded.iter().find(|(known, _)| *known == number);
                found.map(|(_, output)| *output)
            };
            let Some(output) = output.filter(|output| *output < OUTPUTS_MAX) else {
                let most = OUTPUTS_MAX;
                return Err(format!(
                    "{name}: the simulator's plumbing has {most} outputs, for this none"
                ));
            };
            let place = u8::try_from(output + 1).ok();
            match name.as_str() {
                "master-valve" => self.plant.master_valve = place,
                "pump" => self.plant.pump = place,
                "dosing" => self.plant.dosing = place,
                _ => {}
            }
            self.outputs = self.outputs.max(output + 1);
            self.outputs_by_name.push((name, output));
        }
        Ok(())
    }

    /// The guard's outputs by number, each with its place in the plumbing.
    fn guarded(&self) -> Vec<(i64, usize)> {
        let drips = self.controllers("drip-controller");
        let taken: Vec<usize> = tables(&self.table, "zone")
            .filter_map(wired)
            .filter(|(controller, _)| drips.contains(controller))
            .filter_map(|(_, number)| usize::try_from(number - 1).ok())
            .collect();
        let supply = section(&self.table, "irrigation").into_iter();
        let supply =
            supply.flat_map(|own| SUPPLY.iter().filter_map(|key| own.get(*key)?.as_table()));
        let also: Vec<usize> = supply
            .filter_map(wired)
            .filter(|(controller, _)| drips.contains(controller))
            .filter_map(|(_, number)| usize::try_from(number - 1).ok())
            .collect();
        let free = (0..OUTPUTS_MAX).filter(|place| !taken.contains(place) && !also.contains(place));
        let Some(guard) = section(&self.table, "guard") else {
            return Vec::new();
        };
        let numbers =
            tables(guard, "output").filter_map(|output| output.get("number")?.as_integer());
        numbers.zip(free).collect()
    }

    fn controllers(&self, kind: &str) -> Vec<String> {
        let of_kind = tables(&self.table, "device")
            .filter(|device| text_of(Some(device), "kind") == Some(kind));
        of_kind
            .filter_map(|device| Some(text_of(Some(device), "id")?.to_owned()))
            .collect()
    }

    /// Chips answer where the configuration looks for them.
    fn place(&mut self) {
        let number = |id: Option<&str>| {
            let mut buses = tables(&self.table, "bus");
            let bus = buses.find(|bus| text_of(Some(bus), "id") == id)?;
            u8::try_from(bus.get("i2c")?.as_integer()?).ok()
        };
        let mut wanted: Vec<(String, u8, Option<u8>)> = Vec::new();
        for device in tables(&self.table, "device") {
            let kind = text_of(Some(device), "kind").unwrap_or_default();
            let bus = number(text_of(Some(device), "bus"));
            if let Some(bus) = bus.filter(|_| !device.contains_key("mux")) {
                wanted.push((kind.to_owned(), bus, address(device)));
            }
        }
        for output in section(&self.table, "guard")
            .into_iter()
            .flat_map(|own| tables(own, "output"))
        {
            let kind = text_of(Some(output), "kind").unwrap_or_default();
            let bus = number(text_of(Some(output), "bus"));
            let entry = bus.map(|bus| (format!("{kind} relays"), bus, address(output)));
            wanted.extend(entry.filter(|entry| kind != "gpio" && !wanted.contains(entry)));
        }
        let boards = wanted
            .iter()
            .filter(|(kind, _, _)| kind == "ads1115")
            .count();
        self.boards = boards.saturating_sub(1).min(boards_of());
        let mut used: Vec<&'static str> = Vec::new();
        // Who stands where the layout has it stays there.
        for is_settled in [true, false] {
            for (kind, bus, address) in &wanted {
                let here = |chip: &&(&'static str, u8, u8)| {
                    chip.1 == *bus && address.is_none_or(|address| address == chip.2)
                };
                let chips = chips_of(kind, self.boards);
                if chips.iter().any(|chip| here(&chip)) != is_settled {
                    continue;
                }
                let mut free = chips.iter().filter(|chip| !used.contains(&chip.0));
                let chip = if is_settled {
                    free.find(here)
                } else {
                    free.next()
                };
                let Some((name, _, usual)) = chip else {
                    continue;
                };
                used.push(name);
                if !is_settled || *name == DRIP {
                    self.places.push(Placed {
                        name: (*name).to_owned(),
                        bus: *bus,
                        address: address.unwrap_or(*usual),
                    });
                }
            }
        }
    }
}

fn wired(table: &Table) -> Option<Wired> {
    let controller = text_of(Some(table), "controller")?.to_owned();
    Some((controller, table.get("output")?.as_integer()?))
}

fn address(table: &Table) -> Option<u8> {
    match table.get("address")? {
        Value::Integer(address) => u8::try_from(*address).ok(),
        Value::String(text) => {
            let digits = text.strip_prefix("0x")?;
            u8::from_str_radix(digits, 16).ok()
        }
        Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_) => None,
    }
}

fn section<'a>(table: &'a Table, key: &str) -> Option<&'a Table> {
    table.get(key)?.as_table()
}

fn section_mut<'a>(table: &'a mut Table, key: &str) -> &'a mut Table {
    let entry = table
        .entry(key)
        .or_insert_with(|| Value::Table(Table::new()));
    if !entry.is_table() {
        *entry = Value::Table(Table::new());
    }
    entry.as_table_mut().expect("it was made a table above")
}

fn tables<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a Table> {
    let list = table.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_table)
}

fn tables_mut<'a>(table: &'a mut Table, key: &str) -> impl Iterator<Item = &'a mut Table> {
    let list = table.get_mut(key).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_table_mut)
}

fn text_of<'a>(table: Option<&'a Table>, key: &str) -> Option<&'a str> {
    table?.get(key)?.as_str()
}

fn integer(place: usize) -> i64 {
    i64::try_from(place).unwrap_or_default()
}
