//! Inspects files that should contain PEM certificates or keys: the validity of certificates, and
//! for other formats the command that converts the file. No text quotes the file, which may be a
//! key (I11).

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not earlier.
    pub not_before: SystemTime,
    /// Not later.
    pub not_after: SystemTime,
}

impl Validity {
    /// That of a certificate in DER form, if it is one.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(certificate.validity().into())
    }
}

impl From<&x509_parser::certificate::Validity> for Validity {
    fn from(validity: &x509_parser::certificate::Validity) -> Self {
        Self {
            not_before: wall_time(validity.not_before.timestamp()),
            not_after: wall_time(validity.not_after.timestamp()),
        }
    }
}

fn wall_time(unix_seconds: i64) -> SystemTime {
    u64::try_from(unix_seconds).map_or(UNIX_EPOCH, |s| UNIX_EPOCH + Duration::from_secs(s))
}

/// What a file should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Certificates.
    Certificates,
    /// A private key.
    PrivateKey,
}

/// A file is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What it is instead.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// The fault of a file that contains none of the `wanted` items; `None` if its format is unknown.
pub fn mistaken(bytes: &[u8], wanted: Wanted, path: &Path) -> Option<Mistake> {
    let form = Form::of(bytes)?;
    let file = quoted(&path.display().to_string());
    let (what, help) = match wanted {
        Wanted::Certificates => form.instead_of_certificates(&file, &output(path, "crt"))?,
        Wanted::PrivateKey => form.instead_of_key(&file, &output(path, "key"))?,
    };
    Some(Mistake {
        message: format!("{} {what}", path.display()),
        help: Some(help),
    })
}

/// Formats of certificates and keys, other than the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Empty,
    Utf16,
    ByteOrderMark,
    Pkcs12,
    JavaKeyStore,
    DerCertificate,
    DerKey,
    DerEncryptedKey,
    DerPkcs7,
    PemCertificate,
    PemTrusted,
    PemRequest,
    PemPkcs7,
    PemKey,
    PemEncryptedKey,
    PemOpenSsh,
    PemDsaKey,
    PemPublicKey,
}

/// More sections than this are not looked at.
const SECTIONS_MAX: usize = 1000;

/// How the contents of a PKCS#8 file begin that is encrypted, after its lengths: the identifiers of
/// PKCS#5 and of PKCS#12's ways to encrypt.
const PKCS5: [u8; 10] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05];
const PKCS12_PBE: [u8; 11] = [
    0x06, 0x0a, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01,
];
/// The identifier of signed data.
const PKCS7: [u8; 11] = [
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02,
];

impl Form {
    fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.trim_ascii().is_empty() {
            return Some(Self::Empty);
        }
        match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Some(Self::Utf16),
            [0xef, 0xbb, 0xbf, ..] => return Some(Self::ByteOrderMark),
            [0xfe, 0xed, 0xfe, 0xed, ..] => return Some(Self::JavaKeyStore),
            _ => {}
        }
        Self::of_pem(bytes).or_else(|| Self::of_der(bytes))
    }

    /// By the first section with a known label.
    fn of_pem(bytes: &[u8]) -> Option<Self> {
        let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        for _ in 0..SECTIONS_MAX {
            let label =
                lines.find_map(|line| line.strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----"))?;
            let form = match label {
                b"CERTIFICATE" => Self::PemCertificate,
                b"TRUSTED CERTIFICATE" | b"X509 CERTIFICATE" => Self::PemTrusted,
                b"CERTIFICATE REQUEST" | b"NEW CERTIFICATE REQUEST" => Self::PemRequest,
                b"PKCS7" | b"CMS" => Self::PemPkcs7,
                b"ENCRYPTED PRIVATE KEY" => Self::PemEncryptedKey,
                b"OPENSSH PRIVATE KEY" => Self::PemOpenSsh,
                b"DSA PRIVATE KEY" => Self::PemDsaKey,
                b"PUBLIC KEY" | b"RSA PUBLIC KEY" => Self::PemPublicKey,
                b"PRIVATE KEY" | b"RSA PRIVATE KEY" | b"EC PRIVATE KEY" => {
                    let next = lines.next().unwrap_or_default();
                    match next.starts_with(b"Proc-Type:") && next.ends_with(b"ENCRYPTED") {
                        true => Self::PemEncryptedKey,
                        false => Self::PemKey,
                    }
                }
                // The parameters of a curve precede its key.
                _ => continue,
            };
            return Some(form);
        }
        None
    }

    fn of_der(bytes: &[u8]) -> Option<Self> {
        let inner = sequence(bytes)?;
        let of_key = [
            &[0x02, 0x01, 0x00, 0x02][..],
            &[0x02, 0x01, 0x00, 0x30],
            &[0x02, 0x01, 0x01, 0x04],
            &[0x02, 0x01, 0x01, 0x30],
        ];
        let innermost = sequence(inner).unwrap_or_default();
        if inner.starts_with(&[0x02, 0x01, 0x03, 0x30]) {
            Some(Self::Pkcs12)
        } else if inner.starts_with(&PKCS7) {
            Some(Self::DerPkcs7)
        } else if of_key.iter().any(|start| inner.starts_with(start)) {
            Some(Self::DerKey)
        } else if innermost.starts_with(&PKCS5) || innermost.starts_with(&PKCS12_PBE) {
            Some(Self::DerEncryptedKey)
        } else {
            X509Certificate::from_der(bytes)
                .is_ok()
                .then_some(Self::DerCertificate)
        }
    }

    fn instead_of_certificates(self, file: &str, out: &str) -> Option<(&'static str, String)> {
        Some(match self {
            Self::PemCertificate => return None,
            Self::Pkcs12 => (
                "is PKCS#12, not PEM",
                format!("convert it: `openssl pkcs12 -in {file} -nokeys -out {out}`"),
            ),
            Self::DerCertificate => (
                "is DER, not PEM",
                format!("convert it: `openssl x509 -inform der -in {file} -out {out}`"),
            ),
            Self::DerPkcs7 => (
                "is PKCS#7 in DER, not PEM",
                format!(
                    "convert it: `openssl pkcs7 -inform der -in {file} -print_certs -out {out}`"
                ),
            ),
            Self::PemPkcs7 => (
                "holds PKCS#7, not certificates of their own",
                format!("convert it: `openssl pkcs7 -in {file} -print_certs -out {out}`"),
            ),
            Self::PemTrusted => (
                "holds a certificate in a form of OpenSSL's own",
                format!("convert it: `openssl x509 -in {file} -out {out}`"),
            ),
            Self::PemRequest => (
                "holds a request for a certificate, which no authority has signed yet",
                "name the file with the certificate that the authority sent back".to_owned(),
            ),
            Self::PemKey
            | Self::PemEncryptedKey
            | Self::PemOpenSsh
            | Self::PemDsaKey
            | Self::DerKey
            | Self::DerEncryptedKey => (
                "holds a private key, and no certificate",
                "name the certificate's file here; the key has a setting of its own".to_owned(),
            ),
            Self::PemPublicKey => (
                "holds a public key alone, and no certificate",
                "name the file with the certificate around it".to_owned(),
            ),
            other => other.in_either_place(file)?,
        })
    }

    fn instead_of_key(self, file: &str, out: &str) -> Option<(&'static str, String)> {
        Some(match self {
            Self::PemKey => return None,
            Self::PemEncryptedKey => (
                "holds an encrypted private key, and the gateway has no passphrase for it",
                format!(
                    "store it decrypted, readable for the gateway's user alone: \
                     `(umask 077; openssl pkey -in {file} -out {out})`"
                ),
            ),
            Self::DerEncryptedKey => (
                "holds an encrypted private key in DER, not PEM",
                format!(
                    "convert it: `(umask 077; openssl pkey -inform der -in {file} -out {out})`; \
                     openssl asks for the passphrase"
                ),
            ),
            Self::Pkcs12 => (
                "is PKCS#12, not PEM",
                format!(
                    "convert it: `(umask 077; openssl pkcs12 -in {file} -nocerts -nodes -out {out})`"
                ),
            ),
            Self::DerKey => (
                "is DER, not PEM",
                format!(
                    "convert it: `(umask 077; openssl pkey -inform der -in {file} -out {out})`"
                ),
            ),
            Self::PemOpenSsh => (
                "holds a key in a form of OpenSSH's own",
                format!("convert a copy of it in place: `ssh-keygen -p -N '' -m PKCS8 -f {file}`"),
            ),
            Self::PemDsaKey => (
                "holds a DSA key, which TLS has no use for any more",
                "have a certificate issued for an ECDSA or RSA key".to_owned(),
            ),
            Self::PemPublicKey => (
                "holds a public key, and no private one",
                "name the file that the public key was made from".to_owned(),
            ),
            Self::PemCertificate
            | Self::PemTrusted
            | Self::PemRequest
            | Self::PemPkcs7
            | Self::DerCertificate
            | Self::DerPkcs7 => (
                "holds a certificate, and no private key",
                "name the key's file here; the certificate has a setting of its own".to_owned(),
            ),
            other => other.in_either_place(file)?,
        })
    }

    fn in_either_place(self, file: &str) -> Option<(&'static str, String)> {
        Some(match self {
            Self::Empty => (
                "is empty",
                "it may have been read while it was being written".to_owned(),
            ),
            Self::Utf16 => (
                "is text in UTF-16",
                format!("convert it: `iconv -f UTF-16 -t ASCII {file} > converted.pem`"),
            ),
            Self::ByteOrderMark => (
                "begins with a byte order mark, which PEM does not have",
                format!("take it away: `sed -i '1s/^\\xEF\\xBB\\xBF//' {file}`"),
            ),
            Self::JavaKeyStore => (
                "is a Java key store, not PEM",
                format!(
                    "convert it to PKCS#12, and that with `openssl pkcs12`: `keytool \
                     -importkeystore -srckeystore {file} -destkeystore converted.p12 \
                     -deststoretype pkcs12`"
                ),
            ),
            _ => return None,
        })
    }
}

/// The contents of a DER sequence; what follows it is cut off, and a length that goes beyond the
/// end of the file is taken for the rest of it.
fn sequence(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.strip_prefix(&[0x30])?.split_first()?;
    let (length, rest) = match *length {
        short @ 0..=0x7f => (usize::from(short), rest),
        // The indefinite form, which PKCS#7 and PKCS#12 may have.
        0x80 => (rest.len(), rest),
        long @ 0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let length = length
                .iter()
                .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    Some(&rest[..length.min(rest.len())])
}

/// The path of the converted file: beside the original, and never over it.
fn output(path: &Path, extension: &str) -> String {
    let beside = match path.extension().is_some_and(|own| own == extension) {
        true => path.with_extension(format!("pem.{extension}")),
        false => path.with_extension(extension),
    };
    quoted(&beside.display().to_string())
}

/// A path as a shell reads it. Control characters never get here as they are: a path with some is
/// shown escaped, and no shell finds it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        return path.to_owned();
    }
    let shown: String = path
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    format!("'{}'", shown.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests;
