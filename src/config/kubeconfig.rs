//! A kubeconfig file: which cluster, and who the gateway is there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::base::secret::Secret;
use crate::config::yaml::{self, YamlError};

/// What a kubeconfig says of one context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubeconfig {
    /// The URL of the API.
    pub server: String,
    /// Roots that verify it.
    pub ca: Option<Material>,
    /// The name that is verified.
    pub server_name: Option<String>,
    /// The certificate to show, and its key.
    pub identity: Option<(Material, Material)>,
    /// The token.
    pub token: Option<Secret>,
    /// The file of a token.
    pub token_file: Option<String>,
}

/// PEM, inside the file or in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// Its path, relative to the kubeconfig.
    File(String),
    /// Its text.
    Text(Secret),
}

/// A kubeconfig that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubeconfigError {
    /// It cannot be read.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// It has no such entry.
    #[error("it has no {kind} `{name}`")]
    Missing {
        /// Such as `context`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It says something that the gateway does not do.
    #[error("{0}")]
    Refused(&'static str),
}

impl Kubeconfig {
    /// Reads the context of this name, or else the current one.
    ///
    /// # Errors
    /// Why it cannot be used; never anything secret of it.
    pub fn read(text: &str, context: Option<&str>) -> Result<Self, KubeconfigError> {
        let whole = yaml::read(text)?;
        let current = whole["current-context"].as_str();
        let context = context.or(current).unwrap_or_default();
        let chosen = entry(&whole, "contexts", "context", context)?;
        let cluster = chosen["cluster"].as_str().unwrap_or_default();
        let user = chosen["user"].as_str().unwrap_or_default();
        let cluster = entry(&whole, "clusters", "cluster", cluster)?;
        let user = entry(&whole, "users", "user", user)?;
        if text_of(cluster, "insecure-skip-tls-verify").is_some_and(|text| text != "false") {
            return Err(KubeconfigError::Refused(
                "`insecure-skip-tls-verify` is not followed: name the cluster's `certificate-authority`",
            ));
        }
        let other = ["exec", "auth-provider", "username"];
        if other.iter().any(|key| !user[*key].is_null()) {
            return Err(KubeconfigError::Refused(
                "users by `exec`, `auth-provider` or a password are not supported: use a token or a \
                 client certificate",
            ));
        }
        let identity = (
            material(user, "client-certificate")?,
            material(user, "client-key")?,
        );
        Ok(Self {
            server: text_of(cluster, "server").unwrap_or_default(),
            ca: material(cluster, "certificate-authority")?,
            server_name: text_of(cluster, "tls-server-name"),
            identity: match identity {
                (Some(cert), Some(key)) => Some((cert, key)),
                (None, None) => None,
                _ => {
                    return Err(KubeconfigError::Refused(
                        "a client certificate needs its key, and a key its certificate",
                    ));
                }
            },
            token: text_of(user, "token").map(Secret::new),
            token_file: text_of(user, "tokenFile"),
        })
    }
}

/// The value of an entry in one of the lists.
fn entry<'v>(
    whole: &'v Value,
    list: &str,
    kind: &'static str,
    name: &str,
) -> Result<&'v Value, KubeconfigError> {
    let mut entries = whole[list].as_array().into_iter().flatten();
    let found = entries.find(|one| one["name"] == name);
    let missing = || KubeconfigError::Missing {
        kind,
        name: name.chars().take(100).collect(),
    };
    found.map(|one| &one[kind]).ok_or_else(missing)
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    let text = match &value[key] {
        Value::Bool(flag) => flag.to_string(),
        other => other.as_str()?.to_owned(),
    };
    (!text.is_empty()).then_some(text)
}

/// `KEY-data` in base64, else the path in `KEY`.
fn material(value: &Value, key: &str) -> Result<Option<Material>, KubeconfigError> {
    let Some(data) = text_of(value, &format!("{key}-data")) else {
        return Ok(text_of(value, key).map(Material::File));
    };
    let bytes = STANDARD.decode(data).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or(KubeconfigError::Refused(
        "what should be PEM in base64 is not",
    ))?;
    Ok(Some(Material::Text(Secret::new(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
apiVersion: v1
kind: Config
current-context: one
contexts:
- name: one
  context:
    cluster: c1
    user: u1
- name: two
  context: 
    cluster: c2
    user: u2
- name: three
  context:
    cluster: c2
    user: u3
clusters:
- name: c1
  cluster:
    server: https://10.0.0.1:6443
    certificate-authority-data: UEVN
- name: c2
  cluster:
    server: https://10.0.0.2:6443
    certificate-authority: ca.pem
    tls-server-name: api.test
users:
- name: u1
  user:
    client-certificate-data: Q0VSVA==
    client-key: client.key
- name: u2
  user:
    token: s3cr3t
- name: u3
  user:
    exec:
      command: aws
";

    fn text(text: &str) -> Material {
        Material::Text(Secret::new(text))
    }

    #[test]
    fn the_current_context_or_a_named_one_is_read() {
        let one = Kubeconfig::read(TEXT, None).expect("it is read");
        let expected = Kubeconfig {
            server: "https://10.0.0.1:6443".to_owned(),
            ca: Some(text("PEM")),
            identity: Some((text("CERT"), Material::File("client.key".to_owned()))),
            ..Kubeconfig::default()
        };
        assert_eq!(one, expected);
        let two = Kubeconfig::read(TEXT, Some("two")).expect("it is read");
        let expected = Kubeconfig {
            server: "https://10.0.0.2:6443".to_owned(),
            ca: Some(Material::File("ca.pem".to_owned())),
            server_name: Some("api.test".to_owned()),
            token: Some(Secret::new("s3cr3t")),
            ..Kubeconfig::default()
        };
        assert_eq!(two, expected);
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        let check = |text: &str, context: Option<&str>, expected: &str| {
            let fault = Kubeconfig::read(text, context).expect_err(expected);
            assert!(fault.to_string().contains(expected), "{fault}");
        };
        check(TEXT, Some("four"), "it has no context `four`");
        check(TEXT, Some("three"), "users by `exec`");
        check(
            &TEXT.replace("- name: u1", "- name: u9"),
            None,
            "it has no user `u1`",
        );
        check(&TEXT.replace("UEVN", "???"), None, "PEM in base64");
        check(
            &TEXT.replace("    client-key: client.key\n", ""),
            None,
            "needs its key",
        );
        let insecure = TEXT.replace(
            "    certificate-authority-data: UEVN",
            "    insecure-skip-tls-verify: true",
        );
        check(&insecure, None, "insecure-skip-tls-verify");
        check("a:\n\tb", None, "line 2");
        check("", None, "it has no context ``");
    }
}
