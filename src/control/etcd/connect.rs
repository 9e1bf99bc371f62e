//! The way to etcd: one endpoint after the other, TLS, sign-in.
//!
//! A client is made for one endpoint at a time. The library's own balancing over several would hide
//! which member answers, and waits without end for one that does not. A token that has expired is
//! renewed by the library for single calls; a watch that is cancelled for it is made anew by a new
//! client, which signs in.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use http::Uri;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::snapshot::Etcd;
use crate::control::etcd::leased_key::{Connect, error_text};
use crate::io::file;

/// Why an endpoint cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file of its TLS cannot be read.
    #[error("cannot read {0}: {1}")]
    File(String, io::Error),
    /// There are no endpoints.
    #[error("{0}")]
    Dial(io::Error),
    /// etcd refuses, or TLS fails.
    #[error("{}", error_text(.0))]
    Etcd(#[from] Error),
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// The endpoints of one etcd, and the one whose turn it is.
#[derive(Debug)]
pub struct Endpoints {
    settings: Etcd,
    next: AtomicUsize,
}

impl Endpoints {
    /// The endpoint of number `first`, modulo their count, comes first.
    pub fn new(settings: Etcd, first: usize) -> Self {
        Self {
            settings,
            next: AtomicUsize::new(first),
        }
    }

    /// What it was made from.
    pub fn settings(&self) -> &Etcd {
        &self.settings
    }

    /// The endpoint whose turn it is; the one after it comes next.
    pub fn turn(&self) -> &str {
        let endpoints = &self.settings.endpoints;
        &endpoints[self.next.fetch_add(1, Ordering::Relaxed) % endpoints.len()]
    }

    /// A client of this endpoint, which has answered if there is a user to sign in.
    ///
    /// # Errors
    /// When no endpoint answers in time, or one refuses.
    pub async fn connect(&self, endpoint: &str) -> Result<Client, ConnectError> {
        let dial = self.settings.dial;
        let connect = async {
            // The library would go on dialling a port that refuses, and never say so.
            reach(endpoint).await.map_err(ConnectError::Dial)?;
            let options = self.options(endpoint).await?;
            Ok(Client::connect([endpoint], Some(options)).await?)
        };
        timeout(dial, connect)
            .await
            .map_err(|_| ConnectError::Late(dial))?
    }

    async fn options(&self, endpoint: &str) -> Result<ConnectOptions, ConnectError> {
        let settings = &self.settings;
        let mut options = ConnectOptions::new()
            .with_connect_timeout(settings.dial)
            .with_keep_alive(settings.silence, settings.answer)
            // A member without a leader would serve what it knew before.
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some((name, password)) = &settings.user {
            options = options.with_user(name, password.reveal());
        }
        if endpoint.starts_with("https://") {
            options = options.with_tls(self.tls().await?);
        }
        Ok(options)
    }

    /// Its files are read for each connection, so that renewed ones are taken up.
    async fn tls(&self) -> Result<TlsOptions, ConnectError> {
        let tls = &self.settings.tls;
        let mut options = match &tls.ca {
            Some(path) => {
                TlsOptions::new().ca_certificate(Certificate::from_pem(read(path).await?))
            }
            None => TlsOptions::new().with_enabled_roots(),
        };
        if let Some(files) = &tls.identity {
            let (cert, key) = (read(&files.cert).await?, read(&files.key).await?);
            options = options.identity(Identity::from_pem(cert, key));
        }
        if let Some(name) = &tls.server_name {
            options = options.domain_name(name);
        }
        Ok(options)
    }
}

/// For repeated connections, such as those of a [`LeasedKey`](super::hold::LeasedKey).
pub fn connector(endpoints: Arc<Endpoints>) -> Connect {
    Arc::new(move || {
        let endpoints = Arc::clone(&endpoints);
        Box::pin(async move {
            let endpoint = endpoints.turn();
            let client = endpoints.connect(endpoint).await;
            client.map_err(|error| format!("{endpoint}: {error}"))
        })
    })
}

async fn read(path: &std::path::Path) -> Result<Vec<u8>, ConnectError> {
    let owned = path.to_owned();
    let read = move || file::read(&owned, file::PEM_BYTES_MAX);
    let bytes = tokio::task::spawn_blocking(read).await;
    let bytes = bytes.expect("reading a file does not panic");
    bytes.map_err(|error| ConnectError::File(path.display().to_string(), error))
}

/// Whether the endpoint accepts connections.
async fn reach(endpoint: &str) -> io::Result<()> {
    let unclear = || io::Error::new(io::ErrorKind::InvalidInput, "it is no URL");
    let uri: Uri = endpoint.parse().map_err(|_| unclear())?;
    let host = uri.host().ok_or_else(unclear)?.trim_matches(['[', ']']);
    let port = uri.port_u16().ok_or_else(unclear)?;
    TcpStream::connect((host, port)).await?;
    Ok(())
}
