//! What docs/openapi.json says of the admin API is true: a program that knows nothing but the
//! description asks a busy gateway everything.

use std::path::Path;

use serde_json::json;

use crate::support::admin::exposed;
use crate::support::peers::{Language, run_client};
use crate::support::{Backend, Client, Gateway, eventually};

const TOKEN: &str = "described-to-machines";

fn configuration(backends: &[Backend]) -> String {
    let members = backends.iter().enumerate();
    let members = members.map(|(number, backend)| {
        let address = backend.address;
        format!("{{ id = \"b{number}\", address = \"{address}\" }}")
    });
    let members = members.collect::<Vec<_>>().join(", ");
    format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\n\
         [upstreams.chat]\nbackends = [{members}]\nrebalance = {{ mode = \"manual\" }}\n\
         probe = {{ type = \"tcp\", interval = \"200ms\" }}\n\n\
         [[routes]]\nname = \"rooms\"\npath = \"/ws/{{room}}\"\nupstream = \"chat\"\n\
         affinity = [\"path:room\"]\non_backend_loss = \"reconnect\"\ntap_payload = true\n"
    )
}

#[tokio::test]
async fn a_live_gateway_answers_as_it_is_described() {
    let backends = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let gateway = Gateway::start_with_admin_token(&configuration(&backends), TOKEN).await;
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(Client::connect(gateway.address(), &format!("/ws/room-{number}")).await);
    }
    let session = clients[0].session_id().await;
    let drain = "/v1/upstreams/chat/backends/b2";
    let drain = gateway.admin("PATCH", drain, r#"{"state":"draining","pace":"1/m"}"#);
    assert_eq!(drain.status, 200, "{drain:?}");
    let known = json!({ "session": session, "upstream": "chat", "backend": "b1" });
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let arguments = vec![
        format!("http://{}", exposed(gateway.directory())),
        TOKEN.to_owned(),
        document.display().to_string(),
        known.to_string(),
    ];
    run_client(Language::Python, "described", arguments).await;
    drop(clients);
    eventually("no session lives", async || gateway.sessions_live() == 0).await;
}
