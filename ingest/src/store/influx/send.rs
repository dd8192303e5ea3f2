//! One request of lines to a bucket, and what each answer means.

use async_trait::async_trait;
use bytes::Bytes;
use influxdb2::RequestError;
use influxdb2::api::write::TimestampPrecision;

use super::super::StoreFault;
use super::super::batch::{LineSink, Sent};
use super::super::http::{self, Answer};
use super::{InfluxStore, TOKEN_REMEDY};

/// A bucket to write to.
pub(super) struct Bucket<'a> {
    pub(super) store: &'a InfluxStore,
    pub(super) name: &'a str,
}

#[async_trait]
impl LineSink for Bucket<'_> {
    async fn send(&self, lines: Bytes) -> Result<Sent, StoreFault> {
        let InfluxStore {
            writer, settings, ..
        } = self.store;
        let precision = TimestampPrecision::Milliseconds;
        let call =
            writer.write_line_protocol_with_precision(&settings.org, self.name, lines, precision);
        match self.store.within(call).await? {
            Ok(()) => Ok(Sent::Stored),
            Err(RequestError::Http { status, text }) => sent(status.as_u16(), text),
            Err(error) => Err(fault_of(error)),
        }
    }
}

/// What an answer to a write means that is not 204.
fn sent(status: u16, text: String) -> Result<Sent, StoreFault> {
    let reason = http::excerpt(&text);
    match status {
        400 | 413 => Ok(Sent::NotTaken { reason }),
        // The rest is stored.
        422 => Ok(Sent::Dropped {
            lines: dropped(&text),
            reason,
        }),
        200..=399 => Err(StoreFault::Denied {
            reason: format!("answered {status} to a write: is this an InfluxDB 2?"),
        }),
        _ => Err(Answer::new(status, text).fault(TOKEN_REMEDY)),
    }
}

/// From `… dropped=12"}`.
fn dropped(text: &str) -> Option<usize> {
    let (_, behind) = text.rsplit_once("dropped=")?;
    let end = behind
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(behind.len());
    behind.get(..end)?.parse().ok()
}

/// What a call of the crate that failed means for the caller.
pub(super) fn fault_of(error: RequestError) -> StoreFault {
    match error {
        RequestError::Http { status, text } => {
            Answer::new(status.as_u16(), text).fault(TOKEN_REMEDY)
        }
        RequestError::ReqwestProcessing { .. }
        | RequestError::Serializing { .. }
        | RequestError::Deserializing { .. } => StoreFault::Busy {
            reason: format!("{:#}", anyhow::Error::from(error)),
            retry_after: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_to_a_write_has_its_meaning() {
        let text = || "partial write: points beyond retention policy dropped=12\"}".to_owned();
        let reason = text();
        assert_eq!(
            sent(422, text()),
            Ok(Sent::Dropped {
                lines: Some(12),
                reason: reason.clone()
            })
        );
        for status in [400, 413] {
            assert_eq!(
                sent(status, text()),
                Ok(Sent::NotTaken {
                    reason: reason.clone()
                })
            );
        }
        for status in [200, 302, 401, 403, 404] {
            assert!(
                matches!(sent(status, text()), Err(StoreFault::Denied { .. })),
                "{status}"
            );
        }
        for status in [429, 500, 502, 503, 504] {
            assert!(
                matches!(sent(status, text()), Err(StoreFault::Busy { .. })),
                "{status}"
            );
        }
        for status in [405, 415] {
            assert!(
                matches!(sent(status, text()), Err(StoreFault::Refused { .. })),
                "{status}"
            );
        }
    }
}
