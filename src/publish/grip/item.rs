//! Items of GRIP's publishing endpoint.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::base::group::GroupName;
use crate::base::message::Message;
use crate::core::messages::signal::CloseWith;

/// Most items of a request.
const ITEMS_MAX: usize = 1000;

/// What is wrong with a request, for its sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) String);

/// What happens to the sessions of a channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) channel: GroupName,
    pub(super) action: Action,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Send(Message),
    Close(CloseWith),
    /// It is for clients of HTTP only, or about what Pushpin has stored.
    Nothing,
}

#[derive(Deserialize)]
struct Body {
    items: Vec<Wire>,
}

#[derive(Deserialize)]
struct Wire {
    channel: String,
    #[serde(default)]
    formats: Formats,
    /// Formats may stand in the item itself.
    #[serde(flatten)]
    flat: Formats,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Formats {
    #[serde(default)]
    ws_message: Option<WsMessage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WsMessage {
    #[serde(default)]
    action: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    content_bin: Option<String>,
    #[serde(default)]
    code: Option<u16>,
    #[serde(default)]
    reason: Option<String>,
}

/// Reads the body of a request. Messages have at most `bytes_max` bytes.
pub(super) fn read(body: &[u8], bytes_max: usize) -> Result<Vec<Item>, Fault> {
    let body: Body = serde_json::from_slice(body).map_err(|error| match error.is_data() {
        true => Fault(format!("Invalid format: {error}")),
        false => Fault("Body is not valid JSON.".to_owned()),
    })?;
    if body.items.len() > ITEMS_MAX {
        return Err(Fault(format!("Invalid format: at most {ITEMS_MAX} items")));
    }
    let items = body.items.into_iter().enumerate().map(|(place, wire)| {
        let fault = |what: &str| Fault(format!("Invalid format: item {place}: {what}"));
        let channel = GroupName::parse(&wire.channel)
            .map_err(|_| fault("`channel` is 1 to 128 bytes of text without control characters"))?;
        let action = match wire.formats.ws_message.or(wire.flat.ws_message) {
            Some(message) => action(message, bytes_max).map_err(|what| fault(&what))?,
            None => Action::Nothing,
        };
        Ok(Item { channel, action })
    });
    items.collect()
}

fn action(wire: WsMessage, bytes_max: usize) -> Result<Action, String> {
    match wire.action.as_deref().unwrap_or("send") {
        "send" => {
            let message = message(wire)?;
            match message.len() <= bytes_max {
                true => Ok(Action::Send(message)),
                false => Err(format!("`publish.message_bytes` allows {bytes_max} bytes")),
            }
        }
        "hint" => Ok(Action::Nothing),
        "close" => {
            let code = wire.code.unwrap_or(1000);
            // RFC 6455, section 7.4.
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(format!("{code} is not a code that a close frame has"));
            }
            let reason = wire.reason.unwrap_or_default();
            let reason = reason[..reason.floor_char_boundary(123)].into();
            Ok(Action::Close(CloseWith { code, reason }))
        }
        other => Err(format!("the action `{other}` is not known here")),
    }
}

fn message(wire: WsMessage) -> Result<Message, String> {
    let is_binary = match (wire.kind.as_deref(), &wire.content) {
        (None, content) => content.is_none(),
        (Some("text"), _) => false,
        (Some("binary"), _) => true,
        (Some(other), _) => return Err(format!("messages of type `{other}` are not published")),
    };
    let bytes = match (wire.content, wire.content_bin) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(base64)) => {
            let bytes = STANDARD.decode(base64);
            bytes.map_err(|_| "`content-bin` is not base64".to_owned())?
        }
        (None, None) => return Err("give `content` or `content-bin`".to_owned()),
    };
    if is_binary {
        return Ok(Message::Binary(bytes.into()));
    }
    let text = String::from_utf8(bytes).map_err(|_| "the text is not UTF-8".to_owned())?;
    Ok(Message::Text(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(message: &str) -> Result<Action, String> {
        let body =
            format!(r#"{{"items":[{{"channel":"a","formats":{{"ws-message":{message}}}}}]}}"#);
        let items = read(body.as_bytes(), 10).map_err(|fault| fault.0)?;
        assert_eq!(items.len(), 1);
        Ok(items.into_iter().next().expect("an item").action)
    }

    #[test]
    fn items_are_read() {
        let text = |text: &str| Ok(Action::Send(Message::Text(text.into())));
        let binary = |bytes: &[u8]| Ok(Action::Send(Message::Binary(bytes.into())));
        let close = |code, reason: &str| {
            let reason = reason.into();
            Ok(Action::Close(CloseWith { code, reason }))
        };
        for (message, action) in [
            (r#"{"content":"hi"}"#, text("hi")),
            (r#"{"content":""}"#, text("")),
            (r#"{"content":"hi","type":"binary"}"#, binary(b"hi")),
            (r#"{"content-bin":"AP8="}"#, binary(&[0, 255])),
            (
                r#"{"content-bin":"aGk=","type":"text","action":"send"}"#,
                text("hi"),
            ),
            (r#"{"action":"close"}"#, close(1000, "")),
            (
                r#"{"action":"close","code":4001,"reason":"bye"}"#,
                close(4001, "bye"),
            ),
            (r#"{"action":"hint"}"#, Ok(Action::Nothing)),
        ] {
            assert_eq!(one(message), action, "{message}");
        }
        let body = br#"{"items":[
            {"channel":"a","id":"1","prev-id":"0","meta":{"x":1},"ws-message":{"content":"flat"}},
            {"channel":"b","http-stream":{"content":"data: x\n\n"}}]}"#;
        let items = read(body, 10).expect("items");
        assert_eq!(items[0].action, Action::Send(Message::Text("flat".into())));
        assert_eq!(
            (items[1].channel.as_str(), &items[1].action),
            ("b", &Action::Nothing)
        );
    }

    #[test]
    fn i12_what_cannot_be_published_is_refused() {
        for (message, why) in [
            (
                r#"{"content":"12345678901"}"#,
                "`publish.message_bytes` allows 10 bytes",
            ),
            ("{}", "give `content` or `content-bin`"),
            (r#"{"content-bin":"%"}"#, "`content-bin` is not base64"),
            (
                r#"{"content-bin":"/w==","type":"text"}"#,
                "the text is not UTF-8",
            ),
            (
                r#"{"content":"x","type":"ping"}"#,
                "messages of type `ping` are not published",
            ),
            (
                r#"{"action":"refresh"}"#,
                "the action `refresh` is not known here",
            ),
            (
                r#"{"action":"close","code":1006}"#,
                "1006 is not a code that a close frame has",
            ),
        ] {
            assert_eq!(one(message), Err(format!("Invalid format: item 0: {why}")));
        }
        for (body, why) in [
            ("{", "Body is not valid JSON."),
            ("{}", "Invalid format: missing field `items`"),
            (
                r#"{"items":[{"channel":""}]}"#,
                "Invalid format: item 0: `channel` is 1",
            ),
        ] {
            let fault = read(body.as_bytes(), 10).expect_err("a fault").0;
            assert!(fault.starts_with(why), "{fault}");
        }
        let many = vec![r#"{"channel":"a"}"#; ITEMS_MAX + 1].join(",");
        assert!(read(format!(r#"{{"items":[{many}]}}"#).as_bytes(), 10).is_err());
    }
}
