//! Reading by reading: whether what a gateway's journal holds is in an export of the archive.
//!
//! The books compare counts; this compares times, values and qualities, so that two mistakes can't
//! make up for each other. It sees what the journal still holds: acknowledged segments stay until
//! their space is needed.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;

/// What became of the readings of journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compared {
    /// Readings with a known time in journals.
    pub readings: u64,
    /// In the archive with the same value and quality, once.
    pub equal: u64,
    /// In the archive with others.
    pub different: u64,
    /// Not in the archive.
    pub missing: u64,
    /// In the archive more than once.
    pub twice: u64,
    /// Readings of a boot whose wall time only a mapping gives: not compared.
    pub timeless: u64,
}

impl Compared {
    /// Adds another journal's.
    pub fn add(&mut self, other: Compared) {
        self.readings += other.readings;
        self.equal += other.equal;
        self.different += other.different;
        self.missing += other.missing;
        self.twice += other.twice;
        self.timeless += other.timeless;
    }

    /// Whether all readings came through as they were.
    #[must_use]
    pub fn is_perfect(&self) -> bool {
        self.equal == self.readings && self.twice == 0
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compared {
            readings,
            equal,
            different,
            missing,
            twice,
            timeless,
        } = self;
        write!(
            f,
            "readings {readings}, equal {equal}, different {different}, missing {missing}, \
             twice {twice}, timeless {timeless}"
        )
    }
}

/// Greenhouse, device, channel, Unix milliseconds.
type Key = (String, String, String, i64);

/// An export of one cooperative.
#[derive(Debug, Default)]
pub struct Archived(HashMap<Key, Vec<(String, String)>>);

impl Archived {
    /// Reads an export as CSV.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let mut reader =
            csv::Reader::from_path(path).with_context(|| format!("open {}", path.display()))?;
        let mut out = Archived::default();
        for row in reader.records() {
            let row = row.context("read the export")?;
            let [time, greenhouse, device, channel, value, _, quality] = row
                .deserialize::<[String; 7]>(None)
                .context("read a row of the export")?;
            let time: Timestamp = time
                .parse()
                .with_context(|| format!("read the time {time:?}"))?;
            let key = (greenhouse, device, channel, time.as_millisecond());
            out.0.entry(key).or_default().push((value, quality));
        }
        Ok(out)
    }

    /// Looks for every reading of a journal, as `furrow-gateway journal --decode` prints it.
    ///
    /// # Errors
    /// When a line is not a record.
    pub fn compare(&self, greenhouse: &str, decoded: &str) -> anyhow::Result<Compared> {
        let mut compared = Compared::default();
        for line in decoded.lines() {
            let record: Value = serde_json::from_str(line).context("read a record")?;
            for column in list(&record, "/body/columns") {
                let text = |key: &str| column.get(key).and_then(Value::as_str).map(str::to_owned);
                let names = text("device").zip(text("name"));
                let (device, channel) = names.context("a column without its catalog")?;
                for sample in list(column, "/samples") {
                    let time = sample.get("unix_ms").and_then(Value::as_i64);
                    let Some(time) = time else {
                        compared.timeless += 1;
                        continue;
                    };
                    let key = (greenhouse.to_owned(), device.clone(), channel.clone(), time);
                    self.look(&key, sample, &mut compared);
                }
            }
        }
        Ok(compared)
    }

    fn look(&self, key: &Key, sample: &Value, compared: &mut Compared) {
        compared.readings += 1;
        match self.0.get(key).map(Vec::as_slice) {
            None | Some([]) => compared.missing += 1,
            Some([(value, quality), more @ ..]) => {
                compared.twice += u64::from(!more.is_empty());
                let wanted = sample.get("value").and_then(Value::as_f64);
                let is_value = match (wanted, value.parse::<f64>().ok()) {
                    (Some(wanted), Some(found)) => (wanted - found).abs() < 1e-9,
                    (None, None) => true,
                    (Some(_), None) | (None, Some(_)) => false,
                };
                let is_quality = sample.get("quality").and_then(Value::as_str) == Some(quality);
                if is_value && is_quality {
                    compared.equal += 1;
                } else {
                    compared.different += 1;
                }
            }
        }
    }
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let items = value.pointer(pointer).and_then(Value::as_array);
    items.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_difference_is_counted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let rows = [
            ("1970-01-01T00:00:01Z", "21.50", "good"),
            ("1970-01-01T00:00:02Z", "21.60", "good"),
            ("1970-01-01T00:00:03Z", "", "failed"),
            ("1970-01-01T00:00:05Z", "1.00", "good"),
            ("1970-01-01T00:00:05Z", "1.00", "good"),
        ];
        let mut text = "time,greenhouse,device,channel,value,unit,quality\n".to_owned();
        for (time, value, quality) in rows {
            text += &format!("{time},g,d,c,{value},Cel,{quality}\n");
        }
        std::fs::write(file.path(), text).unwrap();
        let sample = |time: Option<u64>, value: Value, quality: &str| serde_json::json!({ "unix_ms": time, "value": value, "quality": quality });
        let samples = [
            sample(Some(1000), 21.5.into(), "good"),
            sample(Some(2000), 21.5.into(), "good"),
            sample(Some(3000), Value::Null, "failed"),
            sample(Some(4000), 1.0.into(), "good"),
            sample(Some(5000), 1.0.into(), "good"),
            sample(None, 1.0.into(), "good"),
        ];
        let columns = serde_json::json!([{ "device": "d", "name": "c", "samples": samples }]);
        let batch = serde_json::json!({ "kind": "batch", "body": { "columns": columns } });
        let lines = format!("{{\"kind\":\"events\",\"body\":{{}}}}\n{batch}");
        let compared = Archived::read(file.path())
            .unwrap()
            .compare("g", &lines)
            .unwrap();
        assert_eq!(
            compared.to_string(),
            "readings 5, equal 3, different 1, missing 1, twice 1, timeless 1"
        );
        assert!(!compared.is_perfect());
    }
}
