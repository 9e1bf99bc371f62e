//! `[authenticators.NAME]`: its type, the keys that this type has, and where credentials are.

use std::collections::BTreeMap;

use http::HeaderName;

use crate::base::names::AuthenticatorName;
use crate::config::diagnostic::suggestion;
use crate::config::layers::Part;
use crate::config::model::{self, AuthenticatorType};
use crate::config::snapshot::{AuthMethod, Authenticator, CredentialSource};
use crate::config::validate::edits;
use crate::config::validate::jwt::jwt;
use crate::config::validate::methods;
use crate::config::validate::scope::Scope;
use crate::config::validate::syntax::is_token;

pub(super) fn authenticator(
    at: &Scope<'_>,
    name: &str,
    model: &model::Authenticator,
    known: &BTreeMap<String, model::Authenticator>,
) -> Option<Authenticator> {
    let name = at.name(name, Part::Key);
    let kind = *at.required("type", &model.kind, "type = \"jwt\"")?;
    let fits = fits(at, kind, model);
    let from = sources(at, kind, model);
    let method = match kind {
        AuthenticatorType::Jwt => jwt(at, model).map(|jwt| AuthMethod::Jwt(Box::new(jwt))),
        AuthenticatorType::ApiKey => methods::api_keys(at, model).map(AuthMethod::ApiKey),
        AuthenticatorType::Basic => methods::basic(at, model).map(AuthMethod::Basic),
        AuthenticatorType::Mtls => methods::mtls(at, model).map(AuthMethod::Mtls),
        AuthenticatorType::SignedUrl => methods::signed_url(at, model, known)
            .map(|signed| AuthMethod::SignedUrl(Box::new(signed))),
        AuthenticatorType::Forward => {
            methods::forward(at, model).map(|forward| AuthMethod::Forward(Box::new(forward)))
        }
        AuthenticatorType::Anonymous => Some(AuthMethod::Anonymous),
    };
    Some(Authenticator {
        name: AuthenticatorName::from(name?),
        from: from?,
        strip: model.strip.unwrap_or(false),
        method: fits.and(method)?,
    })
}

/// The word for a type in the configuration.
fn word(kind: AuthenticatorType) -> &'static str {
    match kind {
        AuthenticatorType::Jwt => "jwt",
        AuthenticatorType::ApiKey => "api_key",
        AuthenticatorType::Basic => "basic",
        AuthenticatorType::Mtls => "mtls",
        AuthenticatorType::SignedUrl => "signed_url",
        AuthenticatorType::Forward => "forward",
        AuthenticatorType::Anonymous => "anonymous",
    }
}

/// Reports keys that this type does not have.
fn fits(at: &Scope<'_>, kind: AuthenticatorType, model: &model::Authenticator) -> Option<()> {
    use AuthenticatorType::{ApiKey, Basic, Forward, Jwt, Mtls, SignedUrl};
    let given: [(&str, bool, &[AuthenticatorType]); 32] = [
        ("from", model.from.is_some(), &[Jwt, ApiKey]),
        (
            "strip",
            model.strip.is_some(),
            &[Jwt, ApiKey, Basic, SignedUrl],
        ),
        ("secret", model.secret.is_some(), &[Jwt, SignedUrl]),
        ("public_key", model.public_key.is_some(), &[Jwt]),
        ("jwks", model.jwks.is_some(), &[Jwt]),
        ("ca", model.ca.is_some(), &[Jwt, Forward]),
        ("plain_http", model.plain_http.is_some(), &[Jwt, Forward]),
        ("refresh", model.refresh.is_some(), &[Jwt]),
        ("algorithms", model.algorithms.is_some(), &[Jwt]),
        ("issuer", model.issuer.is_some(), &[Jwt]),
        ("audience", model.audience.is_some(), &[Jwt]),
        ("leeway", model.leeway.is_some(), &[Jwt, SignedUrl]),
        ("subject", model.subject.is_some(), &[Jwt, Mtls]),
        ("require", model.require.is_some(), &[Jwt]),
        ("scopes", model.scopes.is_some(), &[Jwt]),
        ("expiry_required", model.expiry_required.is_some(), &[Jwt]),
        ("bytes_max", model.bytes_max.is_some(), &[Jwt, SignedUrl]),
        ("keys", model.keys.is_some(), &[ApiKey]),
        ("keys_file", model.keys_file.is_some(), &[ApiKey]),
        ("htpasswd", model.htpasswd.is_some(), &[Basic]),
        ("realm", model.realm.is_some(), &[Basic]),
        ("parameter", model.parameter.is_some(), &[SignedUrl]),
        ("mint", model.mint.is_some(), &[SignedUrl]),
        ("mint_for", model.mint_for.is_some(), &[SignedUrl]),
        ("mint_origins", model.mint_origins.is_some(), &[SignedUrl]),
        ("ttl", model.ttl.is_some(), &[SignedUrl]),
        ("used_max", model.used_max.is_some(), &[SignedUrl]),
        ("url", model.url.is_some(), &[Forward]),
        ("timeout", model.timeout.is_some(), &[Forward]),
        (
            "request_headers",
            model.request_headers.is_some(),
            &[Forward],
        ),
        (
            "response_headers",
            model.response_headers.is_some(),
            &[Forward],
        ),
        ("subject_header", model.subject_header.is_some(), &[Forward]),
    ];
    let cached = [
        ("cache", model.cache.is_some()),
        ("cache_max", model.cache_max.is_some()),
    ];
    let cached = cached.map(|(key, given)| (key, given, &[Forward][..]));
    let mut fits = Some(());
    for (key, given, types) in given.into_iter().chain(cached) {
        if given && !types.contains(&kind) {
            let message = format!("an authenticator of type `{}` has no `{key}`", word(kind));
            at.key(key).fault_key(message, None);
            fits = None;
        }
    }
    fits
}

fn sources(
    at: &Scope<'_>,
    kind: AuthenticatorType,
    model: &model::Authenticator,
) -> Option<Vec<CredentialSource>> {
    let header = |name| vec![CredentialSource::Header(HeaderName::from_static(name))];
    if let Some(from) = &model.from {
        if from.is_empty() {
            at.key("from")
                .fault("a credential has to come from somewhere; write `\"header:authorization\"`");
            return None;
        }
        return at.key("from").each(from, |at, text| source(at, text));
    }
    Some(match kind {
        AuthenticatorType::Jwt | AuthenticatorType::Basic => header("authorization"),
        AuthenticatorType::ApiKey => header("x-api-key"),
        AuthenticatorType::SignedUrl => {
            let parameter = model.parameter.as_deref().unwrap_or("ticket");
            vec![CredentialSource::Query(parameter.to_owned())]
        }
        _ => Vec::new(),
    })
}

fn source(at: &Scope<'_>, text: &str) -> Option<CredentialSource> {
    const KINDS: [&str; 4] = ["header", "cookie", "query", "subprotocol"];
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    if !KINDS.contains(&kind) {
        at.fault_maybe(format!("unknown source `{kind}`"), suggestion(kind, KINDS));
        return None;
    }
    let named = match kind {
        "query" => !name.is_empty(),
        _ => is_token(name),
    };
    if !named {
        at.fault_with(
            format!("`{text}` names nothing"),
            format!("write `{kind}:NAME`"),
        );
        return None;
    }
    Some(match kind {
        "header" => CredentialSource::Header(edits::header_name(at, name)?),
        "cookie" => CredentialSource::Cookie(name.to_owned()),
        "query" => CredentialSource::Query(name.to_owned()),
        _ => CredentialSource::Subprotocol(name.to_owned()),
    })
}
