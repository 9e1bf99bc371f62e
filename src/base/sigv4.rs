//! AWS' Signature Version 4, for requests that are signed and for those that are verified
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).

use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};

use crate::base::text::hex;

/// The name of the scheme.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed of a request.
#[derive(Clone, Copy, Debug)]
pub struct SignedParts<'r> {
    /// `GET`.
    pub method: &'r str,
    /// As it is sent.
    pub path: &'r str,
    /// As it is sent, without `?`.
    pub query: &'r str,
    /// Names of fields in lower case and their values, in the order in which they are signed.
    pub headers: &'r [(&'r str, String)],
    /// The body.
    pub body: &'r [u8],
}

/// Who signs, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Key<'k> {
    /// The secret.
    pub secret: &'k str,
    /// Date (`20261128`), region, service and `aws4_request`.
    pub scope: [&'k str; 4],
}

impl SignedParts<'_> {
    /// The names of the fields, as the signature lists them.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| *name).collect();
        names.join(";")
    }

    fn canonical(&self) -> String {
        let mut headers = String::new();
        for (name, value) in self.headers {
            let _ = writeln!(headers, "{name}:{value}");
        }
        let path = match self.path {
            "" => "/".to_owned(),
            path => encode(path, true),
        };
        let query = canonical_query(self.query);
        let (names, hash) = (self.names(), hex(&sha256(self.body)));
        format!(
            "{}\n{path}\n{query}\n{headers}\n{names}\n{hash}",
            self.method
        )
    }

    /// The signature at `time` (`20261128T101500Z`), in hexadecimal digits.
    pub fn signature(&self, key: Key<'_>, time: &str) -> String {
        let scope = key.scope.join("/");
        let hash = hex(&sha256(self.canonical().as_bytes()));
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{hash}");
        let mut signing = format!("AWS4{}", key.secret).into_bytes();
        for part in key.scope {
            signing = sign(&signing, part.as_bytes());
        }
        hex(&sign(&signing, to_sign.as_bytes()))
    }
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<_> = form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| format!("{}={}", encode(&name, false), encode(&value, false)))
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// Percent-encodes all but unreserved characters (RFC 3986, section 2.3), and slashes where they
/// part a path.
fn encode(text: &str, slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain || (slashes && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

fn sign(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, bytes).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key<'_> = Key {
        secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        scope: ["20150830", "us-east-1", "service", "aws4_request"],
    };
    const TIME: &str = "20150830T123600Z";

    /// The examples of AWS' own test suite (`get-vanilla`, `get-vanilla-query-order-key-case`).
    #[test]
    fn signatures_are_those_of_aws() {
        let headers = [
            ("host", "example.amazonaws.com".to_owned()),
            ("x-amz-date", TIME.to_owned()),
        ];
        let mut parts = SignedParts {
            method: "GET",
            path: "/",
            query: "",
            headers: &headers,
            body: b"",
        };
        assert_eq!(parts.names(), "host;x-amz-date");
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        assert_eq!(parts.signature(KEY, TIME), vanilla);
        parts.query = "Param2=value2&Param1=value1";
        let ordered = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
        assert_eq!(parts.signature(KEY, TIME), ordered);
    }

    #[test]
    fn every_part_is_signed() {
        let headers = [("host", "a".to_owned())];
        let parts = SignedParts {
            method: "POST",
            path: "/2015-03-31/functions/arn:aws:lambda/invocations",
            query: "a=b%20c",
            headers: &headers,
            body: b"{}",
        };
        let whole = parts.signature(KEY, TIME);
        let changed = [
            SignedParts {
                method: "GET",
                ..parts
            },
            SignedParts { path: "/", ..parts },
            SignedParts {
                query: "a=b",
                ..parts
            },
            SignedParts {
                headers: &[],
                ..parts
            },
            SignedParts { body: b"", ..parts },
        ];
        for changed in changed {
            assert_ne!(changed.signature(KEY, TIME), whole, "{changed:?}");
        }
        assert_ne!(parts.signature(KEY, "20150830T123601Z"), whole);
        let scope = ["20150830", "eu-west-1", "service", "aws4_request"];
        assert_ne!(parts.signature(Key { scope, ..KEY }, TIME), whole);
    }
}
