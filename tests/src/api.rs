//! Ingest's HTTP interface, as a browser or a script sees it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with one access token.
#[derive(Debug, Clone)]
pub struct Api {
    agent: ureq::Agent,
    address: SocketAddr,
    token: String,
}

impl Api {
    /// A client of the ingest at `address`.
    #[must_use]
    pub fn new(address: SocketAddr, token: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .build()
            .into();
        Api {
            agent,
            address,
            token: token.to_owned(),
        }
    }

    /// Status and body of a path.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn get_raw(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let url = format!("http://{}{path}", self.address);
        let bearer = format!("Bearer {}", self.token);
        let mut answer = self
            .agent
            .get(&url)
            .header("authorization", &bearer)
            .call()
            .with_context(|| format!("ask {url}"))?;
        let body = answer
            .body_mut()
            .read_to_string()
            .with_context(|| format!("read {url}"))?;
        Ok((answer.status().as_u16(), body))
    }

    /// Status and JSON of a JSON body that is posted.
    ///
    /// # Errors
    /// When nobody answers, or not JSON.
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let request = self.agent.post(self.url(path));
        let request = request.header("content-type", "application/json");
        self.send(path, request, &body.to_string())
    }

    /// Status and JSON of a text that is put.
    ///
    /// # Errors
    /// When nobody answers, or not JSON.
    pub fn put(&self, path: &str, text: &str) -> anyhow::Result<(u16, Value)> {
        let request = self.agent.put(self.url(path));
        let request = request.header("content-type", "application/toml");
        self.send(path, request, text)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn send(
        &self,
        path: &str,
        request: ureq::RequestBuilder<ureq::typestate::WithBody>,
        body: &str,
    ) -> anyhow::Result<(u16, Value)> {
        let bearer = format!("Bearer {}", self.token);
        let request = request.header("authorization", &bearer);
        let mut answer = request.send(body).with_context(|| format!("ask {path}"))?;
        let text = answer.body_mut().read_to_string()?;
        let json = serde_json::from_str(&text)
            .with_context(|| format!("{path} did not answer JSON: {text}"))?;
        Ok((answer.status().as_u16(), json))
    }

    /// The JSON of a path.
    ///
    /// # Errors
    /// When nobody answers, or with anything but 200 and JSON.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.get_raw(path)?;
        anyhow::ensure!(status == 200, "{path} answered {status}: {body}");
        serde_json::from_str(&body).with_context(|| format!("{path} did not answer JSON"))
    }

    /// The value of one of ingest's metrics that has no labels.
    ///
    /// # Errors
    /// When nobody answers, or there is no such metric.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let (_, text) = self.get_raw("/metrics")?;
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
        let value = values.find_map(|rest| rest.strip_prefix(' '));
        let value = value.with_context(|| format!("no metric {name}"))?;
        let value = value.trim().parse();
        value.with_context(|| format!("read the metric {name}"))
    }

    /// Whether ingest says that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.get_raw("/readyz"), Ok((200, _)))
    }
}
