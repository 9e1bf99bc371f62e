//! `[authenticators.NAME]`, and the access rules of routes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Uri};

use crate::base::names::AuthenticatorName;
use crate::config::diagnostic::suggestion;
use crate::config::expression::{ClaimPath, Expression, Operand};
use crate::config::key_set::{self, Algorithm, KeySet};
use crate::config::layers::Part;
use crate::config::model::{self, AuthenticatorType, Size, Time};
use crate::config::pattern::PathPattern;
use crate::config::snapshot::{
    AuthMethod, Authenticator, CredentialSource, JwksUrl, Jwt, JwtKeys, RejectWith, RouteAuth,
};
use crate::config::validate::edits::{self, free_header};
use crate::config::validate::expiry::expiry;
use crate::config::validate::methods;
use crate::config::validate::node::secret_text;
use crate::config::validate::paths;
use crate::config::validate::route::is_token;
use crate::config::validate::scope::{Scope, all};
use crate::config::validate::{Holds, certificates};

const LEEWAY: Time = Time::seconds(5);
const LEEWAY_MAX: Duration = Duration::from_secs(60 * 60);
const REFRESH: Time = Time::seconds(5 * 60);
const REFRESH_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const BYTES: Size = Size(8 << 10);
const BYTES_MAX: Size = Size(64 << 10);

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

/// Says which keys are not for this type.
fn fits(at: &Scope<'_>, kind: AuthenticatorType, model: &model::Authenticator) -> Option<()> {
    use AuthenticatorType::{ApiKey, Basic, Forward, Jwt, Mtls, SignedUrl};
    let given: [(&str, bool, &[AuthenticatorType]); 31] = [
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

fn jwt(at: &Scope<'_>, model: &model::Authenticator) -> Option<Jwt> {
    let keys = jwt_keys(at, model);
    let listed = algorithms(&at.key("algorithms"), model, keys.as_ref());
    let leeway = at
        .key("leeway")
        .time_or_zero(model.leeway.unwrap_or(LEEWAY), LEEWAY_MAX);
    let subject = match model.subject.as_deref() {
        Some("") => {
            at.key("subject").fault("a claim has a name");
            None
        }
        name => Some(ClaimPath(name.unwrap_or("sub").to_owned())),
    };
    let require = expressions(
        &at.key("require"),
        model.require.as_deref().unwrap_or(&[]),
        |at, operand| {
            if matches!(operand, Operand::Claim(_) | Operand::Text(_)) {
                return Some(());
            }
            at.fault("an authenticator knows claims alone; write this condition in a route's `authorize`");
            None
        },
    );
    let bytes_max = at
        .key("bytes_max")
        .within(model.bytes_max.unwrap_or(BYTES), Size(64)..=BYTES_MAX);
    let fetched = matches!(keys, Some(JwtKeys::Fetched(_)));
    if fetched && model.issuer.is_none() && model.audience.is_none() {
        at.warn("neither `issuer` nor `audience` is given: tokens meant for other services pass");
    }
    Some(Jwt {
        keys: keys?,
        algorithms: listed?,
        issuer: model.issuer.clone(),
        audience: model.audience.clone().unwrap_or_default(),
        leeway: leeway?,
        subject: subject?,
        require: require?,
        scopes: model.scopes.clone().unwrap_or_default(),
        expiry_required: model.expiry_required.unwrap_or(true),
        bytes_max: bytes_max?.0.try_into().ok()?,
    })
}

fn jwt_keys(at: &Scope<'_>, model: &model::Authenticator) -> Option<JwtKeys> {
    let given = [
        model.secret.is_some(),
        model.public_key.is_some(),
        model.jwks.is_some(),
    ];
    let explained = ["secret", "public_key", "jwks"]
        .iter()
        .any(|key| at.key(key).is_explained());
    match given.iter().filter(|given| **given).count() {
        1 => {}
        0 if explained => return None,
        0 => {
            at.missing("jwks", "jwks = \"https://…\"`, `public_key` or `secret");
            return None;
        }
        _ => {
            at.fault_with(
                "tokens are verified in one way only",
                "leave one of `secret`, `public_key` and `jwks`; another authenticator may have \
                 the other",
            );
            return None;
        }
    }
    if let Some(source) = &model.secret {
        let secret = secret_text(&at.key("secret"), source)?;
        if secret.reveal().len() < key_set::SECRET_BYTES_MIN {
            at.key("secret")
                .warn("this secret is short enough to be guessed: use 32 bytes or more");
        }
        return Some(JwtKeys::Fixed(Arc::new(KeySet::secret(
            secret.reveal().as_bytes(),
        ))));
    }
    if let Some(file) = &model.public_key {
        let at = at.key("public_key");
        let text = file_text(&at, file)?;
        return fixed(&at, file, KeySet::pem(&text));
    }
    let jwks = model.jwks.as_deref().unwrap_or_default();
    let place = at.key("jwks");
    if jwks.starts_with("http://") || jwks.starts_with("https://") {
        let url = url(&place, jwks, model.plain_http.unwrap_or(false));
        let ca = ca(at, model);
        let refresh = at
            .key("refresh")
            .time(model.refresh.unwrap_or(REFRESH), REFRESH_MAX);
        return Some(JwtKeys::Fetched(JwksUrl {
            url: url?,
            ca: ca?.map(|(path, _)| path),
            refresh: refresh?,
        }));
    }
    let text = file_text(&place, jwks)?;
    fixed(&place, jwks, KeySet::jwks(text.as_bytes()))
}

fn fixed(at: &Scope<'_>, file: &str, keys: Result<KeySet, key_set::KeyFault>) -> Option<JwtKeys> {
    match keys {
        Ok(keys) => Some(JwtKeys::Fixed(Arc::new(keys))),
        Err(fault) => {
            at.fault(format!("{file}: {fault}"));
            None
        }
    }
}

/// The text of a file beside the configuration.
pub(super) fn file_text(at: &Scope<'_>, file: &str) -> Option<String> {
    let path = at.resolve(file);
    match at.outside().text(&path, Holds::List) {
        Ok(text) => Some(text),
        Err(why) => {
            at.fault(format!("cannot read {}: {why}", path.display()));
            None
        }
    }
}

/// The file of roots, with a fingerprint of what is in it.
pub(super) fn ca(
    at: &Scope<'_>,
    model: &model::Authenticator,
) -> Option<Option<(std::path::PathBuf, u128)>> {
    let Some(file) = &model.ca else {
        return Some(None);
    };
    let path = at.resolve(file);
    certificates::authorities(&at.key("ca"), &path).map(|contents| Some((path, contents)))
}

/// A URL that the gateway itself requests.
pub(super) fn url(at: &Scope<'_>, text: &str, plain: bool) -> Option<String> {
    let uri = text.parse::<Uri>().ok();
    let host = uri
        .as_ref()
        .and_then(Uri::host)
        .filter(|host| !host.is_empty());
    let Some(host) = host.filter(|_| !text.contains('@')) else {
        at.fault_with(
            format!("`{text}` is not a URL"),
            "write `https://id.example.com/.well-known/jwks.json`",
        );
        return None;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let here = bare == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if text.starts_with("http://") && !here && !plain {
        at.fault_with(
            "whoever is on the way could answer in this URL's place",
            "use `https://`, or say `plain_http = true` if the way is yours alone",
        );
        return None;
    }
    Some(text.to_owned())
}

fn algorithms(
    at: &Scope<'_>,
    model: &model::Authenticator,
    keys: Option<&JwtKeys>,
) -> Option<Vec<Algorithm>> {
    let Some(names) = &model.algorithms else {
        // A secret could be used with three algorithms; the default is the common one.
        return Some(match model.secret {
            Some(_) => vec![Algorithm::HS256],
            None => Vec::new(),
        });
    };
    if names.is_empty() {
        at.fault("no algorithm is accepted, so no token would be");
        return None;
    }
    at.each(names, |at, name| {
        let Some(algorithm) = name.parse::<Algorithm>().ok() else {
            let help = match name.to_ascii_lowercase().as_str() {
                "none" => Some("`none` is no signature: anybody can write such a token".to_owned()),
                _ => suggestion(name, key_set::NAMES),
            };
            at.fault_maybe(format!("unknown algorithm `{name}`"), help);
            return None;
        };
        let symmetric = key_set::is_symmetric(algorithm);
        if symmetric != model.secret.is_some() {
            at.fault(match symmetric {
                true => format!("{name} needs a `secret`; a public key must never be one"),
                false => format!("{name} needs a `public_key` or a `jwks`, not a secret"),
            });
            return None;
        }
        if let Some(JwtKeys::Fixed(keys)) = keys
            && !keys.serves(algorithm)
        {
            at.fault(format!("none of the keys is for {name}"));
            return None;
        }
        Some(algorithm)
    })
}

/// Conditions; `check` validates their operands.
fn expressions(
    at: &Scope<'_>,
    texts: &[String],
    check: impl Fn(&Scope<'_>, &Operand) -> Option<()>,
) -> Option<Vec<Expression>> {
    at.each(texts, |at, text| {
        let expression = at.parse::<Expression>(text)?;
        let checked = expression.operands().map(|operand| check(at, operand));
        all(checked.collect())?;
        Some(expression)
    })
}

/// Who a route lets in.
pub(super) fn route(
    at: &Scope<'_>,
    model: &model::Route,
    known: &BTreeMap<String, model::Authenticator>,
    path: Option<&PathPattern>,
) -> Option<RouteAuth> {
    let authenticate = chain(at, "authenticate", &model.authenticate, known);
    let guarded = !model.authenticate.is_empty() || at.key("authenticate").is_explained();
    let needs = |key: &str, given: bool| {
        if given && !guarded {
            at.key(key).fault_with(
                "nobody is asked who it is, so there are no claims",
                "add `authenticate = [\"NAME\"]`",
            );
            return None;
        }
        Some(())
    };
    let claims_asked = needs("authorize", !model.authorize.is_empty());
    let claims_told = needs("claim_headers", !model.claim_headers.is_empty());
    let authorize = expressions(
        &at.key("authorize"),
        &model.authorize,
        |at, operand| match (operand, path) {
            (Operand::Path(name), Some(path)) => edits::knows_parameter(at, path, name),
            _ => Some(()),
        },
    );
    let headers: Vec<_> = model
        .claim_headers
        .iter()
        .map(|(name, claim)| {
            let at = at.key("claim_headers").key(name);
            let (name, claim) = (free_header(&at, name), at.parse::<ClaimPath>(claim));
            Some((name?, claim?))
        })
        .collect();
    let expiry = expiry(
        &at.key("expiry"),
        &model.expiry,
        (&model.authenticate, guarded),
        known,
    );
    let renew = own_path(&at.key("renew"), model.renew.as_deref());
    claims_asked
        .and(claims_told)
        .and_then(|()| needs("renew", model.renew.is_some()))?;
    let expiry = expiry?;
    Some(RouteAuth {
        authenticate: authenticate?,
        authorize: authorize?,
        claim_headers: all(headers)?,
        reject_with: match model.reject_with {
            model::RejectWith::Status => RejectWith::Status,
            model::RejectWith::Close => RejectWith::Close,
        },
        renew: renew?,
        expiry_leeway: expiry.leeway,
        warning: expiry.warning,
        renewal: expiry.renewal,
    })
}

/// A path at which the gateway itself answers.
pub(super) fn own_path(at: &Scope<'_>, path: Option<&str>) -> Option<Option<String>> {
    let Some(path) = path else {
        return Some(None);
    };
    let own = paths::own(path);
    if own.is_none() {
        at.fault_with(format!("`{path}` is not a path"), "write `/session/renew`");
    }
    own.map(Some)
}

/// Names of authenticators, which exist.
pub(super) fn chain(
    at: &Scope<'_>,
    key: &str,
    names: &[String],
    known: &BTreeMap<String, model::Authenticator>,
) -> Option<Vec<AuthenticatorName>> {
    let last = names.len().saturating_sub(1);
    let mut place = 0..;
    at.key(key).each(names, |at, name| {
        let is_last = place.next() == Some(last);
        let explained = at.top("authenticators", name).is_explained();
        let Some(model) = known.get(name) else {
            if !explained {
                let names = known.keys().map(String::as_str);
                at.fault_near(format!("unknown authenticator `{name}`"), name, names);
            }
            return None;
        };
        if model.kind == Some(AuthenticatorType::Anonymous) && !is_last {
            at.warn("it takes everybody, so what follows is never asked");
        }
        Some(AuthenticatorName::from(name.as_str()))
    })
}
