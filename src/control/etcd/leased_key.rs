//! Keeps one key in etcd under a lease as long as it is wanted, through outages, restarts without
//! data, restored backups and deletions of the key.
//!
//! Ownership: the first write takes over an existing key, since its owner is usually the killed
//! predecessor of this process. After that the key is written only while it is under this lease or
//! absent; a key that another process has taken over belongs to that process until it disappears. A
//! value that was edited under the lease (`etcdctl put --ignore-lease`) stays as edited until this
//! process writes a new value.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, Error, KeyValue, LeaseKeepAliveStream, LeaseKeeper, PutOptions,
    Txn, TxnOp,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::base::backoff::Backoff;
use crate::base::causes;

/// Between attempts to reach etcd.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// However long it is gone.
const RETRY_LAST: Duration = Duration::from_secs(5);
/// A lease is renewed so many times within its time.
const RENEWALS: u32 = 3;
/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Makes a connection to etcd; called again after each failure.
pub type Connect =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Client, String>> + Send>> + Send + Sync>;

/// The state of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeasedKeyState {
    /// It is not wanted in etcd.
    Withdrawn,
    /// It should exist, but its state is unknown: etcd is unreachable.
    Unsure(Arc<str>),
    /// It is there with this value.
    Held(Arc<str>),
    /// It exists under this lease, with a value written by someone else.
    Edited(Arc<str>),
    /// Another client has it, with this value.
    Taken(Arc<str>),
}

/// A key that is being kept. Dropping it stops that, and the lease runs out by itself.
#[derive(Debug)]
pub struct LeasedKey {
    wanted: watch::Sender<Option<Arc<str>>>,
    holding: watch::Receiver<LeasedKeyState>,
    task: JoinHandle<()>,
}

impl Drop for LeasedKey {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LeasedKey {
    /// Starts without a key. The lease lasts `ttl` after its last renewal.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn new(key: String, ttl: Duration, connect: Connect) -> Self {
        let (wanted, wants) = watch::channel(None);
        let (shown, holding) = watch::channel(LeasedKeyState::Withdrawn);
        let keeper = Keeper {
            key,
            ttl,
            connect,
            wants,
            shown,
            lease: None,
            established: false,
        };
        Self {
            wanted,
            holding,
            task: tokio::spawn(keeper.run()),
        }
    }

    /// The value that should be there from now on; `None` takes the key away.
    pub fn want(&self, value: Option<&str>) {
        self.wanted.send_if_modified(|wanted| {
            let same = wanted.as_deref() == value;
            *wanted = value.map(Arc::from);
            !same
        });
    }

    /// The current state of the key.
    pub fn holding(&self) -> LeasedKeyState {
        self.holding.borrow().clone()
    }

    /// Waits until the state differs from that at the last call.
    pub async fn changed(&mut self) -> LeasedKeyState {
        if self.holding.changed().await.is_err() {
            // The task is gone only when the runtime ends.
            std::future::pending::<()>().await;
        }
        self.holding.borrow_and_update().clone()
    }

    /// Deletes the key, and waits for that up to a limit. Returns whether it is deleted; otherwise
    /// it disappears with its lease.
    pub async fn end(&mut self, patience: Duration) -> bool {
        self.want(None);
        let gone = self
            .holding
            .wait_for(|one| *one == LeasedKeyState::Withdrawn);
        matches!(timeout(patience, gone).await, Ok(Ok(_)))
    }
}

/// Why the key may not be there.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("{0}")]
    Connect(String),
    #[error("etcd: {}", error_text(.0))]
    Etcd(#[from] Error),
    #[error("etcd did not answer within {0:?}")]
    Late(Duration),
    #[error("etcd has lost the lease")]
    LeaseLost,
}

/// What etcd has under the key.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Ours(String),
    Theirs(String),
}

impl Found {
    fn of(found: Option<&KeyValue>, lease: i64) -> Self {
        let value = |one: &KeyValue| String::from_utf8_lossy(one.value()).into_owned();
        match found {
            None => Self::Nothing,
            Some(one) if one.lease() == lease => Self::Ours(value(one)),
            Some(one) => Self::Theirs(value(one)),
        }
    }
}

struct Keeper {
    key: String,
    ttl: Duration,
    connect: Connect,
    wants: watch::Receiver<Option<Arc<str>>>,
    shown: watch::Sender<LeasedKeyState>,
    /// Granted last; etcd may have lost it.
    lease: Option<i64>,
    /// Whether the key was written once, so that it is ours only while it is under our lease.
    established: bool,
}

/// A lease on a connection.
struct LeaseSession {
    client: Client,
    lease: i64,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
    patience: Duration,
}

impl Keeper {
    async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
        loop {
            let wanted = self.wants.borrow_and_update().clone();
            let done = match wanted {
                Some(_) => self.keep(&mut backoff).await,
                None => self.withdraw().await,
            };
            let Err(error) = done else {
                backoff.reset();
                continue;
            };
            tracing::debug!(key = self.key, %error, "not kept in etcd");
            self.show(LeasedKeyState::Unsure(error.to_string().into()));
            let wait = backoff.next(fastrand::f64());
            tokio::select! {
                () = sleep(wait) => {}
                changed = self.wants.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Keeps the key until it is no longer wanted.
    async fn keep(&mut self, backoff: &mut Backoff) -> Result<(), LeaseError> {
        let mut session = self.begin_session().await?;
        let mut renewal = Instant::now() + self.renewal();
        let mut written = None;
        loop {
            let wanted = self.wants.borrow_and_update().clone();
            let Some(wanted) = wanted else { return Ok(()) };
            if written.as_ref() != Some(&wanted) {
                let holding = self.write(&mut session, &wanted).await?;
                self.show(holding);
                written = Some(wanted);
                backoff.reset();
            }
            tokio::select! {
                () = sleep_until(renewal) => {
                    session.renew().await?;
                    self.check(&mut session, written.as_ref().expect("it was written")).await?;
                    renewal = Instant::now() + self.renewal();
                }
                // The sender is gone only when this task is about to be aborted.
                changed = self.wants.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    fn renewal(&self) -> Duration {
        self.ttl / RENEWALS
    }

    /// How long an answer may take: the lease must not run out meanwhile.
    fn patience(&self) -> Duration {
        ANSWER_MAX.min(self.renewal())
    }

    /// Connects and obtains a lease: the previous one if etcd still has it.
    async fn begin_session(&mut self) -> Result<LeaseSession, LeaseError> {
        let patience = self.patience();
        let connect = timeout(patience, (self.connect)()).await;
        let connect = connect.map_err(|_| LeaseError::Late(patience))?;
        let mut client = connect.map_err(LeaseError::Connect)?;
        if let Some(lease) = self.lease {
            match within(patience, client.lease_keep_alive(lease)).await {
                Ok((keeper, answers)) => {
                    return Ok(LeaseSession {
                        client,
                        lease,
                        keeper,
                        answers,
                        patience,
                    });
                }
                Err(LeaseError::Etcd(Error::LeaseKeepAliveError(_))) => self.lease = None,
                Err(error) => return Err(error),
            }
        }
        let seconds = i64::try_from(self.ttl.as_secs().max(1)).unwrap_or(i64::MAX);
        let granted = within(patience, client.lease_grant(seconds, None)).await?;
        let lease = granted.id();
        let (keeper, answers) = within(patience, client.lease_keep_alive(lease)).await?;
        self.lease = Some(lease);
        Ok(LeaseSession {
            client,
            lease,
            keeper,
            answers,
            patience,
        })
    }

    /// Writes the value if the key is ours to write.
    async fn write(
        &mut self,
        session: &mut LeaseSession,
        value: &Arc<str>,
    ) -> Result<LeasedKeyState, LeaseError> {
        if !self.established {
            session.put(&self.key, value, None).await?;
            self.established = true;
            return Ok(LeasedKeyState::Held(Arc::clone(value)));
        }
        let ours = Compare::lease(self.key.as_str(), CompareOp::Equal, session.lease);
        if session.put(&self.key, value, Some(ours)).await? {
            return Ok(LeasedKeyState::Held(Arc::clone(value)));
        }
        self.put_if_absent(session, value).await
    }

    async fn put_if_absent(
        &self,
        session: &mut LeaseSession,
        value: &Arc<str>,
    ) -> Result<LeasedKeyState, LeaseError> {
        let absent = Compare::version(self.key.as_str(), CompareOp::Equal, 0);
        if session.put(&self.key, value, Some(absent)).await? {
            return Ok(LeasedKeyState::Held(Arc::clone(value)));
        }
        Ok(match session.find(&self.key).await? {
            Found::Theirs(value) => LeasedKeyState::Taken(value.into()),
            Found::Ours(value) => LeasedKeyState::Edited(value.into()),
            // It disappeared between two requests; the next check writes it again.
            Found::Nothing => LeasedKeyState::Unsure("the key has just gone".into()),
        })
    }

    /// Sees that the key is still there as it was written.
    async fn check(
        &mut self,
        session: &mut LeaseSession,
        written: &Arc<str>,
    ) -> Result<(), LeaseError> {
        let holding = match session.find(&self.key).await? {
            Found::Ours(value) if *value == **written => LeasedKeyState::Held(Arc::clone(written)),
            Found::Ours(value) => LeasedKeyState::Edited(value.into()),
            Found::Theirs(value) => LeasedKeyState::Taken(value.into()),
            Found::Nothing => self.put_if_absent(session, written).await?,
        };
        self.show(holding);
        Ok(())
    }

    /// Deletes the key, unless another process owns it. Returns when it is wanted again.
    async fn withdraw(&mut self) -> Result<(), LeaseError> {
        if let Some(lease) = self.lease {
            self.take_away(lease).await?;
        }
        self.lease = None;
        self.established = false;
        self.show(LeasedKeyState::Withdrawn);
        if self.wants.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// The lease is left to expire: watchers query it to distinguish a deleted key from one whose
    /// owner was lost.
    async fn take_away(&self, lease: i64) -> Result<(), LeaseError> {
        let patience = self.patience();
        let connect = timeout(patience, (self.connect)()).await;
        let connect = connect.map_err(|_| LeaseError::Late(patience))?;
        let mut client = connect.map_err(LeaseError::Connect)?;
        let ours = Compare::lease(self.key.as_str(), CompareOp::Equal, lease);
        let delete = TxnOp::delete(self.key.as_str(), None);
        let txn = Txn::new().when([ours]).and_then([delete]);
        within(patience, client.txn(txn)).await?;
        Ok(())
    }

    fn show(&self, holding: LeasedKeyState) {
        self.shown.send_if_modified(|shown| {
            let changed = *shown != holding;
            *shown = holding;
            changed
        });
    }
}

impl LeaseSession {
    async fn renew(&mut self) -> Result<(), LeaseError> {
        within(self.patience, self.keeper.keep_alive()).await?;
        let answer = within(self.patience, self.answers.message()).await?;
        match answer {
            Some(answer) if answer.ttl() > 0 => Ok(()),
            _ => Err(LeaseError::LeaseLost),
        }
    }

    /// Puts the value under the lease, if `condition` holds; answers whether it did.
    async fn put(
        &mut self,
        key: &str,
        value: &str,
        condition: Option<Compare>,
    ) -> Result<bool, LeaseError> {
        let options = PutOptions::new().with_lease(self.lease);
        let put = TxnOp::put(key, value, Some(options));
        let conditions: Vec<_> = condition.into_iter().collect();
        let txn = Txn::new().when(conditions).and_then([put]);
        let answer = within(self.patience, self.client.txn(txn)).await?;
        Ok(answer.succeeded())
    }

    async fn find(&mut self, key: &str) -> Result<Found, LeaseError> {
        let answer = within(self.patience, self.client.get(key, None)).await?;
        Ok(Found::of(answer.kvs().first(), self.lease))
    }
}

/// The text of an error, without internals of the library.
pub fn error_text(error: &Error) -> String {
    let Error::GRpcStatus(status) = error else {
        return error.to_string();
    };
    causes::with_causes(status.message().to_owned(), status)
}

async fn within<T>(
    patience: Duration,
    question: impl Future<Output = Result<T, Error>>,
) -> Result<T, LeaseError> {
    match timeout(patience, question).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(LeaseError::Late(patience)),
    }
}
