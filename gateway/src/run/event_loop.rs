//! The one event loop: waits for whatever comes first, hands it on, and lives through the end.
//!
//! Order of work at each wake-up, each with a bound so that none starves the others:
//! 1. signals and the end of simulated time,
//! 2. answers of devices: leases of open valves hang on them,
//! 3. answers of the journal thread,
//! 4. events of the link,
//! 5. questions at the control socket,
//! 6. what the field clock and the link clock make due.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::gateway::Gateway;
use super::journal_thread::Answer;
use super::notify::Notify;
use super::time::FieldWait;
use crate::bus::{Busy, FieldClock, FieldEnd};
use crate::control::server::{Control, Question};
use crate::devices::{Done, Results};
use crate::link::LinkEvent;

/// Answers or events of one kind that are dealt with at one wake-up.
const A_TURN: usize = 64;
/// Waiting records above which simulated time stands still in lock-step, so that a replay can't
/// outrun delivery: at the default intervals four hours of a greenhouse.
const WAITING_MAX: u64 = 512;
/// How long closing the valves may take at the end; their leases end by themselves.
const SHUT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last commit may take at the end.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stopping gateway waits for acknowledgements: the journal keeps the rest.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a gateway whose simulated time has ended waits for the next acknowledgement.
const DRAIN_ENDED_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the loop ends.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// A signal asked for it.
    Asked,
    /// Simulated time is over, as it should be.
    Finished,
    /// The simulator is gone.
    FieldLost(String),
}

/// See the module.
pub struct EventLoop {
    gateway: Gateway,
    results: Results,
    control: Control,
    field: FieldClock,
    wait: FieldWait,
    notify: Notify,
    terminate: Signal,
    interrupt: Signal,
    /// Simulated time has ended: no deadline of it will come.
    timeless: bool,
    /// Whether simulated time and the end wait for acknowledgements.
    waits_for_delivery: bool,
}

enum Woken {
    Done(Option<Done>),
    Journal(Option<Answer>),
    Link(Option<LinkEvent>),
    Question(Option<Question>),
    Time,
    End(End),
}

impl EventLoop {
    /// A loop over the parts; takes over the signals.
    ///
    /// # Errors
    /// When the signals can't be taken over.
    pub fn new(
        gateway: Gateway,
        results: Results,
        control: Control,
        field: FieldClock,
        wait: FieldWait,
    ) -> std::io::Result<Self> {
        let waits_for_delivery = gateway.settings.waits_for_delivery();
        Ok(EventLoop {
            waits_for_delivery,
            gateway,
            results,
            control,
            field,
            wait,
            notify: Notify::new(),
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            timeless: false,
        })
    }

    /// Runs until a signal or the end of simulated time; then closes the valves, commits, drains.
    pub async fn run(mut self) -> End {
        self.notify.ready();
        let end = loop {
            if let Some(end) = self.step(None).await {
                break end;
            }
        };
        tracing::info!(?end, "stopping");
        self.notify.stopping();
        self.finish(&end).await;
        // From here on the files tell more than the process.
        drop(self.control);
        self.gateway.stop().await;
        end
    }

    /// One turn and one wait, at most until `deadline`.
    async fn step(&mut self, deadline: Option<Instant>) -> Option<End> {
        self.gateway.turn();
        self.declare();
        self.notify.alive();
        let mut tokens = Vec::new();
        match self.woken(deadline).await {
            Woken::Done(Some(done)) => tokens.push(self.gateway.handle_done(done)),
            Woken::Journal(Some(answer)) => self.gateway.handle_journal(answer),
            Woken::Link(Some(event)) => self.gateway.handle_link(event),
            Woken::Question(Some(question)) => self.ask(question),
            Woken::Done(None) => return Some(End::FieldLost("all bus workers ended".to_owned())),
            Woken::Journal(None) => {
                return Some(End::FieldLost("the journal thread ended".to_owned()));
            }
            Woken::Link(None) | Woken::Question(None) | Woken::Time => {}
            Woken::End(end) => return Some(end),
        }
        self.drain(&mut tokens);
        // What follows from the answers is begun before their tokens go.
        self.gateway.turn();
        self.declare();
        drop(tokens);
        None
    }

    /// Tells the field clock how long the loop can wait.
    fn declare(&mut self) {
        if self.timeless {
            return;
        }
        let waiting = self.gateway.delivery.outbox.totals().waiting_records;
        let is_outrun = self.waits_for_delivery && waiting > WAITING_MAX;
        self.wait
            .set_hold(!self.gateway.records.is_settled() || is_outrun);
        self.wait.declare(self.gateway.poll_field_timeout());
    }

    async fn woken(&mut self, deadline: Option<Instant>) -> Woken {
        let link = self.gateway.poll_link_timeout();
        let watchdog = self.notify.next_alive();
        let real = [link, watchdog, deadline].into_iter().flatten().min();
        let real = async {
            match real {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let ended = async {
            if self.timeless {
                std::future::pending().await
            } else {
                self.field.when_ended().await
            }
        };
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Woken::End(End::Asked),
            _ = self.interrupt.recv() => Woken::End(End::Asked),
            end = ended => Woken::End(match end {
                FieldEnd::Finished(_) => End::Finished,
                FieldEnd::Lost(why) => End::FieldLost(why),
            }),
            done = self.results.recv() => Woken::Done(done),
            event = self.gateway.next_of_threads() => event.map_or_else(Woken::Link, Woken::Journal),
            question = self.control.questions.recv() => Woken::Question(question),
            () = self.wait.reached() => Woken::Time,
            () = real => Woken::Time,
        }
    }

    /// What else is already there.
    fn drain(&mut self, tokens: &mut Vec<Busy>) {
        for _ in 0..A_TURN {
            let Some(done) = self.results.try_recv() else {
                break;
            };
            tokens.push(self.gateway.handle_done(done));
        }
        for _ in 0..A_TURN {
            let Some(answer) = self.gateway.try_journal() else {
                break;
            };
            self.gateway.handle_journal(answer);
        }
        for _ in 0..A_TURN {
            let Some(event) = self.gateway.try_link() else {
                break;
            };
            self.gateway.handle_link(event);
        }
    }

    /// A question may begin something: the field's time has to be exact meanwhile.
    fn ask(&mut self, question: Question) {
        let busy = self.field.busy();
        self.gateway.handle_question(question);
        self.gateway.turn();
        self.declare();
        drop(busy);
    }

    async fn finish(&mut self, end: &End) {
        let field_runs = *end == End::Asked;
        if !field_runs {
            self.timeless = true;
            self.wait.resign();
        }
        self.gateway.handle_shutdown();
        if field_runs {
            self.until(SHUT_TIMEOUT, |gateway| gateway.watering.is_shut())
                .await;
            // Simulated time need not stand still for what follows.
            self.timeless = true;
            self.wait.resign();
        }
        self.gateway.handle_last_batch();
        self.until(COMMIT_TIMEOUT, |gateway| gateway.records.is_settled())
            .await;
        if self.waits_for_delivery {
            self.drain_outbox(end).await;
        }
        self.gateway.handle_goodbye();
        let written = self
            .until(COMMIT_TIMEOUT, |gateway| gateway.records.is_settled())
            .await;
        let waiting = self.gateway.delivery.outbox.totals().waiting_readings;
        tracing::info!(written, waiting, "stopped");
    }

    /// Waits for acknowledgements, for as long as they come.
    async fn drain_outbox(&mut self, end: &End) {
        let timeout = if *end == End::Asked {
            DRAIN_TIMEOUT
        } else {
            DRAIN_ENDED_TIMEOUT
        };
        loop {
            let before = self.gateway.delivery.outbox.totals().waiting_records;
            if before == 0 {
                return;
            }
            let fewer =
                |gateway: &Gateway| gateway.delivery.outbox.totals().waiting_records < before;
            if !self.until(timeout, fewer).await {
                tracing::warn!(waiting = before, "stopping with records that wait");
                return;
            }
        }
    }

    /// Goes on until `reached`; `false` when that took longer than `patience`.
    async fn until(&mut self, patience: Duration, reached: impl Fn(&Gateway) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        while !reached(&self.gateway) {
            if Instant::now() >= deadline {
                return false;
            }
            if let Some(end) = self.step(Some(deadline)).await {
                tracing::debug!(?end, "asked to stop while stopping");
                if let End::FieldLost(_) = end {
                    self.timeless = true;
                    self.wait.resign();
                }
            }
        }
        true
    }
}
