//! Where alerts are posted.

use super::check::Checker;
use super::raw::RawWebhook;
use super::settings::read_text;

/// A receiver of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Its address, `http://` or `https://`.
    pub url: String,
    /// Certificates to trust instead of the system's, as PEM.
    pub ca_pem: Option<String>,
}

/// Checks a section.
pub(super) fn check_webhook(c: &mut Checker, raw: RawWebhook) -> Option<WebhookSettings> {
    c.unknown("webhook", &raw.unknown, "url, ca_file");
    let ca_file = c.text("webhook.ca_file", raw.ca_file);
    let url = c.text("webhook.url", raw.url);
    match url.as_deref() {
        None if ca_file.is_some() => c.mistake("webhook.url", "is missing beside ca_file"),
        Some(url) if url.starts_with("http://") && ca_file.is_some() => {
            c.mistake("webhook.url", "is plain beside ca_file; use https://");
        }
        Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
            c.mistake("webhook.url", "must start with http:// or https://");
        }
        None | Some(_) => {}
    }
    let ca_pem = ca_file.and_then(|path| read_text(c, "webhook.ca_file", &path));
    Some(WebhookSettings { url: url?, ca_pem })
}
