//! Events as JSON.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::base::clock::unix_millis;
use crate::core::functions::aws::request_time::common_log;
use crate::core::functions::connection::Connection;

/// The ids of one event.
#[derive(Clone, Copy, Debug)]
pub struct EventIds<'e> {
    /// Of the request.
    pub request: &'e str,
    /// Of the message.
    pub message: Option<&'e str>,
}

/// The request that a session begins with, as the function may see it.
#[derive(Clone, Copy, Debug)]
pub struct ConnectRequest<'r> {
    /// Its header fields.
    pub headers: &'r HeaderMap,
    /// Names and values of its query.
    pub query: &'r [(String, String)],
    /// The function's variables.
    pub stage_variables: &'r BTreeMap<String, String>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug)]
pub struct Disconnect<'d> {
    /// Its close code.
    pub code: u16,
    /// Why.
    pub reason: &'d str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'e> {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    request: Option<Request<'e>>,
    request_context: RequestContext<'e>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'e str>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'e> {
    headers: BTreeMap<String, String>,
    multi_value_headers: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query_string_parameters: BTreeMap<&'e str, &'e str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    multi_value_query_string_parameters: BTreeMap<&'e str, Vec<&'e str>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    stage_variables: &'e BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'e> {
    route_key: &'e str,
    event_type: &'static str,
    message_direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnect_status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnect_reason: Option<&'e str>,
    extended_request_id: &'e str,
    request_id: &'e str,
    request_time: String,
    request_time_epoch: u64,
    connected_at: u64,
    stage: &'e str,
    domain_name: &'e str,
    api_id: &'e str,
    connection_id: &'e str,
    identity: Identity<'e>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorizer: Option<&'e Map<String, Value>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'e> {
    source_ip: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'e str>,
}

impl Connection {
    fn context<'e>(
        &'e self,
        (route_key, event_type): (&'e str, &'static str),
        ids: EventIds<'e>,
        now: SystemTime,
    ) -> RequestContext<'e> {
        RequestContext {
            route_key,
            event_type,
            message_direction: "IN",
            message_id: ids.message,
            disconnect_status_code: None,
            disconnect_reason: None,
            extended_request_id: ids.request,
            request_id: ids.request,
            request_time: common_log(now),
            request_time_epoch: unix_millis(now),
            connected_at: self.connected_at,
            stage: &self.stage,
            domain_name: &self.domain_name,
            api_id: &self.function,
            connection_id: &self.id,
            identity: Identity {
                source_ip: &self.source_ip,
                user_agent: self.user_agent.as_deref(),
            },
            authorizer: self.authorizer.as_ref(),
        }
    }
}

/// The name of a field as clients of HTTP/1.1 write it, and functions look for it:
/// `User-Agent`, `Sec-WebSocket-Key`.
fn written(name: &str) -> String {
    let parts = name.split('-').map(|part| match part {
        "websocket" => "WebSocket".to_owned(),
        _ => {
            let mut letters = part.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            first.into_iter().chain(letters).collect()
        }
    });
    parts.collect::<Vec<String>>().join("-")
}

/// The event `$connect`.
pub fn connect(
    connection: &Connection,
    request: ConnectRequest<'_>,
    ids: EventIds<'_>,
    now: SystemTime,
) -> Vec<u8> {
    let (mut headers, mut all_headers) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
    for (name, value) in request.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        all_headers
            .entry(written(name.as_str()))
            .or_default()
            .push(value);
    }
    for (name, values) in &all_headers {
        // The last one, as AWS has it.
        headers.insert(name.clone(), values.last().cloned().unwrap_or_default());
    }
    let (mut query, mut all_query) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
    for (name, value) in request.query {
        query.insert(name.as_str(), value.as_str());
        all_query
            .entry(name.as_str())
            .or_default()
            .push(value.as_str());
    }
    encode(&Event {
        request: Some(Request {
            headers,
            multi_value_headers: all_headers,
            query_string_parameters: query,
            multi_value_query_string_parameters: all_query,
            stage_variables: request.stage_variables,
        }),
        request_context: connection.context(("$connect", "CONNECT"), ids, now),
        body: None,
        is_base64_encoded: false,
    })
}

/// The event of a message. `Err` is what is no text: it is encoded as base64.
pub fn message(
    connection: &Connection,
    route_key: &str,
    payload: Result<&str, &[u8]>,
    ids: EventIds<'_>,
    now: SystemTime,
) -> Vec<u8> {
    let encoded = payload.map_err(|bytes| STANDARD.encode(bytes));
    let body = match &encoded {
        Ok(text) => text,
        Err(encoded) => encoded.as_str(),
    };
    encode(&Event {
        request: None,
        request_context: connection.context((route_key, "MESSAGE"), ids, now),
        body: Some(body),
        is_base64_encoded: encoded.is_err(),
    })
}

/// The event `$disconnect`.
pub fn disconnect(
    connection: &Connection,
    end: Disconnect<'_>,
    ids: EventIds<'_>,
    now: SystemTime,
) -> Vec<u8> {
    let mut request_context = connection.context(("$disconnect", "DISCONNECT"), ids, now);
    request_context.disconnect_status_code = Some(end.code);
    request_context.disconnect_reason = Some(end.reason);
    let headers = BTreeMap::from([
        ("Host".to_owned(), connection.domain_name.to_string()),
        (
            "X-Forwarded-For".to_owned(),
            connection.source_ip.to_string(),
        ),
    ]);
    let all = headers.iter();
    let all = all.map(|(name, value)| (name.clone(), vec![value.clone()]));
    encode(&Event {
        request: Some(Request {
            multi_value_headers: all.collect(),
            headers,
            query_string_parameters: BTreeMap::new(),
            multi_value_query_string_parameters: BTreeMap::new(),
            stage_variables: &BTreeMap::new(),
        }),
        request_context,
        body: None,
        is_base64_encoded: false,
    })
}

fn encode(event: &Event<'_>) -> Vec<u8> {
    serde_json::to_vec(event).expect("an event has text keys only")
}

#[cfg(test)]
mod tests;
