//! The management API of AWS API Gateway, with AWS' own client.

use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::support::peers::{Language, run_client};

/// Where the publishing API listens.
fn publish_address(gateway: &Gateway) -> String {
    let log = gateway.log();
    let line = log
        .lines()
        .find(|line| line.contains("messages can be published"));
    let line: Value = serde_json::from_str(line.expect("a line")).expect("JSON");
    line["address"].as_str().expect("an address").to_owned()
}

/// Sends to a client's session, looks at it and ends it with AWS' own library, and asks for one
/// that is `gone`.
pub(super) async fn talk_by_aws(url: &str, client: &mut Client, [id, gone]: [&str; 2]) {
    let arguments = [url, "app", TOKEN, id, gone].map(str::to_owned);
    let ran = run_client(Language::Python, "connections", arguments.to_vec());
    let (said, end) = tokio::join!(ran, async {
        assert_eq!(client.receive_text().await, "from aws");
        assert_eq!(client.receive().await, Message::binary(vec![0, 0xFF]));
        client.end().await
    });
    assert_eq!(said["passed"].as_array().map(Vec::len), Some(6), "{said}");
    assert_eq!(end.map(|(code, _)| code), Some(1000));
}

#[tokio::test]
async fn code_written_for_api_gateway_talks_to_sessions() {
    let backend = Backend::echo().await;
    let text = rooms(&[backend.address], "").replace("unix:publish.sock", "127.0.0.1:0");
    let gateway = Gateway::start(&text).await;
    let (mut client, id) = enter(&gateway, "a").await;
    let (over, gone) = enter(&gateway, "a").await;
    over.close().await;
    let url = format!("http://{}/production", publish_address(&gateway));
    talk_by_aws(&url, &mut client, [&id, &gone]).await;
    let records = gateway.wait_for_records(2).await;
    let closed = records.iter().find(|one| one.id == id).expect("a record");
    let by = (&*closed.cause, closed.operator.as_deref());
    assert_eq!(by, ("kicked", Some("publisher app")));
}
