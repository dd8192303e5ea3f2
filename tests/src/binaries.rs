//! Where the programs lie.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

/// The three programs, built in one profile.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `furrow-ingest`.
    pub ingest: PathBuf,
    /// `furrow-gateway`.
    pub gateway: PathBuf,
    /// `furrow-sim`.
    pub sim: PathBuf,
}

impl Binaries {
    /// The programs in one folder, e.g. `target/debug`.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let find = |name: &str| {
            let path = folder.join(name);
            ensure!(
                path.is_file(),
                "{} is missing: run `cargo build --workspace`",
                path.display()
            );
            Ok(path)
        };
        Ok(Binaries {
            ingest: find("furrow-ingest")?,
            gateway: find("furrow-gateway")?,
            sim: find("furrow-sim")?,
        })
    }

    /// The programs beside the running test: `target/<profile>/deps/test` lies one folder below.
    ///
    /// # Errors
    /// When the programs have not been built in this profile.
    pub fn beside_test() -> anyhow::Result<Self> {
        let test = std::env::current_exe().context("find the running test")?;
        let folder = test
            .ancestors()
            .nth(2)
            .context("find the profile's folder")?;
        Self::in_folder(folder)
    }
}
