//! `config diff`: what the local file says, and what orders from ingest make of it.

use std::path::Path;
use std::process::ExitCode;

use furrow_gateway_core::orders::Book;
use furrow_wire::Orders;
use serde_json::json;

use super::plan_text::{Line, lines};
use super::{EXIT_FAILURE, load_local, print};
use crate::config::{LocalFile, Settings};
use crate::orders;

/// Show what the local file says and what orders from ingest change
#[derive(Debug, clap::Args)]
pub struct Config {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Diff(Diff),
}

/// Compare the local file's plantings, schedules and rules with those of the orders from ingest
///
/// Reads files only, beside a running gateway, too. Lines with - are the local file's and do not hold,
/// lines with + are the orders', all others are the same in both. Wiring and limits are the local
/// file's alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    furrow-gateway config diff\n  \
    furrow-gateway config diff --json")]
struct Diff {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Config {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let What::Diff(diff) = &self.what;
        let (local, settings) = match load_local(config) {
            Ok(loaded) => loaded,
            Err(code) => return code,
        };
        match orders::load(&settings.gateway().state_dir) {
            Ok(book) => diff.print(&local, &settings, book),
            Err(error) => {
                print::error(&error);
                ExitCode::from(EXIT_FAILURE)
            }
        }
    }
}

impl Diff {
    fn print(&self, local: &LocalFile, settings: &Settings, book: Book) -> ExitCode {
        let on_trial = book.trial.map(|trial| (trial.orders, "on trial"));
        let stays = book.confirmed.map(|orders| (orders, "confirmed"));
        let Some((orders, state)) = on_trial.or(stays) else {
            if self.json {
                print::line(json!({ "version": null, "seen": book.seen }).to_string());
            } else {
                print::line("there are no orders from ingest: the local file alone holds");
            }
            return ExitCode::SUCCESS;
        };
        let other = match local.with_orders(&orders.text) {
            Ok(other) => other,
            Err(error) => {
                print::error(&error);
                let version = orders.version;
                print::line(format!(
                    "the orders of version {version} do not fit the local file, which alone holds"
                ));
                return ExitCode::from(EXIT_FAILURE);
            }
        };
        let text = compare(
            &orders,
            state,
            (&lines(settings), &lines(&other)),
            self.json,
        );
        print::line(text);
        ExitCode::SUCCESS
    }
}

fn compare(orders: &Orders, state: &str, (own, ordered): (&[Line], &[Line]), json: bool) -> String {
    let texts = |of: &[Line], but: &[Line]| -> Vec<String> {
        let only = of.iter().filter(|line| !but.contains(line));
        only.map(|line| line.text.clone()).collect()
    };
    let (removed, added) = (texts(own, ordered), texts(ordered, own));
    let (version, by) = (orders.version, &orders.issued_by);
    if json {
        let report = json!({
            "version": version, "by": by, "state": state, "removed": removed, "added": added,
        });
        return report.to_string();
    }
    let mut text = format!("orders of version {version}, by {by}, {state}\n");
    let mut put = |sign: char, line: &str| text.push_str(&format!("{sign} {line}\n"));
    for line in own {
        put(if ordered.contains(line) { ' ' } else { '-' }, &line.text);
    }
    for line in &added {
        put('+', line);
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_orders_change_is_told() {
        let deploy = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../deploy/gateway-simulated.toml"
        );
        let local = LocalFile::read(Path::new(deploy)).unwrap();
        let own = local.settings().unwrap();
        let orders = Orders {
            version: 3,
            issued_by: "chị Hoa".into(),
            text: r#"
season = [50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50]
[[planting]]
id = "dua-luoi-2026-11"
zones = ["zone-1"]
crop = "sweet-melon"
planted = "2026-11-01"
[[zone]]
id = "zone-1"
schedule = [
    { at = "06:00", for = "10min" },
    { at = "07:00", for = "5min", days = "mon,fri" },
]
"#
            .into(),
        };
        let other = local.with_orders(&orders.text).unwrap();
        let expected = "\
orders of version 3, by chị Hoa, on trial
  zone-1: at 06:00 for 600 s
- zone-1: at 15:30 for 480 s
  zone-2: at 06:15 for 600 s
+ season: 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50 % by month
+ planting dua-luoi-2026-11: sweet-melon in zone-1 since 2026-11-01
+ zone-1: mon, fri at 07:00 for 300 s";
        let both = (lines(&own), lines(&other));
        let text = compare(&orders, "on trial", (&both.0, &both.1), false);
        assert_eq!(text, expected);
    }
}
