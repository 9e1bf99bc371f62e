//! Rights that were taken away: of a subject, of one credential, of one session. They count for new
//! handshakes and end live sessions on every worker; of every gateway, where etcd is followed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::extract::{Body, Caller, Parameters};
use crate::admin::orders;
use crate::admin::page::Paging;
use crate::admin::problem::Problem;
use crate::admin::{Gateway, Page};
use crate::base::clock;
use crate::base::revocation::{Revocation, RevocationOrigin, RevokedWhat};
use crate::base::session_id::SessionId;
use crate::config::model;
use crate::config::validate::{RevocationFault, read_revocation};
use crate::control::revocations::StoreError;
use crate::telemetry::events::Fields;

/// Without `ttl`: longer than most credentials live.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);
const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What to take away; one of `subject`, `token_id` and `session`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Revoke {
    /// Its name, in place of one that the gateway makes. One of the same name is replaced.
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
    /// Whose gateways: `fleet` if not given and etcd is followed, else `node`.
    pub scope: Option<Scope>,
}

/// Which gateways a revocation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Scope {
    /// All that follow the same etcd: it becomes a document there.
    Fleet,
    /// This one alone.
    Node,
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
    /// When it is over; RFC 3339. Null: when it is taken back.
    pub until: Option<String>,
    /// Where it stands: `node` is this gateway alone.
    pub origin: RevocationOrigin,
    /// For people.
    pub reason: String,
}

/// A revocation, and what it did at once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Revoked {
    /// What is in force now.
    #[serde(flatten)]
    pub revocation: RevocationView,
    /// Live sessions of this gateway that it ends.
    pub closed: usize,
    /// Whether it is known after a restart; `node.state_dir` makes it so.
    pub lasting: bool,
}

impl From<&Revocation> for RevocationView {
    fn from(one: &Revocation) -> Self {
        let mut view = Self {
            id: one.id.to_string(),
            subject: None,
            token_id: None,
            session: None,
            issued_before: one.issued_before.map(clock::rfc3339),
            until: one.until.map(clock::rfc3339),
            origin: one.origin,
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
    let all = gateway.live.generation().revocations.list(clock::wall());
    let views = all.iter().map(|one| RevocationView::from(&**one));
    Json(Page::of(views, &paging, |view| &view.id))
}

pub(super) async fn add(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Body(asked): Body<Revoke>,
) -> Result<(StatusCode, Json<Revoked>), Problem> {
    let source = gateway.revocations.writes_to();
    let scope = scope(asked.scope, source.is_some()).map_err(Problem::bad_request)?;
    let origin = match (scope, source) {
        (Scope::Fleet, Some(source)) => RevocationOrigin::Source(source),
        _ => RevocationOrigin::Node,
    };
    let (revocation, written) = read(asked, origin, clock::wall()).map_err(Problem::bad_request)?;
    let view = RevocationView::from(&revocation);
    let done = gateway.revocations.revoke(revocation, &written).await;
    let done = done.map_err(problem)?;
    let (closed, lasting) = (done.closed, done.lasting);
    let scope_word = match scope {
        Scope::Fleet => "fleet",
        Scope::Node => "node",
    };
    let of = view.subject.as_deref().map(|it| format!("subject {it}"));
    let of = of.or_else(|| view.token_id.as_deref().map(|it| format!("token {it}")));
    let of = of.or_else(|| view.session.as_deref().map(|it| format!("session {it}")));
    let (id, of) = (&view.id, of.unwrap_or_default());
    let fields = Fields {
        revocation: Some(id.as_str().into()),
        principal: view.subject.as_deref().map(Into::into),
        session: view.session.as_deref().and_then(|id| id.parse().ok()),
        reason: Some(view.reason.as_str().into()),
        sessions: u64::try_from(closed).ok(),
        ..Fields::new(format!(
            "{id} ({scope_word}): {of}; {closed} sessions closed"
        ))
    };
    orders::report(&gateway, &caller, "revoke", fields);
    let revoked = Revoked {
        revocation: view,
        closed,
        lasting,
    };
    Ok((StatusCode::CREATED, Json(revoked)))
}

fn problem(error: StoreError) -> Problem {
    match error {
        StoreError::Full(_) | StoreError::InFile => {
            Problem::new(StatusCode::CONFLICT, error.to_string())
        }
        StoreError::Source(..) => {
            let help = "nothing has changed; `\"scope\": \"node\"` revokes at this gateway alone";
            Problem::new(StatusCode::BAD_GATEWAY, format!("{error}; {help}"))
        }
    }
}

fn scope(asked: Option<Scope>, reaches_all: bool) -> Result<Scope, &'static str> {
    match asked {
        Some(Scope::Fleet) if !reaches_all => {
            Err("scope: this gateway follows no source that can be written to; use `node`")
        }
        None if reaches_all => Ok(Scope::Fleet),
        asked => Ok(asked.unwrap_or(Scope::Node)),
    }
}

pub(super) async fn remove(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<RevocationView>, Problem> {
    let gone = gateway.revocations.take_back(&id).await.map_err(problem)?;
    let gone = gone.ok_or_else(|| Problem::not_found(format!("no revocation `{id}`")))?;
    let fields = Fields {
        revocation: Some(id.as_str().into()),
        ..Fields::new(format!("revocation {id}"))
    };
    orders::report(&gateway, &caller, "unrevoke", fields);
    Ok(Json(RevocationView::from(&*gone)))
}

/// The checked request, in the form of a document.
fn read(
    asked: Revoke,
    origin: RevocationOrigin,
    now: SystemTime,
) -> Result<(Revocation, model::Revocation), String> {
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
    let written = model::Revocation {
        subject: asked.subject,
        token_id: asked.token_id,
        session: asked.session,
        issued_before: asked.issued_before,
        until: Some(clock::rfc3339(now + ttl)),
        reason: asked.reason,
    };
    let revocation = read_revocation(&id, origin, &written).map_err(|faults| {
        let said = |RevocationFault { key, message }| match key {
            Some(key) => format!("{key}: {message}"),
            None => message,
        };
        faults.into_iter().map(said).collect::<Vec<_>>().join("; ")
    })?;
    Ok((revocation, written))
}
