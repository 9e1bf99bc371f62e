//! The way to an authority: its directory, and the account there.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{
    Account, AccountCredentials, BodyWrapper, BytesResponse, CertificateIdentifier,
    ExternalAccountKey, HttpClient, NewAccount,
};
use rustls::pki_types::CertificateDer;

use crate::base::addr::OwnAddresses;
use crate::base::clock;
use crate::config::snapshot::{Acme, UpstreamTls};
use crate::control::acme::error::OrderError;
use crate::control::acme::store::Store;
use crate::core::renewal;
use crate::io::client::{Client, ExchangeLimits};
use crate::io::tls::client::ClientTls;

const CONNECT: Duration = Duration::from_secs(10);
const LIMITS: ExchangeLimits = ExchangeLimits {
    time: Duration::from_secs(30),
    body: 1 << 20,
};

/// The wait that the authority asked for last, beside a refusal.
type AskedWait = Arc<Mutex<Option<Duration>>>;

/// An authority's directory, with an account.
pub(super) struct Directory {
    pub(super) account: Account,
    asked_wait: AskedWait,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

impl Directory {
    /// With the account that is kept, else a new one, which is kept.
    pub(super) async fn open(
        settings: &Acme,
        own: &OwnAddresses,
        store: &Store,
    ) -> Result<Self, OrderError> {
        let (http, asked_wait) = Http::new(settings, own)?;
        let account = account(settings, store, http).await;
        let account = account.map_err(|error| error.asking(&asked_wait))?;
        Ok(Self {
            account,
            asked_wait,
        })
    }

    /// Adds the wait that the authority has asked for, if it has.
    pub(super) fn failed(&self, error: instant_acme::Error) -> OrderError {
        OrderError::from(error).asking(&self.asked_wait)
    }

    /// The window in which the authority suggests to renew this certificate, if it suggests any.
    pub(super) async fn window(
        settings: &Acme,
        own: &OwnAddresses,
        store: &Store,
        certificate: &CertificateDer<'_>,
    ) -> Result<Option<(SystemTime, SystemTime)>, OrderError> {
        // Without an account there was no order.
        let Some(credentials) = store.account(&settings.directory).await? else {
            return Ok(None);
        };
        let (http, _) = Http::new(settings, own)?;
        let builder = Account::builder_with_http(Box::new(http));
        let account = builder.from_credentials(parse(&credentials)?).await?;
        let Ok(id) = CertificateIdentifier::try_from(certificate) else {
            return Ok(None);
        };
        match account.renewal_info(&id).await {
            Ok((info, _)) => {
                let window = info.suggested_window;
                Ok(Some((window.start.into(), window.end.into())))
            }
            Err(instant_acme::Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

async fn account(settings: &Acme, store: &Store, http: Http) -> Result<Account, OrderError> {
    let builder = Account::builder_with_http(Box::new(http));
    if let Some(credentials) = store.account(&settings.directory).await? {
        return Ok(builder.from_credentials(parse(&credentials)?).await?);
    }
    let contact: Vec<_> = settings.contact.iter().map(|one| &**one).collect();
    let external = settings.external_account.as_ref().map(|(id, secret)| {
        let key = BASE64_URL_SAFE_NO_PAD.decode(secret.reveal().trim_end_matches('='));
        ExternalAccountKey::new(id.to_string(), &key.unwrap_or_default())
    });
    let asked = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let directory = settings.directory.to_string();
    let (account, credentials) = builder.create(&asked, directory, external.as_ref()).await?;
    let text = serde_json::to_string(&credentials).expect("plain data serialises");
    store.save_account(&settings.directory, &text).await?;
    tracing::info!(directory = %settings.directory, "an account was made");
    Ok(account)
}

fn parse(credentials: &str) -> Result<AccountCredentials, OrderError> {
    // The reason could quote the key.
    serde_json::from_str(credentials).map_err(|_| OrderError::Account)
}

/// HTTP for instant-acme over the gateway's own client: bounds, roots, and no URL but `https:`.
struct Http {
    client: Client,
    asked_wait: AskedWait,
}

impl Http {
    fn new(settings: &Acme, own: &OwnAddresses) -> Result<(Self, AskedWait), OrderError> {
        let tls = UpstreamTls {
            ca: settings.ca.clone(),
            server_name: None,
        };
        let tls = ClientTls::new(&tls).map_err(|error| OrderError::Roots(error.to_string()))?;
        let asked_wait = AskedWait::default();
        let http = Self {
            client: Client::new(Some(tls), own.clone(), CONNECT),
            asked_wait: Arc::clone(&asked_wait),
        };
        Ok((http, asked_wait))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let (client, asked_wait) = (self.client.clone(), Arc::clone(&self.asked_wait));
        Box::pin(async move {
            if request.uri().scheme_str() != Some("https") {
                return Err(instant_acme::Error::Str("an `https:` URL in the directory"));
            }
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let request = Request::from_parts(head, Full::new(body));
            let answer = client.ask(request, LIMITS).await;
            let answer = answer.map_err(|error| instant_acme::Error::Other(Box::new(error)))?;
            let busy = [
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::SERVICE_UNAVAILABLE,
            ];
            if busy.contains(&answer.status()) {
                let field = answer.headers().get(RETRY_AFTER);
                let field = field.and_then(|field| field.to_str().ok());
                let wait = field.and_then(|field| renewal::asked_wait(field, clock::wall()));
                *asked_wait.lock().unwrap_or_else(PoisonError::into_inner) = wait;
            }
            Ok(BytesResponse::from(answer.map(Full::new)))
        })
    }
}
