//! One gateway's connection to the broker, again and again, by rumqttc as the gateway uses it: a
//! client of its own for each connection, nothing carried over, no call of the client awaited.

use std::sync::Arc;
use std::time::Duration;

use furrow_wire::{Ack, GatewayState, TopicKind};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, ConnectReturnCode, Filter, LastWill, Packet, PubAckReason,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};

use super::names::Name;
use super::{FleetError, Shared};

/// As the gateway's.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// TCP and CONNACK together, in seconds. A thousand others connect at the same time.
const CONNECT_TIMEOUT_S: u64 = 30;
/// The broker has this long to confirm the subscriptions.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(20);
/// First pause before another connect; doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Longest pause before another connect.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Requests that may wait in the client: the window twice over, and what is beside it.
const CLIENT_QUEUE: usize = 128;
/// Publishes that rumqttc lets be unacknowledged: well above the window, since its packet ids wrap
/// here.
const INFLIGHT: u16 = 128;
/// Largest packet to and from the broker.
const MAX_MQTT_BYTES: u32 = 128 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum EndError {
    #[error("connection to the broker failed")]
    Connection(#[from] Box<ConnectionError>),
    #[error("broker refused the subscriptions")]
    Subscription,
    #[error("broker did not confirm the subscriptions in time")]
    NoSubAck,
    #[error("said goodbye")]
    Goodbye,
    #[error(transparent)]
    Fleet(#[from] FleetError),
}

/// Keeps gateway number `at` connected until it has said goodbye.
pub(crate) async fn run(shared: Arc<Shared>, at: usize) -> Result<(), FleetError> {
    let name = shared.with(at, |member, _| member.name.clone());
    let Some(name) = name else { return Ok(()) };
    let mut pause = BACKOFF_FIRST;
    loop {
        let end = connection(&shared, at, &name).await;
        shared.with(at, |member, _| member.handle_disconnected());
        match end {
            EndError::Goodbye => return Ok(()),
            EndError::Fleet(error) => return Err(error),
            EndError::Connection(error) if is_refused(&error) => {
                return Err(FleetError::Refused {
                    login: name.login(),
                    source: error,
                });
            }
            EndError::Connection(_) | EndError::Subscription | EndError::NoSubAck => {
                let error = &end as &dyn std::error::Error;
                tracing::debug!(error, gateway = %name.gateway, "no link to the broker");
            }
        }
        if shared.is_ended() {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACKOFF_MAX);
    }
}

/// One connection from beginning to end.
async fn connection(shared: &Shared, at: usize, name: &Name) -> EndError {
    let (client, mut events) = AsyncClient::new(options(shared, name), CLIENT_QUEUE);
    {
        // Not all at once: a broker bounds the handshakes that it works on. The semaphore is never
        // closed.
        let _turn = shared.handshakes.acquire().await;
        if let Err(end) = subscribe(&client, &mut events, name).await {
            return end;
        }
    }
    let now = shared.now();
    shared.with(at, |member, tally| {
        member.handle_connected(client, now, tally);
    });
    let own = name.topic(TopicKind::Ack);
    loop {
        let event = match events.poll().await {
            Ok(event) => event,
            Err(error) => return EndError::Connection(Box::new(error)),
        };
        if let Err(end) = handle_event(shared, at, &own, event) {
            return end;
        }
    }
}

fn handle_event(shared: &Shared, at: usize, own: &str, event: Event) -> Result<(), EndError> {
    match event {
        Event::Outgoing(Outgoing::Disconnect) => Err(EndError::Goodbye),
        Event::Incoming(Packet::Publish(publish)) if publish.topic == own.as_bytes() => {
            let ack = Ack::decode(&publish.payload).map_err(FleetError::Acknowledgement)?;
            let now = shared.now();
            shared
                .with(at, |member, tally| member.handle_ack(&ack, now, tally))
                .unwrap_or(Ok(()))?;
            Ok(())
        }
        Event::Incoming(Packet::PubAck(ack)) if !is_accepted(ack.reason) => {
            tracing::debug!(reason = ?ack.reason, "the broker refused a publish");
            shared.with(at, |_, tally| tally.refused_publishes += 1);
            Ok(())
        }
        Event::Incoming(_) | Event::Outgoing(_) => Ok(()),
    }
}

async fn subscribe(
    client: &AsyncClient,
    events: &mut EventLoop,
    name: &Name,
) -> Result<(), EndError> {
    while !matches!(
        events.poll().await.map_err(Box::new)?,
        Event::Incoming(Packet::ConnAck(_))
    ) {}
    // As the gateway does.
    let filters = [
        Filter::new(name.topic(TopicKind::Ack), QoS::AtMostOnce),
        Filter::new(name.topic(TopicKind::Command), QoS::AtLeastOnce),
    ];
    client
        .try_subscribe_many(filters)
        .map_err(|_| EndError::Subscription)?;
    let confirmed = async {
        loop {
            if let Event::Incoming(Packet::SubAck(ack)) = events.poll().await.map_err(Box::new)? {
                let is_granted = |code| matches!(code, &SubscribeReasonCode::Success(_));
                let all = ack.return_codes.iter().all(is_granted);
                return all.then_some(()).ok_or(EndError::Subscription);
            }
        }
    };
    tokio::time::timeout(SUBSCRIBE_TIMEOUT, confirmed)
        .await
        .unwrap_or(Err(EndError::NoSubAck))
}

fn options(shared: &Shared, name: &Name) -> MqttOptions {
    let mut options = MqttOptions::new(name.login(), &shared.broker.host, shared.broker.port);
    let offline = GatewayState::offline().to_json();
    let state = name.topic(TopicKind::State);
    options
        .set_credentials(name.login(), &shared.password)
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_start(true)
        .set_last_will(LastWill::new(state, offline, QoS::AtLeastOnce, true, None))
        .set_connection_timeout(CONNECT_TIMEOUT_S)
        .set_connect_properties(ConnectProperties::new())
        .set_max_packet_size(Some(MAX_MQTT_BYTES))
        .set_session_expiry_interval(Some(0))
        .set_outgoing_inflight_upper_limit(INFLIGHT);
    if let Some(tls) = &shared.tls {
        options.set_transport(tls.transport());
    }
    options
}

fn is_accepted(reason: PubAckReason) -> bool {
    matches!(
        reason,
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers
    )
}

/// A wrong name or password does not become right by trying again.
fn is_refused(error: &ConnectionError) -> bool {
    matches!(
        error,
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword
                | ConnectReturnCode::NotAuthorized
                | ConnectReturnCode::ClientIdentifierNotValid
        )
    )
}
