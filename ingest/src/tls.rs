//! Which cryptography TLS uses where this process is the client: to an outside broker and to webhooks.

/// Makes aws-lc-rs the process's provider: the embedded broker's library brings it anyhow.
pub(crate) fn install_provider() {
    // An error says that one is installed already.
    drop(rumqttc::tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default());
}
