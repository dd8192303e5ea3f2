//! Readings of simulated greenhouses as plain JSON messages, for any MQTT broker.
//!
//! Owns the greenhouses ([`house`]), the topics ([`topic`]), the pace and the connection. It is for
//! programs that know nothing of Furrow: the wire protocol is `fleet`'s. A message counts as taken
//! when the broker has acknowledged it (QoS 1); what it did not is sent again on the next
//! connection. Nothing is dropped: when the broker is slow or away, simulated time waits.

mod house;
mod link;
mod topic;

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use rumqttc::ConnectionError;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

pub use self::topic::{TopicError, TopicTemplate};
use crate::fleet::Broker;

use self::house::{House, Reading};
use self::link::{Link, Told};

/// Messages that wait to be sent, above which no further readings are made.
const QUEUE_MAX: usize = 4_096;
/// Messages under way, not yet acknowledged; more fills the client's table of packet ids.
const WINDOW: usize = 64;
/// A broker that was there may be away so long.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// First pause before another connect; doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Longest pause before another connect.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// After the last reading, or Ctrl-C, the broker has so long to acknowledge what is under way.
const DRAIN: Duration = Duration::from_secs(10);
/// Most greenhouses: each costs some milliseconds at the start, and 22 messages a tick.
pub const GREENHOUSES_MAX: u16 = 100;

/// What a feed shall do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the broker is.
    pub broker: Broker,
    /// User name and password, if the broker wants them.
    pub login: Option<(String, String)>,
    /// Where each reading goes.
    pub topic: TopicTemplate,
    /// Whether the broker keeps the last reading of each topic.
    pub retain: bool,
    /// Simulated time between two readings of a sensor, milliseconds, from 1.
    pub every_ms: u64,
    /// Thousandths of simulated seconds a real second, from 1.
    pub speed_permille: u32,
    /// Ends after so much simulated time, milliseconds; `None`: when it is told to.
    pub length_ms: Option<u64>,
    /// How many greenhouses, 1 to [`GREENHOUSES_MAX`].
    pub greenhouses: u16,
    /// Decides weather and noise; each further greenhouse has the next one.
    pub seed: u64,
    /// Unix time of the first readings, milliseconds.
    pub start_unix_ms: i64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Readings made.
    pub made: u64,
    /// Readings that the broker acknowledged.
    pub acknowledged: u64,
    /// Connections after the first.
    pub reconnects: u64,
}

/// Why a feed can't run, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// No runtime.
    #[error("start the feed")]
    Runtime(#[source] std::io::Error),
    /// There is no broker, or it does not want us.
    #[error("connect to the broker at {host}:{port}")]
    Connect {
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// Its answer.
        #[source]
        source: Box<ConnectionError>,
    },
    /// The broker went and did not come back.
    #[error("the broker at {host}:{port} was away for {AWAY_MAX:?}")]
    Away {
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// The last failure.
        #[source]
        source: Box<ConnectionError>,
    },
    /// A reading can't be written as JSON.
    #[error("write a reading")]
    Payload(#[from] serde_json::Error),
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    topic: String,
    payload: String,
}

/// The payload, in this order.
#[derive(Debug, Serialize)]
struct Payload<'a> {
    time: &'a str,
    greenhouse: &'a str,
    #[serde(flatten)]
    reading: &'a Reading,
}

/// Feeds a broker until the time is up or `stop` is ready.
///
/// # Errors
/// No broker at the beginning, or none for too long.
pub fn run(options: &Options, stop: impl Future<Output = ()>) -> Result<Totals, FeedError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(FeedError::Runtime)?;
    runtime.block_on(Feed::new(options).run(stop))
}

/// The pace, the queue and what is under way.
struct Feed<'a> {
    options: &'a Options,
    houses: Vec<(String, House)>,
    tick: u64,
    queue: VecDeque<Message>,
    /// Sent and not acknowledged, in order: a broker acknowledges in that order.
    sent: VecDeque<Message>,
    totals: Totals,
}

impl<'a> Feed<'a> {
    fn new(options: &'a Options) -> Self {
        let houses = (1..=options.greenhouses.clamp(1, GREENHOUSES_MAX)).map(|number| {
            let seed = options.seed.wrapping_add(u64::from(number) - 1);
            let house = House::new(seed, options.start_unix_ms);
            (format!("greenhouse-{number}"), house)
        });
        Self {
            options,
            houses: houses.collect(),
            tick: 0,
            queue: VecDeque::new(),
            sent: VecDeque::new(),
            totals: Totals::default(),
        }
    }

    async fn run(mut self, stop: impl Future<Output = ()>) -> Result<Totals, FeedError> {
        let mut stop = std::pin::pin!(stop);
        let mut link = Link::connect(self.options);
        link.up().await.map_err(|error| self.not_there(error))?;
        tracing::info!("connected to the broker");
        let begun = Instant::now();
        let mut drain_end: Option<Instant> = None;
        loop {
            self.send(&link);
            let ended = drain_end.is_some() || self.is_over();
            if ended && self.queue.is_empty() && self.sent.is_empty() {
                break;
            }
            if ended && drain_end.is_none() {
                drain_end = Some(Instant::now() + DRAIN);
            }
            let may_make = !ended && self.queue.len() < QUEUE_MAX;
            let due = begun + self.due();
            let give_up = drain_end.unwrap_or(begun);
            tokio::select! {
                told = link.told() => match told {
                    Told::Acknowledged => {
                        self.sent.pop_front();
                        self.totals.acknowledged += 1;
                    }
                    Told::Down(error) => {
                        tracing::warn!(%error, "the broker is gone");
                        tokio::select! {
                            again = self.again(error) => link = again?,
                            () = &mut stop => break,
                        }
                    }
                    Told::Up => {}
                },
                () = sleep_until(due), if may_make => self.make()?,
                () = &mut stop, if !ended => drain_end = Some(Instant::now() + DRAIN),
                () = sleep_until(give_up), if drain_end.is_some() => break,
            }
            if drain_end.is_some() && !self.is_over() {
                // Told to stop: what was not begun is left.
                self.totals.made -= u64::try_from(self.queue.len()).unwrap_or_default();
                self.queue.clear();
            }
        }
        link.close().await;
        Ok(self.totals)
    }

    /// A connection again, with what was under way first in the queue.
    async fn again(&mut self, mut error: Box<ConnectionError>) -> Result<Link, FeedError> {
        for message in self.sent.drain(..).rev() {
            self.queue.push_front(message);
        }
        let end = Instant::now() + AWAY_MAX;
        let mut pause = BACKOFF_FIRST;
        while Instant::now() < end {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF_MAX);
            let mut link = Link::connect(self.options);
            match link.up().await {
                Ok(()) => {
                    tracing::info!("connected to the broker again");
                    self.totals.reconnects += 1;
                    return Ok(link);
                }
                Err(again) => error = again,
            }
        }
        let Broker { host, port } = self.options.broker.clone();
        Err(FeedError::Away {
            host,
            port,
            source: error,
        })
    }

    fn not_there(&self, source: Box<ConnectionError>) -> FeedError {
        let Broker { host, port } = self.options.broker.clone();
        FeedError::Connect { host, port, source }
    }

    fn send(&mut self, link: &Link) {
        while self.sent.len() < WINDOW {
            let Some(message) = self.queue.pop_front() else {
                return;
            };
            if !link.publish(&message, self.options.retain) {
                self.queue.push_front(message);
                return;
            }
            self.sent.push_back(message);
        }
    }

    /// Simulated milliseconds after the start of the next tick.
    fn tick_ms(&self) -> u64 {
        self.tick.saturating_mul(self.options.every_ms.max(1))
    }

    fn is_over(&self) -> bool {
        let length_ms = self.options.length_ms;
        length_ms.is_some_and(|length_ms| self.tick_ms() >= length_ms)
    }

    /// Real time after the beginning at which the next tick is due.
    fn due(&self) -> Duration {
        let permille = u128::from(self.options.speed_permille.max(1));
        let real_us = u128::from(self.tick_ms()) * 1_000_000 / permille;
        Duration::from_micros(u64::try_from(real_us).unwrap_or(u64::MAX / 2))
    }

    /// The readings of one tick.
    fn make(&mut self) -> Result<(), FeedError> {
        let tick_ms = self.tick_ms();
        self.tick += 1;
        let unix_ms = self.options.start_unix_ms.saturating_add_unsigned(tick_ms);
        let time = Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::MAX);
        let time = format!("{time:.3}");
        for (greenhouse, house) in &mut self.houses {
            house.advance(tick_ms.saturating_mul(1_000_000));
            for reading in house.readings() {
                let topic = &self.options.topic;
                let topic = topic.topic(greenhouse, reading.device, reading.channel);
                let payload = Payload {
                    time: &time,
                    greenhouse,
                    reading: &reading,
                };
                let payload = serde_json::to_string(&payload)?;
                self.queue.push_back(Message { topic, payload });
                self.totals.made += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            broker: Broker {
                host: "127.0.0.1".to_owned(),
                port: 1,
            },
            login: None,
            topic: "t/{greenhouse}/{device}/{channel}".parse().unwrap(),
            retain: false,
            every_ms: 10_000,
            speed_permille: 60_000,
            length_ms: Some(25_000),
            greenhouses: 2,
            seed: 1,
            start_unix_ms: 1_776_488_400_000,
        }
    }

    #[test]
    fn ticks_lie_on_the_interval_and_end_with_the_time() {
        let options = options();
        let mut feed = Feed::new(&options);
        let mut due = Vec::new();
        while !feed.is_over() {
            due.push(feed.due().as_micros());
            feed.make().unwrap();
        }
        // Sixty times as fast as real time.
        assert_eq!(due, [0, 166_666, 333_333]);
        let each = feed.queue.len() / 6;
        assert_eq!(feed.queue.len(), 6 * each);
        assert_eq!(feed.totals.made, u64::try_from(6 * each).unwrap());
        let first = &feed.queue[0];
        assert_eq!(first.topic, "t/greenhouse-1/sht-inside/air_temperature");
        let payload: serde_json::Value = serde_json::from_str(&first.payload).unwrap();
        let value = payload["value"].as_f64().unwrap();
        let expected = format!(
            "{{\"time\":\"2026-04-18T05:00:00.000Z\",\"greenhouse\":\"greenhouse-1\",\
             \"device\":\"sht-inside\",\"channel\":\"air_temperature\",\"value\":{value:?},\
             \"unit\":\"Cel\"}}"
        );
        assert_eq!(first.payload, expected);
        let last = &feed.queue[6 * each - 1];
        assert!(
            last.payload.contains("2026-04-18T05:00:20.000Z"),
            "{last:?}"
        );
        assert!(last.topic.starts_with("t/greenhouse-2/"), "{last:?}");
    }

    #[test]
    fn where_nobody_listens_is_an_error() {
        let error = run(&options(), std::future::pending()).unwrap_err();
        assert_eq!(error.to_string(), "connect to the broker at 127.0.0.1:1");
    }
}
