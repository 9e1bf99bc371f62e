//! A CDN in front: which clients are behind it, by files that its operator refreshes.

use std::fs;

use crate::support::{Backend, Gateway, config, eventually, http};

#[tokio::test]
async fn a_refreshed_list_of_a_cdn_counts_at_once() {
    let backend = Backend::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("cdn.txt");
    fs::write(&list, "# a CDN\n192.0.2.0/24\n").unwrap();
    let text = format!(
        "[sources.file]\nwatch = true\n\
         [[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         trusted_proxies = [{{ file = {list:?} }}]\n{}",
        config::echo(&[backend.address], "", "")
    );
    let gateway = Gateway::start_in(directory, &text).await;
    let client = async || {
        let before = gateway.requests().len();
        let named = [("x-forwarded-for", "198.51.100.7")];
        http::get(gateway.address(), "/", &named).await;
        let records = gateway.wait_for_requests(before + 1).await;
        let client = records[before]["client"].as_str().unwrap().to_owned();
        client.split(':').next().unwrap_or_default().to_owned()
    };
    assert_eq!(client().await, "127.0.0.1", "a stranger");
    fs::write(&list, "192.0.2.0/24\n127.0.0.0/8\n").unwrap();
    eventually("the peer is trusted", async || {
        client().await == "198.51.100.7"
    })
    .await;
    let generation = gateway.generation();

    // Neither a broken download nor one that trusts everyone takes effect.
    for (content, fault) in [
        ("<html>oops</html>\n", "is not a network"),
        ("", "holds no network"),
        ("0.0.0.0/0\n", "wider than any proxy"),
    ] {
        fs::write(&list, content).unwrap();
        let answer = gateway.reload();
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body.contains(fault), "{}", answer.body);
        assert_eq!(client().await, "198.51.100.7");
    }
    assert_eq!(gateway.generation(), generation);
}
