//! Who the gateway is to the API: a token, in a file that the cluster renews, or a certificate.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use tokio::task::spawn_blocking;

use crate::base::clock;
use crate::base::secret::Secret;
use crate::config::snapshot::KubernetesToken;
use crate::io::file;

/// How long a token of a file is used before the file is read again. The cluster renews tokens long
/// before they end.
const TOKEN_AGE_MAX: Duration = Duration::from_secs(30);

/// The token of a file, and when it was read.
#[derive(Debug, Default)]
pub(super) struct Credentials(Mutex<Option<(HeaderValue, Instant)>>);

impl Credentials {
    /// The header that authenticates a request; `None` if there is no token.
    pub(super) async fn header(
        &self,
        token: &KubernetesToken,
    ) -> Result<Option<HeaderValue>, String> {
        let path = match token {
            KubernetesToken::None => return Ok(None),
            KubernetesToken::Text(secret) => return bearer(secret.reveal()).map(Some),
            KubernetesToken::File(path) => path.clone(),
        };
        let now = clock::now();
        if let Some(known) = self.known(now) {
            return Ok(Some(known));
        }
        let shown = path.display().to_string();
        let read = spawn_blocking(move || file::read(&path, file::SECRET_BYTES_MAX)).await;
        let read = read.expect("reading a file does not panic");
        let bytes = read.map_err(|error| format!("cannot read {shown}: {error}"))?;
        let text = Secret::new(String::from_utf8_lossy(&bytes).trim().to_owned());
        let header = bearer(text.reveal()).map_err(|why| format!("{shown}: {why}"))?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(known.insert((header, now)).0.clone()))
    }

    fn known(&self, now: Instant) -> Option<HeaderValue> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (header, since) = known.as_ref()?;
        (now.duration_since(*since) < TOKEN_AGE_MAX).then(|| header.clone())
    }

    /// The token was refused: the file is read again for the next request.
    pub(super) fn refused(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    let header = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut header = header.map_err(|_| "this is no token".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}
