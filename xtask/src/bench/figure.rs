//! One measured figure and its budget.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A figure. Budgets are upper bounds unless `at_least` is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What was measured, and under which conditions.
    pub(crate) name: String,
    /// The value.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: String,
    /// The budget, if there is one for just these conditions.
    pub(crate) budget: Option<f64>,
    /// The budget is a lower bound.
    #[serde(default)]
    pub(crate) at_least: bool,
}

impl Figure {
    /// A figure with an upper bound.
    pub(crate) fn at_most(name: &str, value: f64, unit: &str, budget: f64) -> Self {
        Figure {
            budget: Some(budget),
            ..Self::plain(name, value, unit)
        }
    }

    /// A figure without a budget.
    pub(crate) fn plain(name: &str, value: f64, unit: &str) -> Self {
        let (name, unit) = (name.to_owned(), unit.to_owned());
        Figure {
            name,
            value,
            unit,
            budget: None,
            at_least: false,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.budget {
            None => "",
            Some(budget) if self.at_least && self.value >= budget => "ok",
            Some(budget) if !self.at_least && self.value <= budget => "ok",
            Some(_) => "short",
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figure {
            name,
            value,
            unit,
            budget,
            at_least,
        } = self;
        write!(f, "{name:<62} {value:>12.3} {unit:<14}")?;
        if let Some(budget) = budget {
            let sign = if *at_least { ">=" } else { "<=" };
            write!(f, " {sign} {budget:<10} {}", self.verdict())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_budget_is_short_whichever_way_it_points() {
        let most = |value| Figure::at_most("a", value, "B", 3.0).verdict();
        assert_eq!((most(3.0), most(3.1)), ("ok", "short"));
        let least = |value| {
            Figure {
                at_least: true,
                ..Figure::at_most("a", value, "B", 3.0)
            }
            .verdict()
        };
        assert_eq!((least(3.0), least(2.9)), ("ok", "short"));
        assert_eq!(Figure::plain("a", 1.0, "B").verdict(), "");
    }
}
