//! Answers that go on for as long as their server has something to say, such as a watch.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::io::client::{Client, ClientError, reason};

/// The body of such an answer.
#[derive(Debug)]
pub struct Parts(Incoming);

impl Client {
    /// Sends a request on a connection of its own; the head of the answer has to come within
    /// `patience`.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn open(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Response<Parts>, ClientError> {
        let sent = timeout(patience, self.send(&self.fresh, request)).await;
        let answer = sent.map_err(|_| ClientError::TimedOut(patience))?;
        Ok(answer.map_err(reason)?.map(Parts))
    }
}

impl Parts {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When none come within `patience`, or the body breaks off.
    pub async fn next(&mut self, patience: Duration) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = timeout(patience, self.0.frame()).await;
            let frame = frame.map_err(|_| ClientError::TimedOut(patience))?;
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(ClientError::Body),
                // Trailers are no bytes.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_) => continue,
                },
            }
        }
    }
}
