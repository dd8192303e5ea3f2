//! A certificate for a broker on this machine.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The name that the certificate is for.
pub const NAME: &str = "localhost";

/// A certificate that vouches for itself, in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes one in `folder`.
    ///
    /// # Errors
    /// When it can't be made or written.
    pub fn make(folder: &Path) -> anyhow::Result<Self> {
        let certified =
            rcgen::generate_simple_self_signed([NAME.to_owned()]).context("make a certificate")?;
        let files = Certificate {
            certificate: folder.join("broker.pem"),
            key: folder.join("broker.key"),
        };
        std::fs::write(&files.certificate, certified.cert.pem()).context("write a certificate")?;
        std::fs::write(&files.key, certified.signing_key.serialize_pem())
            .context("write a private key")?;
        Ok(files)
    }

    /// The part of ingest's configuration that makes its broker use it.
    #[must_use]
    pub fn ingest_toml(&self) -> String {
        let Certificate { certificate, key } = self;
        format!("\n[broker.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n")
    }
}
