//! The description of the API for programs, and the page for operators.

use serde_json::Value;

use crate::admin::openapi;
use crate::admin::resources::resources;

#[test]
fn openapi_json_and_the_page_of_the_admin_api_are_up_to_date() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("docs/openapi.json");
    let document = format!("{:#}\n", openapi());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &document).expect("docs/ can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == document,
        "run the tests with UPDATE=1 and commit docs/openapi.json"
    );
    let page = std::fs::read_to_string(root.join("docs/admin-api.md")).expect("a page");
    for resource in resources() {
        let row = format!("`{} {}`", resource.method, resource.path);
        assert!(page.contains(&row), "docs/admin-api.md lacks {row}");
    }
    for (name, reference) in references(&openapi()) {
        assert!(
            openapi()["components"]["schemas"][&name].is_object(),
            "{reference} points nowhere"
        );
    }
}

/// All `$ref`s of a document.
fn references(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str).map(|reference| {
                let name = reference.rsplit('/').next().unwrap_or_default();
                (name.to_owned(), reference.to_owned())
            });
            own.into_iter()
                .chain(fields.values().flat_map(references))
                .collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
