//! One connection of a feed to its broker, by MQTT 3.1.1, which every broker speaks.

use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Packet, QoS,
};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Message, Options, WINDOW};

/// Requests that may wait in the client: the window twice over.
const CLIENT_QUEUE: usize = 2 * WINDOW;
/// Publishes that rumqttc lets be unacknowledged: above the window, since its packet ids wrap here.
const INFLIGHT: u16 = 128;
/// What happened, not yet looked at.
const TOLD_MAX: usize = 2 * WINDOW;
/// A dead connection is noticed after at most twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// TCP and CONNACK together, in seconds.
const CONNECT_TIMEOUT_S: u64 = 5;
/// What a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// What happened to a connection.
#[derive(Debug)]
pub(super) enum Told {
    /// The broker took the connection.
    Up,
    /// The broker acknowledged the oldest message under way.
    Acknowledged,
    /// The connection is over.
    Down(Box<ConnectionError>),
}

/// A connection, polled by a task of its own: the client's calls are never waited for.
pub(super) struct Link {
    client: AsyncClient,
    events: Receiver<Told>,
    polled: tokio::task::JoinHandle<()>,
}

impl Link {
    /// Begins a connection.
    pub(super) fn connect(options: &Options) -> Self {
        // Programs of one machine must not throw each other out.
        let id = format!("furrow-sim-{:016x}", rand::random::<u64>());
        let mut mqtt = MqttOptions::new(id, &options.broker.host, options.broker.port);
        mqtt.set_keep_alive(KEEP_ALIVE).set_inflight(INFLIGHT);
        if let Some((name, password)) = &options.login {
            mqtt.set_credentials(name, password);
        }
        let (client, mut events) = AsyncClient::new(mqtt, CLIENT_QUEUE);
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(CONNECT_TIMEOUT_S);
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        let (tell, told) = channel(TOLD_MAX);
        Self {
            client,
            events: told,
            polled: tokio::spawn(poll(events, tell)),
        }
    }

    /// Ready when the broker has taken the connection.
    pub(super) async fn up(&mut self) -> Result<(), Box<ConnectionError>> {
        loop {
            match self.told().await {
                Told::Up => return Ok(()),
                Told::Acknowledged => {}
                Told::Down(error) => return Err(error),
            }
        }
    }

    /// What happens next. Cancel-safe.
    pub(super) async fn told(&mut self) -> Told {
        let told = self.events.recv().await;
        told.unwrap_or_else(|| Told::Down(Box::new(ConnectionError::RequestsDone)))
    }

    /// `false` when the client takes no more.
    pub(super) fn publish(&self, message: &Message, retain: bool) -> bool {
        let payload = message.payload.as_bytes();
        self.client
            .try_publish(&message.topic, QoS::AtLeastOnce, retain, payload)
            .is_ok()
    }

    /// Says goodbye, if the broker still listens.
    pub(super) async fn close(mut self) {
        // A client that takes no more has lost its connection.
        if self.client.try_disconnect().is_ok() {
            drop(tokio::time::timeout(GOODBYE, &mut self.polled).await);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.polled.abort();
    }
}

async fn poll(mut events: EventLoop, tell: Sender<Told>) {
    loop {
        let told = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => Told::Up,
            Ok(Event::Incoming(Packet::PubAck(_))) => Told::Acknowledged,
            Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return,
            Ok(Event::Incoming(_) | Event::Outgoing(_)) => continue,
            Err(error) => Told::Down(Box::new(error)),
        };
        let is_down = matches!(told, Told::Down(_));
        if tell.send(told).await.is_err() || is_down {
            return;
        }
    }
}
