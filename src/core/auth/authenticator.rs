//! An authenticator as the data plane uses it: what the operator wrote, and what it has learnt
//! since, which outlives a change of anything else.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::snapshot::{self, AuthMethod, JwksUrl, JwtKeys};
use crate::core::auth::issuer_keys::{IssuerKeys, KeyRefresh, ReadKeys};
use crate::core::auth::ticket::{Used, UsedTicket};
use crate::core::auth::{CredentialFault, Denial, Principal, jwt, methods, ticket};

/// One of them.
#[derive(Debug)]
pub struct Authenticator {
    /// What the operator wrote.
    pub config: snapshot::Authenticator,
    /// Set where its keys come from an issuer.
    refresh: Option<Arc<KeyRefresh>>,
    /// Tickets that were used; they stay used whatever else changes.
    used: Arc<Used>,
}

/// A ticket, as a page is given it.
#[derive(Clone, Debug)]
pub struct Minted {
    /// For the query.
    pub ticket: String,
    /// The name of its parameter.
    pub parameter: String,
    /// Until when it is good.
    pub expires: SystemTime,
}

impl Authenticator {
    /// For a table that replaces the one with `previous`. Readings of keys continue where the keys
    /// come from the same place.
    pub fn compile(config: &snapshot::Authenticator, previous: Option<&Arc<Self>>) -> Arc<Self> {
        if let Some(same) = previous.filter(|previous| previous.config == *config) {
            return Arc::clone(same);
        }
        let refresh = jwks_url(config).map(|source| {
            let known = previous.and_then(|previous| previous.refresh.as_ref());
            match known.filter(|known| known.source == *source) {
                Some(known) => Arc::clone(known),
                None => Arc::new(KeyRefresh::new(source.clone())),
            }
        });
        Arc::new(Self {
            config: config.clone(),
            refresh,
            used: previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.used)),
        })
    }

    /// Readings of its keys, if they come from an issuer.
    pub fn refresh(&self) -> Option<&Arc<KeyRefresh>> {
        self.refresh.as_ref()
    }

    /// Its keys among those in force, if they come from an issuer that was read.
    pub fn keys<'k>(&self, issuers: &'k IssuerKeys) -> Option<&'k ReadKeys> {
        issuers.of(&self.config.name, self.refresh.as_ref()?)
    }

    /// Verifies a credential by its text, sent to this path. `issuers` are the keys in force.
    ///
    /// # Errors
    /// Why the credential is not accepted.
    pub fn verify(
        &self,
        text: &str,
        path: &str,
        issuers: &IssuerKeys,
        now: SystemTime,
    ) -> Result<Principal, Denial> {
        match &self.config.method {
            AuthMethod::Jwt(jwt) => {
                let keys = match &jwt.keys {
                    JwtKeys::Fixed(keys) => Arc::clone(keys),
                    JwtKeys::Fetched(_) => {
                        let read = self.keys(issuers);
                        read.map_or_else(Arc::default, |read| Arc::clone(&read.keys))
                    }
                };
                jwt::verify(&self.config.name, jwt, &keys, text, now)
            }
            AuthMethod::ApiKey(keys) => Ok(methods::api_key(&self.config.name, keys, text)?),
            AuthMethod::SignedUrl(signed) => {
                let name = &self.config.name;
                Ok(ticket::verify(name, signed, &self.used, text, path, now)?)
            }
            AuthMethod::Basic(_)
            | AuthMethod::Mtls(_)
            | AuthMethod::Forward(_)
            | AuthMethod::Anonymous => Err(CredentialFault::Unknown.into()),
        }
    }

    /// Verifies a client's certificate (DER), which its TLS handshake has verified.
    ///
    /// # Errors
    /// Why it does not let its bearer in.
    pub fn judge_certificate(&self, der: &[u8], now: SystemTime) -> Result<Principal, Denial> {
        let AuthMethod::Mtls(wanted) = &self.config.method else {
            return Err(CredentialFault::Unknown.into());
        };
        let principal = methods::certificate(&self.config.name, *wanted, der)?;
        if let Some(expires) = principal.expires.filter(|expires| now >= *expires) {
            return Err(CredentialFault::expired(expires, now).into());
        }
        Ok(principal)
    }

    /// Who this is, by a name that has been verified elsewhere.
    pub fn named(&self, subject: &str) -> Principal {
        methods::plain(&self.config.name, subject)
    }

    /// Writes a ticket; `None` where this gives none.
    pub fn mint(&self, principal: &Principal, now: SystemTime, random: u128) -> Option<Minted> {
        let AuthMethod::SignedUrl(signed) = &self.config.method else {
            return None;
        };
        let expires = now + signed.mint.as_ref()?.ttl;
        Some(Minted {
            ticket: ticket::mint(signed, principal, expires, now, random),
            parameter: signed.parameter.clone(),
            expires,
        })
    }

    /// Tickets of it that were used and have not expired, and how many ever were.
    pub fn used_tickets(&self, now: SystemTime) -> (u64, Vec<UsedTicket>) {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        (self.used.added(), self.used.list(seconds))
    }

    /// Remembers tickets that were used at another process.
    pub fn adopt_used(&self, tickets: &[UsedTicket]) {
        self.used.adopt(tickets);
    }

    /// The word in front of its credential in `Authorization`.
    pub fn scheme(&self) -> &'static str {
        match &self.config.method {
            AuthMethod::Basic(_) => "Basic",
            _ => "Bearer",
        }
    }

    /// The challenge of a 401 (RFC 9110, section 11.6.1).
    pub fn challenge(&self, fault: Option<CredentialFault>) -> Option<String> {
        match &self.config.method {
            AuthMethod::Jwt(_) => Some(match fault {
                None | Some(CredentialFault::Missing) => "Bearer".to_owned(),
                // RFC 6750, section 3.1.
                Some(CredentialFault::Ambiguous) => "Bearer error=\"invalid_request\"".to_owned(),
                Some(_) => "Bearer error=\"invalid_token\"".to_owned(),
            }),
            AuthMethod::Basic(basic) => Some(format!(
                "Basic realm=\"{}\", charset=\"UTF-8\"",
                basic.realm
            )),
            AuthMethod::ApiKey(_) => Some("Bearer".to_owned()),
            _ => None,
        }
    }
}

fn jwks_url(config: &snapshot::Authenticator) -> Option<&JwksUrl> {
    match &config.method {
        AuthMethod::Jwt(jwt) => match &jwt.keys {
            JwtKeys::Fetched(url) => Some(url),
            JwtKeys::Fixed(_) => None,
        },
        _ => None,
    }
}
