//! A connection to a server of a broker or of the fleet's state: TCP, TLS, and bytes that were read
//! too far.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::NoKeyLog;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::base::addr::{BackendAddr, OwnAddresses};
use crate::config::snapshot::{ServiceTls, UpstreamTls};
use crate::io::carrier::Carrier;
use crate::io::net::dial::{DialOptions, DialTls, dial};
use crate::io::net::socket::Tuning;
use crate::io::service::fault::Fault;
use crate::io::tls::client::ClientTls;

/// Bytes of an answer during the sign-in.
const ANSWER_MAX: usize = 64 * 1024;
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What the bytes run over.
pub(in crate::io) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, with bytes that were read and not yet used.
pub(in crate::io) struct Wire {
    pub(in crate::io) stream: Box<dyn Stream>,
    pub(in crate::io) input: BytesMut,
}

impl Wire {
    /// Connects without TLS. The caller bounds the time.
    ///
    /// # Errors
    /// When no server listens there.
    pub(in crate::io) async fn connect(
        address: &BackendAddr,
        timeout: Duration,
    ) -> Result<Self, Fault> {
        let own = OwnAddresses::default();
        let options = DialOptions {
            timeout,
            tuning: Tuning::Whole(Some(KEEPALIVE)),
            proxy_header: &[],
            tls: None,
            own: &own,
        };
        let Carrier::Plain(socket) = dial(address, options).await? else {
            unreachable!("a dial without TLS returns a bare socket");
        };
        Ok(Self {
            stream: Box::new(socket),
            input: BytesMut::new(),
        })
    }

    /// The TLS handshake, on a connection on which nothing is under way.
    ///
    /// # Errors
    /// When the server does not prove to be who it should be.
    pub(in crate::io) async fn secure(
        self,
        tls: &ServiceTls,
        address: &BackendAddr,
    ) -> Result<Self, Fault> {
        let tls = client_tls(tls, address).await?;
        let connector = TlsConnector::from(tls.config);
        let secured = connector.connect(tls.name, self.stream).await;
        Ok(Self {
            stream: Box::new(secured.map_err(Fault::Handshake)?),
            input: self.input,
        })
    }

    /// Sends all of these bytes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(in crate::io) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Reads further bytes into `input`.
    ///
    /// # Errors
    /// When there are none, or too many wait already.
    pub(in crate::io) async fn read_more(&mut self) -> Result<(), Fault> {
        if self.input.len() > ANSWER_MAX {
            return Err(Fault::Unfit(
                "the server's answer to the sign-in is too long",
            ));
        }
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(Fault::Closed),
            _ => Ok(()),
        }
    }
}

/// TLS to a server. Its files are read for each connection, so that renewed ones are used.
async fn client_tls(tls: &ServiceTls, address: &BackendAddr) -> Result<DialTls, Fault> {
    let (service, address) = (tls.clone(), address.clone());
    let read = move || {
        let tls = UpstreamTls {
            ca: service.ca,
            server_name: service.server_name,
        };
        ClientTls::showing(&tls, service.identity.as_ref())?.to(&address)
    };
    let tls = tokio::task::spawn_blocking(read).await;
    let mut tls = tls.expect("reading a file does not panic")?;
    // Set for sessions with backends: HTTP, and records that another process can continue.
    let mut config = (*tls.config).clone();
    config.alpn_protocols.clear();
    config.enable_secret_extraction = false;
    config.key_log = Arc::new(NoKeyLog);
    tls.config = Arc::new(config);
    Ok(tls)
}
