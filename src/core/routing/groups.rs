//! The groups that a session joins: by its route, and by the header of its backend's 101.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderMap;
use serde_json::{Map, Value};

use crate::base::addr::unmapped;
use crate::base::group::GroupName;
use crate::base::header_list::items;
use crate::base::metadata::{METADATA_MAX, Metadata};
use crate::config::snapshot::{AffinitySource, GroupSource, MetadataSource};
use crate::core::auth::Claims;
use crate::core::http::forwarded::SESSILE_GROUPS;
use crate::core::routing::affinity;
use crate::core::routing::request::{Parameters, Request};

/// Most groups that one request joins (I8).
pub const GROUPS_MAX: usize = 1000;

/// The groups of `sources` that the request has. A value that is no name of a group joins none; a
/// claim that is a list of texts joins all of them.
pub fn groups_of_request<'a>(
    sources: &'a [GroupSource],
    request: &Request<'a>,
    parameters: &Parameters<'_, 'a>,
    client: IpAddr,
    claims: Option<&'a Claims>,
) -> Vec<GroupName> {
    let mut groups = Vec::new();
    for GroupSource { source, prefix } in sources {
        let mut add = |value: &str| {
            let name = GroupName::parse(&format!("{prefix}{value}"));
            if let Some(name) = name.ok().filter(|_| groups.len() < GROUPS_MAX) {
                groups.push(name);
            }
        };
        match source {
            AffinitySource::ClientAddress => add(&unmapped(client).to_string()),
            source => {
                list(source, claims).for_each(&mut add);
                let value = affinity::value(source, request, parameters, client, claims);
                if let Some(value) = value.as_deref().and_then(|it| std::str::from_utf8(it).ok()) {
                    add(value);
                }
            }
        }
    }
    groups
}

/// What a session is described by in its groups. A value that is absent or no text is left out, and
/// so is one that does not fit in any more.
pub fn metadata_of_request<'a>(
    sources: &'a [MetadataSource],
    request: &Request<'a>,
    parameters: &Parameters<'_, 'a>,
    client: IpAddr,
    claims: Option<&'a Claims>,
) -> Option<Metadata> {
    let mut object = Map::new();
    let mut metadata = None;
    for MetadataSource { name, source } in sources {
        let address;
        let value = match source {
            AffinitySource::ClientAddress => {
                address = unmapped(client).to_string();
                Some(Cow::Borrowed(address.as_bytes()))
            }
            source => affinity::value(source, request, parameters, client, claims),
        };
        let text = value.as_deref().and_then(|it| std::str::from_utf8(it).ok());
        let Some(text) = text.filter(|text| text.len() <= METADATA_MAX) else {
            continue;
        };
        object.insert(name.to_string(), Value::from(text));
        match Metadata::new(&object) {
            Ok(fits) => metadata = Some(fits),
            Err(_) => drop(object.remove(&**name)),
        }
    }
    metadata
}

/// The texts of a claim that is a list.
fn list<'a>(source: &AffinitySource, claims: Option<&'a Claims>) -> impl Iterator<Item = &'a str> {
    let all = match source {
        AffinitySource::Claim(path) => claims.and_then(|claims| claims.get(path)),
        _ => None,
    };
    let all = all.and_then(Value::as_array).map_or(&[][..], |all| all);
    all.iter().filter_map(Value::as_str)
}

/// Takes the groups out of the head of a backend's 101: `Sessile-Groups: lobby, team-7`. A name
/// with a comma cannot be given so.
pub fn take_groups_of_answer(headers: &mut HeaderMap) -> Vec<GroupName> {
    let groups = items(headers, &SESSILE_GROUPS);
    let groups = groups.filter_map(|name| GroupName::parse(name).ok());
    let groups = groups.take(GROUPS_MAX).collect();
    headers.remove(&SESSILE_GROUPS);
    groups
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Method, Uri};
    use serde_json::json;

    use super::*;
    use crate::config::expression::ClaimPath;

    fn names(groups: &[GroupName]) -> Vec<&str> {
        groups.iter().map(GroupName::as_str).collect()
    }

    fn request<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Request<'r> {
        Request {
            method: &Method::GET,
            host: "",
            path: "/ws",
            query: uri.query(),
            headers,
            websocket: true,
            tls: false,
        }
    }

    #[test]
    fn a_session_joins_what_its_request_has() {
        let uri: Uri = "/ws?team=red%20one&bad=%00&long=x".parse().expect("a URI");
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-group"),
            HeaderValue::from_static("by-header"),
        )]);
        let request = request(&uri, &headers);
        let claims = json!({ "team": 7, "rooms": ["a", 1, "b", ""] });
        let claims = Claims(claims.as_object().cloned().expect("an object"));
        let claim = |name: &str| AffinitySource::Claim(ClaimPath(name.to_owned()));
        let sources = [
            (claim("team"), "team-"),
            (claim("rooms"), "room-"),
            (claim("none"), ""),
            (AffinitySource::Query("team".to_owned()), ""),
            (AffinitySource::Query("bad".to_owned()), ""),
            (
                AffinitySource::Header("x-group".parse().expect("a name")),
                "",
            ),
            (AffinitySource::ClientAddress, ""),
        ];
        let sources: Vec<_> = sources
            .into_iter()
            .map(|(source, prefix)| GroupSource {
                source,
                prefix: prefix.to_owned(),
            })
            .collect();
        let client = "::ffff:10.0.0.7".parse().expect("an address");
        let described = |name: &str, source| MetadataSource {
            name: name.into(),
            source,
        };
        let long = AffinitySource::Query("long".to_owned());
        let described = [
            described("team", AffinitySource::Query("team".to_owned())),
            described("number", claim("team")),
            described("none", claim("none")),
            described("list", claim("rooms")),
            described(&"x".repeat(METADATA_MAX), long),
            described("from", AffinitySource::ClientAddress),
        ];
        let metadata = metadata_of_request(
            &described,
            &request,
            &Parameters::default(),
            client,
            Some(&claims),
        );
        let expected = json!({ "team": "red one", "number": "7", "from": "10.0.0.7" });
        assert_eq!(metadata.map(|it| it.to_value()), Some(expected));
        let parameters = Parameters::default();
        let groups = groups_of_request(&sources, &request, &parameters, client, Some(&claims));
        assert_eq!(
            names(&groups),
            [
                "team-7",
                "room-a",
                "room-b",
                "room-",
                "red one",
                "by-header",
                "10.0.0.7"
            ]
        );
    }

    #[test]
    fn groups_of_a_backend_are_taken_out_of_its_answer() {
        let mut headers = HeaderMap::new();
        headers.append(&SESSILE_GROUPS, HeaderValue::from_static("lobby, team-7,"));
        headers.append(&SESSILE_GROUPS, HeaderValue::from_static("x"));
        let groups = take_groups_of_answer(&mut headers);
        assert_eq!(names(&groups), ["lobby", "team-7", "x"]);
        assert!(headers.is_empty());
    }
}
