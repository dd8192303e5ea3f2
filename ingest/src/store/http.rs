//! Requests to a store over HTTP: addresses checked beforehand, time-outs, answers of bounded size.
//!
//! What an answer's body means is each store's own. Nothing here tries again.

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Url};

use super::StoreFault;

/// Largest answer that is read, in bytes: a week of one series at one reading a second is about half of it.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest part of a server's text that goes into a message, in characters.
const EXCERPT_CHARS: usize = 300;

/// Why a store's settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Its address is not one.
    #[error("store address {url:?} {problem}")]
    Url {
        /// What was given; without it where it may hold a password.
        url: String,
        /// What is wrong with it, and what to write instead.
        problem: &'static str,
    },
    /// Its token can't be sent.
    #[error("store token holds characters that can't be sent")]
    Token,
    /// The HTTP client can't be made.
    #[error("can't make the store's HTTP client")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Checks an address: `http` or `https`, a host, perhaps a path.
pub(super) fn address(text: &str) -> Result<Url, SettingsError> {
    let wrong = |problem| SettingsError::Url {
        url: text.to_owned(),
        problem,
    };
    let url = Url::parse(text).map_err(|_| wrong("is not a URL such as http://localhost:8086"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SettingsError::Url {
            url: String::new(),
            problem: "holds a user or password: give a token instead",
        });
    }
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("must begin with http:// or https:// and a host"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must end with its path: no ? and no #"));
    }
    Ok(url)
}

/// `path` below an address, with parameters.
pub(super) fn at(base: &Url, path: &str, parameters: &[(&str, &str)]) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    if !parameters.is_empty() {
        url.query_pairs_mut().extend_pairs(parameters);
    }
    url
}

/// What a server said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    retry_after: Option<Duration>,
}

impl Answer {
    /// One that another client received, without its headers.
    pub(super) fn new(status: u16, text: String) -> Self {
        Answer {
            status,
            body: text.into_bytes(),
            retry_after: None,
        }
    }

    /// Its text, or the beginning of it.
    pub(super) fn excerpt(&self) -> String {
        excerpt(&String::from_utf8_lossy(&self.body))
    }

    /// What a refused request means for the caller; `remedy` is for whoever has to act.
    pub(super) fn fault(&self, remedy: &str) -> StoreFault {
        let (status, text) = (self.status, self.excerpt());
        let reason = format!("answered {status}: {text}");
        match status {
            401 | 403 | 404 => StoreFault::Denied {
                reason: format!("{reason} ({remedy})"),
            },
            408 | 429 | 500..=599 => StoreFault::Busy {
                reason,
                retry_after: self.retry_after,
            },
            _ => StoreFault::Refused { reason },
        }
    }
}

/// The beginning of a server's text.
pub(super) fn excerpt(text: &str) -> String {
    let mut characters = text.trim().chars();
    let mut cut: String = characters.by_ref().take(EXCERPT_CHARS).collect();
    if characters.next().is_some() {
        cut.push('…');
    }
    cut
}

/// An answer that can't be what the server meant to say: it was cut off, or is not in its format.
pub(super) fn broken(what: impl fmt::Display) -> StoreFault {
    StoreFault::Busy {
        reason: format!("its answer can't be read: {what}"),
        retry_after: None,
    }
}

/// A client of one store. Its token is not shown.
pub(super) struct Http(reqwest::Client);

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    /// With a time-out for each request and its answer, and what stands in `Authorization`.
    pub(super) fn new(
        timeout: Duration,
        authorization: Option<&str>,
    ) -> Result<Self, SettingsError> {
        crate::tls::install_provider();
        let mut headers = HeaderMap::new();
        if let Some(text) = authorization {
            let mut value = HeaderValue::from_str(text).map_err(|_| SettingsError::Token)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .default_headers(headers)
            .build();
        Ok(Http(
            client.map_err(|error| SettingsError::Client(error.into()))?,
        ))
    }

    /// Sends a request and reads its whole answer.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        headers: &[(&'static str, &'static str)],
        body: impl Into<reqwest::Body>,
    ) -> Result<Answer, StoreFault> {
        let mut request = self.0.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send().await.map_err(away)?;
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(away)? {
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                let reason =
                    format!("answers with more than {ANSWER_BYTES_MAX} bytes: ask for less");
                return Err(StoreFault::Refused { reason });
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer {
            status: response.status().as_u16(),
            body,
            retry_after: retry_after.map(Duration::from_secs),
        })
    }
}

fn away(error: reqwest::Error) -> StoreFault {
    let error = anyhow::Error::from(error.without_url());
    StoreFault::Busy {
        reason: format!("{error:#}"),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_beforehand() {
        for good in [
            "http://localhost:8086",
            "https://a.b/insert/0/influx/",
            "http://[::1]:1",
        ] {
            assert!(address(good).is_ok(), "{good}");
        }
        for (bad, message) in [
            (
                "",
                "store address \"\" is not a URL such as http://localhost:8086",
            ),
            (
                "localhost:8086",
                "store address \"localhost:8086\" must begin with http:// or https:// and a host",
            ),
            (
                "/3242/23",
                "store address \"/3242/23\" is not a URL such as http://localhost:8086",
            ),
            (
                "http://a:b@c",
                "store address \"\" holds a user or password: give a token instead",
            ),
            (
                "http://a?org=b",
                "store address \"http://a?org=b\" must end with its path: no ? and no #",
            ),
        ] {
            assert_eq!(address(bad).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn paths_go_below_the_base() {
        for base in ["http://a/insert/0/influx", "http://a/insert/0/influx/"] {
            let url = at(&address(base).unwrap(), "/api/v2/write", &[("b", "c d&é")]);
            assert_eq!(
                url.as_str(),
                "http://a/insert/0/influx/api/v2/write?b=c+d%26%C3%A9"
            );
        }
    }

    #[test]
    fn each_status_says_who_has_to_act() {
        let answer = |status| Answer {
            status,
            body: b" no ".to_vec(),
            retry_after: Some(Duration::from_secs(7)),
        };
        let reason = |status: u16| format!("answered {status}: no");
        for status in [401, 403, 404] {
            let reason = format!("{} (do this)", reason(status));
            assert_eq!(
                answer(status).fault("do this"),
                StoreFault::Denied { reason }
            );
        }
        for status in [429, 500, 503] {
            let retry_after = Some(Duration::from_secs(7));
            let expected = StoreFault::Busy {
                reason: reason(status),
                retry_after,
            };
            assert_eq!(answer(status).fault("do this"), expected);
        }
        assert_eq!(
            answer(400).fault("do this"),
            StoreFault::Refused {
                reason: reason(400)
            }
        );
    }
}
