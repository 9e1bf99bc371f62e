//! Credentials by authenticator: how many live sessions it has admitted, when their rights end, and
//! how old the keys are that it verifies with. Certificates are a resource of their own. Tokens and
//! keys of the configuration have no end, and ticket keys rotate by themselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::extract::Parameters;
use crate::admin::problem::Problem;
use crate::admin::{Gateway, Page};
use crate::base::clock;
use crate::base::names::AuthenticatorName;
use crate::core::auth::{Authenticator, ReadKeys};
use crate::live::{ANSWER_MAX, Generation, Live, LookCommand, Rights, WorkerCommand};

/// The default `within`.
const WITHIN: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Readings in a row that an issuer may miss before its keys are stale.
const MISSED_MAX: u32 = 3;
/// Routes that are named.
const ROUTES_MAX: usize = 100;

/// How far to look ahead.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CredentialsQuery {
    /// Counts rights and keys that end within this time, such as `1h`; `30d` if not given.
    within: Option<String>,
}

/// What an authenticator has admitted, and by which keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CredentialView {
    /// Its name.
    pub authenticator: String,
    /// Live sessions that it has admitted.
    pub sessions: u64,
    /// Those of them whose right ends within the time that was asked about, unless it is renewed.
    pub expiring: u64,
    /// When the first right ends; RFC 3339, null if none does.
    pub first_expires: Option<String>,
    /// Keys that were read from its issuer; null if it has none to read.
    pub keys: Option<usize>,
    /// Since they were read; null if they never were.
    pub keys_age_seconds: Option<f64>,
    /// Whether the issuer has not answered for so long that newer keys may be missing.
    pub keys_stale: bool,
    /// When the first certificate that came with a key ends; RFC 3339, null if there is none.
    pub keys_end: Option<String>,
    /// The routes that it admits clients to, a hundred at most.
    pub routes: Vec<String>,
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Parameters(asked): Parameters<CredentialsQuery>,
) -> Result<Json<Page<CredentialView>>, Problem> {
    let within = asked.within.as_deref().map(|text| {
        let fault = |_| Problem::bad_request(format!("within: `{text}` is no time such as `30d`"));
        humantime::parse_duration(text).map_err(fault)
    });
    let within = within.transpose()?.unwrap_or(WITHIN);
    let rights = rights(&gateway.live, within).await;
    let items = views(&gateway.live.generation(), rights, clock::wall());
    Ok(Json(Page { items, next: None }))
}

/// The rights of live sessions, with those that end within this time.
pub async fn rights(live: &Live, within: Duration) -> Rights {
    let until = clock::unix_millis(clock::wall()).saturating_add(clock::millis(within));
    let ask = |slice, answer| {
        WorkerCommand::Look(LookCommand::Rights {
            until,
            slice,
            answer,
        })
    };
    let mut all = Rights::new();
    let take = |_, found: Rights| {
        for (authenticator, counts) in found {
            all.entry(authenticator).or_default().add(counts);
        }
        true
    };
    live.workers().walk_each(ANSWER_MAX, None, ask, take).await;
    all
}

/// All authenticators that are configured, and those that have sessions still.
fn views(generation: &Generation, mut rights: Rights, now: SystemTime) -> Vec<CredentialView> {
    let mut routes = routes(generation);
    let configured = generation.table.authenticators();
    let mut views: Vec<_> = configured
        .map(|one| {
            let name = &one.config.name;
            let mut view = CredentialView {
                routes: routes.remove(name).unwrap_or_default(),
                ..of_sessions(name, rights.remove(name).unwrap_or_default())
            };
            view.set_keys(one, generation, now);
            view
        })
        .collect();
    views.extend(
        rights
            .into_iter()
            .map(|(name, counts)| of_sessions(&name, counts)),
    );
    views
}

fn of_sessions(name: &AuthenticatorName, counts: crate::live::RightCounts) -> CredentialView {
    let at = |end| UNIX_EPOCH.checked_add(Duration::from_millis(end));
    CredentialView {
        authenticator: name.to_string(),
        sessions: counts.sessions,
        expiring: counts.expiring,
        first_expires: counts.first.and_then(at).map(clock::rfc3339),
        keys: None,
        keys_age_seconds: None,
        keys_stale: false,
        keys_end: None,
        routes: Vec::new(),
    }
}

/// The routes of each authenticator.
fn routes(generation: &Generation) -> HashMap<&AuthenticatorName, Vec<String>> {
    let mut routes: HashMap<_, Vec<String>> = HashMap::new();
    for route in generation.table.routes() {
        for name in &route.config.auth.authenticate {
            let admitted = routes.entry(name).or_default();
            if admitted.len() < ROUTES_MAX {
                admitted.push(route.name().to_string());
            }
        }
    }
    routes
}

impl CredentialView {
    /// Adds what is known of the keys of an issuer.
    fn set_keys(&mut self, one: &Authenticator, generation: &Generation, now: SystemTime) {
        let Some(refresh) = one.refresh() else { return };
        let read: Option<&ReadKeys> = one.keys(&generation.keys);
        let age = read.map(|read| clock::unix_millis(now).saturating_sub(read.read_at));
        let old = clock::millis(refresh.source.refresh.saturating_mul(MISSED_MAX));
        self.keys = Some(read.map_or(0, |read| read.keys.len()));
        self.keys_age_seconds = age.map(|age| age as f64 / 1000.0);
        self.keys_stale = age.is_none_or(|age| age > old);
        self.keys_end = read.and_then(|read| read.keys.ends()).map(clock::rfc3339);
    }
}

/// The keys of issuers in force.
pub(super) fn issuer_keys(generation: &Generation, now: SystemTime) -> Vec<CredentialView> {
    let mut views = views(generation, Rights::new(), now);
    views.retain(|view| view.keys.is_some());
    views
}
