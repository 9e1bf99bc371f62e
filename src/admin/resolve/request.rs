//! The request to explain, parsed like one from a client.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, Method, Uri};

use crate::admin::resolve::view::{Asked, RequestView, Values};
use crate::base::host;
use crate::base::path::{CanonicalPath, PathFault};
use crate::core::auth::Claims;
use crate::core::http::query::redact_target;
use crate::core::routing::Request;

/// The default client address.
pub(super) const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The input is not a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Not a URL.
    #[error("`{0}` is not a URL; write `wss://chat.example.com/ws/7` or only `/ws/7`")]
    Url(String),
    /// Not a scheme that a client of the gateway uses.
    #[error("`{0}` is not reached through a gateway; a URL begins with ws:, wss:, http: or https:")]
    Scheme(String),
    /// Not a path.
    #[error("`{0}` is not a path; it begins with `/`")]
    Path(String),
    /// Not a host.
    #[error("`{0}` is not a host, so the request is answered 400")]
    Host(String),
    /// Not a method.
    #[error("`{0}` is not a method")]
    Method(String),
    /// Not a header.
    #[error("`{0}` is not a header name, or its value has characters that no header may have")]
    Header(String),
}

/// The parsed request.
pub(super) struct Parts {
    pub(super) method: Method,
    pub(super) host: String,
    /// The path as given.
    pub(super) raw: String,
    pub(super) path: Result<CanonicalPath, PathFault>,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) websocket: bool,
    pub(super) tls: bool,
    pub(super) claims: Claims,
    pub(super) client: IpAddr,
    /// It is the request of a session: its headers and claims are not known any more.
    pub(super) remembered: bool,
}

impl Parts {
    pub(super) fn new(asked: &Asked) -> Result<Self, AskError> {
        let url = asked.url.as_deref().unwrap_or("/");
        let uri = if url.starts_with('/') || url.contains("://") {
            url.parse::<Uri>()
        } else {
            format!("ws://{url}").parse()
        };
        let uri = uri.map_err(|_| AskError::Url(url.to_owned()))?;
        if !matches!(
            uri.scheme_str(),
            None | Some("ws" | "wss" | "http" | "https")
        ) {
            return Err(AskError::Scheme(url.to_owned()));
        }
        let path_and_query = match &asked.path {
            Some(path) if path.starts_with('/') => path,
            Some(path) => return Err(AskError::Path(path.clone())),
            None => uri.path_and_query().map_or("/", |path| path.as_str()),
        };
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path_and_query, None),
        };
        let method = asked.method.as_deref().unwrap_or("GET");
        let headers = headers(&asked.headers)?;
        let named = headers.get("host").and_then(|host| host.to_str().ok());
        let host = asked.host.as_deref().or(named);
        let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
        let scheme = uri.scheme_str().unwrap_or("ws");
        let host = host.unwrap_or_default();
        Ok(Self {
            method: method
                .parse()
                .map_err(|_| AskError::Method(method.to_owned()))?,
            host: host::canonical(host).ok_or_else(|| AskError::Host(host.to_owned()))?,
            path: CanonicalPath::read(path),
            raw: path.to_owned(),
            query,
            headers,
            websocket: asked
                .websocket
                .unwrap_or(method == "GET" && !matches!(scheme, "http" | "https")),
            tls: matches!(scheme, "https" | "wss"),
            claims: Claims(asked.claims.clone()),
            client: asked.client.unwrap_or(LOCAL),
            remembered: false,
        })
    }

    pub(super) fn request<'p>(&'p self, path: &'p str) -> Request<'p> {
        Request {
            method: &self.method,
            host: &self.host,
            path,
            query: self.query.as_deref(),
            headers: &self.headers,
            websocket: self.websocket,
            tls: self.tls,
        }
    }

    pub(super) fn target(&self, path: &str) -> String {
        match &self.query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }

    /// As it is shown: with the secrets of the target cut out (I11), and values of the parameters
    /// `secret`.
    pub(super) fn view(&self, secret: &[String]) -> RequestView {
        RequestView {
            method: self.method.to_string(),
            host: self.host.clone(),
            path: redact_target(&self.target(&self.raw), secret).into_owned(),
            websocket: self.websocket,
            client: self.client.to_string(),
        }
    }
}

fn headers(asked: &BTreeMap<String, Values>) -> Result<HeaderMap, AskError> {
    let mut headers = HeaderMap::new();
    for (name, values) in asked {
        let wrong = || AskError::Header(name.clone());
        let values = match values {
            Values::One(value) => std::slice::from_ref(value),
            Values::Many(values) => values,
        };
        for value in values {
            let name: HeaderName = name.parse().map_err(|_| wrong())?;
            headers.append(name, value.parse().map_err(|_| wrong())?);
        }
    }
    Ok(headers)
}
