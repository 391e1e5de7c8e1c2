//! What a client is given: where, who, with which token, and every limit.

use std::{fmt, sync::Arc};

use syncline_protocol::{
    limits::Limits as Checker,
    names::{DocumentName, check_device, check_user},
};

use crate::ClientError;

/// The longest name of a device for people, in bytes.
const DEVICE_NAME_BYTES: usize = 256;

/// What a client is given. [`Config::new`] fills in what works; the fields are free to be changed.
#[derive(Clone)]
pub struct Config {
    /// The server: `https://host`, `http://host:8787`, or `wss://` and `ws://` as well.
    pub url: String,
    /// The user, as in the token's `sub`.
    pub user: String,
    /// The device's id: 1 to 64 of `A-Z a-z 0-9 _ -`, drawn once when the application is installed. The token's `device`,
    /// where it has one.
    pub device: String,
    /// The device's name for people.
    pub device_name: Option<String>,
    /// What it is: phone, tablet, laptop, desktop.
    pub device_kind: Option<String>,
    /// The folder of the device's own store; made where it is missing. One client at a time may have it open.
    pub folder: String,
    /// A token that does not change. A [`TokenSource`] takes its place.
    pub token: Option<String>,
    /// Connects at once; else [`Client::go_online`](crate::Client::go_online) does.
    pub online: bool,
    /// Certificates to trust (PEM) instead of the machine's: for a server of one's own, and on platforms whose roots cannot
    /// be read from files.
    pub root_certificates_pem: Option<String>,
    /// Every limit.
    pub limits: Limits,
}

/// Every bound on memory, disk and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Documents open at once. Past that the one unused for longest, with nothing unsaved, is closed.
    pub open_documents: u32,
    /// Newest quarters of conversations that are open from the start, beside those in the store.
    pub index_quarters: u32,
    /// The largest frame that is sent: the server's `message_bytes`.
    pub sent_frame_bytes: u64,
    /// The largest frame that is read: a whole document of the server's `document_bytes`.
    pub received_frame_bytes: u64,
    /// What may wait to be written to the socket; beyond it the connection starts afresh, which sends less.
    pub outbound_bytes: u64,
    /// The largest log of one document that is read.
    pub log_bytes: u64,
    /// The parts of one message, or a value, as JSON.
    pub edit_bytes: u64,
    /// Copies that were set aside and are kept. When there are so many, refused documents stay refused.
    pub set_aside: u32,
    /// The shortest wait before a reconnect, in milliseconds; it doubles each time.
    pub retry_min_ms: u64,
    /// The longest wait before a reconnect, in milliseconds.
    pub retry_max_ms: u64,
    /// For one try to connect, in milliseconds.
    pub connect_timeout_ms: u64,
    /// A connection on which nothing comes, or nothing can be written, for this long is given up. Servers say something
    /// every 30 seconds.
    pub silence_ms: u64,
    /// For the application to give a token, in milliseconds.
    pub token_timeout_ms: u64,
    /// A document is carried over into a fresh copy so often,
    pub carries: u32,
    /// within this time, in milliseconds; after that it stays refused.
    pub carries_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_documents: 256,
            index_quarters: 4,
            sent_frame_bytes: 32 << 20,
            received_frame_bytes: 96 << 20,
            outbound_bytes: 80 << 20,
            log_bytes: 1 << 30,
            edit_bytes: 1 << 20,
            set_aside: 64,
            retry_min_ms: 500,
            retry_max_ms: 30_000,
            connect_timeout_ms: 10_000,
            silence_ms: 45_000,
            token_timeout_ms: 30_000,
            carries: 8,
            carries_ms: 600_000,
        }
    }
}

impl Config {
    /// Makes a configuration with the limits that work for a phone.
    pub fn new(url: String, user: String, device: String, folder: String) -> Self {
        Self {
            url,
            user,
            device,
            device_name: None,
            device_kind: None,
            folder,
            token: None,
            online: true,
            root_certificates_pem: None,
            limits: Limits::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ClientError> {
        let wrong = |reason: String| Err(ClientError::Configuration(reason));
        if let Err(error) = check_user(&self.user) {
            return wrong(error.to_string());
        }
        if let Err(error) = check_device(&self.device) {
            return wrong(error.to_string());
        }
        if self.device_name.as_ref().is_some_and(|name| name.len() > DEVICE_NAME_BYTES) {
            return wrong(format!("a device's name has at most {DEVICE_NAME_BYTES} bytes"));
        }
        if self.limits.open_documents < 8 {
            return wrong("at least 8 documents must be open at once".to_owned());
        }
        if self.limits.retry_min_ms == 0 {
            return wrong("between two tries to connect is at least a millisecond".to_owned());
        }
        crate::endpoint::Endpoint::parse(self).map(|_| ())
    }

    /// Names a document of the user's.
    pub(crate) fn document(&self, rest: &str) -> Result<DocumentName, ClientError> {
        DocumentName::parse(&format!("{}/{rest}", self.user))
            .map_err(|error| ClientError::Invalid(error.to_string()))
    }
}

impl Limits {
    /// The checker's limits on what a server sends: a whole document in one message, where a server takes it in parts.
    pub(crate) fn checker(&self) -> Checker {
        Checker {
            update_bytes: usize::try_from(self.received_frame_bytes).unwrap_or(usize::MAX),
            sections: 1 << 20,
            blocks: 8 << 20,
            delete_ranges: 4 << 20,
            values: 64 << 20,
            work: u64::MAX,
            join_bytes: 1 << 30,
            ..Checker::default()
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the token.
        f.debug_struct("Config")
            .field("url", &self.url)
            .field("user", &self.user)
            .field("device", &self.device)
            .field("folder", &self.folder)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Why the application gave no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// For now: it is asked again with the next try to connect.
    #[error("no token for now: {0}")]
    Unavailable(String),
}

/// Gives tokens. The application implements it: it asks its own backend, or what that gave it before.
#[async_trait::async_trait]
pub trait TokenSource: Send + Sync {
    /// Returns a token. `refused` says that the last one had expired or was not taken: a cached one will not do.
    ///
    /// # Errors
    /// [`TokenError`] where there is none for now.
    async fn token(&self, refused: bool) -> Result<String, TokenError>;
}

/// A token that does not change.
pub(crate) struct FixedToken(pub(crate) String);

#[async_trait::async_trait]
impl TokenSource for FixedToken {
    async fn token(&self, _refused: bool) -> Result<String, TokenError> {
        Ok(self.0.clone())
    }
}

pub(crate) fn tokens(config: &Config, source: Option<Arc<dyn TokenSource>>) -> Arc<dyn TokenSource> {
    source.unwrap_or_else(|| Arc::new(FixedToken(config.token.clone().unwrap_or_default())))
}
