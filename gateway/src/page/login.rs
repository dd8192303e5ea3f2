//! The PIN and the sessions of the page. No clock, no randomness: both are arguments.

use std::collections::VecDeque;
use std::time::Duration;

/// Wrong PINs before a wait.
const WRONG_MAX: u32 = 5;
/// That wait: a PIN of four digits lasts for weeks against it.
const WAIT: Duration = Duration::from_secs(5 * 60);
/// People at once; the oldest goes.
const SESSIONS_MAX: usize = 16;
/// A session ends when nobody looked for so long.
const IDLE_MAX: Duration = Duration::from_secs(12 * 3_600);

/// See the module.
#[derive(Debug)]
pub(super) struct Logins {
    pin: String,
    wrong: u32,
    wait_until: Option<Duration>,
    sessions: VecDeque<Session>,
}

#[derive(Debug)]
struct Session {
    token: String,
    seen: Duration,
}

/// What became of a PIN.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Right { token: String },
    Wrong,
    Wait { left: Duration },
}

impl Logins {
    pub(super) fn new(pin: &str) -> Self {
        Self {
            pin: pin.to_owned(),
            wrong: 0,
            wait_until: None,
            sessions: VecDeque::new(),
        }
    }

    /// Somebody entered a PIN. `random` makes the session's token.
    pub(super) fn handle_pin(&mut self, pin: &str, random: u128, now: Duration) -> Attempt {
        if let Some(left) = self.wait_until.and_then(|until| until.checked_sub(now))
            && !left.is_zero()
        {
            return Attempt::Wait { left };
        }
        if !is_equal(pin, &self.pin) {
            self.wrong += 1;
            if self.wrong >= WRONG_MAX {
                self.wrong = 0;
                self.wait_until = Some(now + WAIT);
            }
            return Attempt::Wrong;
        }
        self.wrong = 0;
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions.pop_front();
        }
        let token = format!("{random:032x}");
        self.sessions.push_back(Session {
            token: token.clone(),
            seen: now,
        });
        Attempt::Right { token }
    }

    /// Whether a token belongs to a session, which is then alive for longer.
    pub(super) fn is_known(&mut self, token: &str, now: Duration) -> bool {
        self.sessions
            .retain(|session| now.saturating_sub(session.seen) < IDLE_MAX);
        let found = self
            .sessions
            .iter_mut()
            .find(|session| is_equal(token, &session.token));
        match found {
            Some(session) => {
                session.seen = now;
                true
            }
            None => false,
        }
    }
}

/// Takes as long whatever is wrong.
fn is_equal(given: &str, right: &str) -> bool {
    let pairs = given.bytes().chain(std::iter::repeat(0)).zip(right.bytes());
    let other = pairs.fold(0, |other, (a, b)| other | (a ^ b));
    other == 0 && given.len() == right.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_right_pin_opens_a_session() {
        let mut logins = Logins::new("482913");
        let Attempt::Right { token } = logins.handle_pin("482913", 7, SECOND) else {
            panic!("it is right");
        };
        assert_eq!(token.len(), 32);
        assert!(logins.is_known(&token, SECOND));
        assert!(!logins.is_known("", SECOND));
        assert!(!logins.is_known("00000000000000000000000000000008", SECOND));
        assert!(logins.is_known(&token, IDLE_MAX));
        assert!(
            !logins.is_known(&token, IDLE_MAX * 2),
            "nobody looked for too long"
        );
    }

    #[test]
    fn guessing_is_slow() {
        let mut logins = Logins::new("482913");
        for pin in ["", "4", "48291", "4829130", "000000"] {
            assert_eq!(logins.handle_pin(pin, 7, SECOND), Attempt::Wrong, "{pin}");
        }
        assert_eq!(
            logins.handle_pin("482913", 7, SECOND * 61),
            Attempt::Wait { left: SECOND * 240 }
        );
        assert!(matches!(
            logins.handle_pin("482913", 7, SECOND * 301),
            Attempt::Right { .. }
        ));
    }

    #[test]
    fn the_oldest_session_goes() {
        let mut logins = Logins::new("4829");
        for random in 0..=16 {
            logins.handle_pin("4829", random, SECOND);
        }
        assert!(!logins.is_known(&format!("{:032x}", 0), SECOND));
        assert!(logins.is_known(&format!("{:032x}", 1), SECOND));
    }
}
