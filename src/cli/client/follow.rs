//! Answers that go on, line by line.

use http::Method;
use http_body_util::{BodyExt as _, Limited};

use crate::cli::client::{BODY_MAX, Client, ClientError, TIMEOUT, refused};

impl Client {
    /// Reads an answer line by line for as long as it goes on.
    ///
    /// # Errors
    /// When there is no answer, it is a problem, it breaks off, or `each` fails.
    pub fn follow(
        &self,
        target: &str,
        mut each: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let asked = self.request(Method::GET, target, Vec::new());
            let asked = tokio::time::timeout(TIMEOUT, asked).await;
            let late = |_| ClientError::Late(self.address.clone());
            let (response, _connection) = asked.map_err(late)??;
            let status = response.status();
            let mut body = response.into_body();
            if !status.is_success() {
                let bytes = Limited::new(body, BODY_MAX).collect().await;
                let bytes = bytes.map(|bytes| bytes.to_bytes()).unwrap_or_default();
                return Err(refused(status, &bytes).into());
            }
            let mut begun = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame =
                    frame.map_err(|error| ClientError::Broken(self.address.clone(), error))?;
                begun.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                while let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = begun.drain(..=end).collect();
                    each(String::from_utf8_lossy(&line).trim_end())?;
                }
                anyhow::ensure!(begun.len() <= BODY_MAX, "a line of the answer never ends");
            }
            Ok(())
        })
    }
}
