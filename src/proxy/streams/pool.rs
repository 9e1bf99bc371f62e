//! Keep-alive connections to backends for ordinary requests. Sessions never return theirs. Each
//! worker has its own pool, so that a connection never changes threads.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use crate::base::clock;
use crate::base::names::{BackendId, UpstreamName};
use crate::config::snapshot::HeadLimits;
use crate::core::routing::Upstream;
use crate::io::carrier::Carrier;
use crate::proxy::clock::WorkerClock;
use crate::proxy::streams::activity::StreamActivity;
use crate::proxy::streams::backend::BackendStream;
use crate::proxy::streams::body::Outgoing;
use crate::proxy::streams::upload::Upload;

/// An unused connection is closed after this time, sooner than most servers close theirs.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// hyper's buffer for each direction, which the limit of heads may make larger.
const BUFFER_BYTES: usize = 32 * 1024;

/// A connection that takes requests.
pub(crate) struct Sender {
    pub(crate) http: SendRequest<Outgoing<Upload>>,
    /// What moves on it.
    pub(crate) activity: Rc<StreamActivity>,
}

impl Sender {
    fn is_ready(&self) -> bool {
        self.http.is_ready()
    }

    fn is_closed(&self) -> bool {
        self.http.is_closed()
    }
}

/// A backend of an upstream.
pub(crate) type Key = (UpstreamName, BackendId);

/// Idle connections.
#[derive(Default)]
pub(crate) struct Pool(RefCell<HashMap<Key, Vec<Idle>>>);

struct Idle {
    sender: Sender,
    /// The upstream that the connection was made for. If it was replaced since, address or TLS may
    /// differ.
    upstream: Weak<Upstream>,
    since: Instant,
}

/// A connection with an answer under way, and the pool that it returns to.
pub(crate) struct Kept {
    /// The client's own pool if its login authenticates the connection itself (RFC 4559, section
    /// 6): no other client's request may go over it. Otherwise the worker's.
    pub(crate) pool: Rc<Pool>,
    pub(crate) key: Key,
    pub(crate) sender: Sender,
    /// What its connection was made for.
    pub(crate) upstream: Weak<Upstream>,
}

impl Kept {
    /// The answer has passed; the next request may use the connection.
    pub(crate) fn give_back(self) {
        self.pool.put(self.key, self.sender, self.upstream);
    }
}

impl Pool {
    /// The connection that was used last, if one is idle and alive.
    pub(crate) fn take(&self, key: &Key, upstream: &Arc<Upstream>) -> Option<Sender> {
        let mut pool = self.0.borrow_mut();
        let idle = pool.get_mut(key)?;
        while let Some(Idle {
            sender,
            upstream: made_for,
            ..
        }) = idle.pop()
        {
            if sender.is_ready() && Weak::as_ptr(&made_for) == Arc::as_ptr(upstream) {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection whose exchange is over, unless its upstream is gone or has enough idle
    /// ones.
    fn put(&self, key: Key, sender: Sender, upstream: Weak<Upstream>) {
        let most = upstream
            .upgrade()
            .map_or(0, |upstream| upstream.config.idle_connections);
        if sender.is_closed() {
            return;
        }
        let mut pool = self.0.borrow_mut();
        let idle = pool.entry(key).or_default();
        if idle.len() < most {
            idle.push(Idle {
                sender,
                upstream,
                since: clock::now(),
            });
        }
    }

    /// Drops connections that were idle for too long or were closed by their backend.
    pub(crate) fn tidy(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| {
                !idle.sender.is_closed() && now.duration_since(idle.since) < IDLE_MAX
            });
            !idle.is_empty()
        });
    }
}

/// Header fields that hyper takes unless it is configured. Another number costs it two lists on the
/// heap for each message.
pub(crate) const HEADERS_OF_HYPER: usize = 100;

/// How hyper speaks HTTP with backends: names of fields keep their case, heads are bounded.
pub(crate) fn builder(limits: &HeadLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    if limits.headers_max != HEADERS_OF_HYPER {
        builder.max_headers(limits.headers_max);
    }
    builder
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(BUFFER_BYTES))
        .preserve_header_case(true)
        .title_case_headers(true);
    builder
}

/// Makes a fresh connection speak HTTP; its driver runs on this worker until it ends.
pub(crate) async fn speak(
    clock: &Rc<WorkerClock>,
    carrier: Carrier,
    limits: &HeadLimits,
) -> hyper::Result<Sender> {
    let stream = BackendStream::new(carrier, clock);
    let activity = stream.activity();
    let (http, connection) = builder(limits).handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        // What goes wrong here is reported to the one that waits for the answer.
        let _ = connection.await;
    });
    Ok(Sender { http, activity })
}
