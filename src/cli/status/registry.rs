//! Registries of services in `sessile status`.

use std::io::{self, Write};

use crate::admin::sources::registry::RegistryView;
use crate::cli::print::{counted, visible};

/// Services that are listed with what is wrong.
const TROUBLED_SHOWN: usize = 10;

/// How a registry stands, and which services are not found.
pub(super) fn registry(out: &mut dyn Write, name: &str, view: &RegistryView) -> io::Result<()> {
    let state = match (&view.endpoint, &view.fault) {
        (Some(endpoint), _) => format!("answers at {}", visible(endpoint)),
        (None, Some(_)) => "DOES NOT ANSWER".to_owned(),
        (None, None) => "nothing asked yet".to_owned(),
    };
    let services = counted(view.count as u64, "service");
    let found = match view.failing {
        0 => "all found".to_owned(),
        failing => format!("{failing} NOT FOUND"),
    };
    writeln!(out, "{name:<9} {state}, {services}, {found}")?;
    let mut notes = Vec::new();
    let counts = [
        ("refused", view.refused),
        ("waiting", view.waiting),
        ("stale", view.stale),
        ("doubted", view.doubted.len()),
    ];
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    notes.extend(counts.map(|(word, count)| format!("{count} {word}")));
    notes.extend(view.leaderless.then(|| "no leader".to_owned()));
    let remembered = view.from_last_known_good;
    notes.extend(remembered.then(|| "from last known good".to_owned()));
    if !notes.is_empty() {
        writeln!(out, "          {}", notes.join(", "))?;
    }
    if let Some(fault) = &view.keys_fault {
        writeln!(out, "          keys: {}", visible(fault))?;
    }
    let failing = view.services.iter();
    let mut failing = failing.filter_map(|one| Some((&one.service, one.fault.as_ref()?)));
    for (service, fault) in failing.by_ref().take(TROUBLED_SHOWN) {
        writeln!(out, "          {}: {}", visible(service), visible(fault))?;
    }
    if failing.next().is_some() {
        writeln!(out, "          … and more: GET /v1/status has them")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sources::registry::ServiceView;

    #[track_caller]
    fn check(view: &RegistryView, expected: &str) {
        let mut out = Vec::new();
        registry(&mut out, "consul", view).expect("a vector takes all");
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_registry_is_one_line_and_its_trouble_follows() {
        let well = RegistryView {
            endpoint: Some("http://127.0.0.1:8500".to_owned()),
            count: 1,
            ..RegistryView::default()
        };
        check(
            &well,
            "consul    answers at http://127.0.0.1:8500, 1 service, all found\n",
        );
        let service = ServiceView {
            service: "chat".to_owned(),
            upstreams: vec!["chat".to_owned()],
            backends: Some(2),
            left_out: 0,
            age_seconds: None,
            fault: Some("refused\u{1b}[2J".to_owned()),
        };
        let ill = RegistryView {
            endpoint: None,
            fault: Some("chat: refused".to_owned()),
            failing: 1,
            stale: 3,
            leaderless: true,
            services: vec![service],
            ..well
        };
        let expected = "\
consul    DOES NOT ANSWER, 1 service, 1 NOT FOUND
          3 stale, no leader
          chat: refused\u{fffd}[2J
";
        check(&ill, expected);
    }
}
