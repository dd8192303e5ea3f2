//! The 1-Wire sensors as the kernel shows them: a folder for each, with a file `w1_slave`.
//!
//! Owns the files below its folder and nothing else. What they say comes from the world.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Simulated time between two conversions, ns: the climate's step.
const EVERY_NS: u64 = 10_000_000_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct OneWire {
    root: PathBuf,
    written: BTreeMap<&'static str, Option<String>>,
    again_ns: u64,
}

impl OneWire {
    /// Below `root`, which is made if it is not there.
    pub(crate) fn new(root: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&root)?;
        Ok(Self {
            root,
            written: BTreeMap::new(),
            again_ns: 0,
        })
    }

    /// Whether it is time to convert.
    pub(crate) fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.again_ns
    }

    /// Shows what the sensors say: `None` is one that is not there. A file that can't be written is
    /// told in the log and written again next time.
    pub(crate) fn show(&mut self, now_ns: u64, texts: Vec<(&'static str, Option<String>)>) {
        self.again_ns = now_ns.saturating_add(EVERY_NS);
        for (id, text) in texts {
            if self.written.get(id) == Some(&text) {
                continue;
            }
            match replace(&self.root.join(id), text.as_deref()) {
                Ok(()) => {
                    self.written.insert(id, text);
                }
                Err(error) => tracing::warn!(id, %error, "1-Wire file not written"),
            }
        }
    }
}

fn replace(folder: &Path, text: Option<&str>) -> io::Result<()> {
    let Some(text) = text else {
        return match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
    };
    std::fs::create_dir_all(folder)?;
    // Renamed into place: a reader sees the old text or the new one.
    let beside = folder.join(".w1_slave");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, folder.join("w1_slave"))
}
