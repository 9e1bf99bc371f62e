//! Patterns in the notation of other software. `*`, `:room` and `<room>` are ordinary characters
//! here, so that a path which holds them is valid and matches almost nothing.

/// What a path in the notation of another router or of regular expressions was probably meant to
/// be, in the notation of `PathPattern`; `None` where nothing in it looks foreign.
pub fn probably_meant(path: &str) -> Option<String> {
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_prefix('^').unwrap_or(inner);
    let inner = inner
        .strip_suffix('$')
        .filter(|left| !left.is_empty())
        .unwrap_or(inner);
    let mut foreign = format!("/{inner}") != path;
    let last = inner.split('/').count() - 1;
    let mut out = String::new();
    for (place, segment) in inner.split('/').enumerate() {
        out.push('/');
        match translate(segment, place, place == last) {
            Some(meant) => {
                foreign = true;
                out.push_str(&meant);
            }
            None => out.push_str(segment),
        }
    }
    foreign.then_some(out)
}

fn translate(segment: &str, place: usize, is_last: bool) -> Option<String> {
    if segment.contains(['{', '}']) {
        return None;
    }
    let rest = || match is_last {
        true => "{*rest}".to_owned(),
        false => format!("{{part{place}}}"),
    };
    match segment {
        "*" | "**" | ".*" | "(.*)" | "(.+)" | ".+" | "..." => return Some(rest()),
        "+" | "#" | "[^/]+" | "([^/]+)" | "[^/]*" | "([^/]*)" | "\\d+" | "(\\d+)" => {
            return Some(format!("{{part{place}}}"));
        }
        _ => {}
    }
    let named = |name: &str| {
        let name = name.trim_end_matches(['?', '+', '*']);
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!name.is_empty() && name.chars().all(good)).then(|| name.to_owned())
    };
    // `:room`, `:room(\d+)`
    if let Some(name) = segment.strip_prefix(':') {
        let name = name.split('(').next().and_then(named)?;
        return Some(match segment.ends_with('*') && is_last {
            true => format!("{{*{name}}}"),
            false => format!("{{{name}}}"),
        });
    }
    // `<room>`, `<int:room>`, `<path:rest>`
    if let Some(inside) = segment
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'))
    {
        let (kind, name) = inside.rsplit_once(':').unwrap_or(("", inside));
        let name = named(name)?;
        return Some(match kind == "path" && is_last {
            true => format!("{{*{name}}}"),
            false => format!("{{{name}}}"),
        });
    }
    // `[room]`, `[...rest]`
    if let Some(inside) = segment
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        if let Some(name) = inside.strip_prefix("...") {
            return named(name).map(|name| format!("{{*{name}}}"));
        }
        return named(inside).map(|name| format!("{{{name}}}"));
    }
    // `*rest`, `chat*`: an ordinary path contains no star.
    let regular = segment.contains(".*") || segment.contains("(?") || segment.contains("[^");
    (segment.contains('*') || regular).then(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::pattern::PathPattern;

    #[test]
    fn notations_of_others_are_recognised() {
        let check = |path: &str, meant: Option<&str>| {
            assert_eq!(probably_meant(path).as_deref(), meant, "{path}");
            if let Some(meant) = meant {
                assert!(meant.parse::<PathPattern>().is_ok(), "{meant}");
                assert_eq!(probably_meant(meant), None, "{meant}");
            }
        };
        check("/ws/*", Some("/ws/{*rest}"));
        check("/ws/**", Some("/ws/{*rest}"));
        check("/ws/.*", Some("/ws/{*rest}"));
        check("/ws/(.*)", Some("/ws/{*rest}"));
        check("/ws/:room", Some("/ws/{room}"));
        check("/ws/:room/members", Some("/ws/{room}/members"));
        check("/ws/<room>", Some("/ws/{room}"));
        check("/ws/<int:room>/x", Some("/ws/{room}/x"));
        check("/ws/<path:rest>", Some("/ws/{*rest}"));
        check("/ws/[room]", Some("/ws/{room}"));
        check("/ws/[...all]", Some("/ws/{*all}"));
        check("/*/x", Some("/{part0}/x"));
        check("/chat*", Some("/{*rest}"));
        check("/^ws/7$", Some("/ws/7"));
        for plain in [
            "/",
            "/ws",
            "/ws/{room}",
            "/{*rest}",
            "/a.b",
            "/v1:batch",
            "/$metadata",
        ] {
            check(plain, None);
        }
    }
}
