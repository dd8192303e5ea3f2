//! The orders' file in the state folder, and what holds by it and the local file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use furrow_gateway_core::orders::{Book, Standing};
use serde::{Deserialize, Serialize};

use crate::config::{LocalFile, Settings};
use crate::files::replace;

/// Largest file: two sets of orders, in JSON.
const BYTES_MAX: u64 = 512 * 1_024;
/// What this program writes, and the only one that it reads.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    format: u32,
    book: Book,
}

/// Where the orders lie.
#[must_use]
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("orders.json")
}

/// Reads the orders; no file is none.
///
/// # Errors
/// The system's, or that it is not what this program writes.
pub fn load(state_dir: &Path) -> io::Result<Book> {
    let file = match File::open(path(state_dir)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Book::default()),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text)?;
    let contents: Contents = serde_json::from_str(&text)?;
    if contents.format == FORMAT {
        Ok(contents.book)
    } else {
        let found = contents.format;
        let text = format!("has the format {found} (this program reads {FORMAT})");
        Err(io::Error::other(text))
    }
}

/// Writes the orders. What was there before stays until the new ones are durable.
///
/// # Errors
/// The system's.
pub fn save(state_dir: &Path, book: Book) -> io::Result<()> {
    let format = FORMAT;
    let mut text = serde_json::to_string_pretty(&Contents { format, book })?;
    text.push('\n');
    replace(&path(state_dir), text.as_bytes())
}

/// Writes orders on a thread of its own, so that watering never waits for the card. Of several that
/// come meanwhile the last one counts.
#[derive(Debug)]
pub struct Writer {
    next: Option<SyncSender<()>>,
    slot: Arc<Mutex<Option<Book>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's.
    pub fn start(state_dir: PathBuf) -> io::Result<Self> {
        let slot = Arc::new(Mutex::new(None));
        // One sign is enough: whoever takes it takes the newest.
        let (next, signs) = sync_channel(1);
        let newest = Arc::clone(&slot);
        let write = move || {
            for () in signs {
                let book = newest.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(Err(error)) = book.map(|book| save(&state_dir, book)) {
                    let path = path(&state_dir);
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::error!(
                        path = %path.display(),
                        error,
                        "the orders can't be written: they hold until the next start"
                    );
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("orders".to_owned())
            .spawn(write)?;
        Ok(Self {
            next: Some(next),
            slot,
            thread: Some(thread),
        })
    }

    /// Has them written soon.
    pub fn save(&self, book: Book) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(book);
        if let Some(next) = &self.next {
            // A sign that is there already is as good.
            next.try_send(()).ok();
        }
    }
}

impl Drop for Writer {
    /// Waits until what was given is written.
    fn drop(&mut self) {
        self.next = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes orders has failed");
        }
    }
}

/// What holds when the process begins: the local file with the orders in force laid over it, as far as
/// they still fit.
#[must_use]
pub fn in_force(local: &LocalFile, own: Settings, standing: &mut Standing) -> Settings {
    // At most the orders on trial, and then those that stay, don't fit.
    for _ in 0..2 {
        let Some(orders) = standing.in_force() else {
            break;
        };
        match local.with_orders(&orders.text) {
            Ok(other) => return own.with_watering_of(other),
            Err(error) => standing.handle_unfit(&error.to_string()),
        }
    }
    own
}

/// The same for a tool, which changes nothing.
///
/// # Errors
/// The file of the orders can't be read.
pub fn settings_in_force(local: &LocalFile, own: Settings) -> io::Result<Settings> {
    let book = load(&own.gateway().state_dir)?;
    let mut orders = book.trial.map(|trial| trial.orders).into_iter();
    let fits = orders.find_map(|orders| local.with_orders(&orders.text).ok());
    let stays = || {
        let orders = book.confirmed.as_ref()?;
        local.with_orders(&orders.text).ok()
    };
    Ok(match fits.or_else(stays) {
        Some(other) => own.with_watering_of(other),
        None => own,
    })
}

#[cfg(test)]
mod tests {
    use furrow_gateway_core::orders::Trial;
    use furrow_wire::Orders;

    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()).unwrap(), Book::default());
        let orders = Orders {
            version: 4,
            issued_by: "chị Hoa".into(),
            text: "season = [100]".into(),
        };
        let trial = Some(Trial {
            orders: orders.clone(),
            starts: 1,
        });
        let book = Book {
            seen: 4,
            confirmed: Some(orders),
            trial,
        };
        save(folder.path(), book.clone()).unwrap();
        assert_eq!(load(folder.path()).unwrap(), book);
        let writer = Writer::start(folder.path().to_owned()).unwrap();
        for seen in 5..50 {
            writer.save(Book {
                seen,
                ..book.clone()
            });
        }
        drop(writer);
        assert_eq!(load(folder.path()).unwrap().seen, 49, "the last one counts");
        std::fs::write(path(folder.path()), "{}").unwrap();
        assert!(load(folder.path()).is_err());
    }
}
