//! Commands on their way: what a gateway's time is, who waits for which answer, how many may be asked.
//!
//! A command quotes the time that its gateway last published, since the gateway refuses an old one. What
//! is quoted here is only ever too old, never too new, so the worst is that the gateway says "stale" and
//! tells its time, and the command is issued once more.
//!
//! Nothing here is durable: after a restart nobody waits any more.

use std::collections::BTreeMap;

use furrow_wire::{BootId, CommandId, CommandResult};

use crate::{GatewayKey, RateLimit};

/// Commands that may wait for an answer at once, over all cooperatives: each holds a request for some
/// seconds.
pub const MAX_WAITING_COMMANDS: usize = 256;
/// Commands a minute for one gateway: more is no person's work, and valves are not made for it.
pub const MAX_COMMANDS_A_MINUTE: usize = 10;
/// How long a wish may be issued again after it was uttered, in milliseconds. Later the person has
/// perhaps gone to open the valve by hand.
pub const REPEAT_WITHIN_MS: u64 = 20_000;

/// A moment in a gateway's own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Which boot.
    pub boot: BootId,
    /// Monotonic milliseconds since its start.
    pub mono_ms: u64,
}

/// Why a command is not issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefusal {
    /// Too many for this gateway.
    #[error("more than {MAX_COMMANDS_A_MINUTE} commands in a minute for this gateway")]
    Rate {
        /// Milliseconds until the next one may come.
        wait_ms: u64,
    },
    /// Too many for all.
    #[error("{MAX_WAITING_COMMANDS} commands wait for an answer")]
    Busy,
    /// It has not said what its time is.
    #[error("the gateway has not told its time yet")]
    Unheard,
}

/// All commands that wait, each with whom to tell (`W`), and what they need.
#[derive(Debug)]
pub struct CommandTable<W> {
    waiting: BTreeMap<CommandId, (GatewayKey, W)>,
    ticks: BTreeMap<GatewayKey, Tick>,
    rate: RateLimit,
}

impl<W> Default for CommandTable<W> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            ticks: BTreeMap::new(),
            rate: RateLimit::new(MAX_COMMANDS_A_MINUTE),
        }
    }
}

impl<W> CommandTable<W> {
    /// The gateway's own word about its present boot, from its birth: the broker may have kept it.
    pub fn handle_told(&mut self, gateway: &GatewayKey, tick: Tick) {
        match self.ticks.get_mut(gateway) {
            Some(known) if known.boot == tick.boot => {
                known.mono_ms = known.mono_ms.max(tick.mono_ms);
            }
            Some(known) => *known = tick,
            None => {
                self.ticks.insert(gateway.clone(), tick);
            }
        }
    }

    /// A time in a record. Records of earlier boots come late, and say nothing about now.
    pub fn handle_heard(&mut self, gateway: &GatewayKey, tick: Tick) {
        if let Some(known) = self.ticks.get_mut(gateway)
            && known.boot == tick.boot
        {
            known.mono_ms = known.mono_ms.max(tick.mono_ms);
        }
    }

    /// Somebody wants something of a gateway, at `now_ms`.
    ///
    /// # Errors
    /// [`CommandRefusal::Rate`]; what is refused does not count.
    pub fn handle_wish(&mut self, gateway: &GatewayKey, now_ms: u64) -> Result<(), CommandRefusal> {
        let taken = self.rate.take(gateway, now_ms);
        taken.map_err(|wait_ms| CommandRefusal::Rate { wait_ms })
    }

    /// A command is about to be issued; gives the time to quote.
    ///
    /// # Errors
    /// [`CommandRefusal`]: nobody waits then.
    pub fn handle_issue(
        &mut self,
        gateway: &GatewayKey,
        id: CommandId,
        waiter: W,
    ) -> Result<Tick, CommandRefusal> {
        let tick = self.ticks.get(gateway).copied();
        let tick = tick.ok_or(CommandRefusal::Unheard)?;
        if self.waiting.len() >= MAX_WAITING_COMMANDS {
            return Err(CommandRefusal::Busy);
        }
        self.waiting.insert(id, (gateway.clone(), waiter));
        Ok(tick)
    }

    /// A gateway's answer: gives whom to tell. Another gateway's command is none of its business.
    pub fn handle_result(&mut self, gateway: &GatewayKey, result: &CommandResult) -> Option<W> {
        let tick = Tick {
            boot: result.boot,
            mono_ms: result.at_mono_ms,
        };
        // The last word, also where something that was heard says more: it would stay stale for ever.
        self.ticks.insert(gateway.clone(), tick);
        let (owner, _) = self.waiting.get(&result.id)?;
        if owner != gateway {
            return None;
        }
        self.waiting.remove(&result.id).map(|(_, waiter)| waiter)
    }

    /// Nobody waits for it any more.
    pub fn handle_gone(&mut self, id: CommandId) {
        self.waiting.remove(&id);
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// Whether a wish of `asked_ms` that the gateway found stale may be issued again, after `times` issues.
#[must_use]
pub fn may_repeat(asked_ms: u64, now_ms: u64, times: u32) -> bool {
    times < 2 && now_ms.saturating_sub(asked_ms) <= REPEAT_WITHIN_MS
}

#[cfg(test)]
mod tests {
    use furrow_wire::CommandOutcome;

    use super::*;

    fn key(gateway: &str) -> GatewayKey {
        GatewayKey {
            cooperative: "a".parse().unwrap(),
            gateway: gateway.parse().unwrap(),
        }
    }

    fn tick(boot: u64, mono_ms: u64) -> Tick {
        Tick {
            boot: BootId(boot),
            mono_ms,
        }
    }

    fn id(n: usize) -> CommandId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64).to_le_bytes());
        CommandId(id)
    }

    fn result(n: usize, boot: u64, mono_ms: u64) -> CommandResult {
        CommandResult {
            id: id(n),
            outcome: CommandOutcome::Accepted,
            text: String::new(),
            boot: BootId(boot),
            at_mono_ms: mono_ms,
            run: None,
        }
    }

    fn quoted(table: &mut CommandTable<u8>, gateway: &GatewayKey) -> Result<Tick, CommandRefusal> {
        let quoted = table.handle_issue(gateway, id(999), 0);
        table.handle_gone(id(999));
        quoted
    }

    #[test]
    fn the_newest_time_of_the_present_boot_is_quoted() {
        let (mut table, g) = (CommandTable::default(), key("g"));
        table.handle_heard(&g, tick(1, 5));
        assert_eq!(quoted(&mut table, &g), Err(CommandRefusal::Unheard));
        table.handle_told(&g, tick(1, 100));
        table.handle_heard(&g, tick(1, 90));
        assert_eq!(quoted(&mut table, &g), Ok(tick(1, 100)));
        table.handle_heard(&g, tick(1, 130));
        // A retained birth comes again when ingest subscribes again.
        table.handle_told(&g, tick(1, 100));
        assert_eq!(quoted(&mut table, &g), Ok(tick(1, 130)));
        table.handle_told(&g, tick(2, 7));
        table.handle_heard(&g, tick(1, 500));
        assert_eq!(quoted(&mut table, &g), Ok(tick(2, 7)));
        assert_eq!(table.handle_result(&g, &result(1, 3, 9)), None);
        assert_eq!(quoted(&mut table, &g), Ok(tick(3, 9)));
        table.handle_heard(&g, tick(3, u64::MAX));
        assert_eq!(quoted(&mut table, &g), Ok(tick(3, u64::MAX)));
        assert_eq!(table.handle_result(&g, &result(1, 3, 10)), None);
        assert_eq!(quoted(&mut table, &g), Ok(tick(3, 10)));
        assert_eq!(
            quoted(&mut table, &key("other")),
            Err(CommandRefusal::Unheard)
        );
    }

    #[test]
    fn an_answer_finds_its_waiter_once_and_only_from_its_gateway() {
        let (mut table, g) = (CommandTable::default(), key("g"));
        table.handle_told(&g, tick(1, 0));
        table.handle_told(&key("h"), tick(1, 0));
        table.handle_issue(&g, id(1), 'a').unwrap();
        table.handle_issue(&g, id(2), 'b').unwrap();
        table.handle_issue(&g, id(3), 'c').unwrap();
        assert_eq!(table.handle_result(&key("h"), &result(1, 1, 1)), None);
        assert_eq!(table.handle_result(&g, &result(2, 1, 1)), Some('b'));
        assert_eq!(table.handle_result(&g, &result(2, 1, 1)), None);
        table.handle_gone(id(3));
        assert_eq!(table.handle_result(&g, &result(3, 1, 1)), None);
        assert_eq!(table.handle_result(&g, &result(1, 1, 1)), Some('a'));
        assert_eq!(table.waiting(), 0);
    }

    #[test]
    fn ten_a_minute_for_one_gateway() {
        let (mut table, g) = (CommandTable::<u8>::default(), key("g"));
        for n in 0..10 {
            assert_eq!(table.handle_wish(&g, n * 1_000), Ok(()), "{n}");
        }
        let rate = |wait_ms| Err(CommandRefusal::Rate { wait_ms });
        assert_eq!(table.handle_wish(&g, 9_500), rate(50_500));
        assert_eq!(table.handle_wish(&g, 60_000), Ok(()));
    }

    #[test]
    fn only_so_many_wait() {
        let (mut table, g) = (CommandTable::default(), key("g"));
        table.handle_told(&g, tick(1, 0));
        for n in 0..MAX_WAITING_COMMANDS {
            assert_eq!(table.handle_issue(&g, id(n), n), Ok(tick(1, 0)));
        }
        let next = id(MAX_WAITING_COMMANDS);
        assert_eq!(table.handle_issue(&g, next, 0), Err(CommandRefusal::Busy));
        table.handle_gone(id(0));
        assert_eq!(table.handle_issue(&g, next, 0), Ok(tick(1, 0)));
    }

    #[test]
    fn a_stale_wish_is_repeated_once_while_it_is_young() {
        for (asked, now, times, expected) in [
            (5, 5, 1, true),
            (5, 20_005, 1, true),
            (5, 20_006, 1, false),
            (5, 5, 2, false),
        ] {
            assert_eq!(may_repeat(asked, now, times), expected, "{now} {times}");
        }
    }
}
