//! The Autobahn suite gives through the gateway, case by case, what it gives without it. See
//! `tests/autobahn/README.md`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::peers::{Language, Server, python};
use crate::support::{Gateway, config};

/// What takes seconds, and how many cases run at once.
const QUICK: [(&str, &str); 2] = [
    ("1.*,2.*,3.*,4.*,5.*,6.*,7.*,10.*", "12"),
    // A star also matches dots, so each is named.
    (
        "12.1.1,12.2.1,12.3.1,12.4.1,12.5.1,13.1.1,13.2.1,13.3.1,13.4.1,13.5.1,13.6.1,13.7.1",
        "2",
    ),
];
/// What takes long is run with little beside it, since its cases have deadlines.
const FULL: [(&str, &str); 2] = [QUICK[0], ("9.*,12.*,13.*", "2")];

fn run(address: SocketAddr, (cases, side_by_side): (&str, &str)) -> BTreeMap<String, Value> {
    let output = Command::new(python())
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/autobahn/fuzz.py"
        ))
        .args([&format!("ws://{address}"), cases, side_by_side])
        .stdin(Stdio::null())
        .output()
        .expect("`./test --prepare` installs Python and the suite");
    let printed = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&printed).unwrap_or_else(|error| {
        panic!(
            "{error}: {printed}\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

#[tokio::test]
async fn autobahn_finds_no_difference() {
    let full = std::env::var("SESSILE_AUTOBAHN").is_ok_and(|which| which == "full");
    let server = Server::start(Language::Node, "server", &[]);
    let gateway = Gateway::start(&config::echo(&[server.address], "", "")).await;
    let mut compared = 0;
    let mut differences = Vec::new();
    for group in if full { FULL } else { QUICK } {
        let (direct, through) = (run(server.address, group), run(gateway.address(), group));
        assert_eq!(direct.len(), through.len());
        for (case, wanted) in &direct {
            compared += 1;
            if through[case] != *wanted {
                differences.push(format!("{case}: {} instead of {wanted}", through[case]));
            }
        }
    }
    assert!(compared >= 250, "only {compared} cases were run");
    assert!(
        differences.is_empty(),
        "of {compared} cases:\n{}",
        differences.join("\n")
    );
}
