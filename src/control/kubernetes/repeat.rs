//! The slices of one Service: listed, then watched from that version on, for ever. They are listed
//! again only when the API no longer keeps the version.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::base::backoff::Backoff;
use crate::base::causes;
use crate::base::clock;
use crate::base::pace::Pace;
use crate::config::kubernetes_service::{KubernetesService, ServicePort};
use crate::control::kubernetes::access::{Access, AskError};
use crate::control::kubernetes::query;
use crate::control::kubernetes::stream::{self, Step, Watch};
use crate::core::kubernetes::{Listed as _, Slices, port_name};
use crate::core::services::{Found, MEMBERS_MAX};

/// Watches that end at once, in a row; further ones begin once in an interval.
const BURST: u32 = 4;
const INTERVAL: Duration = Duration::from_secs(1);
/// Between attempts.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// What came of a list or a watch.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) service: KubernetesService,
    pub(super) outcome: Result<Found, String>,
    /// Everything was listed again, since the version was no longer kept.
    pub(super) back: bool,
}

/// What is known of a Service.
struct Known {
    slices: Slices,
    /// The name of its port in the slices.
    port: String,
}

/// Why a watch is over.
enum Over {
    /// Its time is.
    Ended,
    /// Its version is no longer kept.
    Gone,
    /// The follower has ended.
    Unheard,
}

/// Follows for ever.
pub(super) async fn repeat(
    service: KubernetesService,
    access: Arc<Access>,
    reports: mpsc::Sender<Report>,
) {
    let mut pace = Pace::new(BURST, INTERVAL);
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
    let mut known = None;
    let mut back = false;
    loop {
        sleep(pace.wait(clock::now())).await;
        let asked = Asked {
            service: &service,
            access: &access,
            reports: &reports,
        };
        let wait = match asked.round(&mut known, back).await {
            Ok(Over::Unheard) => return,
            Ok(Over::Ended) => {
                back = false;
                backoff.reset();
                Duration::ZERO
            }
            Ok(Over::Gone) => {
                (known, back) = (None, true);
                backoff.next(fastrand::f64())
            }
            Err(error) => {
                if error.needs_list() {
                    known = None;
                }
                if !asked.report(Err(causes::chain(&error)), false).await {
                    return;
                }
                backoff.next(fastrand::f64())
            }
        };
        sleep(wait).await;
    }
}

struct Asked<'a> {
    service: &'a KubernetesService,
    access: &'a Access,
    reports: &'a mpsc::Sender<Report>,
}

impl Asked<'_> {
    /// One watch, behind a list if nothing is known.
    async fn round(&self, known: &mut Option<Known>, back: bool) -> Result<Over, AskError> {
        let port = self.port().await?;
        let known = match known {
            Some(known) => known,
            None => known.insert(Known {
                slices: match self.list().await {
                    Err(error) if error.is_gone() => return Ok(Over::Gone),
                    listed => listed?,
                },
                port: port.clone(),
            }),
        };
        known.port = port;
        if !self.report(found(self.service, known), back).await {
            return Ok(Over::Unheard);
        }
        self.watch(known).await
    }

    /// The name of the port in slices. A number is the Service's own, so that is asked.
    async fn port(&self) -> Result<String, AskError> {
        match &self.service.port {
            ServicePort::Name(name) => Ok(name.to_string()),
            port @ ServicePort::Number(_) => {
                let object = self.access.get(&query::object(self.service)).await?;
                Ok(port_name(&object, port)?)
            }
        }
    }

    async fn list(&self) -> Result<Slices, AskError> {
        stream::list(self.access, |next| query::list(self.service, next)).await
    }

    async fn watch(&self, known: &mut Known) -> Result<Over, AskError> {
        let seconds = self.access.settings.wait.as_secs().max(1);
        let target = query::watch(self.service, known.slices.version(), seconds);
        let mut watch = match Watch::begin(self.access, &target).await {
            Err(error) if error.is_gone() => return Ok(Over::Gone),
            begun => begun?,
        };
        loop {
            match watch.next(&mut known.slices).await? {
                Step::Ended => return Ok(Over::Ended),
                Step::Gone => return Ok(Over::Gone),
                Step::Changed => {
                    if !self.report(found(self.service, known), false).await {
                        return Ok(Over::Unheard);
                    }
                }
            }
        }
    }

    /// Whether the follower takes it.
    async fn report(&self, outcome: Result<Found, String>, back: bool) -> bool {
        let report = Report {
            service: self.service.clone(),
            outcome,
            back,
        };
        self.reports.send(report).await.is_ok()
    }
}

/// The members by what is known.
fn found(service: &KubernetesService, known: &Known) -> Result<Found, String> {
    let Known { slices, port } = known;
    if !slices.has_port(port) && !slices.is_empty() {
        return Err(format!("no pod of `{service}` listens on its port"));
    }
    let (members, left_out) = slices.members(port, MEMBERS_MAX);
    Ok(Found { members, left_out })
}
