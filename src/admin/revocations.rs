//! Rights that were taken away: of a subject, of one credential, of one session. They count for new
//! handshakes and end live sessions on every worker of this gateway; they are forgotten when it
//! stops.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::extract::Parameters;
use crate::admin::extract::{Body, Paging};
use crate::admin::problem::Problem;
use crate::admin::{Gateway, Page, ask_all};
use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::core::auth::{Revocation, RevokedWhat};
use crate::live::WorkerCommand;

/// Without `ttl`: longer than most credentials live.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);
const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const TEXT_MAX: usize = 512;

/// What to take away; one of `subject`, `token_id` and `session`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Revoke {
    /// Its name, in place of one that the gateway makes.
    pub id: Option<String>,
    /// Everything of this subject.
    pub subject: Option<String>,
    /// The credential with this `jti`, the ticket, or the certificate with this serial number.
    pub token_id: Option<String>,
    /// This session alone; it ends now, and no handshake is refused.
    pub session: Option<String>,
    /// Of a subject: only credentials made before this time (RFC 3339), so that who signs in anew
    /// is let in. Without it all of them.
    pub issued_before: Option<String>,
    /// How long it is in force, such as `"1h"`; a day if not given.
    pub ttl: Option<String>,
    /// For people.
    pub reason: Option<String>,
}

/// A revocation in force.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RevocationView {
    /// Its name.
    pub id: String,
    /// Whose.
    pub subject: Option<String>,
    /// Or of which credential.
    pub token_id: Option<String>,
    /// Or which session.
    pub session: Option<String>,
    /// Only credentials made before this.
    pub issued_before: Option<String>,
    /// When it is forgotten; RFC 3339.
    pub until: String,
    /// For people.
    pub reason: String,
}

/// A revocation, and what it did at once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Revoked {
    /// What is in force now.
    #[serde(flatten)]
    pub revocation: RevocationView,
    /// Live sessions that it ends.
    pub closed: usize,
}

impl From<&Revocation> for RevocationView {
    fn from(one: &Revocation) -> Self {
        let mut view = Self {
            id: one.id.to_string(),
            subject: None,
            token_id: None,
            session: None,
            issued_before: one.issued_before.map(clock::rfc3339),
            until: clock::rfc3339(one.until),
            reason: one.reason.to_string(),
        };
        match &one.what {
            RevokedWhat::Subject(subject) => view.subject = Some(subject.to_string()),
            RevokedWhat::Token(id) => view.token_id = Some(id.to_string()),
            RevokedWhat::Session(id) => view.session = Some(id.to_string()),
        }
        view
    }
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Parameters(paging): Parameters<Paging>,
) -> Json<Page<RevocationView>> {
    let all = gateway.live.revocations.list(clock::wall());
    let views = all.iter().map(|one| RevocationView::from(&**one));
    Json(Page::of(views, &paging, |view| &view.id))
}

pub(super) async fn add(
    State(gateway): State<Arc<Gateway>>,
    Body(asked): Body<Revoke>,
) -> Result<(StatusCode, Json<Revoked>), Problem> {
    let now = clock::wall();
    let revocation = read(asked, now).map_err(Problem::bad_request)?;
    let view = RevocationView::from(&revocation);
    let added = gateway.live.revocations.add(revocation.clone(), now);
    added.map_err(|error| Problem::new(StatusCode::CONFLICT, error.to_string()))?;
    let revocation = Arc::new(revocation);
    let closed = ask_all(&gateway.live, |answer| WorkerCommand::Revoke {
        revocation: Arc::clone(&revocation),
        answer,
    });
    let closed = closed.await.into_iter().flatten().sum();
    tracing::info!(id = view.id, closed, "revoked by an operator");
    let revoked = Revoked {
        revocation: view,
        closed,
    };
    Ok((StatusCode::CREATED, Json(revoked)))
}

pub(super) async fn remove(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
) -> Result<Json<RevocationView>, Problem> {
    let gone = gateway.live.revocations.remove(&id);
    let gone = gone.ok_or_else(|| Problem::not_found(format!("no revocation `{id}`")))?;
    tracing::info!(id, "revocation taken back by an operator");
    Ok(Json(RevocationView::from(&*gone)))
}

/// What is asked, checked.
fn read(asked: Revoke, now: SystemTime) -> Result<Revocation, String> {
    let what = match (asked.subject, asked.token_id, asked.session) {
        (Some(subject), None, None) => RevokedWhat::Subject(subject.into()),
        (None, Some(id), None) => RevokedWhat::Token(id.into()),
        (None, None, Some(id)) => {
            let id = id.parse::<SessionId>();
            RevokedWhat::Session(id.map_err(|error| format!("session: {error}"))?)
        }
        _ => return Err("give one of `subject`, `token_id` and `session`".to_owned()),
    };
    let issued_before = match asked.issued_before {
        Some(_) if !matches!(what, RevokedWhat::Subject(_)) => {
            return Err("issued_before: only of a subject".to_owned());
        }
        Some(text) => Some(
            humantime::parse_rfc3339_weak(&text)
                .map_err(|_| format!("issued_before: `{text}` is not RFC 3339"))?,
        ),
        None => None,
    };
    let ttl = match asked.ttl {
        Some(text) => {
            humantime::parse_duration(&text).map_err(|_| format!("ttl: `{text}` is no time"))?
        }
        None => TTL,
    };
    if ttl > TTL_MAX {
        return Err("ttl: at most a year".to_owned());
    }
    let id = asked
        .id
        .unwrap_or_else(|| SessionId::new(clock::unix_millis(now), fastrand::u128(..)).to_string());
    let reason = asked.reason.unwrap_or_default();
    if id.is_empty() || id.len() > TEXT_MAX || reason.len() > TEXT_MAX {
        return Err(format!("id and reason have at most {TEXT_MAX} bytes"));
    }
    Ok(Revocation {
        id: id.into(),
        what,
        issued_before,
        until: now + ttl,
        reason: reason.into(),
    })
}
