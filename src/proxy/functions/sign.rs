//! Signs requests for AWS.

use std::time::SystemTime;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request};

use crate::base::sigv4::{ALGORITHM, Key, SignedParts};
use crate::config::snapshot::Sign;

/// Adds the signature of a request for an absolute URL.
pub(super) fn sign<B>(request: &mut Request<B>, body: &[u8], sign: &Sign, now: SystemTime) {
    let time = amz_date(now);
    let uri = request.uri().clone();
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut signed = vec![("host", host.to_owned()), ("x-amz-date", time.clone())];
    let token = sign.session_token.as_ref();
    signed.extend(token.map(|token| ("x-amz-security-token", token.reveal().to_owned())));
    let parts = SignedParts {
        method: request.method().as_str(),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers: &signed,
        body,
    };
    let date = time.get(..8).unwrap_or_default();
    let scope = [date, &*sign.region, &*sign.service, "aws4_request"];
    let secret = sign.secret_access_key.reveal();
    let signature = parts.signature(Key { secret, scope }, &time);
    let authorization = format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={signature}",
        sign.access_key_id,
        scope.join("/"),
        parts.names(),
    );
    let fields = request.headers_mut();
    let mut secret = |name: &'static str, text: &str| {
        // Names of regions and keys are checked, and a secret is one that a header takes.
        if let Ok(mut value) = HeaderValue::from_str(text) {
            value.set_sensitive(true);
            fields.insert(name, value);
        }
    };
    for (name, value) in &signed {
        secret(name, value);
    }
    secret(AUTHORIZATION.as_str(), &authorization);
    debug_assert!(fields.contains_key(HOST));
}

/// `20261128T101500Z`
fn amz_date(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::base::secret::Secret;

    /// What botocore 1.44 signs so (`SigV4Auth`, with the headers above).
    #[test]
    fn requests_have_the_signature_of_their_body() {
        let mut request =
            Request::post("http://127.0.0.1:9000/2015-03-31/functions/f:1/invocations")
                .body(())
                .expect("a request");
        let key = Sign {
            region: "eu-central-1".to_owned(),
            service: "lambda".to_owned(),
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: Some(Secret::new("token")),
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        sign(&mut request, b"{}", &key, now);
        let fields = request.headers();
        assert_eq!(fields["x-amz-date"], "20150830T123600Z");
        assert_eq!(fields["host"], "127.0.0.1:9000");
        assert_eq!(fields["x-amz-security-token"], "token");
        let authorization = fields[AUTHORIZATION].to_str().expect("text");
        let begin = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-central-1/lambda/aws4_request, \
                     SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=";
        assert_eq!(authorization.strip_prefix(begin).map(str::len), Some(64));
    }
}
