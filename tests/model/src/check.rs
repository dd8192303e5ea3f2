//! The search, breadth first: the first counterexample is a shortest one.

use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::model::Delivery;
use crate::step::Step;

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Different states visited.
    pub states: usize,
    /// Steps to the farthest of them.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Whether every state within the bounds was visited.
    pub is_complete: bool,
    /// What must hold and does not, with the steps that show it.
    pub broken: Vec<(&'static str, Vec<Step>)>,
    /// What was to be reached and was.
    pub reached: Vec<&'static str>,
    /// What was to be reached and was not. Small bounds do not reach everything.
    pub unreached: Vec<&'static str>,
}

/// Visits every state within the bounds, at most for `patience`; ends at the first counterexample.
#[must_use]
pub fn check(model: Delivery, threads: usize, patience: Duration) -> Verdict {
    search(model, threads, patience, HasDiscoveries::AnyFailures)
}

/// The same, until it finds a counterexample to this property.
#[must_use]
pub fn hunt(
    model: Delivery,
    property: &'static str,
    threads: usize,
    patience: Duration,
) -> Verdict {
    let until = HasDiscoveries::AnyOf([property].into_iter().collect());
    search(model, threads, patience, until)
}

fn search(model: Delivery, threads: usize, patience: Duration, until: HasDiscoveries) -> Verdict {
    let properties = model.properties();
    let began = Instant::now();
    let checker = model
        .checker()
        .threads(threads)
        .timeout(patience)
        .finish_when(until)
        .spawn_bfs()
        .join();
    let took = began.elapsed();
    let mut verdict = Verdict {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took,
        is_complete: took < patience,
        broken: Vec::new(),
        reached: Vec::new(),
        unreached: Vec::new(),
    };
    for property in properties {
        let path = checker.discovery(property.name);
        match (property.expectation, path) {
            (Expectation::Sometimes, Some(_)) => verdict.reached.push(property.name),
            (Expectation::Sometimes, None) => verdict.unreached.push(property.name),
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                verdict.broken.push((property.name, path.into_actions()));
            }
            (Expectation::Always | Expectation::Eventually, None) => {}
        }
    }
    verdict
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        let how = if self.is_complete { "all" } else { "NOT ALL" };
        writeln!(
            f,
            "{} states, {} steps deep, {how} within the bounds, {seconds:.1} s",
            self.states, self.depth
        )?;
        for (name, steps) in &self.broken {
            writeln!(f, "BROKEN: {name}")?;
            for (number, step) in steps.iter().enumerate() {
                writeln!(f, "  {:2}. {step:?}", number + 1)?;
            }
        }
        for name in &self.reached {
            writeln!(f, "reached: {name}")?;
        }
        for name in &self.unreached {
            writeln!(f, "not reached: {name}")?;
        }
        Ok(())
    }
}
