use super::*;

fn read(text: &str, environment: &[(&str, &str)], sets: &[(&str, &str)]) -> Reading {
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(pair).collect()
    };
    Layers {
        path: Path::new("gateway.toml"),
        text,
        environment: &owned(environment),
        sets: &owned(sets),
    }
    .read()
}

#[test]
fn defaults_yield_to_the_file_the_file_to_the_environment_that_to_flags() {
    let file = "[node]\nworkers = 2\n";
    let variable = ("SESSILE_NODE__WORKERS", "3");
    let check = |file, environment: &[_], sets: &[_], workers| {
        let reading = read(file, environment, sets);
        assert_eq!(
            (reading.model.node.workers, reading.found),
            (workers, Vec::new())
        );
    };
    check("", &[], &[], 0);
    check(file, &[], &[], 2);
    check(file, &[variable], &[], 3);
    check(
        file,
        &[variable],
        &[("node.workers", "4"), ("node.workers", "5")],
        5,
    );
}

#[test]
fn layers_add_to_tables_and_take_the_place_of_lists() {
    let reading = read(
        "[upstreams.a]\nbackends = [\"a:1\", \"a:2\"]\nattempts = 7\n",
        &[("SESSILE_UPSTREAMS__A__BACKENDS", "[\"b:1\"]")],
        &[("upstreams.b.attempts", "2")],
    );
    let upstreams = &reading.model.upstreams;
    assert_eq!(upstreams["a"].backends.len(), 1);
    assert_eq!((upstreams["a"].attempts, upstreams["b"].attempts), (7, 2));
}

#[test]
fn unrelated_variables_are_ignored_and_mistakes_are_reported() {
    let check = |name: &str, reported: bool| {
        let reading = read("", &[(name, "tcp://10.0.0.1:8080")], &[]);
        assert_eq!(
            !reading.found.is_empty(),
            reported,
            "{name}: {:?}",
            reading.found
        );
    };
    check("SESSILE_PORT", false);
    check("SESSILE_PORT_8080_TCP", false);
    check("SESSILE_ADMIN_SERVICE_HOST", false);
    check("SESSILE_CONFIG", false);
    check("SESSILE_ADMIN_LISTEN", true);
    check("SESSILE_NODE_STATE_DIR", true);
    check("SESSILE_ADMIN__LISEN", true);
}
