//! Sessions whose other end is a function over HTTP.

mod chat;
mod faults;
mod grip;
mod handed_over;
mod others;
mod webpubsub;

use serde_json::{Value, json};

use crate::support::http;
use crate::support::peers::{Language, Server};
use crate::support::tokens;
use crate::support::{Client, Dial, Gateway, eventually, free_port};

/// The key of the management API, which the function has.
const TOKEN: &str = "token-of-the-function";
/// The path of Lambda's Invoke API.
const INVOKE: &str =
    "/2015-03-31/functions/arn:aws:lambda:eu-central-1:1:function:chat/invocations";

/// A chat for API Gateway, and a gateway in front of it.
struct World {
    function: Server,
    gateway: Gateway,
}

/// `[publish]` at this port, and the function at `url`; `more` are further lines of it.
fn configuration(port: u16, url: &str, more: &str) -> String {
    format!(
        "[publish]\nlisten = \"127.0.0.1:{port}\"\n\
         tokens = [{{ name = \"app\", token = \"{TOKEN}\", targets = [\"*\"] }}]\n\n\
         [authenticators.users]\ntype = \"jwt\"\nsecret = \"{}\"\n\
         [authenticators.guests]\ntype = \"anonymous\"\n\n\
         [functions.chat]\ndialect = \"aws\"\nurl = \"{url}\"\nreply = true\n\
         stage_variables = {{ color = \"blue\" }}\n{more}\n\
         [functions.chat.sign]\nregion = \"eu-central-1\"\naccess_key_id = \"AKIDEXAMPLE\"\n\
         secret_access_key = \"secret-of-the-function\"\n\n\
         [functions.chat.routes]\nsend = {{ reply = false }}\nwhoami = {{}}\nhang = {{}}\nfail = {{}}\n\
         nonsense = {{}}\nhuge = {{}}\ncrash = \"{url}/../../crash\"\n\n\
         [[routes]]\nname = \"chat\"\npath = \"/chat\"\nfunction = \"chat\"\n\
         authenticate = [\"users\", \"guests\"]\ntimeouts = {{ close = \"500ms\" }}\n",
        tokens::SECRET
    )
}

impl World {
    async fn start(more: &str) -> Self {
        Self::start_by(more, false).await
    }

    async fn start_by(more: &str, handover: bool) -> Self {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}/production");
        let function = Server::start(Language::Python, "lambda_chat", &[&url, "app", TOKEN]);
        let at = |path: &str| format!("http://{}{path}", function.address);
        let text = configuration(port, &at(INVOKE), more);
        let text = text.replace(&at(&format!("{INVOKE}/../../crash")), &at("/crash"));
        let gateway = match handover {
            true => Gateway::start_with_handover(&text).await,
            false => Gateway::start(&text).await,
        };
        Self { function, gateway }
    }

    async fn enter(&self, name: &str) -> Client {
        let target = format!("/chat?name={name}");
        Client::connect(self.gateway.address(), &target).await
    }

    /// The contexts of the events that the function has had.
    async fn events(&self) -> Vec<Value> {
        events(&self.function, "/log").await
    }

    /// Waits until the function has an event with this key.
    async fn wait_for(&self, key: &str) {
        let has = async || self.events().await.iter().any(|one| one["routeKey"] == key);
        eventually("the function has the event", has).await;
    }

    /// How often the gateway called the function with this event and outcome.
    fn calls(&self, event: &str, outcome: &str) -> f64 {
        let (event, outcome) = (
            format!("event=\"{event}\""),
            format!("outcome=\"{outcome}\""),
        );
        let labels = ["function=\"chat\"", &*event, &*outcome];
        self.gateway.metric("sessile_function_calls_total", &labels)
    }
}

async fn events(function: &Server, path: &str) -> Vec<Value> {
    let answer = http::get(function.address, path, &[]).await;
    serde_json::from_str(answer.text()).expect("a list")
}

/// What a client sends for a key.
fn action(key: &str) -> String {
    json!({ "action": key }).to_string()
}
