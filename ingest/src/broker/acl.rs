//! Who may connect, publish and subscribe. Pure decisions; the broker's hooks ask them.
//!
//! A gateway's user name is `{cooperative}/{gateway}`. It may publish and subscribe only below its
//! own two levels, and only in its own direction. Ingest's internal user may do everything.

use std::collections::BTreeMap;
use std::str::FromStr;

use furrow_wire::{CooperativeId, GatewayId, Topic, TopicKind};
use sha2::{Digest, Sha256};

/// SHA-256 of a password. Passwords of gateways are long random strings, so a fast hash is enough.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordHash([u8; 32]);

/// Everyone who may connect.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    users: BTreeMap<String, Account>,
    /// User names by their form with `-` instead of `/`, which some brokers ask of client ids; `None`
    /// where two users have the same.
    aliases: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Clone)]
struct Account {
    user: User,
    password: PasswordHash,
}

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// Ingest itself.
    Internal,
    /// One gateway.
    Gateway(CooperativeId, GatewayId),
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectRefusal {
    /// No such user, or another password. The two are not told apart.
    Credentials,
    /// The client id belongs to another user: taking it over would cut that one off.
    ClientId,
    /// The last will would be published where the user may not publish.
    Will,
}

impl PasswordHash {
    /// Hashes a password.
    #[must_use]
    pub fn of(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }

    /// The hash itself.
    #[must_use]
    pub fn bytes(self) -> [u8; 32] {
        self.0
    }

    /// Compares in constant time.
    fn matches(self, password: &[u8]) -> bool {
        let offered = Self::of(password);
        self.0
            .iter()
            .zip(offered.0)
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
    }
}

impl FromStr for PasswordHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let (pairs, odd) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !odd.is_empty() {
            return Err(NotAHash);
        }
        let mut hash = [0; 32];
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
        }
        Ok(Self(hash))
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a SHA-256 in 64 hexadecimal digits")]
pub struct NotAHash;

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

impl Accounts {
    /// Admits a gateway.
    pub fn add_gateway(
        &mut self,
        cooperative: &CooperativeId,
        gateway: &GatewayId,
        password: PasswordHash,
    ) {
        let user = User::Gateway(cooperative.clone(), gateway.clone());
        let username = format!("{cooperative}/{gateway}");
        self.aliases
            .entry(format!("{cooperative}-{gateway}"))
            .and_modify(|owner| *owner = owner.take().filter(|owner| *owner == username))
            .or_insert_with(|| Some(username.clone()));
        self.users.insert(username, Account { user, password });
    }

    /// Admits ingest itself. Its name has no `/`, so it can't be a gateway's.
    pub fn set_internal(&mut self, username: &str, password: PasswordHash) {
        self.users.insert(
            username.to_owned(),
            Account {
                user: User::Internal,
                password,
            },
        );
    }

    /// Whether nobody could connect.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The user that a name stands for, without a password: for sessions already authenticated.
    #[must_use]
    pub fn user(&self, username: &str) -> Option<&User> {
        self.users.get(username).map(|account| &account.user)
    }

    /// Decides on a connection.
    ///
    /// # Errors
    /// [`ConnectRefusal`], by the first rule that is broken.
    pub fn connect(
        &self,
        username: Option<&str>,
        password: Option<&[u8]>,
        client_id: &str,
        will: Option<&Message<'_>>,
    ) -> Result<&User, ConnectRefusal> {
        let (username, password) = username.zip(password).ok_or(ConnectRefusal::Credentials)?;
        let account = self
            .users
            .get(username)
            .ok_or(ConnectRefusal::Credentials)?;
        if !account.password.matches(password) {
            return Err(ConnectRefusal::Credentials);
        }
        if !self.owns_client_id(username, client_id) {
            return Err(ConnectRefusal::ClientId);
        }
        if will.is_some_and(|will| !account.user.may_publish(will)) {
            return Err(ConnectRefusal::Will);
        }
        Ok(&account.user)
    }

    /// A client id is the user name, alone or followed by `/` and a suffix for a second connection;
    /// or the user name with `-` for `/`, if that is nobody else's.
    fn owns_client_id(&self, username: &str, client_id: &str) -> bool {
        let is_alias = || {
            let owner = self.aliases.get(client_id).and_then(Option::as_deref);
            owner == Some(username)
        };
        match client_id.strip_prefix(username) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => is_alias(),
        }
    }
}

/// What is to be published, as far as permission depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Whether the broker is to keep it.
    pub retain: bool,
}

impl User {
    /// Whether this may be published. A gateway may have the broker keep its state and its catalog.
    #[must_use]
    pub fn may_publish(&self, message: &Message<'_>) -> bool {
        match self {
            User::Internal => true,
            User::Gateway(..) => self.own_topic(message.topic).is_some_and(|kind| {
                let keeps = matches!(kind, TopicKind::State | TopicKind::Catalog);
                kind.is_from_gateway() && (keeps || !message.retain)
            }),
        }
    }

    /// Whether this filter may be subscribed. A gateway names its topics in full: no wildcards, no
    /// shared subscriptions.
    #[must_use]
    pub fn may_subscribe(&self, filter: &str) -> bool {
        match self {
            User::Internal => true,
            User::Gateway(..) => self
                .own_topic(filter)
                .is_some_and(|kind| !kind.is_from_gateway()),
        }
    }

    fn own_topic(&self, topic: &str) -> Option<TopicKind> {
        let User::Gateway(cooperative, gateway) = self else {
            return None;
        };
        let topic: Topic = topic.parse().ok()?;
        (topic.cooperative == *cooperative && topic.gateway == *gateway).then_some(topic.kind)
    }
}

fn hex_digit(digit: u8) -> Result<u8, NotAHash> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(NotAHash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let mut accounts = Accounts::default();
        let password = PasswordHash::of(b"secret");
        accounts.add_gateway(&"a".parse().unwrap(), &"g1".parse().unwrap(), password);
        for (cooperative, gateway) in [("a", "g10"), ("a", "b-c"), ("a-b", "c")] {
            let (cooperative, gateway) = (cooperative.parse().unwrap(), gateway.parse().unwrap());
            accounts.add_gateway(&cooperative, &gateway, password);
        }
        accounts.set_internal("furrow-ingest", PasswordHash::of(b"internal"));
        accounts
    }

    fn gateway() -> User {
        User::Gateway("a".parse().unwrap(), "g1".parse().unwrap())
    }

    #[test]
    fn a_hash_is_read_from_hexadecimal() {
        let hex = "2BB80D537B1DA3E38BD30361AA855686BDE0EACD7162FEF6A25FE97BF527A25b";
        assert_eq!(hex.parse(), Ok(PasswordHash::of(b"secret")));
        let (_, short) = hex.split_at(1);
        for bad in ["", "2b", short, &hex.replace('B', "g"), &format!("{hex}00")] {
            assert_eq!(bad.parse::<PasswordHash>(), Err(NotAHash), "{bad}");
        }
    }

    #[test]
    fn connections() {
        use ConnectRefusal::{ClientId, Credentials, Will};
        let gateway = gateway();
        let accounts = accounts();
        let own_will = Message {
            topic: "furrow/1/a/g1/state",
            retain: true,
        };
        let foreign_will = Message {
            topic: "furrow/1/a/g10/state",
            retain: true,
        };
        let table = [
            (Some("a/g1"), Some("secret"), "a/g1", None, Ok(&gateway)),
            (
                Some("a/g1"),
                Some("secret"),
                "a/g1/water",
                Some(&own_will),
                Ok(&gateway),
            ),
            (
                Some("furrow-ingest"),
                Some("internal"),
                "furrow-ingest",
                None,
                Ok(&User::Internal),
            ),
            (Some("a/g1"), Some("secret"), "a-g1", None, Ok(&gateway)),
            (Some("a/b-c"), Some("secret"), "a-b-c", None, Err(ClientId)),
            (Some("a-b/c"), Some("secret"), "a-b-c", None, Err(ClientId)),
            (Some("a/g1"), Some("secret"), "a-g10", None, Err(ClientId)),
            (Some("a/g1"), Some("Secret"), "a/g1", None, Err(Credentials)),
            (Some("a/g1"), Some(""), "a/g1", None, Err(Credentials)),
            (Some("a/g1"), None, "a/g1", None, Err(Credentials)),
            (None, None, "a/g1", None, Err(Credentials)),
            (Some("a/g2"), Some("secret"), "a/g2", None, Err(Credentials)),
            (
                Some("furrow-ingest"),
                Some("secret"),
                "furrow-ingest",
                None,
                Err(Credentials),
            ),
            (
                Some("a/g1"),
                Some("secret"),
                "furrow-ingest",
                None,
                Err(ClientId),
            ),
            (Some("a/g1"), Some("secret"), "a/g10", None, Err(ClientId)),
            (Some("a/g1"), Some("secret"), "", None, Err(ClientId)),
            (
                Some("a/g1"),
                Some("secret"),
                "a/g1",
                Some(&foreign_will),
                Err(Will),
            ),
        ];
        for (username, password, client_id, will, expected) in table {
            let found = accounts.connect(username, password.map(str::as_bytes), client_id, will);
            assert_eq!(
                found, expected,
                "{username:?} {password:?} {client_id:?} {will:?}"
            );
        }
    }

    #[test]
    fn publishing() {
        let table = [
            ("furrow/1/a/g1/batch", false, true),
            ("furrow/1/a/g1/result", false, true),
            ("furrow/1/a/g1/json", false, true),
            ("furrow/1/a/g1/state", true, true),
            ("furrow/1/a/g1/state", false, true),
            ("furrow/1/a/g1/catalog", true, true),
            ("furrow/1/a/g1/batch", true, false),
            ("furrow/1/a/g1/ack", false, false),
            ("furrow/1/a/g1/command", false, false),
            ("furrow/1/a/g1/config", true, false),
            ("furrow/1/a/g10/batch", false, false),
            ("furrow/1/b/g1/batch", false, false),
            ("furrow/1/a/g1/batch/x", false, false),
            ("furrow/1/a/g1", false, false),
            ("furrow/2/a/g1/batch", false, false),
            ("$SYS/brokers", false, false),
            ("", false, false),
        ];
        for (topic, retain, expected) in table {
            let message = Message { topic, retain };
            assert_eq!(
                gateway().may_publish(&message),
                expected,
                "{topic} retain={retain}"
            );
            assert!(User::Internal.may_publish(&message));
        }
    }

    #[test]
    fn subscribing() {
        let table = [
            ("furrow/1/a/g1/ack", true),
            ("furrow/1/a/g1/command", true),
            ("furrow/1/a/g1/config", true),
            ("furrow/1/a/g1/state", false),
            ("furrow/1/a/g1/#", false),
            ("furrow/1/a/+/ack", false),
            ("furrow/1/+/g1/ack", false),
            ("furrow/1/a/g10/ack", false),
            ("furrow/1/b/g1/ack", false),
            ("$share/x/furrow/1/a/g1/ack", false),
            ("furrow/#", false),
            ("#", false),
            ("+/+/+/+/+", false),
        ];
        for (filter, expected) in table {
            assert_eq!(gateway().may_subscribe(filter), expected, "{filter}");
            assert!(User::Internal.may_subscribe(filter));
        }
    }
}
