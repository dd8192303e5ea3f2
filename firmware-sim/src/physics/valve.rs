//! Something that an output moves: a motor valve, or the contactor of a pump.

/// It travels for a second or more (a contactor for a tenth), and its switch says open from fully open
/// until fully closed.
#[derive(Debug, Clone)]
pub(crate) struct Valve {
    travel_ns: u64,
    /// 0 is closed, `travel_ns` is open; as of `since_ns`.
    position_ns: u64,
    pub(super) since_ns: u64,
    pub(super) driven_open: bool,
    pub(super) switch_open: bool,
    pub(super) stuck: bool,
    /// Once it is open it does not close: the contacts have melted together.
    welded: bool,
}

impl Valve {
    pub(crate) fn new(travel_ns: u64) -> Self {
        Self {
            travel_ns: travel_ns.max(1),
            position_ns: 0,
            since_ns: 0,
            driven_open: false,
            switch_open: false,
            stuck: false,
            welded: false,
        }
    }

    /// When it arrives where it is driven to.
    pub(super) fn next_event_ns(&self) -> Option<u64> {
        if self.stuck {
            return None;
        }
        let left = if self.goes_open() {
            self.travel_ns - self.position_ns
        } else {
            self.position_ns
        };
        (left > 0).then_some(self.since_ns + left)
    }

    pub(super) fn advance(&mut self, now_ns: u64) {
        let passed = now_ns.saturating_sub(self.since_ns);
        self.since_ns = now_ns;
        if !self.stuck {
            self.position_ns = if self.goes_open() {
                self.position_ns.saturating_add(passed).min(self.travel_ns)
            } else {
                self.position_ns.saturating_sub(passed)
            };
        }
        if self.position_ns == self.travel_ns {
            self.switch_open = true;
        } else if self.position_ns == 0 {
            self.switch_open = false;
        }
    }

    /// It stays where it is, or where `position` says.
    pub(super) fn stick(&mut self, position: Option<bool>, now_ns: u64) {
        self.stuck = true;
        if let Some(open) = position {
            self.position_ns = if open { self.travel_ns } else { 0 };
        }
        self.advance(now_ns);
    }

    pub(super) fn set_welded(&mut self, welded: bool) {
        self.welded = welded;
    }

    fn goes_open(&self) -> bool {
        self.driven_open || self.welded && self.position_ns == self.travel_ns
    }
}
