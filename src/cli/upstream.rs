//! Upstreams of a running gateway with their backends, as far as commands show them.

use anyhow::bail;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::admin::{Page, UpstreamSummary};
use crate::cli::client::{Client, ClientError};
use crate::config::diagnostic::suggestion;
use crate::control::drainer::DrainView;

/// An upstream.
#[derive(Debug, Deserialize)]
pub(super) struct Upstream {
    /// Its members.
    pub(super) backends: Vec<Backend>,
    /// Backends that left it, for as long as sessions live on them.
    pub(super) removed: Vec<Removed>,
}

/// A member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Backend {
    pub(super) id: String,
    pub(super) address: String,
    pub(super) state: String,
    pub(super) configured: String,
    pub(super) ordered: Option<String>,
    pub(super) health: String,
    pub(super) reason: Option<String>,
    pub(super) ejected: Option<Ejected>,
    pub(super) stale: bool,
    pub(super) sessions: u64,
    pub(super) drain: Option<DrainView>,
    #[serde(default)]
    pub(super) zone: Option<String>,
    #[serde(default)]
    pub(super) priority: u8,
}

/// Left out for a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ejected {
    pub(super) seconds_left: f64,
    pub(super) reason: String,
}

/// A backend that is no member any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Removed {
    pub(super) id: String,
    pub(super) address: Option<String>,
    pub(super) state: String,
    pub(super) configured: String,
    pub(super) ordered: Option<String>,
    pub(super) sessions: u64,
    pub(super) drain: Option<DrainView>,
}

impl Backend {
    /// Whether it may get a session now.
    pub(super) fn is_eligible(&self) -> bool {
        self.state == "active" && self.health != "unhealthy" && self.ejected.is_none()
    }
}

impl Upstream {
    /// Asks the gateway.
    ///
    /// # Errors
    /// When it does not answer, or has no such upstream.
    pub(super) fn get(client: &Client, name: &str) -> anyhow::Result<Self> {
        match client.get(&format!("/v1/upstreams/{}", escaped(name))) {
            Err(ClientError::Refused {
                status: StatusCode::NOT_FOUND,
                ..
            }) => {
                let known = names(client)?;
                bail!(unknown("upstream", name, &known))
            }
            answer => Ok(answer?),
        }
    }
}

/// The upstreams of a gateway.
pub(super) fn all(client: &Client) -> Result<Vec<UpstreamSummary>, ClientError> {
    every(client, "/v1/upstreams")
}

/// All pages of a list.
pub(super) fn every<T: for<'de> Deserialize<'de>>(
    client: &Client,
    list: &str,
) -> Result<Vec<T>, ClientError> {
    let mut items = Vec::new();
    let mut target = list.to_owned();
    loop {
        let page: Page<T> = client.get(&target)?;
        items.extend(page.items);
        let Some(next) = page.next else {
            return Ok(items);
        };
        target = format!("{list}?cursor={}", escaped(&next));
    }
}

/// Names of the upstreams.
fn names(client: &Client) -> Result<Vec<String>, ClientError> {
    let all = all(client)?;
    Ok(all.into_iter().map(|upstream| upstream.name).collect())
}

/// There is no such thing; what there is instead.
pub(super) fn unknown(what: &str, name: &str, known: &[String]) -> String {
    let help = suggestion(name, known.iter().map(String::as_str));
    let help = help.unwrap_or_else(|| format!("it has no {what}"));
    format!("the gateway has no {what} `{name}`: {help}")
}

/// As a segment of a path (RFC 3986, section 2.1).
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stand_in_a_path() {
        assert_eq!(escaped("10.0.0.1:9000"), "10.0.0.1:9000");
        assert_eq!(escaped("unix:/run/a b"), "unix:%2Frun%2Fa%20b");
    }
}
