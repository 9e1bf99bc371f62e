//! Speaks to a running gateway's admin API, over TCP or a unix socket: one request, one answer.

mod elsewhere;
mod follow;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::base::addr::{BackendAddr, ListenAddr};
use crate::base::secret::Secret;
use crate::cli::args::{AdminAddr, AdminArgs};
use crate::config::snapshot::{CertificateFiles, UpstreamTls};
use crate::config::span::Document;
use crate::control::load::{self, LoadOptions, Loaded};
use crate::io::tls::certs;
use crate::io::tls::client::{ClientTls, ClientTlsError};

/// For one question, from the connection to the answer's last byte.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Holds the admin token, for commands.
const TOKEN_VARIABLE: &str = "SESSILE_TOKEN";
/// Where a gateway's admin API is unless configured.
const DEFAULT_ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 9900);

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The token's file cannot be read.
    #[error("cannot read the token from `{0}`")]
    Token(String, #[source] io::Error),
    /// Most often there is no process that listens there.
    #[error("no gateway answers at {at}{why}; is it running? --admin names another address")]
    Connect {
        /// The address.
        at: BackendAddr,
        /// The origin of the address, where that is not obvious.
        why: &'static str,
        /// What the system reports.
        #[source]
        source: io::Error,
    },
    /// The gateway needs a token and none was sent.
    #[error(
        "the gateway needs its admin token, and none was sent: set SESSILE_TOKEN, write \
         --token-file FILE, or show an operator's certificate with --cert and --key"
    )]
    NoToken,
    /// The gateway refuses the token.
    #[error("the gateway refuses the token of {0}: it is not its admin token")]
    WrongToken(TokenSource),
    /// The gateway refuses the token, since it has ended.
    #[error("the gateway refuses the token of {0}: {1}")]
    OldToken(TokenSource, String),
    /// Something else listens there.
    #[error(
        "{at} is not the admin API of a gateway (it answers {status}); is it a port for clients? \
         The admin API is at `listen` of [admin], 127.0.0.1:9900 unless configured"
    )]
    NotAdmin {
        /// The address.
        at: BackendAddr,
        /// Of its answer.
        status: StatusCode,
    },
    /// TLS cannot be set up on this side.
    #[error("TLS")]
    TlsSetup(#[from] ClientTlsError),
    /// The gateway shows a certificate that is not trusted, or does not like ours.
    #[error(
        "no TLS with {0}; --ca names the authority of its certificate, --server-name the name in it"
    )]
    Tls(BackendAddr, #[source] io::Error),
    /// The connection broke.
    #[error(
        "the connection to {0} broke; is it the address of an admin API, and does that speak TLS \
         (https://…) or not?"
    )]
    Broken(BackendAddr, #[source] hyper::Error),
    /// No gateway sends that much.
    #[error("the answer of {0} is too large")]
    TooLarge(BackendAddr),
    /// It took too long.
    #[error("{0} did not answer within 15 s")]
    Late(BackendAddr),
    /// The gateway refuses.
    #[error("{detail}")]
    Refused {
        /// Of the answer.
        status: StatusCode,
        /// The reason, for people.
        detail: String,
        /// Faults of a configuration, each as `sessile check` would show it.
        rendered: Vec<String>,
    },
    /// The answer is not what a gateway of this version sends.
    #[error("{0} answers like an admin API of another version")]
    Strange(BackendAddr, #[source] serde_json::Error),
}

/// Bytes of an answer at most.
const BODY_MAX: usize = 256 << 20;

/// Where a token is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// `--token-file`.
    File(PathBuf),
    /// `SESSILE_TOKEN`.
    Variable,
    /// `[admin] token` of this configuration file.
    Configuration(PathBuf),
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Variable => f.write_str(TOKEN_VARIABLE),
            Self::Configuration(path) => write!(f, "[admin] in `{}`", path.display()),
        }
    }
}

/// A gateway's admin API.
#[derive(Debug)]
pub struct Client {
    address: BackendAddr,
    /// Why it is this address, where that may surprise.
    why: &'static str,
    token: Option<(Secret, TokenSource)>,
    tls: Option<ClientTls>,
}

impl Client {
    /// The gateway that the arguments mean. The token of the configuration file is sent only to the
    /// address of the configuration file.
    ///
    /// # Errors
    /// When the token's file or one of TLS cannot be read.
    pub fn new(args: &AdminArgs) -> Result<Self, ClientError> {
        let configured = match &args.admin {
            Some(address) => Configured::given(address),
            None => configured(args),
        };
        let Configured { at, why, name, .. } = configured;
        let AdminAddr { address, tls } = at;
        let own = args.cert.clone().zip(args.key.clone());
        let own = own.map(|(cert, key)| CertificateFiles { cert, key });
        let tls = tls.then(|| showing(args, name, own.as_ref()));
        let token = match given_token(args)? {
            Some(given) => Some(given),
            None => {
                let path = args.config.config.clone();
                let token = configured.token;
                token.map(|token| (token, TokenSource::Configuration(path)))
            }
        };
        let tls = tls.transpose()?;
        Ok(Self {
            address,
            why,
            token,
            tls,
        })
    }

    /// Another gateway, with the same token.
    ///
    /// # Errors
    /// When a file of TLS cannot be read.
    pub fn at(&self, args: &AdminArgs, at: &AdminAddr) -> Result<Self, ClientError> {
        let token = self.token.clone();
        let own = args.cert.clone().zip(args.key.clone());
        let own = own.map(|(cert, key)| CertificateFiles { cert, key });
        let other = Self::without_credentials(args, at)?;
        let tls = other
            .tls
            .is_some()
            .then(|| showing(args, None, own.as_ref()));
        let tls = tls.transpose()?;
        Ok(Self {
            token,
            tls,
            ..other
        })
    }

    /// A gateway at an unverified address: it gets no token and no certificate.
    ///
    /// # Errors
    /// When a file of TLS cannot be read.
    pub fn without_credentials(args: &AdminArgs, at: &AdminAddr) -> Result<Self, ClientError> {
        let tls = at.tls.then(|| showing(args, None, None)).transpose()?;
        Ok(Self {
            address: at.address.clone(),
            why: "",
            token: None,
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
        let (status, bytes) = self.answer(method, target, body.unwrap_or_default())?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(match &self.token {
                None => ClientError::NoToken,
                Some((_, source)) => match refused(status, &bytes) {
                    ClientError::Refused { detail, .. } if detail.contains(" expired at ") => {
                        ClientError::OldToken(source.clone(), detail)
                    }
                    _ => ClientError::WrongToken(source.clone()),
                },
            });
        }
        if !status.is_success() {
            self.is_admin(status)?;
            return Err(refused(status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| match self.is_admin(status) {
            Ok(()) => ClientError::Strange(self.address.clone(), error),
            Err(other) => other,
        })
    }

    /// Makes sure that an answer which was not hoped for is that of an admin API: a port for
    /// clients, or another program, refuses in words of its own.
    fn is_admin(&self, status: StatusCode) -> Result<(), ClientError> {
        let not_admin = || ClientError::NotAdmin {
            at: self.address.clone(),
            status,
        };
        let (found, bytes) = self.answer(Method::GET, "/v1/status", Vec::new())?;
        let json: Option<Value> = serde_json::from_slice(&bytes).ok();
        let json = json.ok_or_else(not_admin)?;
        let is_status = found.is_success() && json["generation"].is_u64();
        let guarded = matches!(found, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        (is_status || guarded).then_some(()).ok_or_else(not_admin)
    }

    fn answer(
        &self,
        method: Method,
        target: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| self.unreached(error))?;
        let exchange = runtime.block_on(async {
            let exchange = self.exchange(method, target, body);
            tokio::time::timeout(TIMEOUT, exchange).await
        });
        exchange.map_err(|_| ClientError::Late(self.address.clone()))?
    }

    fn unreached(&self, source: io::Error) -> ClientError {
        ClientError::Connect {
            at: self.address.clone(),
            why: self.why,
            source,
        }
    }

    /// Gets a resource.
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
        let (response, _connection) = self.request(method, target, body).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => ClientError::Broken(self.address.clone(), *error),
            Err(_) => ClientError::TooLarge(self.address.clone()),
        });
        Ok((status, body?.to_bytes()))
    }

    /// Sends a request. The answer comes for as long as the connection is kept.
    async fn request(
        &self,
        method: Method,
        target: &str,
        body: Vec<u8>,
    ) -> Result<(Response<Incoming>, Connection), ClientError> {
        let failed = |error| self.unreached(error);
        // A unix socket has no host name; that of an address is the address.
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
        if let Some((token, _)) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .expect("parts that were checked");
        let broken = |error| ClientError::Broken(self.address.clone(), error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let connection = Connection(tokio::spawn(async move {
            // Its errors come with the answer.
            let _ = connection.await;
        }));
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok((response, connection))
    }
}

/// A connection that goes on until this is dropped.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// TLS to a gateway whose certificate is for `name`, unless the arguments give another one.
fn showing(
    args: &AdminArgs,
    name: Option<String>,
    own: Option<&CertificateFiles>,
) -> Result<ClientTls, ClientTlsError> {
    let asked = UpstreamTls {
        ca: args.ca.clone(),
        server_name: args.server_name.clone().or(name),
    };
    ClientTls::showing(&asked, own)
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What is found out about the gateway without asking it.
struct Configured {
    at: AdminAddr,
    /// Why it is this address, where that may surprise.
    why: &'static str,
    token: Option<Secret>,
    /// Of the certificate that it shows, if it shows one.
    name: Option<String>,
}

impl Configured {
    fn given(at: &AdminAddr) -> Self {
        Self {
            at: at.clone(),
            why: "",
            token: None,
            name: None,
        }
    }
}

/// The token that was given beside the configuration.
fn given_token(args: &AdminArgs) -> Result<Option<(Secret, TokenSource)>, ClientError> {
    if let Some(path) = &args.token_file {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| ClientError::Token(name(), error))?;
        return Ok(Some((
            Secret::new(text.trim()),
            TokenSource::File(path.clone()),
        )));
    }
    let environment = args.config.options().environment.into_iter();
    let mut found = environment.filter(|(name, value)| name == TOKEN_VARIABLE && !value.is_empty());
    let token = found.next().map(|(_, value)| Secret::new(value.trim()));
    Ok(token.map(|token| (token, TokenSource::Variable)))
}

/// By the configuration file; where that has faults, by its `[admin]` alone, and where that is of
/// no use, the default address. `sessile check` reports the faults.
fn configured(args: &AdminArgs) -> Configured {
    let options = args.config.options();
    let (loaded, why) = match load::load(&options) {
        Ok(loaded) => (Some(loaded), ""),
        Err(_) if !options.path.exists() => {
            (None, " (the default, as there is no configuration file)")
        }
        Err(_) => (
            admin_alone(&options),
            " (the configuration has faults: `sessile check` shows them)",
        ),
    };
    let Some(admin) = loaded.map(|loaded| loaded.snapshot.admin) else {
        let address = BackendAddr::Ip(DEFAULT_ADDRESS.into());
        let at = AdminAddr {
            address,
            tls: false,
        };
        return Configured {
            why,
            ..Configured::given(&at)
        };
    };
    let tls = admin.tls.is_some();
    let address = match admin.listen {
        ListenAddr::Tcp(address) => BackendAddr::Ip(address),
        ListenAddr::Unix(path) => BackendAddr::Unix(path),
    };
    let shown = admin.tls.iter().flat_map(|tls| tls.certificates.first());
    let shown = shown.filter_map(|files| certs::load(files).ok()).next();
    // A wildcard is no valid server name.
    let name = shown.and_then(|shown| shown.names.into_iter().find(|name| !name.contains('*')));
    Configured {
        at: AdminAddr { address, tls },
        why,
        token: admin.token.map(|token| token.secret),
        name,
    }
}

/// The configuration with everything but `[admin]` left out of the file.
fn admin_alone(options: &LoadOptions) -> Option<Loaded> {
    let text = std::fs::read_to_string(&options.path).ok()?;
    let (document, _) = Document::parse(&text);
    let admin = serde_json::to_value(&document.values).ok()?["admin"].take();
    let listener = json!([{ "name": "edge", "listen": ["127.0.0.1:1"] }]);
    let text = toml::to_string(&json!({ "admin": admin, "listeners": listener })).ok()?;
    load::load_text(options, &text).ok()
}

fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let detail = problem["detail"].as_str();
    let detail = detail.map_or_else(|| format!("the gateway answers {status}"), str::to_owned);
    let diagnostics = problem["diagnostics"].as_array();
    let rendered = diagnostics.into_iter().flatten();
    let rendered = rendered.filter_map(|one| one["rendered"].as_str());
    ClientError::Refused {
        status,
        detail,
        rendered: rendered.map(str::to_owned).collect(),
    }
}
