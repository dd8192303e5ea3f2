//! Who may do what on the embedded broker, asked with a real client over a real socket.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test helpers; foreign enums"
)]

use std::net::SocketAddr;
use std::time::Duration;

use furrow_ingest::broker::{
    Accounts, Broker, BrokerError, BrokerOptions, PasswordHash, ServerTls,
};
use furrow_ingest::metrics::Metrics;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, ConnectReturnCode, LastWill, Packet, PubAckReason, PublishProperties,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};

/// Bounds every wait: long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn broker() -> Broker {
    started("127.0.0.1:0".parse().unwrap(), None, accounts())
        .await
        .unwrap()
}

fn accounts() -> Accounts {
    let mut accounts = Accounts::default();
    let password = PasswordHash::of(b"secret");
    for (cooperative, gateway) in [("a", "g1"), ("a", "g2"), ("b", "g1")] {
        accounts.add_gateway(
            &cooperative.parse().unwrap(),
            &gateway.parse().unwrap(),
            password,
        );
    }
    accounts.set_internal("furrow-ingest", PasswordHash::of(b"internal"));
    accounts
}

async fn started(
    listen: SocketAddr,
    tls: Option<ServerTls>,
    accounts: Accounts,
) -> Result<Broker, BrokerError> {
    let options = BrokerOptions {
        listen,
        tls,
        accounts,
    };
    Broker::start(options, &Metrics::default()).await
}

fn options(broker: &Broker, username: &str, password: &str) -> MqttOptions {
    let mut options = MqttOptions::new(username, "127.0.0.1", broker.address().port());
    options
        .set_credentials(username, password)
        .set_keep_alive(Duration::from_secs(10));
    options
}

struct Client {
    client: AsyncClient,
    events: EventLoop,
}

impl Client {
    fn new(options: MqttOptions) -> Self {
        let (client, events) = AsyncClient::new(options, 100);
        Self { client, events }
    }

    async fn connected(options: MqttOptions) -> Self {
        let mut client = Self::new(options);
        client
            .until(|packet| matches!(packet, Packet::ConnAck(_)).then_some(()))
            .await;
        client
    }

    async fn until<T>(&mut self, mut found: impl FnMut(&Packet) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await.unwrap()
                    && let Some(found) = found(&packet)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }

    async fn refusal(options: MqttOptions) -> ConnectReturnCode {
        let mut client = Self::new(options);
        let polled = tokio::time::timeout(PATIENCE, client.events.poll())
            .await
            .unwrap();
        match polled.unwrap_err() {
            ConnectionError::ConnectionRefused(code) => code,
            other => panic!("{other}"),
        }
    }

    async fn publish(&mut self, topic: &str, retain: bool) -> PubAckReason {
        self.client
            .publish(topic, QoS::AtLeastOnce, retain, "x")
            .await
            .unwrap();
        self.until(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason),
            _ => None,
        })
        .await
    }

    /// Names the topic by this alias, and in full unless it is empty.
    async fn publish_by_alias(&mut self, topic: &str, alias: u16) -> PubAckReason {
        let properties = PublishProperties {
            topic_alias: Some(alias),
            ..PublishProperties::default()
        };
        self.client
            .publish_with_properties(topic, QoS::AtLeastOnce, false, "x", properties)
            .await
            .unwrap();
        self.until(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason),
            _ => None,
        })
        .await
    }

    async fn subscribe(&mut self, filter: &str) -> bool {
        self.client
            .subscribe(filter, QoS::AtLeastOnce)
            .await
            .unwrap();
        let code = self
            .until(|packet| match packet {
                Packet::SubAck(ack) => Some(ack.return_codes[0]),
                _ => None,
            })
            .await;
        matches!(code, SubscribeReasonCode::Success(_))
    }

    async fn next_message(&mut self) -> (String, String) {
        self.until(|packet| match packet {
            Packet::Publish(publish) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                Some((text(&publish.topic), text(&publish.payload)))
            }
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn strangers_and_wrong_passwords_are_refused() {
    let broker = broker().await;
    for (username, password) in [
        ("a/g1", "Secret"),
        ("a/g3", "secret"),
        ("furrow-ingest", "secret"),
    ] {
        let code = Client::refusal(options(&broker, username, password)).await;
        assert_eq!(code, ConnectReturnCode::BadUserNamePassword, "{username}");
    }
    let mut anonymous = MqttOptions::new("a/g1", "127.0.0.1", broker.address().port());
    anonymous.set_keep_alive(Duration::from_secs(10));
    let code = Client::refusal(anonymous).await;
    assert_eq!(code, ConnectReturnCode::BadUserNamePassword);
    let mut thief = options(&broker, "a/g1", "secret");
    thief.set_client_id("furrow-ingest".to_owned());
    assert_eq!(
        Client::refusal(thief).await,
        ConnectReturnCode::NotAuthorized
    );
}

#[tokio::test]
async fn a_gateway_speaks_only_below_its_own_levels_and_in_its_own_direction() {
    let broker = broker().await;
    let mut all = Client::connected(options(&broker, "furrow-ingest", "internal")).await;
    assert!(
        all.subscribe("#").await,
        "ingest itself may listen to everything"
    );
    let mut gateway = Client::connected(options(&broker, "a/g1", "secret")).await;
    for (topic, retain) in [
        ("furrow/1/a/g2/batch", false),
        ("furrow/1/b/g1/batch", false),
        ("furrow/1/a/g1/ack", false),
        ("furrow/1/a/g1/config", true),
        ("furrow/1/a/g1/batch", true),
        ("furrow/1/a/g1/batch/more", false),
        ("elsewhere", false),
    ] {
        assert_eq!(
            gateway.publish(topic, retain).await,
            PubAckReason::NotAuthorized,
            "{topic}"
        );
    }
    assert_eq!(
        gateway.publish("furrow/1/a/g1/batch", false).await,
        PubAckReason::Success
    );
    let message = ("furrow/1/a/g1/batch".to_owned(), "x".to_owned());
    assert_eq!(
        all.next_message().await,
        message,
        "nothing that was refused came before it"
    );
}

#[tokio::test]
async fn a_gateway_hears_only_its_own_topics() {
    let broker = broker().await;
    let mut ingest = Client::connected(options(&broker, "furrow-ingest", "internal")).await;
    let mut gateway = Client::connected(options(&broker, "a/g1", "secret")).await;
    for filter in [
        "#",
        "furrow/#",
        "furrow/1/a/g1/#",
        "furrow/1/a/+/ack",
        "furrow/1/+/g1/ack",
        "furrow/1/a/g2/ack",
        "furrow/1/b/g1/ack",
        "furrow/1/a/g1/state",
        "$share/x/furrow/1/a/g2/ack",
        "$share/x/#",
    ] {
        assert!(!gateway.subscribe(filter).await, "{filter}");
    }
    assert!(gateway.subscribe("furrow/1/a/g1/ack").await);
    for topic in [
        "furrow/1/a/g2/ack",
        "furrow/1/b/g1/ack",
        "furrow/1/a/g1/ack",
    ] {
        ingest.publish(topic, false).await;
    }
    assert_eq!(
        gateway.next_message().await.0,
        "furrow/1/a/g1/ack",
        "no other came before it"
    );
}

#[tokio::test]
async fn a_number_stands_for_its_topic_and_gives_no_other_rights() {
    let broker = broker().await;
    let mut all = Client::connected(options(&broker, "furrow-ingest", "internal")).await;
    assert!(all.subscribe("#").await);
    let mut gateway = Client::connected(options(&broker, "a/g1", "secret")).await;
    let own = "furrow/1/a/g1/batch";
    for topic in [own, "", ""] {
        let answer = gateway.publish_by_alias(topic, 1).await;
        assert_eq!(answer, PubAckReason::Success);
        assert_eq!(all.next_message().await.0, own);
    }
    for topic in ["furrow/1/a/g2/batch", ""] {
        let answer = gateway.publish_by_alias(topic, 2).await;
        assert_eq!(answer, PubAckReason::NotAuthorized);
    }
    assert_eq!(gateway.publish(own, false).await, PubAckReason::Success);
    assert_eq!(all.next_message().await.0, own, "and nothing before it");
}

#[tokio::test]
async fn the_broker_numbers_topics_for_who_takes_numbers() {
    let broker = broker().await;
    let mut ingest = Client::connected(options(&broker, "furrow-ingest", "internal")).await;
    let mut numbers = options(&broker, "a/g1", "secret");
    numbers
        .set_connect_properties(ConnectProperties::new())
        .set_topic_alias_max(Some(2));
    let topics = ["furrow/1/a/g1/ack", "furrow/1/a/g1/command"];
    // On each connection anew.
    for _ in 0..2 {
        let mut gateway = Client::connected(numbers.clone()).await;
        for topic in topics {
            assert!(gateway.subscribe(topic).await);
        }
        for round in 0..3 {
            for topic in topics {
                ingest.publish(topic, false).await;
                let (got, alias) = gateway
                    .until(|packet| match packet {
                        Packet::Publish(publish) => {
                            let properties = publish.properties.as_ref();
                            let alias = properties.and_then(|properties| properties.topic_alias);
                            Some((publish.topic.clone(), alias))
                        }
                        _ => None,
                    })
                    .await;
                let told = if round == 0 { topic } else { "" };
                assert_eq!(got, told.as_bytes(), "round {round}");
                assert!(alias.is_some());
            }
        }
    }
}

#[tokio::test]
async fn a_last_will_is_kept_in_its_own_state_and_refused_elsewhere() {
    let broker = broker().await;
    let will = |topic: &str| LastWill::new(topic, "offline", QoS::AtLeastOnce, true, None);
    for topic in [
        "furrow/1/a/g2/state",
        "furrow/1/b/g1/state",
        "furrow/1/a/g1/ack",
        "x",
    ] {
        let mut options = options(&broker, "a/g1", "secret");
        options.set_last_will(will(topic));
        assert_eq!(
            Client::refusal(options).await,
            ConnectReturnCode::NotAuthorized,
            "{topic}"
        );
    }
    let mut own = options(&broker, "a/g1", "secret");
    own.set_last_will(will("furrow/1/a/g1/state"));
    let mut gateway = Client::connected(own).await;
    gateway
        .client
        .publish("furrow/1/a/g1/state", QoS::AtLeastOnce, true, "online")
        .await
        .unwrap();
    gateway
        .until(|packet| matches!(packet, Packet::PubAck(_)).then_some(()))
        .await;
    let mut ingest = Client::connected(options(&broker, "furrow-ingest", "internal")).await;
    ingest.subscribe("furrow/1/+/+/state").await;
    assert_eq!(ingest.next_message().await.1, "online", "retained");
    drop(gateway);
    assert_eq!(
        ingest.next_message().await.1,
        "offline",
        "the will of a connection that broke"
    );
    let mut late = options(&broker, "furrow-ingest", "internal");
    late.set_client_id("furrow-ingest/second".to_owned());
    let mut late = Client::connected(late).await;
    late.subscribe("furrow/1/+/+/state").await;
    assert_eq!(
        late.next_message().await.1,
        "offline",
        "the will is retained"
    );
}

#[tokio::test]
async fn an_absent_ingest_gets_what_was_sent_meanwhile() {
    let broker = broker().await;
    let persistent = || {
        let mut options = options(&broker, "furrow-ingest", "internal");
        options
            .set_clean_start(false)
            .set_session_expiry_interval(Some(3_600));
        options
    };
    let mut ingest = Client::connected(persistent()).await;
    ingest.subscribe("furrow/1/+/+/batch").await;
    drop(ingest);
    let mut gateway = Client::connected(options(&broker, "a/g1", "secret")).await;
    for _ in 0..1_500 {
        assert_eq!(
            gateway.publish("furrow/1/a/g1/batch", false).await,
            PubAckReason::Success
        );
    }
    let mut ingest = Client::connected(persistent()).await;
    for _ in 0..1_500 {
        ingest.next_message().await;
    }
}

#[tokio::test]
async fn a_broker_that_strangers_could_reach_does_not_start_in_the_clear() {
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let mut accounts = Accounts::default();
    let error = started(everywhere, None, accounts.clone())
        .await
        .unwrap_err();
    let text =
        "broker must not listen on 0.0.0.0:0 without tls: it is reachable from other machines";
    assert_eq!(error.to_string(), text);
    let loopback = "127.0.0.1:0".parse().unwrap();
    let error = started(loopback, None, accounts.clone()).await.unwrap_err();
    let text = "broker must not listen on 127.0.0.1:0 without accounts";
    assert_eq!(error.to_string(), text);
    accounts.set_internal("furrow-ingest", PasswordHash::of(b"x"));
    let first = started(loopback, None, accounts.clone()).await.unwrap();
    let error = started(first.address(), None, accounts).await.unwrap_err();
    let text = format!("broker can't listen on {}", first.address());
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn with_tls_gateways_connect_from_outside_and_ingest_on_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let names = vec!["localhost".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).unwrap();
    let tls = ServerTls {
        certificate: dir.path().join("broker.pem"),
        key: dir.path().join("broker.key"),
    };
    let certificate = certified.cert.pem();
    std::fs::write(&tls.certificate, &certificate).unwrap();
    std::fs::write(&tls.key, certified.signing_key.serialize_pem()).unwrap();
    let broker = started("0.0.0.0:0".parse().unwrap(), Some(tls), accounts())
        .await
        .unwrap();
    let provider = rumqttc::tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().unwrap();

    let secured = |password: &str| {
        let port = broker.address().port();
        let mut options = MqttOptions::new("a/g1", "localhost", port);
        options
            .set_credentials("a/g1", password)
            .set_keep_alive(Duration::from_secs(10));
        let ca = certificate.clone().into_bytes();
        let tls = TlsConfiguration::Simple {
            ca,
            alpn: None,
            client_auth: None,
        };
        options.set_transport(Transport::tls_with_config(tls));
        options
    };
    let refused = Client::refusal(secured("wrong")).await;
    assert_eq!(refused, ConnectReturnCode::BadUserNamePassword);

    assert!(broker.internal_address().ip().is_loopback());
    let port = broker.internal_address().port();
    let mut internal = MqttOptions::new("furrow-ingest", "127.0.0.1", port);
    internal.set_credentials("furrow-ingest", "internal");
    let mut ingest = Client::connected(internal).await;
    assert!(ingest.subscribe("furrow/1/+/+/batch").await);
    let mut gateway = Client::connected(secured("secret")).await;
    assert_eq!(
        gateway.publish("furrow/1/a/g1/batch", false).await,
        PubAckReason::Success
    );
    assert_eq!(ingest.next_message().await.0, "furrow/1/a/g1/batch");
    // In the clear nobody gets in where strangers can knock.
    let mut plain = Client::new(options(&broker, "a/g1", "secret"));
    let polled = tokio::time::timeout(PATIENCE, plain.events.poll())
        .await
        .unwrap();
    assert!(polled.is_err());
}
