//! Which part of ingest used the processor and wrote to files, by the names of its threads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;

use super::figure::Figure;
use super::usage::{name_and_cpu, read};

/// A part of ingest that has threads of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The embedded broker.
    Broker,
    /// Ingest's own end of the link to the broker; the HTTP interface, webhook and stores share its threads.
    Link,
    /// Decides, appends to the log and syncs it.
    LogWriter,
    /// Decodes, judges alert rules, writes archives.
    LogConsumer,
    /// Every other thread, also those that have ended.
    Rest,
}

/// What a stage has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Spent {
    cpu_s: f64,
    /// Given to write calls: to files, and little else where a stage has no connections.
    written: f64,
}

/// What all stages of a process have used so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stages(BTreeMap<Stage, Spent>);

impl Stage {
    const ALL: [Self; 5] = [
        Self::Broker,
        Self::Link,
        Self::LogWriter,
        Self::LogConsumer,
        Self::Rest,
    ];

    /// Threads of tokio are called so unless told otherwise, and the broker's library has workers of its own.
    fn of(thread: &str) -> Self {
        const PREFIXES: [(&str, Stage); 6] = [
            ("broker", Stage::Broker),
            ("tokio-rt-worker", Stage::Link),
            ("log-writer", Stage::LogWriter),
            ("log-consumer", Stage::LogConsumer),
            ("archive", Stage::LogConsumer),
            ("decode", Stage::LogConsumer),
        ];
        let mut known = PREFIXES.into_iter();
        let found = known.find(|(prefix, _)| thread.starts_with(prefix));
        found.map_or(Self::Rest, |(_, stage)| stage)
    }

    fn text(self) -> &'static str {
        match self {
            Stage::Broker => "embedded broker",
            Stage::Link => "link to the broker, API",
            Stage::LogWriter => "log writer",
            Stage::LogConsumer => "log consumer: decoding, alerts, archive",
            Stage::Rest => "all other threads",
        }
    }
}

impl Stages {
    /// Of the process `id`.
    pub(super) fn of(id: u32) -> anyhow::Result<Self> {
        let process = PathBuf::from(format!("/proc/{id}"));
        let all = Spent {
            cpu_s: name_and_cpu(&process)?.1,
            written: written(&process)?,
        };
        let entries = std::fs::read_dir(process.join("task")).context("list the threads")?;
        let threads = entries.flatten().filter_map(|entry| {
            // A thread that ends meanwhile is in what all threads used.
            let (name, cpu_s) = name_and_cpu(&entry.path()).ok()?;
            let written = written(&entry.path()).ok()?;
            Some((name, Spent { cpu_s, written }))
        });
        Ok(Self::sum(all, threads))
    }

    /// What no named stage used is of the rest.
    fn sum(all: Spent, threads: impl Iterator<Item = (String, Spent)>) -> Self {
        let mut stages = BTreeMap::from(Stage::ALL.map(|stage| (stage, Spent::default())));
        let mut rest = all;
        for (name, spent) in threads {
            let stage = Stage::of(&name);
            if stage == Stage::Rest {
                continue;
            }
            let sum = stages.entry(stage).or_default();
            sum.cpu_s += spent.cpu_s;
            sum.written += spent.written;
            rest.cpu_s -= spent.cpu_s;
            rest.written -= spent.written;
        }
        // The clock ticks on between two files of /proc.
        rest.cpu_s = rest.cpu_s.max(0.0);
        stages.insert(Stage::Rest, rest);
        Stages(stages)
    }

    /// CPU of each stage for so many readings, and what log and archive wrote.
    pub(super) fn figures_since(&self, before: &Self, readings: f64) -> Vec<Figure> {
        let since = |stage: Stage| {
            let of = |stages: &Self| stages.0.get(&stage).copied().unwrap_or_default();
            let (now, before) = (of(self), of(before));
            Spent {
                cpu_s: (now.cpu_s - before.cpu_s).max(0.0),
                written: (now.written - before.written).max(0.0),
            }
        };
        let cpu = Stage::ALL.map(|stage| {
            let name = format!("ingest: CPU of it, {}", stage.text());
            Figure::plain(&name, since(stage).cpu_s / readings * 1e6, "s/M readings")
        });
        let wrote = [("log", Stage::LogWriter), ("archive", Stage::LogConsumer)];
        let wrote = wrote.map(|(what, stage)| {
            let name = format!("ingest: written to the {what}");
            Figure::plain(&name, since(stage).written / readings, "B/reading")
        });
        cpu.into_iter().chain(wrote).collect()
    }
}

/// Bytes given to write calls, by its folder below `/proc`.
fn written(at: &std::path::Path) -> anyhow::Result<f64> {
    let text = read(&at.join("io"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    let bytes = line.context("no wchar")?;
    bytes.trim().parse().context("read wchar")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(cpu_s: f64, written: f64) -> Spent {
        Spent { cpu_s, written }
    }

    #[test]
    fn every_thread_has_its_stage_and_what_has_ended_is_of_the_rest() {
        let threads = [
            ("furrow-ingest", spent(0.5, 10.0)),
            ("broker-worker", spent(2.0, 1.0)),
            ("broker-worker", spent(3.0, 1.0)),
            ("broker", spent(1.0, 0.0)),
            ("tokio-rt-worker", spent(4.0, 2.0)),
            ("log-writer", spent(5.0, 200.0)),
            ("log-consumer", spent(6.0, 300.0)),
            ("futures-timer", spent(0.25, 0.0)),
        ];
        let before = Stages::sum(Spent::default(), std::iter::empty());
        let threads = threads.map(|(name, spent)| (name.to_owned(), spent));
        let after = Stages::sum(spent(24.0, 520.0), threads.into_iter());
        let figures = after.figures_since(&before, 100.0);
        let figures: Vec<(&str, f64)> = figures
            .iter()
            .map(|figure| (figure.name.as_str(), figure.value))
            .collect();
        let expected = [
            ("ingest: CPU of it, embedded broker", 60_000.0),
            ("ingest: CPU of it, link to the broker, API", 40_000.0),
            ("ingest: CPU of it, log writer", 50_000.0),
            (
                "ingest: CPU of it, log consumer: decoding, alerts, archive",
                60_000.0,
            ),
            ("ingest: CPU of it, all other threads", 30_000.0),
            ("ingest: written to the log", 2.0),
            ("ingest: written to the archive", 3.0),
        ];
        assert_eq!(figures, expected);
    }

    #[test]
    fn a_process_of_this_machine_is_read() {
        let stages = Stages::of(std::process::id()).unwrap();
        assert_eq!(stages.0.len(), Stage::ALL.len());
    }
}
