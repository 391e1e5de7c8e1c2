//! Everything that can be configured, in one documented place. [`Config::default`] runs locally.
//!
//! Layers, each over the one before: the file (`--config`), the environment (`SYNCLINE_LISTEN`,
//! `SYNCLINE_LIMITS__DOCUMENT_BYTES`), the flags. See `layers.rs` for how they are merged.

mod layers;
mod limits;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use syncline_store::{
    StoreError, WriterOptions,
    sled_store::{Expect, SledStore},
};

use crate::{
    blobs::{Blobs, HALF_RESTORED},
    finder::Place,
};

pub use layers::{Loaded, load};
pub use limits::Limits;

/// What the server runs with. The names are the same in the file, the environment and the flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one; the ready line says which.
    pub listen: SocketAddr,
    /// The data folder: the store and the secret that signs tokens.
    pub data: PathBuf,
    /// No auth: tokens are ignored, every document name is allowed. Only on a loopback address.
    pub open: bool,
    /// Allows `open` on an address that others can reach.
    pub open_to_the_world: bool,
    /// The certificate chain, PEM. Comes with `tls_key`; without both the server speaks plain HTTP.
    pub tls_cert: Option<PathBuf>,
    /// The private key of `tls_cert`, PEM.
    pub tls_key: Option<PathBuf>,
    /// Pages of these origins may connect, beside those of the same host: `https://app.example.com`.
    pub allow_origin: Vec<String>,
    /// A public key, PEM (RSA or Ed25519): tokens that it signed (RS256, EdDSA) are accepted too.
    pub jwt_public_key: Option<PathBuf>,
    /// Tokens under the public key must be meant for this audience (`aud`).
    pub jwt_audience: Option<String>,
    /// Tokens under the public key must come from this issuer (`iss`).
    pub jwt_issuer: Option<String>,
    /// What is logged, on stderr: `warn`, `info`, `syncline_server=debug`, and so on.
    pub log: String,
    /// Logs one JSON object a line instead of text.
    pub log_json: bool,
    /// Every limit on what clients may ask of the server.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8787)),
            data: PathBuf::from("./syncline-data"),
            open: false,
            open_to_the_world: false,
            tls_cert: None,
            tls_key: None,
            allow_origin: Vec::new(),
            jwt_public_key: None,
            jwt_audience: None,
            jwt_issuer: None,
            log: "info".to_owned(),
            log_json: false,
            limits: Limits::default(),
        }
    }
}

/// Says what is wrong with a configuration. All of them end with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read {what} {}: {error}", path.display())]
    Unreadable {
        /// What the file is for.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("{}: {text}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with its line.
        text: String,
    },
    /// An environment variable has a value that does not fit.
    #[error("environment variable {name}: {text}")]
    Environment {
        /// Which variable.
        name: String,
        /// What is wrong.
        text: String,
    },
    /// Values that do not go together, or one out of its range.
    #[error("{0}")]
    Invalid(String),
}

impl Config {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`ConfigError`] says which value does not fit and what to do.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |text: &str| Err(ConfigError::Invalid(text.to_owned()));
        if self.open && !self.open_to_the_world && !self.listen.ip().is_loopback() {
            return Err(ConfigError::Invalid(format!(
                "--open lets everyone who reaches {} read and write everything: listen on 127.0.0.1, or add \
                 --open-to-the-world if that is what you want",
                self.listen
            )));
        }
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => {
                return invalid("--tls-cert needs --tls-key: give both, or none for plain HTTP");
            }
            (None, Some(_)) => {
                return invalid("--tls-key needs --tls-cert: give both, or none for plain HTTP");
            }
            (Some(cert), Some(key)) => {
                readable("the TLS certificate", cert)?;
                readable("the TLS key", key)?;
            }
            (None, None) => {}
        }
        if let Some(key) = &self.jwt_public_key {
            readable("the public key", key)?;
        }
        for origin in &self.allow_origin {
            check_origin(origin)?;
        }
        self.limits.check()
    }

    /// Returns how the commit thread works.
    pub fn writer_options(&self) -> WriterOptions {
        self.limits.writer_options()
    }

    /// Opens the data folder's store, making it if there is none.
    ///
    /// # Errors
    /// As [`SledStore::open_folder`].
    pub fn open_store(&self) -> Result<SledStore, StoreError> {
        if Blobs::is_half_restored(&self.data) {
            return Err(StoreError::Damaged(HALF_RESTORED.to_owned()));
        }
        SledStore::open_folder(&self.data, &self.limits.store_options(), Expect::Any)
    }

    /// Returns where the search index is, and how it works.
    pub fn search_place(&self) -> Place {
        Place {
            folder: self.data.join("search"),
            options: self.limits.search_options(),
            reopen: Duration::from_millis(self.limits.search_reopen_ms),
        }
    }

    /// Says whether the server speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls_cert.is_some()
    }
}

fn readable(what: &'static str, path: &Path) -> Result<(), ConfigError> {
    let unreadable = |error| ConfigError::Unreadable { what, path: path.to_owned(), error };
    std::fs::File::open(path).map_err(unreadable)?.metadata().map_err(unreadable).and_then(|metadata| {
        match metadata.is_dir() {
            true => Err(unreadable(std::io::Error::other("it is a folder"))),
            false => Ok(()),
        }
    })
}

fn check_origin(origin: &str) -> Result<(), ConfigError> {
    let host = origin.split_once("://").map(|(scheme, host)| (!scheme.is_empty()).then_some(host));
    match host {
        Some(Some(host)) if !host.is_empty() && !host.contains(['/', '*', ' ', '?', '#']) => Ok(()),
        _ => Err(ConfigError::Invalid(format!(
            "--allow-origin {origin}: write an origin as browsers send it, without a path: https://app.example.com"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.check().expect_err("must be refused").to_string()
    }

    #[test]
    fn the_default_runs_locally() {
        let config = Config::default();
        config.check().expect("the default is valid");
        assert!(config.listen.ip().is_loopback());
        assert!(!config.open);
    }

    #[test]
    fn an_open_server_stays_on_loopback_unless_told() {
        let world: SocketAddr = "0.0.0.0:8787".parse().expect("an address");
        let text = refused(|config| {
            config.open = true;
            config.listen = world;
        });
        assert!(text.contains("--open-to-the-world"), "{text}");
        let told = Config { open: true, open_to_the_world: true, listen: world, ..Config::default() };
        told.check().expect("asked for");
        let loopback =
            Config { open: true, listen: "[::1]:0".parse().expect("an address"), ..Config::default() };
        loopback.check().expect("loopback");
    }

    #[test]
    fn certificate_and_key_go_together() {
        assert!(refused(|config| config.tls_cert = Some("cert.pem".into())).contains("--tls-key"));
        assert!(refused(|config| config.tls_key = Some("key.pem".into())).contains("--tls-cert"));
    }

    #[test]
    fn a_public_key_that_is_not_there_is_named() {
        let text = refused(|config| config.jwt_public_key = Some("/nowhere/key.pem".into()));
        assert!(text.contains("public key /nowhere/key.pem"), "{text}");
    }

    #[test]
    fn origins_have_a_scheme_and_no_path() {
        for bad in ["app.example.com", "https://a/b", "*", "https://", "https://*.example.com", "://a"] {
            assert!(refused(|config| config.allow_origin = vec![bad.to_owned()]).contains(bad));
        }
        let good = ["https://app.example.com", "http://localhost:5173", "capacitor://localhost"];
        let config =
            Config { allow_origin: good.iter().map(|&o| o.to_owned()).collect(), ..Config::default() };
        config.check().expect("origins");
    }

    #[test]
    fn a_limit_of_zero_is_refused_by_name() {
        assert!(refused(|config| config.limits.document_bytes = 0).contains("limits.document_bytes"));
        assert!(refused(|config| config.limits.connections = 0).contains("limits.connections"));
        assert!(refused(|config| config.limits.ping_every_ms = 0).contains("limits.ping_every_ms"));
        assert!(refused(|config| config.limits.pool_threads = 0).contains("limits.pool_threads"));
    }

    #[test]
    fn a_limit_beyond_every_machine_is_refused_by_name() {
        let text = refused(|config| config.limits.connections = usize::MAX >> 1);
        assert!(text.contains("limits.connections must be at most"), "{text}");
        assert!(refused(|config| config.limits.pre_auth_ms = u64::MAX).contains("out of range"));
    }

    #[test]
    fn nesting_that_overflows_the_stack_cannot_be_configured() {
        for deeper in [65, 10_000] {
            let text = refused(|config| config.limits.any_depth = deeper);
            assert!(text.contains("limits.any_depth must be at most 64"), "{text}");
            let text = refused(|config| config.limits.type_depth = deeper);
            assert!(text.contains("limits.type_depth must be at most 64"), "{text}");
        }
        let mut config = Config::default();
        (config.limits.any_depth, config.limits.type_depth) = (64, 64);
        config.check().expect("as deep as it may be");
    }

    #[test]
    fn the_largest_message_fits_into_the_pool_of_large_ones() {
        let text = refused(|config| config.limits.large_pool_bytes = config.limits.message_bytes - 1);
        assert!(text.contains("message_bytes") && text.contains("large_pool_bytes"), "{text}");
        let mut config = Config::default();
        config.limits.large_pool_bytes = config.limits.message_bytes;
        config.check().expect("one at a time");
        let text = refused(|config| config.limits.waiting_pool_bytes = config.limits.message_bytes);
        assert!(text.contains("waiting_pool_bytes"), "{text}");
    }
}
