//! Commands from afar: which are done, which come too late, which were answered before.
//!
//! **Invariant:** a command is done at most once, and only within [`COMMAND_MAX_AGE_MS`] of a time that
//! this process has published: whatever a broker or a link kept of one is refused. Nothing of this has to
//! survive the process, since one that quotes a time before its start is refused, too.

use std::collections::VecDeque;

use furrow_wire::{BootId, COMMAND_MAX_AGE_MS, Command, CommandId, CommandOutcome, CommandResult};

/// Most commands that are answered within [`COMMAND_MAX_AGE_MS`]: more than people give.
pub const COMMANDS_MAX: usize = 32;

/// See the module.
#[derive(Debug)]
pub struct Commands {
    boot: BootId,
    /// When the process began, monotonic milliseconds.
    since_ms: u64,
    /// What was answered, and when, oldest first.
    answered: VecDeque<(u64, CommandResult)>,
    refused: u64,
    unsaid: u64,
}

/// What is to be done with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Do it, then call [`Commands::answer`].
    Do,
    /// Say this.
    Say(CommandResult),
}

impl Commands {
    /// None yet; the process began at `since_ms` of this boot.
    #[must_use]
    pub fn new(boot: BootId, since_ms: u64) -> Self {
        Self {
            boot,
            since_ms,
            answered: VecDeque::new(),
            refused: 0,
            unsaid: 0,
        }
    }

    /// Commands that were not done, since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// A result could not be sent: whoever waits for it has to look at the events.
    pub fn handle_unsaid(&mut self) {
        self.unsaid += 1;
    }

    /// Results that could not be sent, since the start.
    #[must_use]
    pub fn unsaid(&self) -> u64 {
        self.unsaid
    }

    /// A command came.
    pub fn judge(&mut self, command: &Command, now_ms: u64) -> Judged {
        let is_old = |(at_ms, _): &(u64, CommandResult)| at_ms + COMMAND_MAX_AGE_MS < now_ms;
        while self.answered.front().is_some_and(is_old) {
            self.answered.pop_front();
        }
        let mut before = self.answered.iter().map(|(_, result)| result);
        if let Some(result) = before.find(|result| result.id == command.id) {
            return Judged::Say(result.clone());
        }
        let quoted = self.since_ms..=now_ms;
        let is_fresh = command.boot == self.boot
            && quoted.contains(&command.mono_ms)
            && now_ms - command.mono_ms <= COMMAND_MAX_AGE_MS;
        if !is_fresh {
            self.refused += 1;
            let text = "the command is too old, or not of this boot";
            return Judged::Say(self.result(command.id, CommandOutcome::Stale, text, now_ms));
        }
        if self.answered.len() >= COMMANDS_MAX {
            self.refused += 1;
            let text = format!("more than {COMMANDS_MAX} commands in a minute");
            return Judged::Say(self.result(command.id, CommandOutcome::Refused, &text, now_ms));
        }
        Judged::Do
    }

    /// What became of a command that was judged to be done: the run that it began, if any, or why not.
    pub fn answer(
        &mut self,
        id: CommandId,
        done: Result<Option<u64>, String>,
        now_ms: u64,
    ) -> CommandResult {
        let result = match done {
            Ok(run) => CommandResult {
                run,
                ..self.result(id, CommandOutcome::Accepted, "", now_ms)
            },
            Err(why) => {
                self.refused += 1;
                self.result(id, CommandOutcome::Refused, &why, now_ms)
            }
        };
        self.answered.push_back((now_ms, result.clone()));
        result
    }

    fn result(
        &self,
        id: CommandId,
        outcome: CommandOutcome,
        text: &str,
        now_ms: u64,
    ) -> CommandResult {
        CommandResult {
            id,
            outcome,
            text: text.to_owned(),
            boot: self.boot,
            at_mono_ms: now_ms,
            run: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use furrow_wire::Wanted;
    use proptest::prelude::*;

    use super::*;

    const START_MS: u64 = 500_000;

    fn commands() -> Commands {
        Commands::new(BootId(1), START_MS)
    }

    fn command(id: u8, mono_ms: u64) -> Command {
        Command {
            id: CommandId([id; 16]),
            boot: BootId(1),
            mono_ms,
            issued_by: "chị Hoa".into(),
            wanted: Wanted::Release,
        }
    }

    fn outcome(judged: &Judged) -> Option<CommandOutcome> {
        match judged {
            Judged::Do => None,
            Judged::Say(result) => Some(result.outcome),
        }
    }

    #[test]
    fn only_fresh_ones_are_done() {
        let now_ms = START_MS + 100_000;
        let stale = Some(CommandOutcome::Stale);
        for (what, mono_ms, expected) in [
            ("just told", now_ms, None),
            ("a minute ago", now_ms - 60_000, None),
            ("longer ago", now_ms - 60_001, stale),
            ("before the start", START_MS - 1, stale),
            ("never told", now_ms + 1, stale),
        ] {
            let judged = commands().judge(&command(1, mono_ms), now_ms);
            assert_eq!(outcome(&judged), expected, "{what}");
        }
        let other = Command {
            boot: BootId(2),
            ..command(1, now_ms)
        };
        assert_eq!(outcome(&commands().judge(&other, now_ms)), stale);
    }

    #[test]
    fn a_stale_one_is_told_the_time() {
        let Judged::Say(result) = commands().judge(&command(1, 0), START_MS + 7) else {
            panic!("it was done");
        };
        assert_eq!((result.boot, result.at_mono_ms), (BootId(1), START_MS + 7));
    }

    #[test]
    fn a_repeated_one_gets_the_same_answer() {
        let mut commands = commands();
        let wanted = command(1, START_MS);
        assert_eq!(commands.judge(&wanted, START_MS), Judged::Do);
        let result = commands.answer(wanted.id, Ok(Some(4)), START_MS + 1);
        let again = commands.judge(&wanted, START_MS + 60_000);
        assert_eq!(again, Judged::Say(result));
        let late = commands.judge(&wanted, START_MS + 60_002);
        assert_eq!(outcome(&late), Some(CommandOutcome::Stale));
    }

    #[test]
    fn a_flood_is_refused() {
        let mut commands = commands();
        for id in 0..32 {
            let wanted = command(id, START_MS);
            assert_eq!(commands.judge(&wanted, START_MS), Judged::Do);
            commands.answer(wanted.id, Err("tank is empty".into()), START_MS);
        }
        let one_more = command(32, START_MS);
        let judged = commands.judge(&one_more, START_MS);
        assert_eq!(outcome(&judged), Some(CommandOutcome::Refused));
        let later = command(33, START_MS + 60_001);
        assert_eq!(commands.judge(&later, START_MS + 60_001), Judged::Do);
        assert_eq!(commands.refused(), 33);
    }

    proptest! {
        /// Whatever is delivered in whatever order, late and repeated, each is done at most once.
        #[test]
        fn none_is_done_twice(given in prop::collection::vec((0u8..6, 0u64..40_000), 1..60)) {
            let mut commands = commands();
            let mut done = Vec::new();
            let mut now_ms = START_MS;
            for (id, later_ms) in given {
                now_ms += later_ms;
                // Of one id there is one command.
                let quoted_ms = START_MS + u64::from(id) * 20_000;
                let command = command(id, quoted_ms);
                if commands.judge(&command, now_ms) == Judged::Do {
                    prop_assert!(!done.contains(&id));
                    prop_assert!(now_ms - command.mono_ms <= COMMAND_MAX_AGE_MS);
                    done.push(id);
                    commands.answer(command.id, Ok(None), now_ms);
                }
            }
        }
    }
}
