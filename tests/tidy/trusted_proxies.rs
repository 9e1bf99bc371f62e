//! Lists of the networks of CDNs in `deploy/`: the gateway reads those that are shipped, and the
//! script that refreshes them never replaces a list by what is none.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::root;

/// What `sessile check` makes of a listener that trusts this list.
fn check(list: &Path) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.toml");
    let text = format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:8080\"]\n\
         trusted_proxies = [{{ file = {list:?} }}]\n"
    );
    fs::write(&path, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessile"));
    let output = command
        .arg("check")
        .arg("--config")
        .arg(&path)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or(printed)
}

#[test]
fn the_shipped_lists_are_read() {
    for name in ["cloudflare.txt", "fastly.txt"] {
        let list = root().join("deploy/trusted-proxies").join(name);
        check(&list).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let text = fs::read_to_string(&list).unwrap();
        let cdn = name.trim_end_matches(".txt");
        let command = format!("deploy/trusted-proxies/refresh {cdn} /etc/sessile/{name}");
        assert!(
            text.contains(&command),
            "{name} names the command that refreshes it"
        );
    }
}

#[test]
fn a_list_is_replaced_only_by_a_list() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let list = path("list.txt");
    let refresh = |page: &str| {
        fs::write(path("page"), page).unwrap();
        let mut command = Command::new(root().join("deploy/trusted-proxies/refresh"));
        command
            .arg(format!("file://{}", path("page").display()))
            .arg(&list);
        command.output().unwrap().status.success()
    };
    assert!(refresh("104.16.0.0/13\n2400:cb00::/32"), "a page of text");
    let text = fs::read_to_string(&list).unwrap();
    assert!(
        text.ends_with("\n104.16.0.0/13\n2400:cb00::/32\n"),
        "{text}"
    );
    let json = r#"{"addresses":["23.235.32.0/20"],"ipv6_addresses":["2a04:4e40::/32"]}"#;
    assert!(refresh(json), "JSON");
    let text = fs::read_to_string(&list).unwrap();
    assert!(
        text.ends_with("\n23.235.32.0/20\n2a04:4e40::/32\n"),
        "{text}"
    );
    check(&list).unwrap_or_else(|fault| panic!("{fault}"));

    let many: String = (0..1001)
        .map(|at| format!("10.{}.{}.0/24\n", at / 256, at % 256))
        .collect();
    for page in ["", "<html>503</html>", "0.0.0.0/0", "::/0", &many] {
        assert!(!refresh(page), "{page}");
        assert_eq!(fs::read_to_string(&list).unwrap(), text);
    }
    let left = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 2, "the page and the list, and nothing half done");
}
