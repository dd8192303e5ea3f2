//! What asks for a deletion, and the running ingest that puts it into the log.
//!
//! As with dead letters ([`crate::rerun`]): whoever may write the data directory may ask, by a file in a folder.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use furrow_ingest_core::GatewayKey;
use furrow_journal::FileDisk;
use furrow_wire::CooperativeId;
use tokio::sync::{mpsc, oneshot};

use super::{Eraser, tombstone};
use crate::log::Log;
use crate::log::entry::{EntryKind, LogRecord};
use crate::log::front::Incoming;
use crate::log::writer::{Delivery, unix_ms};
use crate::metrics::Metrics;
use crate::subscriber::Receipt;

/// Folder of the requests within the data directory.
const FOLDER: &str = "delete";
/// How often it is looked at, and what is outstanding.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the log gets to store one; after that it is asked for again.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a running ingest writes into a request that it does not take.
const CONFIGURED: &[u8] = b"configured";

/// A request that one cooperative be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which.
    pub cooperative: CooperativeId,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// No ingest has looked at it.
    Waiting,
    /// The running ingest was started with a configuration that names the cooperative.
    Configured,
    /// It is in the log, or there never was one.
    Taken,
}

impl Request {
    /// Asks for it, durably. Asking twice is asking once.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn file(&self, data_dir: &Path) -> io::Result<()> {
        let folder = data_dir.join(FOLDER);
        fs::create_dir_all(&folder)?;
        File::create(self.path(data_dir))?.sync_all()?;
        File::open(&folder)?.sync_all()?;
        File::open(data_dir)?.sync_all()
    }

    /// What became of it.
    #[must_use]
    pub fn answer(&self, data_dir: &Path) -> Answer {
        match fs::read(self.path(data_dir)) {
            Ok(said) if said == CONFIGURED => Answer::Configured,
            Ok(_) => Answer::Waiting,
            Err(_) => Answer::Taken,
        }
    }

    fn path(&self, data_dir: &Path) -> PathBuf {
        data_dir.join(FOLDER).join(self.cooperative.as_str())
    }

    fn remove(&self, data_dir: &Path) -> io::Result<()> {
        fs::remove_file(self.path(data_dir))?;
        File::open(data_dir.join(FOLDER))?.sync_all()
    }
}

/// What the running ingest needs to obey.
#[derive(Debug)]
pub struct DeletionSetup {
    /// Where requests, tombstones and everything else are.
    pub data_dir: PathBuf,
    /// Cooperatives that it was started with: they are not deleted.
    pub configured: BTreeSet<CooperativeId>,
    /// Names of the stores that it was started with.
    pub stores: BTreeSet<String>,
    /// The log.
    pub log: Arc<Log<FileDisk>>,
    /// The way into it.
    pub messages: mpsc::Sender<Delivery<Receipt>>,
    /// Figures.
    pub metrics: Metrics,
}

/// Takes requests and erases until `ended`. What is under way then is done by the next start.
pub async fn run(setup: DeletionSetup, ended: impl Future<Output = ()>) {
    let mut eraser = Some(Eraser::new(
        setup.data_dir.clone(),
        Arc::clone(&setup.log),
        setup.stores.clone(),
        &setup.metrics,
    ));
    let mut refused = BTreeSet::new();
    let work = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            for request in waiting(&setup.data_dir) {
                setup.serve(&request, &mut refused).await;
            }
            let Some(mut turning) = eraser.take() else {
                return;
            };
            let turned = tokio::task::spawn_blocking(move || {
                turning.turn(unix_ms());
                turning
            });
            eraser = turned.await.ok();
        }
    };
    tokio::select! {
        () = ended => {}
        () = work => {}
    }
}

impl DeletionSetup {
    async fn serve(&self, request: &Request, refused: &mut BTreeSet<CooperativeId>) {
        let cooperative = &request.cooperative;
        if self.configured.contains(cooperative) {
            if refused.insert(cooperative.clone()) {
                tracing::warn!(%cooperative, "not deleted: this ingest was started with it in its configuration; restart it");
            }
            // Whoever asked may own the file, and reads the warning then.
            fs::write(request.path(&self.data_dir), CONFIGURED).ok();
            return;
        }
        if !self.is_done(cooperative) && !self.log(cooperative).await {
            return;
        }
        if let Err(error) = request.remove(&self.data_dir)
            && refused.insert(cooperative.clone())
        {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error, %cooperative, "request can't be taken away");
        }
    }

    fn is_done(&self, cooperative: &CooperativeId) -> bool {
        tombstone::load(&self.data_dir).is_ok_and(|all| all.contains_key(cooperative))
    }

    /// Whether it is durable.
    async fn log(&self, cooperative: &CooperativeId) -> bool {
        let incoming = Incoming {
            gateway: GatewayKey {
                cooperative: cooperative.clone(),
                gateway: LogRecord::whole(),
            },
            kind: EntryKind::Delete,
            bytes: bytes::Bytes::new(),
            received_unix_ms: unix_ms(),
        };
        let (asker, answer) = oneshot::channel();
        let receipt = Receipt::Here(asker);
        let delivery = Delivery { incoming, receipt };
        if self.messages.send(delivery).await.is_err() {
            return false;
        }
        let is_done = matches!(tokio::time::timeout(PATIENCE, answer).await, Ok(Ok(())));
        if is_done {
            tracing::warn!(%cooperative, "cooperative is deleted: its data goes from here back");
        }
        is_done
    }
}

fn waiting(data_dir: &Path) -> Vec<Request> {
    // Nobody has asked yet: there is no folder.
    let Ok(files) = fs::read_dir(data_dir.join(FOLDER)) else {
        return Vec::new();
    };
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let ids = names.filter_map(|name| name.parse().ok());
    ids.map(|cooperative| Request { cooperative }).collect()
}
