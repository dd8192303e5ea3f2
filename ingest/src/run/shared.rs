//! What the parts of a running ingest share, and what each of them gets of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use furrow_ingest_core::GatewayKey;
use furrow_journal::FileDisk;
use furrow_wire::GreenhouseId;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, WeakSender};
use tokio::task::JoinHandle;

use crate::archive::{ArchiveReader, LiveHub};
use crate::config::Settings;
use crate::deletion::request::DeletionSetup;
use crate::health::Health;
use crate::http::{CooperativeAccess, Fleet, HttpSetup, TokenAccess};
use crate::log::consumer::ConsumerSetup;
use crate::log::front::FrontSetup;
use crate::log::writer::Delivery;
use crate::log::{Hold, Log};
use crate::metrics::Metrics;
use crate::remote::{Board, Desk, DeskSetup, Patience};
use crate::subscriber::{MqttPost, Receipt};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) fleet: Fleet,
    pub(super) board: Board,
    pub(super) live: LiveHub,
    pub(super) metrics: Metrics,
}

impl Shared {
    pub(super) fn consumer(&self) -> ConsumerSetup {
        ConsumerSetup {
            hold: Hold::firm("archive"),
            fleet: self.fleet.clone(),
            board: self.board.clone(),
            metrics: self.metrics.clone(),
        }
    }

    pub(super) fn front(&self, settings: &Settings) -> FrontSetup {
        FrontSetup {
            gateways: assignments(settings),
            fleet: self.fleet.clone(),
            live: self.live.clone(),
            board: self.board.clone(),
            metrics: self.metrics.clone(),
        }
    }

    pub(super) fn desk(
        &self,
        reader: &ArchiveReader,
        log: WeakSender<Delivery<Receipt>>,
        post: MqttPost,
    ) -> Desk {
        Desk::new(DeskSetup {
            board: self.board.clone(),
            fleet: self.fleet.clone(),
            reader: reader.clone(),
            log,
            post: Arc::new(post),
            patience: Patience::default(),
            metrics: self.metrics.clone(),
        })
    }

    pub(super) fn deletions(
        &self,
        settings: &Settings,
        log: Arc<Log<FileDisk>>,
        messages: mpsc::Sender<Delivery<Receipt>>,
    ) -> DeletionSetup {
        DeletionSetup {
            data_dir: settings.data_dir.clone(),
            configured: settings.cooperatives.iter().map(|c| c.id.clone()).collect(),
            stores: settings.stores.iter().map(|s| s.name.clone()).collect(),
            log,
            messages,
            metrics: self.metrics.clone(),
        }
    }

    pub(super) fn http(
        &self,
        settings: &Settings,
        reader: &ArchiveReader,
        desk: Desk,
        health: Health,
    ) -> HttpSetup {
        HttpSetup {
            cooperatives: settings.cooperatives.iter().map(access).collect(),
            reader: reader.clone(),
            fleet: self.fleet.clone(),
            live: self.live.clone(),
            desk,
            metrics: self.metrics.clone(),
            health,
        }
    }

    pub(super) fn health(&self, reader: &ArchiveReader) -> Health {
        Health::new(reader.clone(), self.fleet.clone(), &self.metrics)
    }
}

/// The log's writer holds the end of its queue for as long as it lives.
pub(super) fn watch_queue<T: Send + 'static>(health: &Health, queue: WeakSender<T>) {
    health.watch("log writer", move || {
        queue.upgrade().is_none_or(|queue| queue.is_closed())
    });
}

/// Tasks that must not end before ingest does.
pub(super) fn watch_tasks(health: &Health, tasks: &[(&'static str, &JoinHandle<()>)]) {
    for (name, task) in tasks {
        let task = task.abort_handle();
        health.watch(name, move || task.is_finished());
    }
}

/// The API's socket, and where it is.
pub(super) async fn listen(wanted: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(wanted)
        .await
        .with_context(|| format!("API can't listen on {wanted}"))?;
    let address = listener.local_addr().context("API has no address")?;
    Ok((listener, address))
}

/// Where each gateway stands.
pub(super) fn assignments(settings: &Settings) -> BTreeMap<GatewayKey, GreenhouseId> {
    settings
        .cooperatives
        .iter()
        .flat_map(|cooperative| {
            cooperative.gateways.iter().map(|gateway| {
                let key = GatewayKey {
                    cooperative: cooperative.id.clone(),
                    gateway: gateway.id.clone(),
                };
                (key, gateway.greenhouse.clone())
            })
        })
        .collect()
}

fn access(cooperative: &crate::config::CooperativeSettings) -> CooperativeAccess {
    CooperativeAccess {
        id: cooperative.id.clone(),
        name: cooperative.name.clone(),
        gateways: cooperative
            .gateways
            .iter()
            .map(|gateway| (gateway.id.clone(), gateway.greenhouse.clone()))
            .collect(),
        tokens: cooperative
            .tokens
            .iter()
            .map(|(name, sha256)| TokenAccess {
                name: name.clone(),
                sha256: *sha256,
            })
            .collect(),
    }
}
