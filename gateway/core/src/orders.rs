//! Standing orders from ingest: plantings, schedules and rules, put to the test before they stay.
//!
//! Orders that fit hold on trial first. They stay when the trial is over, ingest was heard meanwhile, and
//! no fault has shut off water; else what was before holds again. A trial survives a power cut, but not
//! a program that begins again and again. What is wired and what is limited is not theirs to say.
//!
//! The caller reads and writes the file, looks whether orders fit, and waters by what
//! [`Standing::in_force`] says.

use std::collections::VecDeque;

use furrow_wire::{Orders, OrdersOutcome};
use serde::{Deserialize, Serialize};

/// How long a trial lasts, in milliseconds: rules have looked at every sensor, a run or two was due, and
/// a link that is only slow has come back.
pub const TRIAL_MS: u64 = 10 * 60_000;
/// Starts of the process that a trial survives: a power cut and another one, not a loop of crashes.
pub const TRIAL_STARTS_MAX: u8 = 2;

/// What must survive a power cut.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    /// Newest version that was decided about, whatever became of it; 0: none.
    pub seen: u64,
    /// What stays.
    pub confirmed: Option<Orders>,
    /// What is being tried.
    pub trial: Option<Trial>,
}

/// Orders on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Which.
    pub orders: Orders,
    /// Starts of the process since.
    pub starts: u8,
}

/// What the caller shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make this durable.
    Store(Book),
    /// Water by what is in force now, as soon as no valve is open.
    Change,
    /// Journal this.
    Tell(Told),
}

/// What became of orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Which version.
    pub version: u64,
    /// Who wanted them.
    pub by: String,
    /// What became of them.
    pub outcome: OrdersOutcome,
    /// Why; may be empty.
    pub text: String,
}

/// See the module.
#[derive(Debug)]
pub struct Standing {
    book: Book,
    /// When the trial began, monotonic milliseconds, and whether ingest was heard since.
    began_ms: u64,
    is_heard: bool,
    /// What stays does not fit the local file any more.
    is_unfit: bool,
    effects: VecDeque<Effect>,
}

impl Standing {
    /// The process begins.
    #[must_use]
    pub fn new(book: Book, now_ms: u64) -> Self {
        let mut standing = Self {
            book,
            began_ms: now_ms,
            is_heard: false,
            is_unfit: false,
            effects: VecDeque::new(),
        };
        if let Some(trial) = standing.book.trial.as_mut() {
            trial.starts = trial.starts.saturating_add(1);
            if trial.starts > TRIAL_STARTS_MAX {
                let text = format!("the gateway began {TRIAL_STARTS_MAX} times in the trial");
                standing.roll_back(&text);
            } else {
                standing.store();
            }
        }
        standing
    }

    /// What is to be watered by, beside the local file.
    #[must_use]
    pub fn in_force(&self) -> Option<&Orders> {
        let trial = self.book.trial.as_ref().map(|trial| &trial.orders);
        let confirmed = self.book.confirmed.as_ref().filter(|_| !self.is_unfit);
        trial.or(confirmed)
    }

    /// How long the trial still lasts, in milliseconds; `None` when there is none.
    #[must_use]
    pub fn trial_left_ms(&self, now_ms: u64) -> Option<u64> {
        self.poll_timeout()
            .map(|end_ms| end_ms.saturating_sub(now_ms))
    }

    /// Newest version that was decided about; 0: none.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.book.seen
    }

    /// They don't fit.
    pub fn refuse(&mut self, orders: &Orders, why: &str) {
        self.book.seen = self.book.seen.max(orders.version);
        self.store();
        self.tell(orders, OrdersOutcome::Refused, why);
    }

    /// They fit, and no valve is open: from here on they hold. What was on trial is given up.
    pub fn begin_trial(&mut self, orders: Orders, now_ms: u64) {
        if let Some(before) = self.book.trial.take() {
            let text = format!("version {} came before its trial was over", orders.version);
            self.tell(&before.orders, OrdersOutcome::RolledBack, &text);
        }
        self.book.seen = self.book.seen.max(orders.version);
        self.began_ms = now_ms;
        self.is_heard = false;
        self.book.trial = Some(Trial {
            orders: orders.clone(),
            starts: 0,
        });
        self.store();
        self.tell(&orders, OrdersOutcome::OnTrial, "");
    }

    /// Ingest has said what it stored: both ways of the link work.
    pub fn handle_heard(&mut self) {
        self.is_heard = true;
    }

    /// A fault has shut off water.
    pub fn handle_locked(&mut self, text: &str) {
        if self.book.trial.is_some() {
            self.roll_back(text);
            self.effects.push_back(Effect::Change);
        }
    }

    /// What is in force does not fit the local file, at the start of the process. What then is in force
    /// is to be looked at again.
    pub fn handle_unfit(&mut self, why: &str) {
        if self.book.trial.is_some() {
            self.roll_back(why);
        } else if let Some(orders) = self.book.confirmed.clone() {
            self.is_unfit = true;
            self.tell(&orders, OrdersOutcome::Refused, why);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if self.poll_timeout().is_none_or(|end_ms| now_ms < end_ms) {
            return;
        }
        if !self.is_heard {
            self.roll_back("ingest was not heard during the trial");
            self.effects.push_back(Effect::Change);
        } else if let Some(trial) = self.book.trial.take() {
            self.is_unfit = false;
            self.book.confirmed = Some(trial.orders.clone());
            self.store();
            self.tell(&trial.orders, OrdersOutcome::Confirmed, "");
        }
    }

    /// When [`Standing::handle_timeout`] is due, monotonic milliseconds.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let trial = self.book.trial.as_ref();
        trial.map(|_| self.began_ms.saturating_add(TRIAL_MS))
    }

    /// The next effect, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn roll_back(&mut self, why: &str) {
        if let Some(trial) = self.book.trial.take() {
            self.store();
            self.tell(&trial.orders, OrdersOutcome::RolledBack, why);
        }
    }

    fn store(&mut self) {
        self.effects.push_back(Effect::Store(self.book.clone()));
    }

    fn tell(&mut self, orders: &Orders, outcome: OrdersOutcome, text: &str) {
        self.effects.push_back(Effect::Tell(Told {
            version: orders.version,
            by: orders.issued_by.clone(),
            outcome,
            text: text.to_owned(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn orders(version: u64) -> Orders {
        Orders {
            version,
            issued_by: "chị Hoa".into(),
            text: format!("# {version}"),
        }
    }

    /// The book as it is on the card, and what was told, in short.
    #[derive(Default)]
    struct Card {
        book: Book,
        told: Vec<(u64, OrdersOutcome)>,
        changes: usize,
    }

    impl Card {
        fn take(&mut self, standing: &mut Standing) {
            while let Some(effect) = standing.poll_effect() {
                match effect {
                    Effect::Store(book) => self.book = book,
                    Effect::Change => self.changes += 1,
                    Effect::Tell(told) => self.told.push((told.version, told.outcome)),
                }
            }
        }
    }

    fn in_force(standing: &Standing) -> Option<u64> {
        standing.in_force().map(|orders| orders.version)
    }

    #[test]
    fn a_trial_with_contact_is_confirmed() {
        let mut card = Card::default();
        let mut standing = Standing::new(Book::default(), 0);
        standing.handle_heard();
        standing.begin_trial(orders(1), 1_000);
        standing.handle_timeout(1_000 + TRIAL_MS - 1);
        assert_eq!(in_force(&standing), Some(1));
        standing.handle_heard();
        standing.handle_timeout(1_000 + TRIAL_MS);
        card.take(&mut standing);
        use OrdersOutcome::{Confirmed, OnTrial};
        assert_eq!(card.told, [(1, OnTrial), (1, Confirmed)]);
        assert_eq!(card.book.confirmed, Some(orders(1)));
        assert_eq!(
            (card.book.trial, card.changes, standing.poll_timeout()),
            (None, 0, None)
        );
    }

    #[test]
    fn without_contact_what_was_before_holds_again() {
        let book = Book {
            seen: 1,
            confirmed: Some(orders(1)),
            trial: None,
        };
        let mut card = Card::default();
        let mut standing = Standing::new(book.clone(), 0);
        // Heard before the trial is not heard.
        standing.handle_heard();
        standing.begin_trial(orders(2), 0);
        assert_eq!(in_force(&standing), Some(2));
        standing.handle_timeout(TRIAL_MS);
        card.take(&mut standing);
        assert_eq!(in_force(&standing), Some(1));
        assert_eq!(card.changes, 1);
        assert_eq!(card.book, Book { seen: 2, ..book });
    }

    #[test]
    fn a_fault_ends_a_trial_and_nothing_else() {
        let mut card = Card::default();
        let mut standing = Standing::new(Book::default(), 0);
        standing.handle_locked("no water flows");
        card.take(&mut standing);
        assert_eq!((card.changes, card.told.len()), (0, 0));
        standing.begin_trial(orders(3), 0);
        standing.handle_heard();
        standing.handle_locked("no water flows");
        card.take(&mut standing);
        assert_eq!(in_force(&standing), None);
        let told = [(3, OrdersOutcome::OnTrial), (3, OrdersOutcome::RolledBack)];
        assert_eq!((card.told.as_slice(), card.changes), (&told[..], 1));
    }

    #[test]
    fn a_power_cut_does_not_end_a_trial_and_a_loop_of_crashes_does() {
        let mut card = Card::default();
        let mut standing = Standing::new(Book::default(), 0);
        standing.begin_trial(orders(1), 0);
        card.take(&mut standing);
        for start in 1..=TRIAL_STARTS_MAX {
            standing = Standing::new(card.book.clone(), 0);
            card.take(&mut standing);
            assert_eq!(in_force(&standing), Some(1), "start {start}");
        }
        standing = Standing::new(card.book.clone(), 0);
        card.take(&mut standing);
        assert_eq!(in_force(&standing), None);
        assert_eq!(card.told.last(), Some(&(1, OrdersOutcome::RolledBack)));
        assert_eq!((card.book.seen, card.book.trial), (1, None));
    }

    #[test]
    fn what_does_not_fit_the_local_file_any_more_does_not_hold() {
        let trial = Some(Trial {
            orders: orders(2),
            starts: 0,
        });
        let book = Book {
            seen: 2,
            confirmed: Some(orders(1)),
            trial,
        };
        let mut card = Card::default();
        let mut standing = Standing::new(book, 0);
        standing.handle_unfit("there is no zone \"zone-9\"");
        assert_eq!(in_force(&standing), Some(1));
        standing.handle_unfit("there is no zone \"zone-9\"");
        assert_eq!(in_force(&standing), None);
        card.take(&mut standing);
        let told = [(2, OrdersOutcome::RolledBack), (1, OrdersOutcome::Refused)];
        assert_eq!(card.told, told);
        // The file may be mended.
        assert_eq!(card.book.confirmed, Some(orders(1)));
        // New ones hold all the same, and stay.
        standing.begin_trial(orders(3), 0);
        standing.handle_heard();
        standing.handle_timeout(TRIAL_MS);
        assert_eq!(in_force(&standing), Some(3));
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Begin,
        Refuse,
        Heard,
        Locked,
        Time(u64),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Begin),
            Just(Step::Refuse),
            Just(Step::Heard),
            Just(Step::Locked),
            (1u64..2 * TRIAL_MS).prop_map(Step::Time),
            Just(Step::Restart),
        ]
    }

    proptest! {
        /// Whatever happens, what stays had a whole trial with contact and without a fault, and a
        /// restart finds what was in force.
        #[test]
        fn nothing_stays_without_its_trial(steps in prop::collection::vec(step(), 1..60)) {
            let mut card = Card::default();
            let mut standing = Standing::new(Book::default(), 0);
            let (mut now_ms, mut version) = (0, 0);
            // Of the trial under way: since when, and whether ingest was heard.
            let mut trial: Option<(u64, bool)> = None;
            let mut stays: Option<u64> = None;
            for step in steps {
                match step {
                    Step::Begin => {
                        version += 1;
                        standing.begin_trial(orders(version), now_ms);
                        trial = Some((now_ms, false));
                    }
                    Step::Refuse => {
                        version += 1;
                        standing.refuse(&orders(version), "no");
                    }
                    Step::Heard => {
                        standing.handle_heard();
                        trial = trial.map(|(since, _)| (since, true));
                    }
                    Step::Locked => {
                        standing.handle_locked("fault");
                        trial = None;
                    }
                    Step::Time(ms) => {
                        now_ms += ms;
                        let before = standing.in_force().cloned();
                        standing.handle_timeout(now_ms);
                        if let Some((since, heard)) = trial.filter(|(since, _)| since + TRIAL_MS <= now_ms) {
                            prop_assert!(since + TRIAL_MS <= now_ms);
                            if heard {
                                stays = before.map(|orders| orders.version);
                            }
                            trial = None;
                        }
                    }
                    Step::Restart => {
                        card.take(&mut standing);
                        let before = in_force(&standing);
                        standing = Standing::new(card.book.clone(), now_ms);
                        let after = in_force(&standing);
                        prop_assert!(after == before || after == stays);
                        trial = (after == before).then_some(()).and(trial).map(|_| (now_ms, false));
                    }
                }
                card.take(&mut standing);
                let confirmed = card.book.confirmed.as_ref().map(|orders| orders.version);
                prop_assert_eq!(confirmed, stays);
                if trial.is_none() {
                    prop_assert_eq!(in_force(&standing), stays);
                }
                prop_assert_eq!(card.book.seen, version);
            }
        }
    }
}
