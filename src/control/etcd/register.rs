//! Keeps one backend registered in etcd while it is healthy: `sessile register` runs it beside the
//! backend.
//!
//! First the backend has to pass its probe; only then is it in etcd, under a lease. While its probe
//! fails it is `disabled`, not deleted: its sessions stay, and its keys return to it, since the
//! ring is the same (I3). At the end it is `draining` for a time, and then deleted.

use std::io;
use std::net::IpAddr;
use std::process::ExitStatus;
use std::time::Duration;

use http::Uri;
use rustix::process::{Pid, Signal, kill_process};
use sd_notify::NotifyState;
use tokio::net::{UdpSocket, lookup_host};
use tokio::process::Child;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::base::addr::OwnAddresses;
use crate::base::clock;
use crate::config::model::Backend;
use crate::config::snapshot::{AdminState, Probe};
use crate::control::etcd::leased_key::{Connect, LeasedKey, LeasedKeyState};
use crate::control::probes::{Target, probe};
use crate::core::health::{Health, Tracker};

/// For the key to be taken away at the end.
const REMOVAL_MAX: Duration = Duration::from_secs(5);

/// What to register, and how.
#[derive(Clone, Debug)]
pub struct Registration {
    /// `<prefix>/backends/<upstream>/<id>`
    pub key: String,
    /// The entry; this file sets its state.
    pub backend: Backend,
    /// What it must pass; `None` is registered at once.
    pub probe: Option<Probe>,
    /// Where it is probed.
    pub target: Target,
    /// For how long the key outlives this process.
    pub ttl: Duration,
    /// From `draining` to gone.
    pub drain: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A signal ended it, and the key is gone.
    Left,
    /// A signal ended it; the key disappears with its lease.
    LeftBehind,
    /// The backend that was started here has ended.
    Backend(ExitStatus),
}

/// Signals to this process.
struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hang_up: unix::Signal,
    user_1: unix::Signal,
    user_2: unix::Signal,
}

/// What a signal asks for.
enum SignalAction {
    Leave,
    Forward(Signal),
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.terminate.recv() => SignalAction::Leave,
            _ = self.interrupt.recv() => SignalAction::Leave,
            _ = self.hang_up.recv() => SignalAction::Forward(Signal::HUP),
            _ = self.user_1.recv() => SignalAction::Forward(Signal::USR1),
            _ = self.user_2.recv() => SignalAction::Forward(Signal::USR2),
        }
    }

    /// SIGTERM or SIGINT.
    async fn leave(&mut self) {
        while !matches!(self.next().await, SignalAction::Leave) {}
    }
}

/// A backend that is registered, or on its way.
struct Registered {
    registration: Registration,
    hold: LeasedKey,
    /// Whether it passes its probe; `None` before the first result.
    well: watch::Receiver<Option<bool>>,
    probing: Option<JoinHandle<()>>,
    ready: bool,
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(probing) = &self.probing {
            probing.abort();
        }
    }
}

/// Registers until a signal ends it or the backend, if it was started here, ends.
///
/// # Errors
/// When signals are not to be had.
pub async fn register(
    registration: Registration,
    connect: Connect,
    mut child: Option<Child>,
) -> io::Result<End> {
    let mut signals = Signals::new()?;
    let mut registered = Registered::new(registration, connect);
    loop {
        tokio::select! {
            Ok(()) = registered.well.changed() => registered.state(),
            holding = registered.hold.changed() => registered.tell(&holding),
            status = ended(child.as_mut()) => {
                tracing::info!(%status, "the backend process has exited");
                registered.gone().await;
                return Ok(End::Backend(status));
            }
            action = signals.next() => match action {
                SignalAction::Forward(signal) => send(child.as_ref(), signal),
                SignalAction::Leave => return Ok(leave(registered, child, signals).await),
            }
        }
    }
}

/// From the signal on: `draining`, then gone, then the backend may end.
async fn leave(mut registered: Registered, mut child: Option<Child>, mut signals: Signals) -> End {
    notify(&[NotifyState::Stopping]);
    if registered.drains() {
        let drain = registered.registration.drain;
        tracing::info!(drain = %clock::readable(drain), "draining; a second signal ends the wait");
        tokio::select! {
            () = sleep(drain) => {}
            () = signals.leave() => tracing::info!("not waiting any longer"),
            status = ended(child.as_mut()) => {
                tracing::info!(%status, "the backend process has exited");
                registered.gone().await;
                return End::Backend(status);
            }
        }
    }
    let gone = registered.gone().await;
    if child.is_none() {
        return if gone { End::Left } else { End::LeftBehind };
    }
    send(child.as_ref(), Signal::TERM);
    loop {
        tokio::select! {
            status = ended(child.as_mut()) => return End::Backend(status),
            // A second signal ends the wait.
            () = signals.leave() => send(child.as_ref(), Signal::TERM),
        }
    }
}

impl Registered {
    fn new(registration: Registration, connect: Connect) -> Self {
        let Registration {
            key, ttl, probe, ..
        } = &registration;
        let hold = LeasedKey::new(key.clone(), *ttl, connect);
        let (found, mut well) = watch::channel(None);
        let probing = match probe.clone() {
            Some(probe) => Some(tokio::spawn(watch_over(
                probe,
                registration.target.clone(),
                found,
            ))),
            None => {
                found.send_replace(Some(true));
                None
            }
        };
        well.mark_changed();
        Self {
            registration,
            hold,
            well,
            probing,
            ready: false,
        }
    }

    /// Updates the entry according to the probe.
    fn state(&mut self) {
        let well = *self.well.borrow_and_update();
        match well {
            Some(true) => self.want(AdminState::Active),
            // A backend that never passed its probe is not registered.
            Some(false) if self.hold.holding() != LeasedKeyState::Withdrawn => {
                self.want(AdminState::Disabled);
            }
            Some(false) | None => {}
        }
    }

    fn want(&self, state: AdminState) {
        let backend = Backend {
            state,
            ..self.registration.backend.clone()
        };
        let mut value = serde_json::to_value(&backend).expect("plain data serialises");
        // A document has no null: what is not given is left out.
        let table = value.as_object_mut().expect("a backend is a table");
        table.retain(|_, value| !value.is_null());
        self.hold.want(Some(&value.to_string()));
    }

    fn tell(&mut self, holding: &LeasedKeyState) {
        let key = &self.registration.key;
        match holding {
            LeasedKeyState::Withdrawn => tracing::info!(key, "not registered any more"),
            LeasedKeyState::Unsure(why) => tracing::warn!(key, %why, "cannot be registered now"),
            LeasedKeyState::Held(value) => {
                tracing::info!(key, %value, "registered");
                if !std::mem::replace(&mut self.ready, true) {
                    notify(&[NotifyState::Ready, NotifyState::Status("registered")]);
                }
            }
            LeasedKeyState::Edited(value) => {
                tracing::warn!(key, %value, "the entry was edited; it stays as it is");
            }
            LeasedKeyState::Taken(value) => tracing::warn!(
                key, %value,
                "another process has registered under this id; give one of the two another --id"
            ),
        }
    }

    /// Marks it as draining, if there is anything to drain.
    fn drains(&self) -> bool {
        match self.hold.holding() {
            LeasedKeyState::Withdrawn | LeasedKeyState::Taken(_) => false,
            LeasedKeyState::Held(_) | LeasedKeyState::Edited(_) | LeasedKeyState::Unsure(_) => {
                self.want(AdminState::Draining);
                true
            }
        }
    }

    /// Takes the key away. Answers whether it is gone.
    async fn gone(&mut self) -> bool {
        let Registration { key, ttl, .. } = &self.registration;
        let gone = self.hold.end(REMOVAL_MAX).await;
        if gone {
            tracing::info!(key, "not registered any more");
        } else {
            tracing::warn!(
                key,
                ttl = %clock::readable(*ttl),
                "etcd does not answer; the entry goes with its lease"
            );
        }
        gone
    }
}

/// Probes without end; sends the health of the backend, and logs the reason of failures.
async fn watch_over(probe_: Probe, target: Target, found: watch::Sender<Option<bool>>) {
    let mut tracker = Tracker::new(probe_.rise, probe_.fall);
    let mut last = None;
    loop {
        let start = Instant::now();
        let result = probe(&probe_, &target, &OwnAddresses::default()).await;
        let fault = result.as_ref().err().map(ToString::to_string);
        if let Some(reason) = fault.as_ref().filter(|_| fault != last) {
            tracing::warn!(backend = %target.backend, reason, "the probe fails");
        }
        last = fault;
        if let Some(health) = tracker.observe(result.is_ok()) {
            let well = health == Health::Healthy;
            if well {
                tracing::info!(backend = %target.backend, "the backend passes its probe");
            }
            found.send_replace(Some(well));
        }
        sleep_until(start + probe_.interval).await;
    }
}

/// The address from which this machine speaks to etcd: what others reach a backend at that listens
/// on every address.
///
/// # Errors
/// When the endpoint's host has no address, or no way leads there.
pub async fn address_towards(endpoint: &str) -> io::Result<IpAddr> {
    let unclear = || io::Error::new(io::ErrorKind::InvalidInput, format!("`{endpoint}`"));
    let uri: Uri = endpoint.parse().map_err(|_| unclear())?;
    let host = uri.host().ok_or_else(unclear)?;
    let host = host.trim_matches(['[', ']']);
    let mut addresses = lookup_host((host, uri.port_u16().unwrap_or(2379))).await?;
    let peer = addresses.next().ok_or_else(unclear)?;
    let any: IpAddr = if peer.is_ipv4() {
        [0, 0, 0, 0].into()
    } else {
        [0_u16; 8].into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Nothing is sent: this only chooses the route.
    socket.connect(peer).await?;
    Ok(socket.local_addr()?.ip())
}

/// The end of the backend that was started here; never, if none was.
async fn ended(child: Option<&mut Child>) -> ExitStatus {
    match child {
        Some(child) => match child.wait().await {
            Ok(status) => status,
            Err(error) => {
                tracing::error!(%error, "cannot wait for the backend");
                std::future::pending().await
            }
        },
        None => std::future::pending().await,
    }
}

fn send(child: Option<&Child>, signal: Signal) {
    let pid = child.and_then(Child::id);
    let pid = pid.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
        tracing::warn!(%error, signal = signal.as_raw(), "the backend cannot be told");
    }
}

/// Notifies systemd, if it requested that.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
