//! Whether a device answers: three readings in a row that fail are a fault worth telling, one that
//! succeeds ends it.

/// Failed readings in a row that make a fault.
pub const FAULT_AFTER: u32 = 3;

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The device stopped answering.
    Fault,
    /// It answers again.
    Recovered,
}

/// Health of one device.
#[derive(Debug, Clone, Copy, Default)]
pub struct Health {
    failed: u32,
}

impl Health {
    /// A reading succeeded, at least in part.
    pub fn handle_good(&mut self) -> Option<Change> {
        let was_faulty = self.is_faulty();
        self.failed = 0;
        was_faulty.then_some(Change::Recovered)
    }

    /// A reading failed in all its channels.
    pub fn handle_failed(&mut self) -> Option<Change> {
        self.failed = self.failed.saturating_add(1);
        (self.failed == FAULT_AFTER).then_some(Change::Fault)
    }

    /// Whether the device counts as faulty.
    #[must_use]
    pub fn is_faulty(&self) -> bool {
        self.failed >= FAULT_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_row_are_told_once_and_one_good_one_ends_it() {
        let mut health = Health::default();
        let mut step = |good: bool| {
            if good {
                health.handle_good()
            } else {
                health.handle_failed()
            }
        };
        assert_eq!([step(false), step(false), step(true)], [None, None, None]);
        assert_eq!([step(false), step(false)], [None, None]);
        assert_eq!([step(false), step(false)], [Some(Change::Fault), None]);
        assert_eq!([step(true), step(true)], [Some(Change::Recovered), None]);
    }
}
