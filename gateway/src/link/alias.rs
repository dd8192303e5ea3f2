//! The topic of packets as a number (MQTT 5's topic alias): once a broker has confirmed a publish that
//! gives topic and number, later ones give the number only. Saves 26 bytes a packet.
//!
//! Numbers hold for one connection, and every connection has a client of its own, so nothing is carried
//! over. A broker that says it takes aliases and then does not would end each connection, or refuse each
//! packet: after [`DOUBTS_MAX`] connections on which a bare number was never confirmed, none is tried again.

use std::collections::BTreeMap;

use bytes::Bytes;
use furrow_gateway_core::outbox::PubackAnswer;

/// The one number in use.
pub(super) const ALIAS: u16 = 1;
/// Topics that the broker may name by a number: those of acknowledgements and commands.
pub(super) const ALIASES_TAKEN: u16 = 2;
/// Connections in a row that may end before a bare number was confirmed: a bad mobile link does that too.
const DOUBTS_MAX: u8 = 3;

/// How a publish names its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In full, without a number.
    Full,
    /// In full, and that it is [`ALIAS`] from now on.
    Defining,
    /// By [`ALIAS`] only.
    Bare,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Alias {
    stage: Stage,
    /// Connections since the last confirmed bare number that ended, or refused one, without any.
    doubts: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// Not on this connection.
    #[default]
    Off,
    /// The broker takes numbers, and has not confirmed what ours means.
    Undefined,
    /// It has.
    Defined,
    /// A bare number was sent.
    Tried,
    /// And confirmed.
    Proven,
}

impl Alias {
    /// A connection is up, to a broker that takes numbers up to this one (0: none).
    pub(super) fn handle_up(&mut self, broker_max: u16) {
        let is_used = broker_max >= ALIAS && self.doubts < DOUBTS_MAX;
        self.stage = if is_used {
            Stage::Undefined
        } else {
            Stage::Off
        };
    }

    /// The connection is gone.
    pub(super) fn handle_down(&mut self) {
        if self.stage == Stage::Tried {
            self.doubt();
        }
        self.stage = Stage::Off;
    }

    /// How the next packet is to name its topic.
    pub(super) fn form(&self) -> Form {
        match self.stage {
            Stage::Off => Form::Full,
            Stage::Undefined => Form::Defining,
            Stage::Defined | Stage::Tried | Stage::Proven => Form::Bare,
        }
    }

    /// A publish of this form was handed to the client.
    pub(super) fn handle_sent(&mut self, form: Form) {
        if form == Form::Bare && self.stage == Stage::Defined {
            self.stage = Stage::Tried;
        }
    }

    /// The broker answered a publish of this form.
    pub(super) fn handle_answer(&mut self, form: Form, answer: PubackAnswer) {
        match (form, answer) {
            (Form::Full, _) => {}
            (Form::Defining, PubackAnswer::Accepted) => {
                if self.stage == Stage::Undefined {
                    self.stage = Stage::Defined;
                }
            }
            (Form::Bare, PubackAnswer::Accepted) => {
                if self.stage != Stage::Off {
                    self.stage = Stage::Proven;
                }
                self.doubts = 0;
            }
            (Form::Defining | Form::Bare, PubackAnswer::Refused) => {
                if self.stage != Stage::Off {
                    self.doubt();
                }
                self.stage = Stage::Off;
            }
        }
    }

    fn doubt(&mut self) {
        self.doubts = self.doubts.saturating_add(1);
        if self.doubts == DOUBTS_MAX {
            tracing::warn!("the broker takes topic aliases and never confirms one: not used again");
        }
    }
}

/// What the broker's numbers mean on one connection. rumqttc knows it too, and tells nobody.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<u16, Bytes>);

impl Names {
    /// The topic of a message: its own, which its number stands for from now on, or what its number
    /// stands for. `None` for a number that means nothing.
    pub(super) fn resolve(&mut self, topic: Bytes, alias: Option<u16>) -> Option<Bytes> {
        let Some(alias) = alias else {
            return Some(topic);
        };
        if topic.is_empty() {
            return self.0.get(&alias).cloned();
        }
        if (1..=ALIASES_TAKEN).contains(&alias) {
            self.0.insert(alias, topic.clone());
        }
        Some(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_means_the_latest_topic_that_came_with_it() {
        let mut names = Names::default();
        let last = ALIASES_TAKEN;
        for (topic, alias, resolved) in [
            ("a", None, Some("a")),
            ("", Some(1), None),
            ("a", Some(1), Some("a")),
            ("b", Some(last), Some("b")),
            ("", Some(1), Some("a")),
            ("c", Some(1), Some("c")),
            ("", Some(1), Some("c")),
            ("", Some(last), Some("b")),
            ("d", Some(last + 1), Some("d")),
            ("", Some(last + 1), None),
        ] {
            assert_eq!(
                names.resolve(topic.into(), alias),
                resolved.map(Bytes::from),
                "{topic:?} {alias:?}"
            );
        }
    }

    use PubackAnswer::{Accepted, Refused};

    fn up(broker_max: u16) -> Alias {
        let mut alias = Alias::default();
        alias.handle_up(broker_max);
        alias
    }

    /// Sends the next packet and hears its answer.
    fn exchange(alias: &mut Alias, answer: PubackAnswer) -> Form {
        let form = alias.form();
        alias.handle_sent(form);
        alias.handle_answer(form, answer);
        form
    }

    #[test]
    fn a_number_is_bare_once_its_meaning_was_confirmed() {
        let mut alias = up(1);
        assert_eq!(alias.form(), Form::Defining);
        alias.handle_sent(Form::Defining);
        assert_eq!(exchange(&mut alias, Accepted), Form::Defining);
        assert_eq!(exchange(&mut alias, Accepted), Form::Bare);
        // Late, and about the first one.
        alias.handle_answer(Form::Defining, Accepted);
        assert_eq!(exchange(&mut alias, Accepted), Form::Bare);
        alias.handle_down();
        alias.handle_up(1);
        assert_eq!(
            alias.form(),
            Form::Defining,
            "another connection knows nothing"
        );
    }

    #[test]
    fn a_broker_without_aliases_gets_none() {
        let mut alias = up(0);
        for answer in [Accepted, Refused, Accepted] {
            assert_eq!(exchange(&mut alias, answer), Form::Full);
        }
    }

    #[test]
    fn what_is_refused_is_not_tried_again_on_this_connection() {
        for refused_at in 0..2 {
            let mut alias = up(1);
            for _ in 0..refused_at {
                exchange(&mut alias, Accepted);
            }
            assert_ne!(exchange(&mut alias, Refused), Form::Full);
            assert_eq!(exchange(&mut alias, Accepted), Form::Full);
        }
    }

    #[test]
    fn a_broker_that_never_confirms_a_bare_number_gets_no_more() {
        let mut alias = Alias::default();
        let lose = |alias: &mut Alias| {
            alias.handle_up(1);
            assert_eq!(exchange(alias, Accepted), Form::Defining);
            alias.handle_sent(alias.form());
            alias.handle_down();
        };
        for _ in 1..DOUBTS_MAX {
            lose(&mut alias);
        }
        // One that is confirmed clears it of doubt.
        alias.handle_up(1);
        exchange(&mut alias, Accepted);
        exchange(&mut alias, Accepted);
        alias.handle_down();
        for _ in 0..DOUBTS_MAX {
            lose(&mut alias);
        }
        alias.handle_up(1);
        assert_eq!(exchange(&mut alias, Accepted), Form::Full);
    }
}
