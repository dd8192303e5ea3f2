//! What rules and interlocks look at: readings that are good and fresh, or nothing.

/// An input by its place in [`crate::Config::inputs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputIndex(pub usize);

/// A channel that rules or interlocks look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputPlan {
    /// The channel's name, for people and for the journal of decisions.
    pub name: String,
    /// A value that is older does not count, in milliseconds: a few sampling intervals.
    pub max_age_ms: u64,
}

/// What is known of an input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Known {
    /// A good reading that is fresh enough to act on.
    Fresh {
        /// In the channel's unit.
        value: f64,
        /// Its age, in milliseconds.
        age_ms: u64,
    },
    /// The last good reading is too old.
    Stale {
        /// Its age, in milliseconds.
        age_ms: u64,
    },
    /// There was no good reading since the start.
    Never,
}

impl Known {
    /// The value, if it may act.
    #[must_use]
    pub fn fresh(self) -> Option<f64> {
        match self {
            Known::Fresh { value, .. } => Some(value),
            Known::Stale { .. } | Known::Never => None,
        }
    }
}

/// The latest good reading of each input.
#[derive(Debug)]
pub(crate) struct Inputs {
    plans: Vec<InputPlan>,
    latest: Vec<Option<(f64, u64)>>,
}

impl Inputs {
    pub(crate) fn new(plans: Vec<InputPlan>) -> Self {
        let latest = vec![None; plans.len()];
        Self { plans, latest }
    }

    /// Other inputs; those of the same name keep what is known of them.
    pub(crate) fn replan(&mut self, plans: Vec<InputPlan>) {
        let before = |plan: &InputPlan| {
            let place = self.plans.iter().position(|old| old.name == plan.name)?;
            *self.latest.get(place)?
        };
        self.latest = plans.iter().map(before).collect();
        self.plans = plans;
    }

    /// A reading of good quality. What is not a number is no reading.
    pub(crate) fn take(&mut self, input: InputIndex, value: f64, at_ms: u64) {
        if let Some(place) = self.latest.get_mut(input.0)
            && value.is_finite()
        {
            *place = Some((value, at_ms));
        }
    }

    /// The value before and how long ago it was read, if nothing was missed in between.
    pub(crate) fn since_last(&self, input: InputIndex, at_ms: u64) -> Option<(f64, u64)> {
        let plan = self.plans.get(input.0)?;
        let (value, before_ms) = (*self.latest.get(input.0)?)?;
        let ms = at_ms.checked_sub(before_ms)?;
        (ms <= plan.max_age_ms).then_some((value, ms))
    }

    pub(crate) fn known(&self, input: InputIndex, now_ms: u64) -> Known {
        let (Some(plan), Some(latest)) = (self.plans.get(input.0), self.latest.get(input.0)) else {
            return Known::Never;
        };
        match *latest {
            Some((value, at_ms)) => {
                let age_ms = now_ms.saturating_sub(at_ms);
                if age_ms <= plan.max_age_ms {
                    Known::Fresh { value, age_ms }
                } else {
                    Known::Stale { age_ms }
                }
            }
            None => Known::Never,
        }
    }

    pub(crate) fn name(&self, input: InputIndex) -> &str {
        self.plans.get(input.0).map_or("?", |plan| &plan.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_good_and_fresh_readings_count() {
        let plan = InputPlan {
            name: "probe/soil_moisture".into(),
            max_age_ms: 30_000,
        };
        let mut inputs = Inputs::new(vec![plan]);
        let input = InputIndex(0);
        assert_eq!(inputs.known(input, 0), Known::Never);
        inputs.take(input, f64::NAN, 0);
        assert_eq!(inputs.known(input, 0), Known::Never);
        inputs.take(input, 21.5, 1_000);
        let fresh = Known::Fresh {
            value: 21.5,
            age_ms: 30_000,
        };
        assert_eq!(inputs.known(input, 31_000), fresh);
        assert_eq!(inputs.known(input, 31_001), Known::Stale { age_ms: 30_001 });
        assert_eq!(inputs.known(InputIndex(1), 0), Known::Never);
    }
}
