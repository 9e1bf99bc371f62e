use axum::http::Request;

use super::*;
use crate::base::secret::Secret;

fn tokens() -> Vec<PublishToken> {
    vec![PublishToken {
        name: "AKIDEXAMPLE".into(),
        token: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        expires: None,
        targets: Vec::new(),
    }]
}

fn head(signature: &str, date: &str) -> Parts {
    let credential = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
    let authorization = format!(
        "{ALGORITHM} Credential={credential}, SignedHeaders=host;x-amz-date, \
             Signature={signature}"
    );
    let request = Request::get("/?Param2=value2&Param1=value1")
        .header("host", "example.amazonaws.com")
        .header("x-amz-date", date)
        .header(AUTHORIZATION, authorization);
    request.body(()).expect("a request").into_parts().0
}

/// `get-vanilla-query-order-key-case` of the AWS Signature Version 4 test suite.
const SIGNATURE: &str = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
const DATE: &str = "20150830T123600Z";

#[test]
fn the_example_of_the_test_suite_is_accepted() {
    let now = time(DATE).expect("a time");
    let verified = verify(&tokens(), &head(SIGNATURE, DATE), b"", now);
    assert_eq!(verified, Ok(0));
    let later = verify(&tokens(), &head(SIGNATURE, DATE), b"", now + SKEW + SKEW);
    assert_eq!(later, Err(SignatureError::Date));
    let changed = verify(&tokens(), &head(SIGNATURE, DATE), b"x", now);
    assert_eq!(changed, Err(SignatureError::Signature));
    let other = SIGNATURE.replace('b', "c");
    let forged = verify(&tokens(), &head(&other, DATE), b"", now);
    assert_eq!(forged, Err(SignatureError::Signature));
    assert_eq!(
        verify(&[], &head(SIGNATURE, DATE), b"", now),
        Err(SignatureError::Key)
    );
}

#[test]
fn i12_a_malformed_header_is_refused() {
    for value in [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/b",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=x",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, Signature=x",
        "AWS4-HMAC-SHA256 X=y",
    ] {
        assert!(parse(value).is_err(), "{value}");
    }
    for text in [
        "",
        "20150830T123600",
        "2015083aT123600Z",
        "20151330T123600Z",
        "20150830 123600Z",
    ] {
        assert_eq!(time(text), None, "{text}");
    }
}
