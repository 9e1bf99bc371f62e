//! The listening socket of an API of the gateway's own, and the loop that serves its connections.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::admin::connection::{Serving, serve};
use crate::admin::connections::Connections;
use crate::base::addr::ListenAddr;
use crate::io::net::listener::{self, BindError, Inheritance, ListenOptions, Owner};
use crate::io::tls::server::ServerTls;

/// Time for answers in progress when the gateway ends.
const GRACE: Duration = Duration::from_secs(2);

/// How an API listens.
pub(crate) struct ApiSettings<'s> {
    /// Its address.
    pub(crate) listen: &'s ListenAddr,
    /// Connections that wait to be accepted.
    pub(crate) backlog: u32,
    /// Permissions of a unix socket.
    pub(crate) mode: u32,
    /// What for.
    pub(crate) owner: Owner,
}

/// Bound, but not serving yet: requests queue.
#[derive(Debug)]
pub struct ApiSocket {
    socket: listener::Bound,
    tls: Option<Arc<ServerTls>>,
}

impl ApiSocket {
    /// Binds the address; `tls` is built from the settings of the API.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) fn bind(
        settings: &ApiSettings<'_>,
        tls: Option<Arc<ServerTls>>,
        inheritance: &mut Inheritance,
    ) -> Result<Self, BindError> {
        let options = ListenOptions {
            backlog: settings.backlog,
            reuse_port: false,
            keepalive: Some(Duration::from_secs(60)),
            mode: settings.mode,
        };
        let listen = std::slice::from_ref(settings.listen);
        let mut sockets = listener::bind_all(listen, options, &settings.owner, inheritance)?;
        Ok(Self {
            socket: sockets.remove(0),
            tls,
        })
    }

    /// The bound address: port 0 has become the port that the system chose.
    pub fn address(&self) -> &ListenAddr {
        self.socket.address()
    }

    /// A second handle to the socket.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn share(&self) -> io::Result<listener::Bound> {
        self.socket.share()
    }

    /// Serves a router until `shutdown`, then finishes the requests in progress. Connections are
    /// accepted while `accepting` holds true.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub(crate) async fn serve(
        self,
        router: Router,
        mut accepting: watch::Receiver<bool>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut acceptor = self.socket.start()?;
        let (stop, stopping) = watch::channel(());
        let turns = Arc::new(Semaphore::new(1));
        let mut tasks = JoinSet::new();
        let mut connections = Connections::default();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let open = *accepting.borrow_and_update();
            tokio::select! {
                () = &mut shutdown => break,
                Ok(()) = accepting.changed() => {}
                Some(_) = tasks.join_next() => {}
                accepted = acceptor.accept(), if open => {
                    match accepted.map(|one| (one.peer, one.socket.attach())) {
                        Ok((peer, Ok(socket))) => {
                            let serving = Serving {
                                router: router.clone(),
                                tls: self.tls.clone(),
                                stopping: stopping.clone(),
                                turns: Arc::clone(&turns),
                            };
                            let peer = peer.map(|peer| peer.ip());
                            let task = tasks.spawn(serve(socket, peer, serving));
                            connections.enter(peer, task);
                        }
                        Ok((_, Err(error))) => tracing::warn!(%error, "admin connection lost"),
                        Err(error) => tracing::warn!(%error, source = %error.source, "admin"),
                    }
                }
            }
        }
        drop(stop);
        let done = async { while tasks.join_next().await.is_some() {} };
        // Answers still in progress are cut off with the rest of the gateway.
        let _ = timeout(GRACE, done).await;
        Ok(())
    }
}
