//! TLS towards the broker: rustls with the certificates from the configuration and no others.
//!
//! A Pi without a battery-backed clock wakes up in the past, and a certificate that is not valid yet
//! would keep it from the network that could tell it the time. So certificates are judged by the
//! latest time that is known from before, where the system's clock is behind it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::time_provider::TimeProvider;
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
/// `known_unix_ms` is a moment that has passed for certain.
pub(super) fn transport(
    ca_pem: Option<&str>,
    known_unix_ms: Option<i64>,
) -> Result<Transport, TlsError> {
    let Some(pem) = ca_pem else {
        return Ok(Transport::tcp());
    };
    let config = client_config(pem, NotBefore::new(known_unix_ms, SystemTime::now))?;
    Ok(Transport::tls_with_config(TlsConfiguration::Rustls(
        Arc::new(config),
    )))
}

/// The system's clock, but never behind a moment that has passed.
#[derive(Debug)]
struct NotBefore {
    known: Duration,
    since: Instant,
    system: fn() -> SystemTime,
}

impl NotBefore {
    fn new(known_unix_ms: Option<i64>, system: fn() -> SystemTime) -> Self {
        let known_ms = known_unix_ms.and_then(|ms| u64::try_from(ms).ok());
        NotBefore {
            known: Duration::from_millis(known_ms.unwrap_or(0)),
            since: Instant::now(),
            system,
        }
    }
}

impl TimeProvider for NotBefore {
    fn current_time(&self) -> Option<UnixTime> {
        let system = (self.system)().duration_since(UNIX_EPOCH);
        let known = self.known.saturating_add(self.since.elapsed());
        Some(UnixTime::since_unix_epoch(
            system.unwrap_or_default().max(known),
        ))
    }
}

fn client_config(pem: &str, time: NotBefore) -> Result<ClientConfig, TlsError> {
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
    let config = ClientConfig::builder_with_details(provider, Arc::new(time))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(matches!(transport(None, None), Ok(Transport::Tcp)));
        assert!(matches!(
            transport(Some("no PEM at all"), None),
            Err(TlsError::None)
        ));
        let garbled = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            transport(Some(garbled), None),
            Err(TlsError::Pem(_))
        ));
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            transport(Some(empty), None),
            Err(TlsError::Certificate(_))
        ));
    }

    #[test]
    fn certificates_are_judged_by_the_latest_known_time() {
        const KNOWN_MS: i64 = 1_790_000_000_000;
        let seconds = |known, system: fn() -> SystemTime| {
            let time = NotBefore::new(known, system).current_time().unwrap();
            time.as_secs()
        };
        let asleep: fn() -> SystemTime = || UNIX_EPOCH + Duration::from_secs(5);
        let right: fn() -> SystemTime = || UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        assert_eq!(seconds(None, asleep), 5);
        assert_eq!(seconds(Some(-1), asleep), 5);
        assert_eq!(seconds(Some(KNOWN_MS), asleep), 1_790_000_000);
        assert_eq!(seconds(Some(KNOWN_MS), right), 1_795_000_000);
        assert_eq!(
            seconds(Some(KNOWN_MS), || UNIX_EPOCH - Duration::from_secs(9)),
            1_790_000_000
        );
    }
}
