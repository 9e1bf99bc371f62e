//! GRIP's control messages: JSON in a text that begins with `c:`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::base::group::GroupName;
use crate::core::functions::grip::malformed::Malformed;
use crate::core::functions::grip::to_client::ToClient;

/// What a control message changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Subscribe(GroupName),
    Unsubscribe(GroupName),
    /// The function gets no further event of the session.
    Detach,
    /// The client gets this whenever so many seconds have gone by; `None` ends that.
    KeepAlive(Option<(ToClient, u32)>),
    /// The client gets this once, after so many seconds.
    Delay(ToClient, u32),
    /// It gets that now.
    Flush,
    /// It changes nothing here.
    Nothing,
}

/// Seconds between messages to an idle client where the function has no number of its own.
const TIMEOUT: u32 = 55;
/// A day.
const TIMEOUT_MAX: u32 = 24 * 60 * 60;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    filters: Vec<Value>,
    #[serde(default)]
    message_type: Option<String>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    content_bin: Option<String>,
    #[serde(default)]
    timeout: Option<u32>,
}

/// Reads a control message without its `c:`.
pub(super) fn read(json: &str) -> Result<Control, Malformed> {
    let wire: Wire = serde_json::from_str(json).map_err(|_| Malformed)?;
    let channel = || {
        let name = wire.channel.as_deref().ok_or(Malformed)?;
        GroupName::parse(name).map_err(|_| Malformed)
    };
    Ok(match wire.kind.as_str() {
        // A subscription without its filters would show what they hide.
        "subscribe" if !wire.filters.is_empty() => return Err(Malformed),
        "subscribe" => Control::Subscribe(channel()?),
        "unsubscribe" => Control::Unsubscribe(channel()?),
        "detach" => Control::Detach,
        "keep-alive" => Control::KeepAlive(frame(&wire)?.map(|frame| (frame, seconds(&wire)))),
        "send-delayed" => Control::Delay(frame(&wire)?.ok_or(Malformed)?, seconds(&wire)),
        "flush-delayed" => Control::Flush,
        // They are about Pushpin's own filters and statistics.
        "session" | "set-meta" => Control::Nothing,
        _ => return Err(Malformed),
    })
}

fn seconds(wire: &Wire) -> u32 {
    let seconds = wire.timeout.filter(|seconds| *seconds > 0);
    seconds.unwrap_or(TIMEOUT).min(TIMEOUT_MAX)
}

/// The frame with the content, if there is any.
fn frame(wire: &Wire) -> Result<Option<ToClient>, Malformed> {
    let content = match (&wire.content, &wire.content_bin) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(base64)) => STANDARD.decode(base64).map_err(|_| Malformed)?,
        (None, None) => return Ok(None),
    };
    let frame = match wire.message_type.as_deref().unwrap_or("text") {
        "text" => ToClient::Text(String::from_utf8(content).map_err(|_| Malformed)?),
        "binary" => ToClient::Binary(content),
        "ping" => ToClient::Ping(content),
        "pong" => ToClient::Pong(content),
        _ => return Err(Malformed),
    };
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> GroupName {
        GroupName::parse(name).expect("a name")
    }

    #[test]
    fn control_messages_are_read() {
        let text = |text: &str| ToClient::Text(text.to_owned());
        for (json, expected) in [
            (
                r#"{"type":"subscribe","channel":"a"}"#,
                Control::Subscribe(group("a")),
            ),
            (
                r#"{"type":"subscribe","channel":"a","filters":[]}"#,
                Control::Subscribe(group("a")),
            ),
            (
                r#"{"type":"unsubscribe","channel":"a"}"#,
                Control::Unsubscribe(group("a")),
            ),
            (r#"{"type":"detach"}"#, Control::Detach),
            (r#"{"type":"keep-alive"}"#, Control::KeepAlive(None)),
            (
                r#"{"type":"keep-alive","content":"{}","timeout":30}"#,
                Control::KeepAlive(Some((text("{}"), 30))),
            ),
            (
                r#"{"type":"keep-alive","content-bin":"AAE=","message-type":"ping","mode":"idle"}"#,
                Control::KeepAlive(Some((ToClient::Ping(vec![0, 1]), 55))),
            ),
            (
                r#"{"type":"send-delayed","content":"x","timeout":0}"#,
                Control::Delay(text("x"), 55),
            ),
            (r#"{"type":"flush-delayed"}"#, Control::Flush),
            (
                r#"{"type":"set-meta","name":"user","value":"ann"}"#,
                Control::Nothing,
            ),
        ] {
            assert_eq!(read(json), Ok(expected), "{json}");
        }
    }

    #[test]
    fn i12_control_messages_that_cannot_be_followed_are_refused() {
        let long = format!(r#"{{"type":"subscribe","channel":"{}"}}"#, "x".repeat(129));
        for bad in [
            "",
            "[]",
            r#"{"type":"restart"}"#,
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","channel":""}"#,
            r#"{"type":"subscribe","channel":"a","filters":["skip-self"]}"#,
            r#"{"type":"send-delayed"}"#,
            r#"{"type":"keep-alive","content":"x","timeout":-1}"#,
            r#"{"type":"keep-alive","content":"x","message-type":"close"}"#,
            r#"{"type":"keep-alive","content-bin":"/w=="}"#,
            r#"{"type":"keep-alive","content-bin":"%"}"#,
            &long,
        ] {
            assert_eq!(read(bad), Err(Malformed), "{bad}");
        }
    }
}
