//! Speaks to a running gateway's admin API, over TCP or a unix socket: one request, one answer.

use std::io;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::base::addr::{BackendAddr, ListenAddr};
use crate::base::secret::Secret;
use crate::cli::args::{AdminAddr, AdminArgs};
use crate::config::snapshot::{CertificateFiles, UpstreamTls};
use crate::control::load;
use crate::io::tls::certs;
use crate::io::tls::client::{ClientTls, ClientTlsError};

/// For one question, from the connection to the answer's last byte.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Where a gateway's admin API is unless it was told otherwise.
const DEFAULT_ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 9900);

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The token's file cannot be read.
    #[error("cannot read the token from `{0}`")]
    Token(String, #[source] io::Error),
    /// Nobody listens there, most often.
    #[error("no gateway answers at {0}; is it running? --admin names another address")]
    Connect(BackendAddr, #[source] io::Error),
    /// TLS cannot be set up on this side.
    #[error("TLS")]
    TlsSetup(#[from] ClientTlsError),
    /// The gateway shows a certificate that is not trusted, or does not like ours.
    #[error(
        "no TLS with {0}; --ca names the authority of its certificate, --server-name the name in it"
    )]
    Tls(BackendAddr, #[source] io::Error),
    /// The connection broke.
    #[error("the connection to {0} broke")]
    Broken(BackendAddr, #[source] hyper::Error),
    /// It took too long.
    #[error("{0} did not answer within 15 s")]
    Late(BackendAddr),
    /// The gateway said no.
    #[error("{detail}")]
    Refused {
        /// Of the answer.
        status: StatusCode,
        /// What it says for people.
        detail: String,
        /// Faults of a configuration, each as `sessile check` would show it.
        rendered: Vec<String>,
    },
    /// The answer is not what a gateway of this version says.
    #[error("{0} answers with something that is not the admin API of this version")]
    Strange(BackendAddr, #[source] serde_json::Error),
}

/// A gateway's admin API.
#[derive(Debug)]
pub struct Client {
    address: BackendAddr,
    token: Option<Secret>,
    tls: Option<ClientTls>,
}

impl Client {
    /// The gateway that the arguments mean. The token of the configuration file is sent only to the
    /// address of the configuration file.
    ///
    /// # Errors
    /// When the token's file or one of TLS cannot be read.
    pub fn new(args: &AdminArgs) -> Result<Self, ClientError> {
        let (AdminAddr { address, tls }, configured, name) = match &args.admin {
            Some(address) => (address.clone(), None, None),
            None => configured(args),
        };
        let own = args.cert.clone().zip(args.key.clone());
        let own = own.map(|(cert, key)| CertificateFiles { cert, key });
        let asked = UpstreamTls {
            ca: args.ca.clone(),
            server_name: args.server_name.clone().or(name),
        };
        let tls = tls.then(|| ClientTls::showing(&asked, own.as_ref()));
        let token = match &args.token_file {
            None => configured,
            Some(path) => {
                let name = || path.display().to_string();
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| ClientError::Token(name(), error))?;
                Some(Secret::new(text.trim()))
            }
        };
        let tls = tls.transpose()?;
        Ok(Self {
            address,
            token,
            tls,
        })
    }

    /// Asks, and reads the answer as `T`.
    ///
    /// # Errors
    /// When there is no answer, or it is a problem.
    pub fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let body = body.map(|body| serde_json::to_vec(body).expect("plain data serialises"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| ClientError::Connect(self.address.clone(), error))?;
        let exchange = runtime.block_on(async {
            let exchange = self.exchange(method, target, body.unwrap_or_default());
            tokio::time::timeout(TIMEOUT, exchange).await
        });
        let (status, bytes) = exchange.map_err(|_| ClientError::Late(self.address.clone()))??;
        if !status.is_success() {
            return Err(refused(status, &bytes));
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| ClientError::Strange(self.address.clone(), error))
    }

    /// Asks for what stands there.
    ///
    /// # Errors
    /// When there is no answer, or it is a problem.
    pub fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, target, None::<&()>)
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let failed = |error| ClientError::Connect(self.address.clone(), error);
        // The host of a unix socket is nobody's business; that of an address is the address.
        let (host, stream): (String, Box<dyn Stream>) = match &self.address {
            BackendAddr::Ip(address) => {
                let stream = TcpStream::connect(address).await.map_err(failed)?;
                (address.to_string(), Box::new(stream))
            }
            BackendAddr::Host(name, port) => {
                let stream = TcpStream::connect((name.as_str(), *port))
                    .await
                    .map_err(failed)?;
                (format!("{name}:{port}"), Box::new(stream))
            }
            BackendAddr::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                ("localhost".to_owned(), Box::new(stream))
            }
        };
        let stream: Box<dyn Stream> = match &self.tls {
            None => stream,
            Some(tls) => {
                let tls = tls.to(&self.address)?;
                let connecting = TlsConnector::from(tls.config).connect(tls.name, stream);
                let failed = |error| ClientError::Tls(self.address.clone(), error);
                Box::new(connecting.await.map_err(failed)?)
            }
        };
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, host);
        request = request.header(ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .expect("parts that were checked");
        let broken = |error| ClientError::Broken(self.address.clone(), error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let bytes = response
            .into_body()
            .collect()
            .await
            .map_err(broken)?
            .to_bytes();
        connection.abort();
        Ok((status, bytes))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What the configuration file says, if it is there and good; whether it is, is `check`'s to say.
/// The name is that of the certificate it shows, if it shows one.
fn configured(args: &AdminArgs) -> (AdminAddr, Option<Secret>, Option<String>) {
    let Ok(loaded) = load::load(&args.config.options()) else {
        let address = BackendAddr::Ip(DEFAULT_ADDRESS.into());
        return (
            AdminAddr {
                address,
                tls: false,
            },
            None,
            None,
        );
    };
    let admin = loaded.snapshot.admin;
    let tls = admin.tls.is_some();
    let address = match admin.listen {
        ListenAddr::Tcp(address) => BackendAddr::Ip(address),
        ListenAddr::Unix(path) => BackendAddr::Unix(path),
    };
    let shown = admin.tls.iter().flat_map(|tls| tls.certificates.first());
    let shown = shown.filter_map(|files| certs::load(files).ok()).next();
    // A wildcard is no name to ask for.
    let name = shown.and_then(|shown| shown.names.into_iter().find(|name| !name.contains('*')));
    (AdminAddr { address, tls }, admin.token, name)
}

fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let detail = match (status, problem["detail"].as_str()) {
        (StatusCode::UNAUTHORIZED, _) => {
            "the gateway wants its admin token: --token-file, or an operator's certificate: --cert and --key".to_owned()
        }
        (_, Some(detail)) => detail.to_owned(),
        (_, None) => format!("the gateway answers {status}"),
    };
    let diagnostics = problem["diagnostics"].as_array();
    let rendered = diagnostics.into_iter().flatten();
    let rendered = rendered.filter_map(|one| one["rendered"].as_str());
    ClientError::Refused {
        status,
        detail,
        rendered: rendered.map(str::to_owned).collect(),
    }
}
