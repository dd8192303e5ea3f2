//! Dead letters that are to be run again: asked for in a folder, done by the running ingest.
//!
//! Only ingest writes its log and its archives. So who wants a dead letter to be run again leaves an
//! empty file, named after it, in a folder of the data directory; whoever may write there may ask. The
//! running ingest, or the next one, puts the record into the log once more, as an entry of its own
//! kind, and takes the file away when that is durable. The log's reader decides on it like on any
//! other record, and in one transaction the dead letter goes and what it became comes. An entry that
//! is there twice, because of a kill in between, finds the dead letter gone and does nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use furrow_ingest_core::GatewayKey;
use furrow_wire::CooperativeId;
use tokio::sync::{mpsc, oneshot};

use crate::archive::{ArchiveError, ArchiveReader, DeadLetter};
use crate::log::entry::{EntryKind, Rerun};
use crate::log::front::Incoming;
use crate::log::writer::{Delivery, unix_ms};
use crate::subscriber::Receipt;

/// Folder of the requests within the data directory.
const FOLDER: &str = "rerun";
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Requests taken in one look: the writer has gateways to serve.
const TAKEN_AT_ONCE: usize = 256;
/// How long the log gets to store one; after that it is asked for again.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Whose dead letter.
    pub cooperative: CooperativeId,
    /// Its number.
    pub id: i64,
}

impl Request {
    /// Asks for it. Asking twice is asking once.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn file(&self, data_dir: &Path) -> io::Result<()> {
        let folder = data_dir.join(FOLDER);
        std::fs::create_dir_all(&folder)?;
        std::fs::File::create(self.path(data_dir))?;
        std::fs::File::open(&folder)?.sync_all()
    }

    /// Whether it still waits for ingest.
    #[must_use]
    pub fn is_waiting(&self, data_dir: &Path) -> bool {
        self.path(data_dir).exists()
    }

    fn path(&self, data_dir: &Path) -> PathBuf {
        let name = format!("{}.{}", self.cooperative, self.id);
        data_dir.join(FOLDER).join(name)
    }

    fn of_name(name: &str) -> Option<Self> {
        let (cooperative, id) = name.split_once('.')?;
        Some(Self {
            cooperative: cooperative.parse().ok()?,
            id: id.parse().ok()?,
        })
    }
}

/// Takes away what was asked for a cooperative that was deleted.
pub(crate) fn forget(data_dir: &Path, cooperative: &CooperativeId) -> io::Result<()> {
    let folder = data_dir.join(FOLDER);
    let files = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        files => files?,
    };
    let mut has_removed = false;
    for file in files {
        let file = file?;
        let request = file.file_name().to_str().and_then(Request::of_name);
        if request.is_some_and(|request| request.cooperative == *cooperative) {
            std::fs::remove_file(file.path())?;
            has_removed = true;
        }
    }
    match has_removed {
        true => std::fs::File::open(&folder)?.sync_all(),
        false => Ok(()),
    }
}

/// Why a dead letter can't be run again; `None`: it can.
#[must_use]
pub fn obstacle(letter: &DeadLetter) -> Option<&'static str> {
    if letter.bytes.is_none() {
        return Some("its bytes were not kept: too many dead letters");
    }
    if letter.record.is_none() {
        return Some("its bytes hold no record that could be named");
    }
    None
}

/// Has parked records of the gateways in `awake` come out, then takes requests until `ended`. One that is
/// under way then is asked for again at the next start.
pub async fn run(
    data_dir: PathBuf,
    awake: Vec<GatewayKey>,
    reader: ArchiveReader,
    messages: mpsc::Sender<Delivery<Receipt>>,
    ended: impl Future<Output = ()>,
) {
    let work = async {
        wake(awake, &messages).await;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            look(&data_dir, &reader, &messages).await;
        }
    };
    tokio::select! {
        () = ended => {}
        () = work => {}
    }
}

/// Has the log carry out what was parked of these gateways and can be decoded since this start. What ends
/// before it is done is done by the next start.
async fn wake(gateways: Vec<GatewayKey>, messages: &mpsc::Sender<Delivery<Receipt>>) {
    for gateway in gateways {
        tracing::info!(%gateway, "parked records can be decoded now");
        let incoming = Incoming {
            gateway,
            kind: EntryKind::Wake,
            bytes: bytes::Bytes::new(),
            received_unix_ms: unix_ms(),
        };
        // Nobody waits for its end.
        let receipt = Receipt::Here(oneshot::channel().0);
        if messages.send(Delivery { incoming, receipt }).await.is_err() {
            return;
        }
    }
}

async fn look(data_dir: &Path, reader: &ArchiveReader, messages: &mpsc::Sender<Delivery<Receipt>>) {
    for request in waiting(data_dir) {
        match serve(&request, reader, messages).await {
            Ok(Done::Yes) => {
                if let Err(error) = std::fs::remove_file(request.path(data_dir)) {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::warn!(error, id = request.id, "request can't be taken away");
                }
            }
            Ok(Done::Later) => return,
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(error, "dead letter can't be read; it is tried again");
                return;
            }
        }
    }
}

enum Done {
    Yes,
    Later,
}

/// The oldest numbers first: a catalog is older than the batches that need it.
fn waiting(data_dir: &Path) -> Vec<Request> {
    // Nobody has asked yet: there is no folder.
    let Ok(files) = std::fs::read_dir(data_dir.join(FOLDER)) else {
        return Vec::new();
    };
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let mut requests: Vec<Request> = names.filter_map(|name| Request::of_name(&name)).collect();
    requests.sort();
    requests.truncate(TAKEN_AT_ONCE);
    requests
}

async fn serve(
    request: &Request,
    reader: &ArchiveReader,
    messages: &mpsc::Sender<Delivery<Receipt>>,
) -> Result<Done, ArchiveError> {
    let (reader, wanted) = (reader.clone(), request.clone());
    let read = move || reader.dead_letter(&wanted.cooperative, wanted.id);
    let letter = match tokio::task::spawn_blocking(read).await {
        Ok(Err(ArchiveError::UnknownCooperative(_))) => None,
        Ok(letter) => letter?,
        Err(_) => return Ok(Done::Later),
    };
    let Some(letter) = letter else {
        tracing::info!(
            id = request.id,
            "no such dead letter: it was run again before"
        );
        return Ok(Done::Yes);
    };
    let (None, Some(bytes)) = (obstacle(&letter), letter.bytes) else {
        tracing::warn!(id = request.id, "dead letter can't be run again");
        return Ok(Done::Yes);
    };
    let rerun = Rerun {
        id: letter.id,
        received_unix_ms: letter.received_unix_ms,
        bytes,
    };
    let incoming = Incoming {
        gateway: GatewayKey {
            cooperative: request.cooperative.clone(),
            gateway: letter.gateway,
        },
        kind: EntryKind::Rerun,
        bytes: rerun.encode(),
        received_unix_ms: unix_ms(),
    };
    let (asker, answer) = oneshot::channel();
    let receipt = Receipt::Here(asker);
    if messages.send(Delivery { incoming, receipt }).await.is_err() {
        return Ok(Done::Later);
    }
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(())) => {
            tracing::info!(id = request.id, "dead letter is run again");
            Ok(Done::Yes)
        }
        Ok(Err(_)) | Err(_) => Ok(Done::Later),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_files_and_strangers_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(waiting(dir.path()), []);
        let request = |cooperative: &str, id| Request {
            cooperative: cooperative.parse().unwrap(),
            id,
        };
        let all = [request("a", 9), request("a", 10), request("b-c", 1)];
        for request in all.iter().rev() {
            request.file(dir.path()).unwrap();
            request.file(dir.path()).unwrap();
        }
        for name in ["a", "a.x", "A.1", ".1"] {
            std::fs::File::create(dir.path().join(FOLDER).join(name)).unwrap();
        }
        assert_eq!(waiting(dir.path()), all);
        assert!(all[0].is_waiting(dir.path()));
    }
}
