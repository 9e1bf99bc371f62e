//! The command line in a real terminal: colours there only, lists that repeat themselves, keys.

use std::path::Path;

use crate::support::shell::sessile;
use crate::support::terminal::Terminal;
use crate::support::{Backend, Client, Gateway, config, eventually};

const SIZE: (u16, u16) = (24, 100);

async fn gateway(backend: &Backend) -> Gateway {
    Gateway::start(&config::echo(&[backend.address], "", "")).await
}

/// What a command shows in a terminal, up to this text at least.
async fn shown_with(arguments: &[&str], place: (&Path, bool), text: &str) -> String {
    let (directory, no_color) = place;
    let mut terminal = Terminal::run(arguments, directory, SIZE, no_color);
    terminal.end().await;
    terminal.shows(text).await;
    terminal.shown()
}

#[tokio::test]
async fn only_a_terminal_gets_colours_and_only_if_it_may() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let address = backend.address.to_string();
    let shown = shown_with(&["backends"], (gateway.directory(), false), &address).await;
    assert!(shown.contains("\u{1b}[1mUPSTREAM"), "{shown:?}");
    for (arguments, no_color) in [(&["backends"][..], true), (&["backends", "--json"], false)] {
        let place = (gateway.directory(), no_color);
        let shown = shown_with(arguments, place, &address).await;
        assert!(!shown.contains('\u{1b}'), "{arguments:?}: {shown:?}");
    }
    let piped = sessile(&["backends"], gateway.directory());
    let piped = String::from_utf8(piped.stdout).expect("UTF-8");
    assert!(piped.starts_with("UPSTREAM"), "{piped}");
    assert!(piped.contains(&address), "{piped}");
    assert!(!piped.contains('\u{1b}'), "{piped:?}");
}

#[tokio::test]
async fn top_is_live_takes_keys_and_leaves_the_terminal_as_it_was() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    let id = client.session_id().await;
    let arguments = ["top", "--interval", "100ms"];
    let mut terminal = Terminal::run(&arguments, gateway.directory(), SIZE, false);
    // The alternate screen, then the answers.
    terminal.shows("\u{1b}[?1049h").await;
    // Blanks are not written, so only words stand together.
    terminal.shows("quit").await;
    terminal.shows(&id).await;
    client.echo("something").await;
    terminal.press("m");
    // The line of keys names them as well.
    eventually("the order", async || {
        terminal.shown().matches("messages").count() > 1
    })
    .await;
    terminal.press("/route=none\r");
    terminal.shows("route=none").await;
    terminal.press("q");
    assert_eq!(terminal.end().await.code(), Some(0));
    terminal.shows("\u{1b}[?1049l").await;
    // Ctrl-C is a key while the terminal is raw, and ends it as well.
    let mut terminal = Terminal::run(&arguments, gateway.directory(), SIZE, false);
    terminal.shows("quit").await;
    terminal.press("\u{3}");
    assert_eq!(terminal.end().await.code(), Some(0));
    client.close().await;
}

#[tokio::test]
async fn lists_repeat_themselves_in_place_and_fit_the_screen() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let directory = gateway.directory();
    let watched = |arguments: &[&str]| Terminal::run(arguments, directory, SIZE, false);
    let sessions = watched(&["sessions", "--watch"]);
    let status = watched(&["status", "--watch"]);
    let backends = watched(&["backends", "--watch"]);
    for terminal in [&sessions, &status, &backends] {
        terminal.shows("\u{1b}[1;1H").await;
    }
    let mut clients = Vec::new();
    for key in 0..30 {
        clients.push(Client::connect(gateway.address(), &format!("/?k={key}")).await);
    }
    let id = clients[0].session_id().await;
    sessions.shows(&id).await;
    // 30 sessions do not fit into 24 rows.
    sessions.shows("more lines").await;
    status.shows("sessions  30 on 2 workers").await;
    eventually("the backends", async || {
        let shown = backends.shown();
        let last = shown.rsplit("\u{1b}[1;1H").next().unwrap_or_default();
        last.lines().any(|line| line.contains(" 30"))
    })
    .await;
    let last = sessions.shown();
    let last = last.rsplit("\u{1b}[1;1H").next().unwrap_or_default();
    assert!(last.lines().count() <= 24, "{last}");
    for client in clients {
        client.close().await;
    }
}
