//! Which route a request takes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::table;
use crate::base::host;
use crate::base::path::CanonicalPath;
use crate::config::conflict::tests::route;
use crate::config::pattern::{HostPattern, Segment};
use crate::config::snapshot::{Action, Redirect, Route, Scheme, TextMatch};
use crate::core::routing::{Request, RoutingTable};

/// A request before it is put into HTTP's form.
#[derive(Clone, Debug)]
struct TestRequest {
    /// Lower case, without port.
    host: String,
    /// Put behind the host in capitals: nothing, a dot, a port.
    behind: &'static str,
    segments: Vec<&'static str>,
    method: Method,
    headers: Vec<(&'static str, &'static str)>,
    query: Vec<(&'static str, &'static str)>,
    offered: Vec<&'static str>,
    websocket: bool,
    tls: bool,
}

impl TestRequest {
    fn get(host: &str, path: &'static str) -> Self {
        Self {
            host: host.to_owned(),
            behind: "",
            segments: path.strip_prefix('/').expect("a path").split('/').collect(),
            method: Method::GET,
            headers: Vec::new(),
            query: Vec::new(),
            offered: Vec::new(),
            websocket: false,
            tls: false,
        }
    }

    fn with<R>(&self, ask: impl FnOnce(&Request<'_>) -> R) -> R {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        if !self.offered.is_empty() {
            let offered = HeaderValue::try_from(self.offered.join(", ")).expect("names");
            headers.insert("sec-websocket-protocol", offered);
        }
        let pairs = self
            .query
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let query = pairs.collect::<Vec<_>>().join("&");
        let host = format!("{}{}", self.host.to_uppercase(), self.behind);
        let path = CanonicalPath::read(&format!("/{}", self.segments.join("/")));
        ask(&Request {
            method: &self.method,
            host: &host::canonical(&host).expect("a host"),
            path: path.expect("a path").as_str(),
            query: (!query.is_empty()).then_some(&query),
            headers: &headers,
            websocket: self.websocket,
            tls: self.tls,
        })
    }
}

type Found = (String, BTreeMap<String, String>);

fn find(table: &RoutingTable, request: &TestRequest) -> Option<Found> {
    request.with(|request| {
        let found = table.find(request)?;
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let parameters = found.parameters.iter().map(owned).collect();
        Some((found.route.name().to_string(), parameters))
    })
}

/// The verdict of `explain` on a route that matches but is not taken.
const OUTRANKED: &str = "would match, but a more specific route does";

/// The obvious way: asks every route, and sorts those that match.
fn scan(routes: &[Route], request: &TestRequest) -> Vec<Found> {
    let (last, before) = request.segments.split_last().expect("there is one");
    let merged = before.iter().filter(|segment| !segment.is_empty());
    let path: Vec<_> = merged.chain([last]).copied().collect();
    let mut matching = Vec::new();
    for route in routes {
        let holds = |wanted: &TextMatch, values: Vec<&str>| match wanted {
            TextMatch::Present => !values.is_empty(),
            TextMatch::Absent => values.is_empty(),
            TextMatch::Exact(text) => values.contains(&&**text),
            TextMatch::Prefix(text) => values.iter().any(|value| value.starts_with(&**text)),
        };
        let named = |pairs: &[(&str, &'static str)], name: &str| -> Vec<&'static str> {
            pairs
                .iter()
                .filter(|(n, _)| *n == name)
                .map(|(_, value)| *value)
                .collect()
        };
        let offers = |name: &String| request.websocket && request.offered.contains(&name.as_str());
        let by = if request.tls {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let met = route.scheme.is_none_or(|scheme| scheme == by)
            && (route.methods.is_empty() || route.methods.contains(&request.method))
            && route
                .headers
                .iter()
                .all(|(n, w)| holds(w, named(&request.headers, n.as_str())))
            && route
                .query
                .iter()
                .all(|(n, w)| holds(w, named(&request.query, n)))
            && (route.subprotocols.is_empty() || route.subprotocols.iter().any(offers));
        let host = if route.hosts.is_empty() {
            Some(usize::MAX)
        } else {
            route
                .hosts
                .iter()
                .filter_map(|host| host_distance(host, &request.host))
                .min()
        };
        let values = path_values(route.path.segments(), &path);
        let (Some(host), Some(values), true) = (host, values, met) else {
            continue;
        };
        let kinds: Vec<_> = route.path.segments().iter().map(kind).collect();
        matching.push((
            (host, kinds, Reverse(weight(route)), route.name.to_string()),
            values,
        ));
    }
    matching.sort();
    let found = matching.into_iter();
    found.map(|((.., name), values)| (name, values)).collect()
}

/// Labels that the pattern leaves open; 0 for the name itself.
fn host_distance(pattern: &HostPattern, host: &str) -> Option<usize> {
    match pattern {
        HostPattern::Exact(name) => (name == host).then_some(0),
        HostPattern::Wildcard(suffix) => {
            let labels = host.strip_suffix(suffix.as_str())?.strip_suffix('.')?;
            Some(labels.split('.').count())
        }
    }
}

fn path_values(pattern: &[Segment], path: &[&str]) -> Option<BTreeMap<String, String>> {
    let (value, next) = match (pattern, path) {
        ([], []) => return Some(BTreeMap::new()),
        ([Segment::Rest(name)], _) => {
            return Some(BTreeMap::from([(name.clone(), path.join("/"))]));
        }
        ([Segment::Exact(text), ..], [first, ..]) if text == first => (None, &pattern[1..]),
        ([Segment::Parameter(name), ..], [first, ..]) if !first.is_empty() => {
            (Some((name.clone(), (*first).to_owned())), &pattern[1..])
        }
        _ => return None,
    };
    let mut values = path_values(next, &path[1..])?;
    values.extend(value);
    Some(values)
}

fn kind(segment: &Segment) -> u8 {
    match segment {
        Segment::Exact(_) => 0,
        Segment::Parameter(_) => 1,
        Segment::Rest(_) => 2,
    }
}

fn weight(route: &Route) -> (usize, usize, usize) {
    let texts: Vec<_> = route.headers.iter().map(|(_, w)| w).collect();
    let texts = [texts, route.query.iter().map(|(_, w)| w).collect()].concat();
    let (mut exact, mut prefix) = (0, 0);
    for text in &texts {
        match text {
            TextMatch::Exact(_) => exact += 1,
            TextMatch::Prefix(text) => prefix += text.len(),
            TextMatch::Present | TextMatch::Absent => {}
        }
    }
    let lists = usize::from(!route.methods.is_empty())
        + usize::from(!route.subprotocols.is_empty())
        + usize::from(route.scheme.is_some());
    (texts.len() + lists, exact, prefix)
}

prop_compose! {
    fn a_route()(
        hosts in subsequence(
            vec!["a.b.c", "b.c", "*.b.c", "*.c", "x.c", "*.x.c"], 0..3
        ),
        segments in vec(select(vec!["a", "b", "{}"]), 1..4),
        end in select(vec!["", "/", "/{*rest}"]),
        scheme in prop_oneof![3 => Just(None), 1 => Just(Some(Scheme::Http)),
            1 => Just(Some(Scheme::Https))],
        methods in prop_oneof![3 => Just(vec![]), 1 => Just(vec![Method::GET]),
            1 => Just(vec![Method::GET, Method::POST])],
        header in proptest::option::weighted(0.3, text_match()),
        query in proptest::option::weighted(0.3, text_match()),
        subprotocols in prop_oneof![3 => Just(vec![]), 1 => Just(vec!["v1", "v2"])],
    ) -> Route {
        let mut path = String::new();
        for (place, segment) in segments.iter().enumerate() {
            path += &match *segment {
                "{}" => format!("/{{p{place}}}"),
                text => format!("/{text}"),
            };
        }
        path += end;
        Route {
            hosts: hosts.iter().map(|host| host.parse().expect("a host")).collect(),
            scheme,
            methods,
            headers: header.map(|m| (HeaderName::from_static("x-k"), m)).into_iter().collect(),
            query: query.map(|m| ("k".to_owned(), m)).into_iter().collect(),
            subprotocols: subprotocols.into_iter().map(str::to_owned).collect(),
            // A redirect that changes the scheme alone would be a condition of its own.
            action: Action::Redirect(Redirect {
                scheme: None,
                host: Some("other.example".to_owned()),
                path: None,
                status: 308,
            }),
            ..route("", &path)
        }
    }
}

fn text_match() -> impl Strategy<Value = TextMatch> {
    prop_oneof![
        Just(TextMatch::Present),
        Just(TextMatch::Absent),
        Just(TextMatch::Exact("v1".into())),
        select(vec!["v", "v1"]).prop_map(|text| TextMatch::Prefix(text.into())),
    ]
}

prop_compose! {
    fn a_request()(
        host in select(vec!["a.b.c", "b.c", "z.b.c", "y.z.b.c", "x.c", "c", "a.x.c", "d"]),
        behind in select(vec!["", ".", ":80", ".:80"]),
        segments in vec(select(vec!["a", "b", "c", ""]), 1..5),
        method in select(vec![Method::GET, Method::POST, Method::PUT]),
        headers in vec((Just("x-k"), select(vec!["v", "v1", "v12", ""])), 0..3),
        query in vec((select(vec!["k", "l"]), select(vec!["v", "v1", "v12", ""])), 0..3),
        offered in subsequence(vec!["v0", "v1", "v2"], 0..3),
        websocket in any::<bool>(),
        tls in any::<bool>(),
    ) -> TestRequest {
        let host = host.to_owned();
        TestRequest {
            host, behind, segments, method, headers, query, offered, websocket, tls,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_table_finds_what_a_linear_scan_finds_and_explain_agrees(
        mut routes in vec(a_route(), 0..24),
        requests in vec(a_request(), 16),
    ) {
        for (place, route) in routes.iter_mut().enumerate() {
            route.name = format!("r{place:02}").as_str().into();
        }
        let table = table(&routes, None);
        for request in &requests {
            let expected = scan(&routes, request);
            let found = find(&table, request);
            prop_assert_eq!(found.as_ref(), expected.first(), "{:?}", request);

            let explained: Vec<_> = request.with(|request| {
                let considered = table.explain(request).into_iter();
                considered.map(|c| (c.route.name().to_string(), c.verdict.to_string())).collect()
            });
            prop_assert_eq!(explained.len(), routes.len());
            let matching: Vec<_> = explained
                .iter()
                .filter(|(_, verdict)| ["matched", OUTRANKED].contains(&verdict.as_str()))
                .collect();
            let names: Vec<_> = matching.iter().map(|(name, _)| name).collect();
            prop_assert_eq!(names, expected.iter().map(|(name, _)| name).collect::<Vec<_>>());
            let taken = matching.iter().position(|(_, verdict)| verdict == "matched");
            prop_assert_eq!(taken, (!matching.is_empty()).then_some(0));
        }
    }
}

/// The name of the route that each request takes, of routes that are written in both orders.
fn check(routes: &[Route], request: &TestRequest, expected: Option<&str>) {
    let mut turned = routes.to_vec();
    turned.reverse();
    for routes in [routes, &turned] {
        let found = find(&table(routes, None), request);
        let name = found.as_ref().map(|(name, _)| name.as_str());
        assert_eq!(name, expected, "{request:?}");
    }
}

fn on(hosts: &[&str], name: &str, path: &str) -> Route {
    Route {
        hosts: hosts
            .iter()
            .map(|host| host.parse().expect("a host"))
            .collect(),
        ..route(name, path)
    }
}

#[test]
fn the_most_specific_host_and_path_win() {
    let routes = [
        on(&[], "any", "/{*rest}"),
        on(&["*.example.com"], "wild", "/{*rest}"),
        on(&["*.chat.example.com"], "wilder", "/ws"),
        on(&["chat.example.com"], "exact", "/ws/{room}"),
        on(&["chat.example.com"], "lobby", "/ws/lobby"),
        on(&["chat.example.com"], "under", "/ws/{room}/{*rest}"),
        on(&["chat.example.com"], "end", "/ws/{room}/{part}/end"),
    ];
    let check = |host: &str, path, expected| {
        check(&routes, &TestRequest::get(host, path), Some(expected));
    };
    check("chat.example.com", "/ws/lobby", "lobby");
    check("chat.example.com", "/ws/7", "exact");
    check("chat.example.com", "/ws/7/", "under");
    check("chat.example.com", "/ws/7/a/b", "under");
    check("chat.example.com", "/ws/7/a/end", "end");
    check("chat.example.com", "/ws/lobby/x", "under");
    // A host does not fence its paths in.
    check("chat.example.com", "/other", "wild");
    check("a.chat.example.com", "/ws", "wilder");
    check("b.a.chat.example.com", "/ws", "wilder");
    check("a.chat.example.com", "/", "wild");
    check("example.com", "/ws/7", "any");
    check("evil-example.com", "/ws/7", "any");
    check("", "/", "any");
}

#[test]
fn more_conditions_come_before_fewer_and_exact_before_vague() {
    let header = |name: &str, wanted| Route {
        headers: vec![(HeaderName::from_static("x-k"), wanted)],
        ..route(name, "/")
    };
    let routes = [
        route("a-none", "/"),
        header("b-present", TextMatch::Present),
        header("c-prefix", TextMatch::Prefix("v".into())),
        header("d-longer", TextMatch::Prefix("v1".into())),
        header("e-exact", TextMatch::Exact("v123".into())),
        Route {
            methods: vec![Method::POST],
            ..header("f-two", TextMatch::Present)
        },
    ];
    let mut request = TestRequest::get("a", "/");
    check(&routes, &request, Some("a-none"));
    for (value, expected) in [
        ("w", "b-present"),
        ("v", "c-prefix"),
        ("v12", "d-longer"),
        ("v123", "e-exact"),
    ] {
        request.headers = vec![("x-k", value)];
        check(&routes, &request, Some(expected));
    }
    request.method = Method::POST;
    check(&routes, &request, Some("f-two"));
}

#[test]
fn i11_an_explanation_gives_reasons_without_the_expected_values() {
    let routes = [
        on(&["b.example", "*.c.example"], "host", "/x"),
        route("path", "/y"),
        Route {
            methods: vec![Method::PUT, Method::POST, Method::DELETE],
            ..route("method", "/x")
        },
        Route {
            headers: vec![(
                HeaderName::from_static("x-key"),
                TextMatch::Exact("hunter2".into()),
            )],
            ..route("header", "/x")
        },
        Route {
            query: vec![("k".to_owned(), TextMatch::Absent)],
            ..route("query", "/x")
        },
        Route {
            subprotocols: vec!["v1".to_owned()],
            ..route("subprotocol", "/x")
        },
        route("taken", "/x"),
        route("rest", "/{*rest}"),
    ];
    let request = TestRequest {
        query: vec![("k", "1")],
        ..TestRequest::get("a.example", "/x")
    };
    let table = table(&routes, None);
    let explained: Vec<_> = request.with(|request| {
        let considered = table.explain(request).into_iter();
        considered
            .map(|c| format!("{}: {}", c.route.name(), c.verdict))
            .collect()
    });
    let expected = [
        "host: the host is not b.example or *.c.example",
        "header: header x-key does not have the value",
        "method: the method is not PUT, POST or DELETE",
        "query: query parameter k is there",
        "subprotocol: the client does not offer subprotocol v1",
        "taken: matched",
        "path: the path does not match /y",
        &format!("rest: {OUTRANKED}"),
    ];
    assert_eq!(explained, expected);
}

/// The rows of docs/routing.md: `host/path`, maybe with one header, and the route taken.
#[test]
fn the_worked_example_of_the_documentation_holds() {
    let routes = [
        on(&["chat.example.com"], "lobby", "/ws/lobby"),
        on(
            &["chat.example.com", "*.chat.example.com"],
            "room",
            "/ws/{room}",
        ),
        Route {
            headers: vec![(
                HeaderName::from_static("x-channel"),
                TextMatch::Exact("beta".into()),
            )],
            ..on(&["chat.example.com"], "room-beta", "/ws/{room}")
        },
        on(&[], "site", "/{*rest}"),
    ];
    let documentation = include_str!("../../../../docs/routing.md");
    let is_row = |line: &&str| line.starts_with("| `") && line.contains(".example.com");
    let mut rows = 0;
    for row in documentation.lines().filter(is_row) {
        let columns: Vec<_> = row.split('|').map(str::trim).collect();
        let code: Vec<_> = columns[1].split('`').collect();
        let (host, path) = code[1].split_once('/').expect("a path");
        let header = code
            .get(3)
            .map(|header| header.split_once(": ").expect("a header"));
        let (name, behind) = host.split_once(':').unwrap_or((host, ""));
        let request = TestRequest {
            behind: if behind.is_empty() { "" } else { ":8443" },
            headers: header.into_iter().collect(),
            segments: path.split('/').collect(),
            ..TestRequest::get(&name.to_lowercase(), "/")
        };
        let expected = Some(columns[2].trim_matches('`')).filter(|name| *name != "none");
        check(&routes, &request, expected);
        rows += 1;
    }
    assert_eq!(rows, 7);
}
