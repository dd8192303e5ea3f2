//! A recorded greenhouse: rows of a CSV file, looked up by time.
//!
//! Columns are found by name and others ignored. A row that can't be read is an error with its line: a
//! replay must not invent a value.

use std::io::Read;

use crate::physics::air::Air;
use crate::physics::weather::Weather;

/// Most rows of a trace: five years at five minutes. A larger file is not a trace of a greenhouse.
const ROWS_MAX: usize = 600_000;
/// Where the file says nothing about the wind, m/s.
const WIND_M_S: f64 = 2.0;

/// Rows in the order of time; at least two.
#[derive(Debug, Clone)]
pub struct Trace {
    rows: Vec<Row>,
}

/// What was recorded at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Unix time, ms.
    pub unix_ms: i64,
    /// Air inside.
    pub inside: Air,
    /// CO2 inside, ppm.
    pub co2_ppm: f64,
    /// Outside.
    pub outside: Weather,
    /// Openings at the sheltered and at the windward side, 0 to 1, if recorded.
    pub vents: Option<(f64, f64)>,
}

/// Why a file is not a trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file can't be read, or is not CSV.
    #[error("read trace")]
    Csv(#[from] csv::Error),
    /// A column that is needed is not there.
    #[error("column {0} is missing")]
    Column(&'static str),
    /// A field of a row is wrong.
    #[error("line {line}: {column} is {text:?}, which is not {wanted}")]
    Field {
        /// Line in the file, from 1.
        line: u64,
        /// Name of the column.
        column: &'static str,
        /// What stands there.
        text: String,
        /// What should stand there.
        wanted: &'static str,
    },
    /// Times don't grow.
    #[error("line {line}: time is not after that of the row before")]
    Order {
        /// Line in the file, from 1.
        line: u64,
    },
    /// Too few or too many rows.
    #[error("{0} rows: a trace has 2 to {ROWS_MAX}")]
    Rows(usize),
}

/// Places of the columns.
struct Columns {
    time: usize,
    temperature: usize,
    humidity: usize,
    co2: usize,
    global: usize,
    outside_temperature: usize,
    outside_humidity: usize,
    wind: Option<usize>,
    vent_lee: Option<usize>,
    vent_wind: Option<usize>,
}

const TIME: &str = "time";
const TEMPERATURE: &str = "air_temperature_c";
const HUMIDITY: &str = "relative_humidity_pct";
const CO2: &str = "co2_ppm";
const GLOBAL: &str = "outside_global_w_m2";
const OUTSIDE_TEMPERATURE: &str = "outside_temperature_c";
const OUTSIDE_HUMIDITY: &str = "outside_relative_humidity_pct";
const WIND: &str = "wind_speed_m_s";
const VENT_LEE: &str = "vent_lee_pct";
const VENT_WIND: &str = "vent_wind_pct";

impl Trace {
    /// Reads a CSV file with a header.
    ///
    /// # Errors
    /// [`TraceError`] for the first thing that is wrong, with its line where it has one.
    pub fn read(source: impl Read) -> Result<Self, TraceError> {
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(source);
        let columns = Columns::of(reader.headers()?)?;
        let mut rows: Vec<Row> = Vec::new();
        for record in reader.records() {
            let record = record?;
            let line = record.position().map_or(0, csv::Position::line);
            let row = columns.row(&record, line)?;
            if rows.last().is_some_and(|last| last.unix_ms >= row.unix_ms) {
                return Err(TraceError::Order { line });
            }
            if rows.len() == ROWS_MAX {
                return Err(TraceError::Rows(ROWS_MAX + 1));
            }
            rows.push(row);
        }
        if rows.len() < 2 {
            return Err(TraceError::Rows(rows.len()));
        }
        Ok(Self { rows })
    }

    /// The row whose time is nearest; between two, the later one.
    pub fn at(&self, unix_ms: i64) -> &Row {
        let after = self.rows.partition_point(|row| row.unix_ms <= unix_ms);
        let before = self.row(after.saturating_sub(1));
        let next = self.row(after);
        if next.unix_ms.abs_diff(unix_ms) <= unix_ms.abs_diff(before.unix_ms) {
            next
        } else {
            before
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Never: a trace has at least two rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Time of the first row and step to the second, ms.
    pub fn first(&self) -> (i64, i64) {
        let (first, second) = (self.row(0), self.row(1));
        (first.unix_ms, second.unix_ms - first.unix_ms)
    }

    /// Time of the last row and step from the one before, ms.
    pub fn last(&self) -> (i64, i64) {
        let (last, before) = (
            self.row(self.rows.len() - 1),
            self.row(self.rows.len().saturating_sub(2)),
        );
        (last.unix_ms, last.unix_ms - before.unix_ms)
    }

    /// The row at a place, or the last one.
    fn row(&self, place: usize) -> &Row {
        self.rows
            .get(place)
            .or(self.rows.last())
            .expect("a trace has at least two rows")
    }
}

impl Columns {
    fn of(header: &csv::StringRecord) -> Result<Self, TraceError> {
        let find = |name: &str| header.iter().position(|column| column == name);
        let need = |name: &'static str| find(name).ok_or(TraceError::Column(name));
        Ok(Self {
            time: need(TIME)?,
            temperature: need(TEMPERATURE)?,
            humidity: need(HUMIDITY)?,
            co2: need(CO2)?,
            global: need(GLOBAL)?,
            outside_temperature: need(OUTSIDE_TEMPERATURE)?,
            outside_humidity: need(OUTSIDE_HUMIDITY)?,
            wind: find(WIND),
            vent_lee: find(VENT_LEE),
            vent_wind: find(VENT_WIND),
        })
    }

    fn row(&self, record: &csv::StringRecord, line: u64) -> Result<Row, TraceError> {
        let text = |place| record.get(place).unwrap_or_default();
        let number = |place, column, from: f64, to: f64, wanted| {
            let text = text(place);
            match text.parse::<f64>() {
                Ok(value) if (from..=to).contains(&value) => Ok(value),
                _ => Err(TraceError::Field {
                    line,
                    column,
                    text: text.to_owned(),
                    wanted,
                }),
            }
        };
        let celsius = |place, column| {
            number(
                place,
                column,
                -45.0,
                130.0,
                "a temperature of -45 to 130 °C",
            )
        };
        let percent = |place, column| number(place, column, 0.0, 100.0, "a share of 0 to 100 %");
        let time = text(self.time);
        let time: jiff::Timestamp = time.parse().map_err(|_| TraceError::Field {
            line,
            column: TIME,
            text: time.to_owned(),
            wanted: "a time as in 2018-09-10T00:05:00Z",
        })?;
        let wind_m_s = match self.wind {
            Some(place) => number(place, WIND, 0.0, 100.0, "a wind of 0 to 100 m/s")?,
            None => WIND_M_S,
        };
        let vents = match (self.vent_lee, self.vent_wind) {
            (Some(lee), Some(wind)) => Some((
                percent(lee, VENT_LEE)? / 100.0,
                percent(wind, VENT_WIND)? / 100.0,
            )),
            (Some(_) | None, Some(_) | None) => None,
        };
        Ok(Row {
            unix_ms: time.as_millisecond(),
            inside: Air {
                temperature_c: celsius(self.temperature, TEMPERATURE)?,
                humidity_pct: percent(self.humidity, HUMIDITY)?,
            },
            co2_ppm: number(self.co2, CO2, 0.0, 65_535.0, "a share of 0 to 65535 ppm")?,
            outside: Weather {
                air: Air {
                    temperature_c: celsius(self.outside_temperature, OUTSIDE_TEMPERATURE)?,
                    humidity_pct: percent(self.outside_humidity, OUTSIDE_HUMIDITY)?,
                },
                global_w_m2: number(self.global, GLOBAL, 0.0, 1_600.0, "0 to 1600 W/m²")?,
                wind_m_s,
                rain_mm_h: 0.0,
            },
            vents,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "time,air_temperature_c,relative_humidity_pct,co2_ppm,note,\
        outside_global_w_m2,outside_temperature_c,outside_relative_humidity_pct\n";

    fn read(rows: &str) -> Result<Trace, String> {
        Trace::read(format!("{HEADER}{rows}").as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_hold_half_a_step_to_either_side() {
        let trace = read(
            "2026-01-01T00:00:00Z,20.1,91.6,508,x,0,17,81.9\n\
             2026-01-01T00:05:00Z,20.2,91.7,509,y,1.5,17.1,82\n\
             2026-01-01T00:10:00Z, 20.3 ,91.8,510,z,2,17.2,82.1\n",
        )
        .unwrap();
        assert_eq!(trace.len(), 3);
        let (first, step) = trace.first();
        assert_eq!(step, 300_000);
        assert_eq!(trace.last(), (first + 600_000, 300_000));
        for (second, co2) in [
            (-1_000, 508.0),
            (0, 508.0),
            (149, 508.0),
            (150, 509.0),
            (300, 509.0),
            (449, 509.0),
            (450, 510.0),
            (600, 510.0),
            (9_000, 510.0),
        ] {
            let row = trace.at(first + second * 1_000);
            assert_eq!(row.co2_ppm.to_bits(), f64::to_bits(co2), "{second}");
        }
        let row = trace.at(first + 300_000);
        assert_eq!(
            *row,
            Row {
                unix_ms: first + 300_000,
                inside: Air {
                    temperature_c: 20.2,
                    humidity_pct: 91.7
                },
                co2_ppm: 509.0,
                outside: Weather {
                    air: Air {
                        temperature_c: 17.1,
                        humidity_pct: 82.0
                    },
                    global_w_m2: 1.5,
                    wind_m_s: WIND_M_S,
                    rain_mm_h: 0.0,
                },
                vents: None,
            }
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let check = |rows: &str, expected: &str| {
            assert_eq!(read(rows).unwrap_err(), expected);
        };
        let good = "2026-01-01T00:00:00Z,20.1,91.6,508,x,0,17,81.9\n";
        check("", "0 rows: a trace has 2 to 600000");
        check(good, "1 rows: a trace has 2 to 600000");
        check(
            &format!("{good}{good}"),
            "line 3: time is not after that of the row before",
        );
        check(
            &format!("{good}yesterday,20.1,91.6,508,x,0,17,81.9\n"),
            "line 3: time is \"yesterday\", which is not a time as in 2018-09-10T00:05:00Z",
        );
        check(
            "2026-01-01T00:00:00Z,,91.6,508,x,0,17,81.9\n",
            "line 2: air_temperature_c is \"\", which is not a temperature of -45 to 130 °C",
        );
        check(
            "2026-01-01T00:00:00Z,20,NaN,508,x,0,17,81.9\n",
            "line 2: relative_humidity_pct is \"NaN\", which is not a share of 0 to 100 %",
        );
        check(
            "2026-01-01T00:00:00Z,20,91,70000,x,0,17,81.9\n",
            "line 2: co2_ppm is \"70000\", which is not a share of 0 to 65535 ppm",
        );
        check("2026-01-01T00:00:00Z,20\n", "read trace");
        let missing = Trace::read("time,co2_ppm\n".as_bytes()).unwrap_err();
        assert_eq!(missing.to_string(), "column air_temperature_c is missing");
    }

    #[test]
    fn recorded_wind_and_vents_are_used() {
        let text = "time,air_temperature_c,relative_humidity_pct,co2_ppm,vent_lee_pct,vent_wind_pct,\
            outside_global_w_m2,outside_temperature_c,outside_relative_humidity_pct,wind_speed_m_s\n\
            2026-01-01T00:00:00Z,19.80,91.60,508.00,23.00,2.50,0.00,17.00,81.90,3.50\n\
            2026-01-01T00:05:00Z,19.70,90.80,519.00,25.00,2.50,0.00,16.80,83.90,3.50\n";
        let trace = Trace::read(text.as_bytes()).unwrap();
        assert_eq!(trace.at(0).vents, Some((0.23, 0.025)));
        assert_eq!(trace.at(0).outside.wind_m_s.to_bits(), 3.5_f64.to_bits());
    }
}
