//! What the manifest of the Gateway API grants, against what a gateway asks for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sessile::config::yaml;

use super::gateway_api::{cluster, configuration};
use crate::support::{Backend, Gateway, eventually};

/// A right as roles call it: group, resource, verb.
type Right = (String, String, String);

/// What a question needs; `None` for those of Services, which other roles grant.
fn right(line: &str) -> Option<Right> {
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parts: Vec<_> = path.strip_prefix("/apis/")?.split('/').collect();
    let group = parts.remove(0);
    if group == "discovery.k8s.io" {
        return None;
    }
    parts.remove(0);
    if parts[0] == "namespaces" {
        parts.drain(..2);
    }
    let verb = match (method, parts.len()) {
        ("GET", _) if query.contains("watch=1") => "watch",
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        other => panic!("{other:?}"),
    };
    let resource = match parts.last() {
        Some(&"status") => format!("{}/status", parts[0]),
        _ => parts[0].to_owned(),
    };
    Some((group.to_owned(), resource, verb.to_owned()))
}

/// What the manifest grants.
fn granted() -> BTreeSet<Right> {
    let file = "deploy/kubernetes/gateway-api/rbac.yaml";
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    let text = text.expect("a manifest");
    let documents = text
        .split("\n---\n")
        .map(|one| yaml::read(one).expect("YAML"));
    let mut granted = BTreeSet::new();
    for role in documents.filter(|one| !one["rules"].is_null()) {
        for rule in role["rules"].as_array().expect("rules") {
            let texts = |key: &str| -> Vec<String> {
                let list = rule[key].as_array().expect("a list").iter();
                list.map(|text| text.as_str().expect("a text").to_owned())
                    .collect()
            };
            let group = texts("apiGroups").remove(0);
            for resource in texts("resources") {
                let rights = texts("verbs").into_iter();
                granted.extend(rights.map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    granted
}

#[tokio::test]
async fn the_manifest_of_the_gateway_api_grants_what_is_asked_for_and_no_more() {
    let backend = Backend::echo().await;
    let cluster = cluster(&backend).await;
    let _gateway = Gateway::start(&configuration(&cluster.url(), "")).await;
    let granted = granted();
    eventually("it asks for everything that is granted", async || {
        let asked: BTreeSet<_> = cluster
            .asked()
            .iter()
            .filter_map(|line| right(line))
            .collect();
        asked == granted
    })
    .await;
}
