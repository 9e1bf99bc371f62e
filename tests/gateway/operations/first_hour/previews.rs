//! What `sessile preview` prints.

use std::fs;

use super::run;
use crate::support::{Backend, Client, Gateway, config};

#[tokio::test]
async fn removed_routes_show_their_sessions_and_percentages_agree() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let all = config::echo(&[one.address, two.address], "", "");
    let kept = "\n[[routes]]\nname = \"kept\"\npath = \"/kept\"\nupstream = \"echo\"\n";
    let gateway = Gateway::start(&format!("{all}{kept}")).await;
    let client = Client::connect(gateway.address(), "/kept").await;
    let here = gateway.directory();
    let next = config::echo(&[one.address], "", "");
    fs::write(here.join("next.toml"), config::complete(&next, here)).unwrap();
    let printed = run(here, &["preview", "next.toml"]).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert!(
        printed
            .out
            .contains("  kept: 1 live session, kept: on_removal"),
        "{printed:?}"
    );
    assert!(
        printed
            .out
            .contains("1 backend gets no new sessions any more"),
        "{printed:?}"
    );
    assert!(!printed.out.contains("would be left"), "{printed:?}");
    // The summary and the table have the share from one sample.
    let words: Vec<_> = printed.out.split_whitespace().collect();
    let shares = words.windows(2).filter(|pair| pair[1] == "%");
    let shares: Vec<_> = shares.map(|pair| pair[0]).collect();
    assert_eq!(shares[0], shares[1], "{printed:?}");
    client.close().await;
}

#[tokio::test]
async fn the_faulty_file_is_the_one_that_is_named() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    let here = gateway.directory();
    let elsewhere = tempfile::tempdir().unwrap();
    let bad = config::complete(&config::echo(&[backend.address], "polcy = \"x\"", ""), here);
    let bad_path = elsewhere.path().join("bad.toml");
    fs::write(&bad_path, bad).unwrap();
    let good_path = elsewhere.path().join("good.toml");
    fs::write(&good_path, config::complete(&text, here)).unwrap();
    let (bad, good) = (bad_path.to_str().unwrap(), good_path.to_str().unwrap());
    for arguments in [
        &["preview", bad][..],
        &["preview", bad, "--against", good],
        &["preview", good, "--against", bad],
    ] {
        let printed = run(here, arguments).await;
        assert_eq!(printed.code, Some(2), "{arguments:?}: {printed:?}");
        assert!(
            printed.out.contains(&format!("--> {bad}:")),
            "{arguments:?}: {printed:?}"
        );
        let end = format!("{bad} would be refused: 1 fault\n");
        assert!(printed.out.ends_with(&end), "{arguments:?}: {printed:?}");
        assert!(!printed.out.contains(good), "{arguments:?}: {printed:?}");
    }
}
