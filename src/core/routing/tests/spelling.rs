//! Guarded routes cannot be got around by another spelling: whatever reaches a backend by an open
//! route is nothing that a backend reads as a guarded path.

use http::{HeaderMap, Method};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::table;
use crate::base::path::{CanonicalPath, PathFault, PathRules};
use crate::config::conflict::tests::route;
use crate::config::limits::AddressRules;
use crate::config::snapshot::Route;
use crate::core::routing::{Request, RoutingTable};

/// What a backend gets, and by which route.
#[derive(Debug, PartialEq)]
enum Outcome {
    Refused(PathFault),
    NoRoute,
    Taken(String, String),
}

fn ask(table: &RoutingTable, method: &Method, raw: &str) -> Outcome {
    let path = match CanonicalPath::read(raw) {
        Ok(path) => path,
        Err(fault) => return Outcome::Refused(fault),
    };
    let headers = HeaderMap::new();
    let request = Request {
        method,
        host: "a.example",
        path: path.as_str(),
        query: None,
        headers: &headers,
        websocket: false,
        tls: false,
    };
    match table.choose(&request, &path) {
        Err(fault) => Outcome::Refused(fault),
        Ok(None) => Outcome::NoRoute,
        Ok(Some(matched)) => {
            let forwarded = path.forwarded(matched.route.config.paths);
            Outcome::Taken(matched.route.name().to_string(), forwarded.to_owned())
        }
    }
}

/// A route that lets in one network only: guarded, without the need of an authenticator.
fn guarded(path: &str) -> Route {
    Route {
        addresses: AddressRules::new(vec!["10.0.0.0/8".parse().expect("a network")], Vec::new()),
        ..route("guarded", path)
    }
}

fn percent_decoded(text: &str) -> String {
    let bytes = crate::base::path::decoded(text).into_owned();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Segments without empty ones, dots resolved.
fn resolved(text: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(out.pop()),
            other => out.push(other),
        }
    }
    let slash = if text.ends_with('/') && !out.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{slash}", out.join("/"))
}

/// Decodes once, then merges slashes and resolves dots.
fn nginx(path: &str) -> String {
    resolved(&percent_decoded(path))
}

/// Cuts path parameters off each segment, then decodes, takes backslashes for slashes and resolves.
fn servlet(path: &str) -> String {
    let cut = path
        .split('/')
        .map(|part| part.split(';').next().unwrap_or(""));
    let cut: Vec<_> = cut.collect();
    resolved(&percent_decoded(&cut.join("/")).replace('\\', "/"))
}

/// Takes backslashes for slashes, in any case; dots and spaces at the end of a name do not count.
fn iis(path: &str) -> String {
    let text = resolved(&percent_decoded(path).replace('\\', "/")).to_lowercase();
    let named = text
        .split('/')
        .map(|part| part.trim_end_matches(['.', ' ']));
    named.collect::<Vec<_>>().join("/")
}

/// In any case, with or without a slash at the end; segments are decoded one by one.
fn express(path: &str) -> String {
    let text = path
        .split('/')
        .map(percent_decoded)
        .collect::<Vec<_>>()
        .join("/");
    text.to_lowercase().trim_end_matches('/').to_owned()
}

/// Decodes, cleans.
fn go(path: &str) -> String {
    resolved(&percent_decoded(path))
}

/// Decodes the whole path, merges slashes.
fn wsgi(path: &str) -> String {
    let text = percent_decoded(path);
    let merged: Vec<_> = text.split('/').filter(|part| !part.is_empty()).collect();
    let slash = if text.ends_with('/') { "/" } else { "" };
    format!("/{}{slash}", merged.join("/"))
}

/// What a backend makes of a path that it gets.
type Decoder = fn(&str) -> String;

const BACKENDS: [(&str, Decoder); 6] = [
    ("nginx", nginx),
    ("servlet", servlet),
    ("iis", iis),
    ("express", express),
    ("go", go),
    ("wsgi", wsgi),
];

/// A guarded pattern, a path of it, and whether it holds a path that a backend reads.
type Pair = (&'static str, &'static str, fn(&str) -> bool);

/// Pairs with an open `/{*rest}`.
const PAIRS: [Pair; 5] = [
    ("/admin/{*rest}", "/admin/x", |path| {
        path == "/admin" || path.starts_with("/admin/")
    }),
    ("/v1.0/secret", "/v1.0/secret", |path| {
        path == "/v1.0/secret"
    }),
    ("/x/{id}/keys", "/x/1/keys", |path| {
        let parts: Vec<_> = path.split('/').collect();
        matches!(parts[..], ["", "x", id, "keys"] if !id.is_empty())
    }),
    ("/~root/caf\u{e9}/{*rest}", "/~root/caf\u{e9}/y", |path| {
        path == "/~root/caf\u{e9}" || path.starts_with("/~root/caf\u{e9}/")
    }),
    ("/$data/a+b", "/$data/a+b", |path| path == "/$data/a+b"),
];

/// Another way to write a path that some server undoes.
fn mutated(path: &str, edits: &[(usize, u8)]) -> String {
    let mut text = path.to_owned();
    for (place, edit) in edits {
        let places: Vec<_> = text.char_indices().map(|(at, _)| at).collect();
        let at = places[place % places.len()];
        let letter = text[at..].chars().next().expect("a letter");
        let end = at + letter.len_utf8();
        let lower = |letter: char| -> String {
            let mut buffer = [0; 4];
            let bytes = letter.encode_utf8(&mut buffer).bytes();
            bytes.map(|byte| format!("%{byte:02x}")).collect()
        };
        let (range, put) = match edit % 14 {
            0 => (at..end, lower(letter)),
            1 => (at..end, lower(letter).to_uppercase()),
            2 => (at..end, letter.to_uppercase().collect()),
            3 if letter == '/' => (at..end, "//".to_owned()),
            4 if letter == '/' => (at..end, "\\".to_owned()),
            5 if letter == '/' => (at..at, ";a=1".to_owned()),
            6 if letter == '/' => (end..end, "./".to_owned()),
            7 if letter == '/' => (end..end, "z/../".to_owned()),
            8 if letter == '/' => (end..end, ";/".to_owned()),
            9 => (text.len()..text.len(), "/".to_owned()),
            10 if letter == '/' && at > 0 => (at..at, ".".to_owned()),
            11 if letter == '/' && at > 0 => (at..at, "%20".to_owned()),
            12 => (0..0, "/".to_owned()),
            _ => (text.len()..text.len(), "%2f".to_owned()),
        };
        text.replace_range(range, &put);
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn i13_no_backend_reads_a_guarded_path_in_what_came_by_an_open_route(
        pair in select(PAIRS.to_vec()),
        edits in vec((0_usize..64, any::<u8>()), 0..5),
    ) {
        let (pattern, path, holds) = pair;
        let routes = [guarded(pattern), route("open", "/{*rest}")];
        let table = table(&routes, None);
        let raw = mutated(path, &edits);
        if let Outcome::Taken(name, forwarded) = ask(&table, &Method::GET, &raw)
            && name == "open"
        {
            for (backend, reads) in BACKENDS {
                let read = reads(&forwarded);
                prop_assert!(!holds(&read), "{raw} reaches {backend} as {forwarded}, read as {read}");
            }
        }
    }
}

/// Guarded paths of many kinds beside an open rest.
fn listed() -> RoutingTable {
    let routes = [
        guarded("/admin/{*rest}"),
        Route {
            name: "version".into(),
            ..guarded("/v1.0/secret")
        },
        Route {
            name: "under".into(),
            ..guarded("/a_b/{*rest}")
        },
        Route {
            name: "home".into(),
            ..guarded("/~root/{*rest}")
        },
        Route {
            name: "keys".into(),
            ..guarded("/x/{id}/keys")
        },
        Route {
            name: "cafe".into(),
            ..guarded("/caf\u{e9}/{*rest}")
        },
        Route {
            name: "exact".into(),
            ..guarded("/exact")
        },
        Route {
            name: "read".into(),
            methods: vec![Method::GET],
            ..guarded("/read")
        },
        route("open", "/{*rest}"),
    ];
    table(&routes, None)
}

#[test]
fn i13_listed_spellings_are_guarded_or_refused() {
    use PathFault::{EncodedSlash, Lookalike, Semicolon};
    let table = listed();
    let check = |raw: &str, expected| {
        assert_eq!(ask(&table, &Method::GET, raw), expected, "{raw}");
    };
    let taken = |name: &str, path: &str| Outcome::Taken(name.to_owned(), path.to_owned());
    check("/admin/x", taken("guarded", "/admin/x"));
    check("//admin/x", taken("guarded", "/admin/x"));
    check("/%61dmin", taken("guarded", "/admin"));
    check("/v1%2e0/secret", taken("version", "/v1.0/secret"));
    check("/a%5fb/x", taken("under", "/a_b/x"));
    check("/%7Eroot/x", taken("home", "/~root/x"));
    check("/caf%c3%a9/x", taken("cafe", "/caf%C3%A9/x"));
    check("/caf\u{e9}/x", taken("cafe", "/caf%C3%A9/x"));
    for raw in [
        "/admin%2fx",
        "/%2fadmin/x",
        "/admin\\x",
        "/%5cadmin/x",
        "/open%2fx",
    ] {
        check(raw, Outcome::Refused(EncodedSlash));
    }
    for raw in [
        "/admin;a=1/x",
        "/;/admin/x",
        "/x;v=1/1/keys",
        "/open;x",
        "/open%3bx",
    ] {
        check(raw, Outcome::Refused(Semicolon));
    }
    for raw in [
        "/exact/",
        "/Exact",
        "/ADMIN/x",
        "/admin./x",
        "/X/1/Keys/",
        "/CAF%C3%89/x",
    ] {
        check(raw, Outcome::Refused(Lookalike));
    }
    check("/open/", taken("open", "/open/"));
    check("/Open", taken("open", "/Open"));
    // Servers answer HEAD as GET.
    assert_eq!(
        ask(&table, &Method::HEAD, "/read"),
        Outcome::Refused(Lookalike)
    );
    assert_eq!(ask(&table, &Method::POST, "/read"), taken("open", "/read"));
}

#[test]
fn a_route_passes_on_what_its_backend_takes_for_data() {
    let all = PathRules {
        encoded_slash: true,
        semicolon: true,
        empty_segments: true,
        lookalikes: true,
    };
    let routes = [
        guarded("/admin/{*rest}"),
        Route {
            paths: all,
            ..route("open", "/{*rest}")
        },
        Route {
            name: "Admin".into(),
            ..route("Admin", "/ADMIN")
        },
    ];
    let table = table(&routes, None);
    let check = |raw: &str, route: &str, forwarded: &str| {
        let expected = Outcome::Taken(route.to_owned(), forwarded.to_owned());
        assert_eq!(ask(&table, &Method::GET, raw), expected, "{raw}");
    };
    check("/a%2fb;c=1//d\\", "open", "/a%2Fb;c=1//d%5C");
    check("/img/http://x", "open", "/img/http://x");
    check("/Admin/x", "open", "/Admin/x");
    // Merged, it is the guarded path, which is forwarded merged.
    check("//admin//x", "guarded", "/admin/x");
}

#[test]
fn two_literal_paths_are_distinguished() {
    let routes = [
        guarded("/admin"),
        route("other", "/Admin"),
        Route {
            name: "slash".into(),
            ..route("slash", "/admin/")
        },
    ];
    let table = table(&routes, None);
    let check = |raw: &str, expected: Outcome| {
        assert_eq!(ask(&table, &Method::GET, raw), expected, "{raw}");
    };
    let taken = |name: &str, path: &str| Outcome::Taken(name.to_owned(), path.to_owned());
    check("/admin", taken("guarded", "/admin"));
    check("/Admin", taken("other", "/Admin"));
    check("/admin/", taken("slash", "/admin/"));
    check("/ADMIN", Outcome::NoRoute);
}

/// The table of docs/routing.md, "spelling, matched as, forwarded as", for a guarded
/// `/admin/{*rest}` beside an open `/{*rest}`.
#[test]
fn the_table_of_spellings_in_the_documentation_holds() {
    let documentation = include_str!("../../../../docs/routing.md");
    let table = table(
        &[guarded("/admin/{*rest}"), route("open", "/{*rest}")],
        None,
    );
    let start = documentation.find("| spelling |").expect("the table");
    let mut rows = 0;
    for row in documentation[start..]
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
    {
        let columns: Vec<_> = row
            .split(" | ")
            .map(|cell| cell.trim_matches(['|', ' ']))
            .collect();
        let code = |cell: &str| cell.trim_matches('`').to_owned();
        for raw in columns[0].split(", ").map(code) {
            let outcome = ask(&table, &Method::GET, &raw);
            if columns[1] == "refused" {
                assert!(matches!(outcome, Outcome::Refused(_)), "{raw}: {outcome:?}");
            } else {
                let Outcome::Taken(route, forwarded) = outcome else {
                    panic!("{raw}: {outcome:?}");
                };
                assert_eq!(forwarded, code(columns[2]), "{raw}");
                let path = CanonicalPath::read(&raw).expect("it was taken");
                let key = crate::base::path::path_key(path.as_str()).into_owned();
                assert_eq!(key, code(columns[1]), "{raw}");
                let guarded = key == "/admin" || key.starts_with("/admin/");
                assert_eq!(route == "guarded", guarded, "{raw}");
            }
            rows += 1;
        }
    }
    assert!(rows >= 20, "{rows} spellings");
}
