//! The kernel's 1-Wire sensors, by their files.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use furrow_drivers::BusFault;
use furrow_drivers::ds18b20::{ScratchpadSource, is_id};

/// Longest text that is read: the kernel's has two lines.
const TEXT_MAX_BYTES: u64 = 1_024;
/// Most sensors that are listed: what the kernel's master searches by default is fewer.
const LISTED_MAX: usize = 64;

/// One sensor's file.
#[derive(Debug)]
pub struct OneWireFile {
    path: PathBuf,
}

impl OneWireFile {
    /// The sensor `rom` below the bus's folder.
    #[must_use]
    pub fn new(root: &Path, rom: &str) -> Self {
        Self {
            path: root.join(rom).join("w1_slave"),
        }
    }
}

impl ScratchpadSource for OneWireFile {
    fn w1_slave(&mut self) -> Result<String, BusFault> {
        let mut text = String::new();
        let read = File::open(&self.path)
            .and_then(|file| file.take(TEXT_MAX_BYTES).read_to_string(&mut text));
        match read {
            Ok(_) => Ok(text),
            Err(error) => {
                tracing::trace!(path = %self.path.display(), %error, "1-Wire sensor not read");
                Err(if error.kind() == ErrorKind::NotFound {
                    BusFault::NoAddress
                } else {
                    BusFault::Other
                })
            }
        }
    }
}

/// The DS18B20s that the kernel sees, in order.
///
/// # Errors
/// The folder can't be read: the kernel's driver is not loaded.
pub fn one_wire_ids(root: &Path) -> std::io::Result<Vec<String>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(root)?.take(LISTED_MAX) {
        if let Ok(name) = entry?.file_name().into_string()
            && is_id(&name)
        {
            ids.push(name);
        }
    }
    ids.sort();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_and_missing_ones_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let rom = "28-0316a2795bff";
        let folder = root.path().join(rom);
        std::fs::create_dir(&folder).unwrap();
        std::fs::create_dir(root.path().join("w1_bus_master1")).unwrap();
        let mut file = OneWireFile::new(root.path(), rom);
        assert_eq!(file.w1_slave(), Err(BusFault::NoAddress));
        std::fs::write(folder.join("w1_slave"), "text").unwrap();
        assert_eq!(file.w1_slave(), Ok("text".to_owned()));
        std::fs::write(folder.join("w1_slave"), [0xFF]).unwrap();
        assert_eq!(file.w1_slave(), Err(BusFault::Other));
        assert_eq!(one_wire_ids(root.path()).unwrap(), [rom]);
        assert!(one_wire_ids(&root.path().join("gone")).is_err());
    }
}
