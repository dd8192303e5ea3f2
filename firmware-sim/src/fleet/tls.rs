//! TLS towards the broker, as the gateway speaks it: rustls with the given certificates and no others.

use std::fmt;
use std::sync::Arc;

use rumqttc::{TlsConfiguration, Transport};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// What all connections of a fleet share of TLS.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

/// Certificates that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text is not PEM.
    #[error("read the CA certificates")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// A certificate is not one of an authority.
    #[error("use the CA certificates")]
    Certificate(#[source] rustls::Error),
    /// There is none.
    #[error("the CA file holds no certificate")]
    None,
    /// The cryptography provider lacks what TLS needs.
    #[error("set up TLS")]
    Provider(#[source] rustls::Error),
}

impl Tls {
    /// TLS with a broker whose certificate is one of these, or was signed by one (PEM).
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn trusting(pem: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(TlsError::Pem)?;
            roots.add(certificate).map_err(TlsError::Certificate)?;
        }
        if roots.is_empty() {
            return Err(TlsError::None);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Provider)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Gateways are strangers to each other: none takes up another's session.
        config.resumption = Resumption::disabled();
        Ok(Tls(Arc::new(config)))
    }

    pub(super) fn transport(&self) -> Transport {
        Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(&self.0)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(matches!(Tls::trusting(b"no PEM"), Err(TlsError::None)));
        let garbled = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            Tls::trusting(garbled),
            Err(TlsError::Certificate(_))
        ));
    }
}
