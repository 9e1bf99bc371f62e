//! The slices of one Service: listed, then watched from that version on, for ever. They are listed
//! again only when the API no longer keeps the version.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::base::causes;
use crate::config::kubernetes_service::{KubernetesService, ServicePort};
use crate::control::kubernetes::access::{Access, AskError};
use crate::control::kubernetes::query;
use crate::control::kubernetes::stream::{self, Followed, Over, Rounds};
use crate::core::kubernetes::{Slices, port_name};
use crate::core::services::{Found, MEMBERS_MAX};

/// What came of a list or a watch.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) service: KubernetesService,
    pub(super) outcome: Result<Found, String>,
    /// Everything was listed again, since the version was no longer kept.
    pub(super) back: bool,
}

/// Follows for ever.
pub(super) async fn repeat(
    service: KubernetesService,
    access: Arc<Access>,
    reports: mpsc::Sender<Report>,
) {
    let mut rounds = Rounds::new();
    let mut known = None;
    let (mut back, mut ended_well) = (false, true);
    loop {
        rounds.next(ended_well).await;
        let asked = Asked {
            service: &service,
            access: &access,
            reports: &reports,
        };
        let outcome = asked.round(&mut known, back).await;
        ended_well = matches!(outcome, Ok(Over::Ended));
        match outcome {
            Ok(Over::Ended) => back = false,
            Ok(Over::Gone) => (known, back) = (None, true),
            Err(error) => {
                if error.needs_list() {
                    known = None;
                }
                asked.report(Err(causes::chain(&error)), false).await;
            }
        }
        if reports.is_closed() {
            return;
        }
    }
}

struct Asked<'a> {
    service: &'a KubernetesService,
    access: &'a Access,
    reports: &'a mpsc::Sender<Report>,
}

impl Asked<'_> {
    async fn round(&self, known: &mut Option<Slices>, back: bool) -> Result<Over, AskError> {
        let port = self.port().await?;
        let round = Round {
            asked: self,
            port,
            back,
        };
        stream::watch(self.access, &round, known).await
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

/// One watch.
struct Round<'a> {
    asked: &'a Asked<'a>,
    /// The name of the Service's port in slices.
    port: String,
    back: bool,
}

impl Followed<Slices> for Round<'_> {
    fn page(&self, next: Option<&str>) -> String {
        query::list(self.asked.service, next)
    }

    fn watch(&self, version: &str, seconds: u64) -> String {
        query::watch(self.asked.service, version, seconds)
    }

    async fn report(&self, known: &Slices, first: bool) -> bool {
        let found = found(self.asked.service, known, &self.port);
        self.asked.report(found, first && self.back).await
    }
}

/// The members at a port.
fn found(service: &KubernetesService, slices: &Slices, port: &str) -> Result<Found, String> {
    if !slices.has_port(port) && !slices.is_empty() {
        return Err(format!("no pod of `{service}` listens on its port"));
    }
    let (members, left_out) = slices.members(port, MEMBERS_MAX);
    Ok(Found { members, left_out })
}
