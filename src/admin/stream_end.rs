//! The end of streaming answers: they do not outlive what the client has shown.

use std::time::SystemTime;

use axum::body::{Body, HttpBody as _};
use axum::response::Response;
use futures_util::StreamExt as _;
use tokio::time::sleep;

use crate::base::clock;

/// Ends a streaming answer at the end of the token or certificate that has opened it. Other answers
/// are sent whole.
pub(crate) fn until(end: Option<SystemTime>, response: Response) -> Response {
    let Some(end) = end.filter(|_| response.body().size_hint().exact().is_none()) else {
        return response;
    };
    let left = end.duration_since(clock::wall()).unwrap_or_default();
    response.map(|body| {
        let chunks = body.into_data_stream().take_until(Box::pin(sleep(left)));
        Body::from_stream(chunks)
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use axum::body::{Bytes, to_bytes};
    use axum::response::IntoResponse as _;
    use futures_util::stream::{once, pending};
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// The answer of a stream that sends once and stays open.
    fn open() -> Response {
        let first = once(async { Ok::<_, Infallible>(Bytes::from_static(b"first")) });
        Body::from_stream(first.chain(pending())).into_response()
    }

    #[tokio::test]
    async fn i12_a_stream_ends_with_its_token() {
        let soon = clock::wall() + Duration::from_millis(200);
        let body = until(Some(soon), open()).into_body();
        let read = timeout(LONG, to_bytes(body, 100)).await;
        assert_eq!(&read.expect("it ends").expect("whole")[..], b"first");
        let later = clock::wall() + LONG * 100;
        for end in [None, Some(later)] {
            let body = until(end, open()).into_body();
            let read = timeout(Duration::from_millis(400), to_bytes(body, 100));
            assert!(read.await.is_err(), "it stays open");
        }
        let whole = until(Some(soon), "all of it".into_response());
        let read = to_bytes(whole.into_body(), 100).await.expect("whole");
        assert_eq!(&read[..], b"all of it", "no stream");
    }
}
