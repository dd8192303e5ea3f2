//! What is known right now of commands and orders: written by the log's front and its consumer, read by
//! the [`Desk`](super::Desk). Its lock is held for a look-up at a time, never while waiting.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use furrow_ingest_core::{
    CommandRefusal, CommandTable, Digest, GatewayKey, LostUpdate, MAX_ORDERS_A_MINUTE, OrdersBook,
    Place, RateLimit, Tick,
};
use furrow_wire::{Birth, CommandId, CommandResult};
use tokio::sync::{Notify, oneshot};

/// See the module. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Board {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug)]
struct State {
    commands: CommandTable<oneshot::Sender<CommandResult>>,
    orders: OrdersBook,
    orders_rate: RateLimit,
    /// Gateways that lack their newest orders; at most all that are configured.
    due: BTreeSet<GatewayKey>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            commands: CommandTable::default(),
            orders: OrdersBook::default(),
            orders_rate: RateLimit::new(MAX_ORDERS_A_MINUTE),
            due: BTreeSet::new(),
        }
    }
}

impl Board {
    /// A gateway's birth: its time, and which orders it has seen.
    pub fn handle_birth(&self, key: &GatewayKey, birth: &Birth) {
        let mut state = self.lock();
        let tick = Tick {
            boot: birth.boot,
            mono_ms: birth.mono_ms,
        };
        state.commands.handle_told(key, tick);
        if state.orders.handle_seen(key, birth.orders) {
            state.due.insert(key.clone());
            self.inner.news.notify_one();
        }
        if birth.orders > state.orders.newest(key) {
            let (seen, known) = (birth.orders, state.orders.newest(key));
            tracing::warn!(gateway = %key, seen, known, "gateway has seen newer orders than are known here");
        }
    }

    /// A time in a gateway's record.
    pub fn handle_heard(&self, key: &GatewayKey, tick: Tick) {
        self.lock().commands.handle_heard(key, tick);
    }

    /// A gateway's answer, which is durable.
    pub fn handle_result(&self, key: &GatewayKey, result: CommandResult) {
        let waiter = self.lock().commands.handle_result(key, &result);
        if let Some(waiter) = waiter {
            // An error says that nobody waits any more.
            waiter.send(result).ok();
        }
    }

    /// Orders that are durable.
    pub fn handle_orders(&self, key: &GatewayKey, version: u64, digest: Digest) {
        self.lock().orders.handle_stored(key, version, digest);
    }

    /// The version of the newest orders, and of the newest that the gateway said that it has seen; 0: none.
    #[must_use]
    pub fn orders(&self, key: &GatewayKey) -> (u64, u64) {
        let state = self.lock();
        (state.orders.newest(key), state.orders.seen(key))
    }

    pub(super) fn place(
        &self,
        key: &GatewayKey,
        digest: &Digest,
        after: Option<u64>,
    ) -> Result<Place, LostUpdate> {
        self.lock().orders.place(key, digest, after)
    }

    /// Takes one of the new versions that there may be in a minute, or gives the wait in milliseconds.
    pub(super) fn take_version(&self, key: &GatewayKey, now_ms: u64) -> Result<(), u64> {
        self.lock().orders_rate.take(key, now_ms)
    }

    pub(super) fn handle_wish(&self, key: &GatewayKey, now_ms: u64) -> Result<(), CommandRefusal> {
        self.lock().commands.handle_wish(key, now_ms)
    }

    /// Begins to wait for an answer; ends with the guard.
    pub(super) fn issue(
        &self,
        key: &GatewayKey,
        id: CommandId,
    ) -> Result<(Tick, Waiting), CommandRefusal> {
        let (sender, answer) = oneshot::channel();
        let tick = self.lock().commands.handle_issue(key, id, sender)?;
        let board = self.clone();
        Ok((tick, Waiting { board, id, answer }))
    }

    /// Has the newest orders published once more.
    pub(super) fn set_due(&self, key: GatewayKey) {
        self.lock().due.insert(key);
        self.inner.news.notify_one();
    }

    /// Waits for gateways that lack their newest orders, and takes them.
    pub(super) async fn take_due(&self) -> BTreeSet<GatewayKey> {
        loop {
            let due = std::mem::take(&mut self.lock().due);
            if !due.is_empty() {
                return due;
            }
            self.inner.news.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for an answer. Whoever goes away gives the place up.
#[derive(Debug)]
pub(super) struct Waiting {
    board: Board,
    id: CommandId,
    answer: oneshot::Receiver<CommandResult>,
}

impl Waiting {
    /// The answer, once it is there.
    pub(super) fn answer(&mut self) -> &mut oneshot::Receiver<CommandResult> {
        &mut self.answer
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.board.lock().commands.handle_gone(self.id);
    }
}
