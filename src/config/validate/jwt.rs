//! Authenticators of tokens: keys and algorithms.

use std::sync::Arc;
use std::time::Duration;

use crate::config::diagnostic::suggestion;
use crate::config::expression::{ClaimPath, Operand};
use crate::config::key_set::{self, Algorithm, KeySet};
use crate::config::model::{self, Size, Time};
use crate::config::snapshot::{JwksUrl, Jwt, JwtKeys};
use crate::config::validate::scope::Scope;
use crate::config::validate::tls::ca;
use crate::config::validate::values::{expressions, file_text, secret_text, url};

const LEEWAY: Time = Time::seconds(5);
const LEEWAY_MAX: Duration = Duration::from_secs(60 * 60);
const REFRESH: Time = Time::seconds(5 * 60);
const REFRESH_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const BYTES: Size = Size(8 << 10);
const BYTES_MAX: Size = Size(64 << 10);

pub(super) fn jwt(at: &Scope<'_>, model: &model::Authenticator) -> Option<Jwt> {
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
            at.fault("the conditions of an authenticator can use claims only; write this one in a route's `authorize`");
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
                "`secret`, `public_key` and `jwks` exclude one another",
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
        let ca = ca(at, model.ca.as_ref());
        let refresh = at
            .key("refresh")
            .time(model.refresh.unwrap_or(REFRESH), REFRESH_MAX);
        return Some(JwtKeys::Fetched(JwksUrl {
            url: url?.into(),
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
                "none" => Some("`none` is no signature: anyone can write such a token".to_owned()),
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
