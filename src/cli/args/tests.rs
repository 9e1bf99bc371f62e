use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::*;
use crate::base::addr::BackendAddr;

#[test]
fn the_command_line_is_sound_and_every_verb_and_flag_has_help() {
    fn documented(command: &clap::Command) {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name} has no help");
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{name}: {} has no help",
                argument.get_id()
            );
        }
        command.get_subcommands().for_each(documented);
    }
    let command = Arguments::command();
    command.clone().debug_assert();
    documented(&command);
}

#[test]
fn arguments_are_read() {
    let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
    let run = parse("sessile run --set a.b=c=d -c edge.toml")
        .expect("arguments")
        .command;
    let Command::Run(run) = run else {
        panic!("{run:?}")
    };
    assert_eq!(run.config.config, PathBuf::from("edge.toml"));
    assert_eq!(run.config.sets, [("a.b".to_owned(), "c=d".to_owned())]);
    assert_eq!(run.take_over, None);

    let resolve = parse("sessile resolve /ws -H x-a:1 -H x-a:2 -a unix:/run/a").expect("arguments");
    let Command::Resolve(resolve) = resolve.command else {
        panic!("{resolve:?}")
    };
    assert_eq!(resolve.headers.len(), 2);
    assert_eq!(
        resolve.admin.admin,
        Some(AdminAddr {
            address: BackendAddr::Unix("/run/a".into()),
            tls: false
        })
    );

    let at = |text: &str| {
        text.parse::<AdminAddr>()
            .map(|at| (at.address.to_string(), at.tls))
    };
    assert_eq!(at("https://edge:1/"), Ok(("edge:1".to_owned(), true)));
    assert_eq!(at("http://edge:1"), Ok(("edge:1".to_owned(), false)));
    assert!(at("https://edge").is_err());

    for (line, kind) in [
        ("sessile run --set a", ErrorKind::ValueValidation),
        ("sessile resolve /ws -H a", ErrorKind::ValueValidation),
        ("sessile kick", ErrorKind::MissingRequiredArgument),
        ("sessile kick nonsense", ErrorKind::ValueValidation),
        ("sessile status --admin nowhere", ErrorKind::ValueValidation),
        ("sessile fly", ErrorKind::InvalidSubcommand),
    ] {
        assert_eq!(parse(line).expect_err(line).kind(), kind, "{line}");
    }
}
