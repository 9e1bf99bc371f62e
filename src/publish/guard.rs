//! Who may publish what: a bearer token, or a signature with it (`sigv4`), opens its targets.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::admin::problem::Problem;
use crate::admin::stream_end;
use crate::base::clock;
use crate::base::target::Target;
use crate::config::snapshot::PublishToken;
use crate::publish::Publisher;

/// The publisher of a request.
#[derive(Clone, Debug)]
pub(super) struct Caller(Arc<[PublishToken]>, usize);

impl Caller {
    /// The token of this place.
    ///
    /// # Errors
    /// The answer, if it has ended.
    pub(super) fn new(tokens: &Arc<[PublishToken]>, place: usize) -> Result<Self, Problem> {
        let token = &tokens[place];
        if let Some(end) = token.expires.filter(|end| clock::wall() >= *end) {
            let (name, end) = (&token.name, clock::rfc3339(end));
            let detail = format!(
                "the token of `{name}` expired at {end}; a new one in [publish] is in force after a \
                 restart"
            );
            return Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
        }
        Ok(Self(Arc::clone(tokens), place))
    }

    fn token(&self) -> &PublishToken {
        &self.0[self.1]
    }

    /// Its name in logs.
    pub(super) fn name(&self) -> &str {
        &self.token().name
    }

    /// Whether it may publish to a target.
    ///
    /// # Errors
    /// The answer, if it may not.
    pub(super) fn check(&self, target: &Target) -> Result<(), Problem> {
        let token = self.token();
        if token.targets.iter().any(|scope| scope.permits(target)) {
            return Ok(());
        }
        let detail = format!("the token of `{}` does not open `{target}`", token.name);
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    }
}

/// Lets requests with a token pass.
pub(super) async fn admit(
    State(publisher): State<Arc<Publisher>>,
    mut request: Request,
    next: Next,
) -> Response {
    match caller(&publisher.settings.tokens, request.headers()) {
        Ok(caller) => {
            let end = caller.token().expires;
            request.extensions_mut().insert(caller);
            stream_end::until(end, next.run(request).await)
        }
        Err(problem) => problem.into_response(),
    }
}

/// The publisher whose token a request presents (RFC 6750, section 2.1). All tokens are compared,
/// so that the time says nothing about them.
pub(super) fn caller(tokens: &Arc<[PublishToken]>, headers: &HeaderMap) -> Result<Caller, Problem> {
    let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let bearer = given.and_then(|given| given.split_at_checked("Bearer ".len()));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    let Some((_, given)) = bearer else {
        let detail = "send a token of [publish] as `Authorization: Bearer …`";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
    };
    let mut found = None;
    for (place, token) in tokens.iter().enumerate() {
        if token.token.matches(given.trim_ascii()) {
            found = Some(place);
        }
    }
    let place = found.ok_or_else(|| {
        let detail = "no publisher has this token";
        Problem::new(StatusCode::UNAUTHORIZED, detail)
    })?;
    Caller::new(tokens, place)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use axum::http::HeaderValue;

    use super::*;
    use crate::base::secret::Secret;

    #[test]
    fn a_token_opens_its_own_targets_only() {
        let token = |name: &str, text: &str, target: &str| PublishToken {
            name: name.into(),
            token: Secret::new(text),
            expires: None,
            targets: vec![target.parse().expect("a scope")],
        };
        let tokens: Arc<[_]> = [token("a", "one", "group:*"), token("b", "two", "all")].into();
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            caller(&tokens, &headers)
        };
        let target = |text: &str| text.parse::<Target>().expect("a target");
        let one = with("bearer one").expect("a token");
        assert!(one.name() == "a" && one.check(&target("group:x")).is_ok());
        assert!(one.check(&target("all")).is_err());
        let two = with("Bearer  two ").expect("a token");
        assert!(two.name() == "b" && two.check(&target("group:x")).is_err());
        for wrong in ["Bearer", "Bearer ", "Bearer on", "Basic one", "one"] {
            assert!(with(wrong).is_err(), "{wrong}");
        }
        assert!(caller(&tokens, &HeaderMap::new()).is_err());
    }

    #[test]
    fn a_token_is_refused_from_its_end_on() {
        const HOUR: Duration = Duration::from_secs(3600);
        let token = |name: &str, expires: SystemTime| PublishToken {
            name: name.into(),
            token: Secret::new(name),
            expires: Some(expires),
            targets: vec!["*".parse().expect("a scope")],
        };
        let now = clock::wall();
        let tokens: Arc<[_]> = [token("old", now - HOUR), token("new", now + HOUR)].into();
        let with = |value: &'static str| {
            let headers = [(AUTHORIZATION, HeaderValue::from_static(value))];
            caller(&tokens, &HeaderMap::from_iter(headers))
        };
        assert!(with("Bearer new").is_ok());
        let refused = with("Bearer old").expect_err("it has expired");
        let detail = refused.detail();
        assert!(
            detail.contains("the token of `old` expired at "),
            "{detail}"
        );
    }
}
