//! `[log]`.

use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::base::addr::BackendAddr;
use crate::config::diagnostic::suggestion;
use crate::config::model::{self, TextOr};
use crate::config::snapshot::{
    Access, AccessFile, Log, LogFormat, Rotation, Syslog, SyslogAddress,
};
use crate::config::validate::scope::Scope;

/// Rotation at a smaller size would do little else.
const ROTATE_SIZE_MIN: u64 = 4 * 1024;
const ROTATE_AGE: [Duration; 2] = [
    Duration::from_secs(60),
    Duration::from_secs(366 * 24 * 60 * 60),
];
const KEEP_MAX: u32 = 1_000;

/// Facilities of RFC 5424, section 6.2.1, by number, with the names that syslog servers use.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];
const DAEMON: u8 = 3;
/// The socket of this machine's syslog server.
const LOCAL_SOCKET: &str = "/dev/log";

pub(super) fn log(at: &Scope<'_>, model: &model::Log) -> Option<Log> {
    let level = level(&at.key("level"), &model.level);
    let access = access(&at.key("access"), &model.access);
    Some(Log {
        level: level?,
        format: match model.format {
            model::LogFormat::Text => LogFormat::Text,
            model::LogFormat::Json => LogFormat::Json,
        },
        access: access?,
    })
}

fn level(at: &Scope<'_>, text: &str) -> Option<String> {
    // A bare word that is no level would be taken for the name of a module.
    let meant = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    if text.split(',').all(meant) && text.parse::<Targets>().is_ok() {
        return Some(text.to_owned());
    }
    at.fault_with(
        format!("`{text}` is not a level"),
        "use `off`, `error`, `warn`, `info`, `debug` or `trace`, maybe by module as in \
         `info,sessile::control=debug`",
    );
    None
}

fn access(at: &Scope<'_>, model: &TextOr<model::Access>) -> Option<Access> {
    Some(match model {
        TextOr::Text(word) if word == "off" => Access::default(),
        TextOr::Text(word) if word == "stdout" => Access {
            stdout: true,
            ..Access::default()
        },
        TextOr::Text(word) if word == "syslog" => Access {
            syslog: Some(Syslog {
                address: SyslogAddress::Unix(LOCAL_SOCKET.into()),
                facility: DAEMON,
            }),
            ..Access::default()
        },
        TextOr::Text(word) => {
            let help = match word.contains(['/', '.']) {
                true => Some(format!("write `{{ file = {word:?} }}`")),
                false => suggestion(word, ["off", "stdout", "syslog", "{ file = \"…\" }"]),
            };
            at.fault_maybe(format!("unknown word `{word}`"), help);
            return None;
        }
        TextOr::Table(table) => outputs(at, table)?,
    })
}

fn outputs(at: &Scope<'_>, model: &model::Access) -> Option<Access> {
    if !model.stdout && model.file.is_none() && model.syslog.is_none() && !at.is_explained() {
        at.missing("file", "file = \"access.log\"");
        return None;
    }
    if model.file.is_none() && model.rotate.is_some() {
        at.key("rotate").fault_key(
            "there is no file to rotate",
            Some("add `file` beside it".to_owned()),
        );
    }
    if model.syslog.is_none() && model.facility.is_some() {
        at.key("facility").fault_key(
            "only syslog has facilities",
            Some("add `syslog` beside it".to_owned()),
        );
    }
    let rotation = match &model.rotate {
        Some(rotate) => rotation(&at.key("rotate"), rotate).map(Some),
        None => Some(None),
    };
    let syslog = match &model.syslog {
        Some(address) => syslog(at, address, model.facility.as_deref()).map(Some),
        None => Some(None),
    };
    let (rotation, syslog) = (rotation?, syslog?);
    let file = model.file.as_ref().map(|file| AccessFile {
        path: at.resolve(file),
        rotation,
    });
    Some(Access {
        stdout: model.stdout,
        file,
        syslog,
    })
}

fn rotation(at: &Scope<'_>, model: &model::Rotate) -> Option<Rotation> {
    if model.size.is_none() && model.age.is_none() && !at.is_explained() {
        at.fault_with(
            "neither a size nor an age",
            "write `{ size = \"100 MiB\" }` or `{ age = \"1d\" }`",
        );
        return None;
    }
    let size = match model.size {
        Some(size) => {
            let bounds = ROTATE_SIZE_MIN..=u64::MAX >> 1;
            at.key("size").within(size.0, bounds).map(Some)
        }
        None => Some(None),
    };
    let [min, max] = ROTATE_AGE;
    let age = match model.age {
        Some(age) => at.key("age").interval(age, min, max).map(Some),
        None => Some(None),
    };
    let keep = at.key("keep").within(model.keep, 1..=KEEP_MAX);
    Some(Rotation {
        size: size?,
        age: age?,
        keep: keep?,
    })
}

fn syslog(at: &Scope<'_>, address: &str, facility: Option<&str>) -> Option<Syslog> {
    let place = match facility {
        None => Some(usize::from(DAEMON)),
        Some(name) => {
            let place = FACILITIES.iter().position(|known| *known == name);
            if place.is_none() {
                let at = at.key("facility");
                let help = suggestion(name, FACILITIES);
                at.fault_maybe(format!("unknown facility `{name}`"), help);
            }
            place
        }
    };
    let read = syslog_address(address);
    if read.is_none() {
        at.key("syslog").fault_with(
            format!("`{address}` is not the address of a syslog server"),
            "write `unix:/dev/log`, `udp:10.0.0.1:514` or `tcp:logs.internal:601`",
        );
    }
    Some(Syslog {
        address: read?,
        facility: u8::try_from(place?).expect("there are 24"),
    })
}

fn syslog_address(text: &str) -> Option<SyslogAddress> {
    let (scheme, rest) = text.split_once(':')?;
    let network = || match rest.parse().ok()? {
        BackendAddr::Unix(_) => None,
        address => Some(address),
    };
    match scheme {
        "unix" => match text.parse().ok()? {
            BackendAddr::Unix(path) => Some(SyslogAddress::Unix(path)),
            _ => None,
        },
        "udp" => network().map(SyslogAddress::Udp),
        "tcp" => network().map(SyslogAddress::Tcp),
        _ => None,
    }
}
