//! TLS towards the broker: rustls with the certificates from the configuration and no others.

use std::sync::Arc;

use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Certificates that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text is not PEM.
    #[error("read the broker's CA certificates")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// A certificate is not one of an authority.
    #[error("use the broker's CA certificates")]
    Certificate(#[source] rustls::Error),
    /// There is none.
    #[error("the broker's CA file holds no certificate")]
    None,
    /// The cryptography provider lacks what TLS needs.
    #[error("set up TLS")]
    Provider(#[source] rustls::Error),
}

/// TLS to a broker whose certificate one of `ca_pem` has signed, or plain TCP without any.
pub(super) fn transport(ca_pem: Option<&str>) -> Result<Transport, TlsError> {
    let Some(pem) = ca_pem else {
        return Ok(Transport::tcp());
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(TlsError::Pem)?;
        roots.add(certificate).map_err(TlsError::Certificate)?;
    }
    if roots.is_empty() {
        return Err(TlsError::None);
    }
    // Named here, since a process-wide default would depend on what else is linked in.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Transport::tls_with_config(TlsConfiguration::Rustls(
        Arc::new(config),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(matches!(transport(None), Ok(Transport::Tcp)));
        assert!(matches!(
            transport(Some("no PEM at all")),
            Err(TlsError::None)
        ));
        let garbled = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        assert!(matches!(transport(Some(garbled)), Err(TlsError::Pem(_))));
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            transport(Some(empty)),
            Err(TlsError::Certificate(_))
        ));
    }
}
