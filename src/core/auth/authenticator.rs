//! An authenticator as the data plane uses it: what the operator wrote, and what it has learnt
//! since, which outlives a change of anything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use crate::config::key_set::KeySet;
use crate::config::snapshot::{self, AuthMethod, JwksUrl, JwtKeys};
use crate::core::auth::ticket::{Used, UsedTicket};
use crate::core::auth::{CredentialFault, Denial, Principal, jwt, methods, ticket};

/// One of them.
#[derive(Debug)]
pub struct Authenticator {
    /// What the operator wrote.
    pub config: snapshot::Authenticator,
    /// Keys fetched from an issuer.
    fetched: Option<Arc<FetchedKeys>>,
    /// Used tickets. They stay used through every change of the table.
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

/// Keys that the control plane fetches and the data plane reads. The last good ones stay while the
/// issuer is down.
#[derive(Debug)]
pub struct FetchedKeys {
    /// Their source.
    pub source: JwksUrl,
    keys: ArcSwap<KeySet>,
    /// Milliseconds since 1970 of the last good reading; 0 before the first.
    read_at: AtomicU64,
    /// A token named a key that is not among them.
    wanted: AtomicBool,
    /// Fetches begun, and fetches ended with any result. One runs at a time.
    begun: AtomicU64,
    ended: AtomicU64,
}

impl FetchedKeys {
    fn new(source: JwksUrl) -> Self {
        Self {
            source,
            keys: ArcSwap::default(),
            read_at: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// The keys read last.
    pub fn keys(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// Puts new keys in force, read at this time (milliseconds since 1970).
    pub fn replace(&self, keys: KeySet, at: u64) {
        self.keys.store(Arc::new(keys));
        self.read_at.store(at, Ordering::Release);
    }

    /// When they were read last, in milliseconds since 1970.
    pub fn read_at(&self) -> Option<u64> {
        Some(self.read_at.load(Ordering::Acquire)).filter(|at| *at > 0)
    }

    /// Requests another fetch and returns its number. Once that fetch has ended, the keys are at
    /// least as recent as this call.
    pub fn want(&self) -> u64 {
        let number = self.begun.load(Ordering::Acquire) + 1;
        self.wanted.store(true, Ordering::Release);
        number
    }

    /// Whether another fetch was requested.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Takes the wish away, since a reading begins.
    pub fn begin(&self) {
        self.wanted.store(false, Ordering::Release);
        self.begun.fetch_add(1, Ordering::AcqRel);
    }

    /// A reading has ended, after [`replace`](Self::replace) if it was good.
    pub fn end(&self) {
        self.ended.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the reading of this number has ended.
    pub fn has_ended(&self, number: u64) -> bool {
        self.ended.load(Ordering::Acquire) >= number
    }
}

impl Authenticator {
    /// For a table that replaces the one with `previous`; keys of the same source are kept.
    pub fn compile(config: &snapshot::Authenticator, previous: Option<&Arc<Self>>) -> Arc<Self> {
        if let Some(same) = previous.filter(|previous| previous.config == *config) {
            return Arc::clone(same);
        }
        let fetched = jwks_url(config).map(|source| {
            let known = previous.and_then(|previous| previous.fetched.as_ref());
            match known.filter(|known| known.source == *source) {
                Some(known) => Arc::clone(known),
                None => Arc::new(FetchedKeys::new(source.clone())),
            }
        });
        Arc::new(Self {
            config: config.clone(),
            fetched,
            used: previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.used)),
        })
    }

    /// Its keys, if an issuer provides them.
    pub fn fetched(&self) -> Option<&Arc<FetchedKeys>> {
        self.fetched.as_ref()
    }

    /// Judges a credential that needs nothing but its text, brought to this path.
    ///
    /// # Errors
    /// Why it does not let its bearer in.
    pub fn judge(&self, text: &str, path: &str, now: SystemTime) -> Result<Principal, Denial> {
        match &self.config.method {
            AuthMethod::Jwt(jwt) => {
                let keys = match (&jwt.keys, &self.fetched) {
                    (JwtKeys::Fixed(keys), _) => Arc::clone(keys),
                    (JwtKeys::Fetched(_), Some(fetched)) => fetched.keys(),
                    (JwtKeys::Fetched(_), None) => Arc::default(),
                };
                jwt::judge(&self.config.name, jwt, &keys, text, now)
            }
            AuthMethod::ApiKey(keys) => Ok(methods::api_key(&self.config.name, keys, text)?),
            AuthMethod::SignedUrl(signed) => {
                let name = &self.config.name;
                Ok(ticket::judge(name, signed, &self.used, text, path, now)?)
            }
            AuthMethod::Basic(_)
            | AuthMethod::Mtls(_)
            | AuthMethod::Forward(_)
            | AuthMethod::Anonymous => Err(CredentialFault::Unknown.into()),
        }
    }

    /// Judges a client's certificate (DER), which its TLS handshake has verified.
    ///
    /// # Errors
    /// Why it does not let its bearer in.
    pub fn judge_certificate(&self, der: &[u8], now: SystemTime) -> Result<Principal, Denial> {
        let AuthMethod::Mtls(wanted) = &self.config.method else {
            return Err(CredentialFault::Unknown.into());
        };
        let principal = methods::certificate(&self.config.name, *wanted, der)?;
        if methods::is_over(&principal, now) {
            return Err(CredentialFault::Expired.into());
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
