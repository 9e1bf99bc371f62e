//! Which configuration and which gateway a command is about.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::base::addr::{AddrError, BackendAddr};
use crate::control::load::{DEFAULT_PATH, LoadOptions};

/// Which configuration.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "PATH", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// Set one key over file and environment, such as `admin.listen=127.0.0.1:9901`; the value is
    /// TOML, and what is no TOML is text. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub sets: Vec<(String, String)>,
}

impl ConfigArgs {
    /// This file, with these keys, under the environment of this process.
    pub fn options(&self) -> LoadOptions {
        LoadOptions::from_process(&self.config, self.sets.clone())
    }
}

/// Which running gateway.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which gateway")]
pub struct AdminArgs {
    /// The gateway's admin API: `127.0.0.1:9900`, `https://edge-1:9900` or
    /// `unix:/run/sessile/admin.sock`. Default: the address in the configuration file, or
    /// 127.0.0.1:9900 without a file.
    #[arg(short, long, value_name = "ADDRESS")]
    pub admin: Option<AdminAddr>,
    /// A file that holds the admin token. Default: SESSILE_TOKEN of the environment, or the token
    /// in the configuration file.
    #[arg(long, value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// With TLS: the authorities of the gateway's certificate, instead of the system's.
    #[arg(long, value_name = "PATH")]
    pub ca: Option<PathBuf>,
    /// With TLS: the certificate to show, as the operator's.
    #[arg(long, value_name = "PATH", requires = "key")]
    pub cert: Option<PathBuf>,
    /// With TLS: the key of that certificate.
    #[arg(long, value_name = "PATH", requires = "cert")]
    pub key: Option<PathBuf>,
    /// With TLS: the name that the gateway's certificate must be for, instead of the address.
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Where an admin API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAddr {
    /// Its socket.
    pub address: BackendAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

impl FromStr for AdminAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let (tls, rest) = match text.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("http://").unwrap_or(text)),
        };
        let address = rest.strip_suffix('/').unwrap_or(rest).parse()?;
        Ok(Self { address, tls })
    }
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("write KEY=VALUE, such as `admin.listen=127.0.0.1:9901`".to_owned()),
    }
}
