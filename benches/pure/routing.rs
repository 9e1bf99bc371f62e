//! A route found, in small tables and large ones. That the two differ little is a promise.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::time::SystemTime;

use http::{HeaderMap, Method};
use sessile::base::clock::now;
use sessile::config::layers::Layers;
use sessile::config::pem::{Mistake, Validity, Wanted};
use sessile::config::snapshot::{CertificateFiles, Snapshot};
use sessile::config::validate::{CertificateFault, Environment, FileContent, validate};
use sessile::core::routing::{Request, RoutingTable};

use crate::{Case, Work, work};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "routing: exact host among 10 routes",
        make: || find(10, "h7.example.com"),
    },
    Case {
        name: "routing: exact host among 10,000 routes",
        make: || find(10_000, "h7.example.com"),
    },
    Case {
        name: "routing: wildcard host among 10 routes",
        make: || find(10, "a.b.w2.example.com"),
    },
    Case {
        name: "routing: wildcard host among 10,000 routes",
        make: || find(10_000, "a.b.w2.example.com"),
    },
    Case {
        name: "routing: unknown host among 10,000 routes",
        make: || find(10_000, "no.example.org"),
    },
    Case {
        name: "routing: path among 10 of one host",
        make: || find_path(10),
    },
    Case {
        name: "routing: path among 10,000 of one host",
        make: || find_path(10_000),
    },
    Case {
        name: "routing: compile 1,000 routes",
        make: compile,
    },
    Case {
        name: "routing: compile 1,000 routes, one is new",
        make: compile_again,
    },
];

/// Nothing outside the text matters here.
struct Nowhere;

impl Environment for Nowhere {
    fn variable(&self, name: &str) -> Result<String, String> {
        Err(format!("the environment has no variable `{name}`"))
    }

    fn text(&self, _: &Path, _: FileContent) -> Result<String, String> {
        Ok(String::new())
    }

    fn broker_name(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn certificate(&self, _: &CertificateFiles) -> Vec<CertificateFault> {
        Vec::new()
    }

    fn socket(&self, _: &Path) -> Result<(), String> {
        Ok(())
    }

    fn system_roots(&self) -> Result<(), String> {
        Ok(())
    }

    fn validities(&self, _: &Path) -> Vec<Validity> {
        Vec::new()
    }

    fn mistake(&self, _: &Path, _: Wanted) -> Option<Mistake> {
        None
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn roots(&self, _: &Path) -> Result<u128, String> {
        Ok(0)
    }

    fn host_name(&self) -> String {
        "bench".to_owned()
    }
}

fn snapshot(routes: impl Iterator<Item = String>) -> Snapshot {
    let mut text = String::from(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:8080\"]\n\
         [upstreams.chat]\nbackends = [\"127.0.0.1:9101\", \"127.0.0.1:9102\"]\n",
    );
    for (index, route) in routes.enumerate() {
        write!(
            text,
            "[[routes]]\nname = \"r{index}\"\nupstream = \"chat\"\n{route}\n"
        )
        .expect("a string takes all");
    }
    let path = Path::new("gateway.toml");
    let layers = Layers {
        path,
        text: &text,
        environment: &[],
        sets: &[],
    };
    let reading = layers.read();
    let (snapshot, found) = validate(&reading.model, &reading.origin, Path::new("."), &Nowhere);
    snapshot.unwrap_or_else(|| panic!("{found:?}"))
}

/// Every other route has a wildcard.
fn by_host(count: usize) -> Snapshot {
    snapshot((0..count).map(|index| {
        let host = if index % 2 == 0 { "*.w" } else { "h" };
        format!("hosts = [\"{host}{index}.example.com\"]\npath = \"/ws/{{room}}\"")
    }))
}

fn find(count: usize, host: &'static str) -> Work {
    find_in(&by_host(count), host.to_owned(), "/ws/lobby".to_owned())
}

fn find_path(count: usize) -> Work {
    let routes = (0..count).map(|index| format!("path = \"/tenant{index}/ws/{{room}}\""));
    find_in(
        &snapshot(routes),
        "chat.example.com".to_owned(),
        "/tenant7/ws/lobby".to_owned(),
    )
}

fn find_in(snapshot: &Snapshot, host: String, path: String) -> Work {
    let table = RoutingTable::compile(snapshot, None, 1, now());
    let headers = HeaderMap::new();
    work(move || {
        let request = Request {
            method: &Method::GET,
            host: black_box(&host),
            path: black_box(&path),
            query: None,
            headers: &headers,
            websocket: true,
            tls: false,
        };
        table
            .find(&request)
            .map(|matched| matched.parameters.iter().count())
    })
}

fn compile() -> Work {
    let snapshot = by_host(1_000);
    work(move || RoutingTable::compile(black_box(&snapshot), None, 1, now()))
}

fn compile_again() -> Work {
    let previous = RoutingTable::compile(&by_host(1_000), None, 1, now());
    let snapshot = by_host(1_001);
    work(move || RoutingTable::compile(black_box(&snapshot), Some(&previous), 2, now()))
}
