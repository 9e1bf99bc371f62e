//! Files with certificates and keys: those that will not be valid are warned of wherever they are
//! named, and those in another form are reported with a command that does convert them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use sessile::base::clock;
use sessile::control::load::{Faults, Loaded, load_text};
use tempfile::TempDir;

use crate::alone;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn load(directory: &Path, text: &str) -> Result<Loaded, Faults> {
    let mut options = alone("");
    options.path = directory.join("gateway.toml");
    load_text(&options, text)
}

fn listener(cert: &str, key: &str) -> String {
    format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         tls.certificates = [{{ cert = \"{cert}\", key = \"{key}\" }}]\n"
    )
}

/// Writes `NAME.crt` and `NAME.key`, valid from one moment to another.
fn issue(directory: &Path, name: &str, not_before: SystemTime, not_after: SystemTime) {
    let mut params = CertificateParams::new(vec![format!("{name}.example.com")]).expect("a name");
    (params.not_before, params.not_after) = (not_before.into(), not_after.into());
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let write = |file: String, text: String| {
        fs::write(directory.join(file), text).expect("a file");
    };
    write(format!("{name}.crt"), certificate.pem());
    write(format!("{name}.key"), key.serialize_pem());
}

#[test]
fn certificates_that_will_not_be_valid_are_warned_of_wherever_they_are_named() {
    let directory = TempDir::new().expect("a directory");
    let now = clock::wall();
    issue(directory.path(), "good", now - DAY, now + 90 * DAY);
    issue(directory.path(), "old", now - 90 * DAY, now - DAY);
    issue(directory.path(), "soon", now - 80 * DAY, now + 10 * DAY);
    issue(directory.path(), "early", now + DAY, now + 90 * DAY);
    let warnings = |text: &str| {
        let loaded = load(directory.path(), text).unwrap_or_else(|faults| panic!("{faults}"));
        let warnings = loaded.warnings.into_iter();
        let of_dates = warnings.map(|one| (one.key.to_string(), one.message));
        of_dates
            .filter(|(_, message)| message.contains(".crt "))
            .collect::<Vec<_>>()
    };
    let check = |text: &str, key: &str, file: &str, words: &str| {
        let found = warnings(text);
        let [(at, message)] = &found[..] else {
            panic!("{text} gives {found:?}");
        };
        assert_eq!(at, key, "{message}");
        assert!(
            message.contains(file) && message.contains(words),
            "{message}"
        );
    };
    let day = |at: SystemTime| clock::rfc3339(at)[..10].to_owned();
    let good = listener("good.crt", "good.key");
    assert_eq!(warnings(&good), []);
    let at = "listeners[0].tls.certificates[0].cert";
    let expired = format!("expired on {}", day(now - DAY));
    check(&listener("old.crt", "old.key"), at, "old.crt", &expired);
    let soon = format!("expires on {}", day(now + 10 * DAY));
    check(&listener("soon.crt", "soon.key"), at, "soon.crt", &soon);
    let early = format!("not valid before {}", day(now + DAY));
    check(&listener("early.crt", "early.key"), at, "early.crt", &early);

    let ca = format!("{good}tls.client_ca = \"old.crt\"\n");
    check(&ca, "listeners[0].tls.client_ca", "old.crt", &expired);
    let admin = "[admin]\ntls.certificates = [{ cert = \"soon.crt\", key = \"soon.key\" }]\n";
    check(
        &format!("{admin}{good}"),
        "admin.tls.certificates[0].cert",
        "soon.crt",
        &soon,
    );
    let admin = "[admin]\ntls.certificates = [{ cert = \"good.crt\", key = \"good.key\" }]\n\
                 tls.client_ca = \"old.crt\"\n";
    check(
        &format!("{admin}{good}"),
        "admin.tls.client_ca",
        "old.crt",
        &expired,
    );
    let upstream = "[upstreams.u]\nbackends = [\"127.0.0.1:1\"]\ntls.ca = \"early.crt\"\n";
    check(
        &format!("{good}{upstream}"),
        "upstreams.u.tls.ca",
        "early.crt",
        &early,
    );
    let issuer = "[authenticators.a]\ntype = \"jwt\"\njwks = \"https://id.example.com/keys\"\n\
                  algorithms = [\"ES256\"]\nca = \"soon.crt\"\n";
    check(
        &format!("{good}{issuer}"),
        "authenticators.a.ca",
        "soon.crt",
        &soon,
    );
}

#[cfg(feature = "etcd")]
#[test]
fn certificates_for_etcd_are_warned_of() {
    let directory = TempDir::new().expect("a directory");
    let now = clock::wall();
    issue(directory.path(), "good", now - DAY, now + 90 * DAY);
    issue(directory.path(), "old", now - 90 * DAY, now - DAY);
    let text = format!(
        "{}[sources.etcd]\nendpoints = [\"https://127.0.0.1:1\"]\n\
         tls = {{ ca = \"old.crt\", cert = \"old.crt\", key = \"old.key\" }}\n",
        listener("good.crt", "good.key")
    );
    let loaded = load(directory.path(), &text).unwrap_or_else(|faults| panic!("{faults}"));
    let expired = loaded
        .warnings
        .iter()
        .filter(|one| one.message.contains("expired on"));
    let keys: Vec<_> = expired.map(|one| one.key.to_string()).collect();
    assert_eq!(keys, ["sources.etcd.tls.ca", "sources.etcd.tls.cert"]);
}

fn shell(directory: &Path, line: &str) {
    let mut command = Command::new("sh");
    let ran = command
        .args(["-c", line])
        .current_dir(directory)
        .output()
        .expect("a shell");
    let printed = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{line}: {printed}");
}

/// The one fault of a listener with these files, as its key, its message and the command in its
/// help.
fn fault(directory: &Path, cert: &str, key: &str) -> (String, String, String) {
    let faults = load(directory, &listener(cert, key)).err();
    let faults = faults.unwrap_or_else(|| panic!("{cert}, {key} are good"));
    let [one] = faults.diagnostics() else {
        panic!("{cert}, {key}: {faults}");
    };
    let help = one.help.clone().unwrap_or_default();
    let command = help.split('`').nth(1).unwrap_or_default().to_owned();
    (one.key.to_string(), one.message.clone(), command)
}

/// Makes a file with openssl, sees that it is named as `form`, and that the command which is named
/// with it makes one that is taken.
fn converts(make: &str, (cert, key): (&str, &str), form: &str) {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path();
    let now = clock::wall();
    issue(path, "a", now - DAY, now + 90 * DAY);
    shell(path, make);
    let (at, message, command) = fault(path, cert, key);
    let expected = if cert == "a.crt" { "key" } else { "cert" };
    assert_eq!(
        at,
        format!("listeners[0].tls.certificates[0].{expected}"),
        "{message}"
    );
    assert!(message.contains(form), "{message}");
    assert!(
        !message.contains("hunter2") && !command.contains("hunter2"),
        "{command}"
    );
    let mut line = command;
    // The passphrase would be asked for at a terminal.
    if make.contains("hunter2") {
        let file = line.find("-in ").expect("a command with a file");
        line.insert_str(file, "-passin pass:hunter2 ");
    }
    shell(path, &line);
    let made = line
        .rsplit(' ')
        .next()
        .expect("a file")
        .trim_end_matches(')')
        .to_owned();
    let made = Path::new(&made);
    let made = made
        .strip_prefix(path)
        .unwrap_or(made)
        .display()
        .to_string();
    let (cert, key) = if expected == "key" {
        (cert, made.as_str())
    } else {
        (made.as_str(), key)
    };
    if let Err(faults) = load(path, &listener(cert, key)) {
        panic!("after {line}: {faults}");
    }
}

#[test]
fn files_in_other_forms_are_named_with_the_command_that_converts_them() {
    let p12 = "openssl pkcs12 -export -in a.crt -inkey a.key -passout pass:hunter2 -out a.p12";
    converts(p12, ("a.p12", "a.key"), "is PKCS#12");
    converts(p12, ("a.crt", "a.p12"), "is PKCS#12");
    let der = "openssl x509 -in a.crt -outform der -out a.der";
    converts(der, ("a.der", "a.key"), "is DER");
    converts(
        "openssl x509 -in a.crt -outform der -out b.crt",
        ("b.crt", "a.key"),
        "is DER",
    );
    let p7 = "openssl crl2pkcs7 -nocrl -certfile a.crt -out a.p7b";
    converts(p7, ("a.p7b", "a.key"), "holds PKCS#7");
    let p7 = "openssl crl2pkcs7 -nocrl -certfile a.crt -outform der -out a.p7c";
    converts(p7, ("a.p7c", "a.key"), "is PKCS#7");
    let trusted = "openssl x509 -in a.crt -trustout -addtrust serverAuth -out a.trusted";
    converts(trusted, ("a.trusted", "a.key"), "of OpenSSL's own");
    let der = "openssl pkey -in a.key -outform der -out a.der";
    converts(der, ("a.crt", "a.der"), "is DER");
    let der = "openssl ec -in a.key -outform der -out a.der";
    converts(der, ("a.crt", "a.der"), "is DER");
    let encrypted = "openssl pkcs8 -topk8 -in a.key -passout pass:hunter2 -out b.key";
    converts(encrypted, ("a.crt", "b.key"), "encrypted");
    let encrypted = "openssl pkcs8 -topk8 -in a.key -passout pass:hunter2 -outform der -out b.key";
    converts(encrypted, ("a.crt", "b.key"), "encrypted");
    let encrypted = "openssl ec -in a.key -aes256 -passout pass:hunter2 -out b.key";
    converts(encrypted, ("a.crt", "b.key"), "encrypted");
    let utf16 = "iconv -f ASCII -t UTF-16 a.key > b.key";
    converts(utf16, ("a.crt", "b.key"), "UTF-16");
}

#[test]
fn files_that_no_command_converts_are_named_for_what_they_are() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path();
    let now = clock::wall();
    issue(path, "a", now - DAY, now + 90 * DAY);
    shell(path, "openssl req -new -key a.key -subj /CN=a -out a.csr");
    shell(path, "openssl pkey -in a.key -pubout -out a.pub");
    fs::write(path.join("empty"), "\n").expect("a file");
    let check = |cert: &str, key: &str, words: &str| {
        let (_, message, _) = fault(path, cert, key);
        assert!(message.contains(words), "{message}");
    };
    check("a.csr", "a.key", "holds a request for a certificate");
    check("a.pub", "a.key", "holds a public key alone");
    check("a.crt", "a.pub", "holds a public key, and no private one");
    check("a.key", "a.key", "holds a private key, and no certificate");
    check("a.crt", "a.crt", "holds a certificate, and no private key");
    check("a.crt", "empty", "is empty");
    check("empty", "a.key", "is empty");
}
