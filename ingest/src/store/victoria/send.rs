//! One request of lines, and what each answer means.

use std::io::Write as _;

use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;

use super::super::StoreFault;
use super::super::batch::{LineSink, Sent};
use super::super::http::{self, Answer};
use super::{Body, REMEDY, VictoriaStore};

#[async_trait]
impl LineSink for VictoriaStore {
    async fn send(&self, lines: Bytes) -> Result<Sent, StoreFault> {
        let url = http::at(&self.write, "/api/v2/write", &[("precision", "ms")]);
        let plain = [("content-type", "text/plain; charset=utf-8")];
        let answer = match self.settings.body {
            Body::Plain => self.http.send(Method::POST, url, &plain, lines).await?,
            Body::Gzip => {
                let headers = [plain[0], ("content-encoding", "gzip")];
                self.http
                    .send(Method::POST, url, &headers, compressed(&lines)?)
                    .await?
            }
        };
        sent(&answer)
    }
}

fn sent(answer: &Answer) -> Result<Sent, StoreFault> {
    match answer.status {
        204 => Ok(Sent::Stored),
        400 | 413 => Ok(Sent::NotTaken {
            reason: answer.excerpt(),
        }),
        200..=399 => Err(StoreFault::Denied {
            reason: format!(
                "answered {} to a write: is this VictoriaMetrics?",
                answer.status
            ),
        }),
        _ => Err(answer.fault(REMEDY)),
    }
}

fn compressed(lines: &[u8]) -> Result<Vec<u8>, StoreFault> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let done = encoder.write_all(lines).and_then(|()| encoder.finish());
    done.map_err(|error| StoreFault::Refused {
        reason: format!("can't compress lines: {error}"),
    })
}
