//! Who asks, and what they may do: tokens are checked here and nowhere else, access is one function.
//!
//! Tokens are JWTs: HS256 under the data folder's secret, RS256 or EdDSA under a configured public key. Which key
//! is tried follows from the algorithm, never the other way round, so that a public key is never an HMAC secret.

mod secret;

use std::{fmt, path::PathBuf, sync::Arc};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode, errors::ErrorKind,
};
use serde::{Deserialize, Serialize};
use syncline_protocol::names::{DocumentName, NameError, check_device, check_user};

use crate::config::Config;

pub use secret::{SECRET_FILE, Secret, SecretError};

/// How far ahead the clock of another issuer may be (`nbf`). Expiry has no such slack.
const SKEW_SECONDS: u64 = 30;
/// Nothing longer is parsed.
const TOKEN_BYTES: usize = 16 << 10;

/// What a token says about its bearer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// The device, where the token is bound to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What kind of user this is.
    #[serde(default)]
    pub role: Role,
    /// Documents beside the user's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// The only document that the token is good for: set in tokens minted for y-sweet clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// Good until then, Unix seconds.
    pub exp: u64,
    /// Made then, Unix seconds.
    #[serde(default)]
    pub iat: u64,
    /// Good from then on, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
}

/// What kind of user a token names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads and writes the own documents (`U/...`) and what is granted.
    #[default]
    Owner,
    /// Acts for the user: reads over sockets, writes through the HTTP API.
    Agent,
    /// Reads the own documents and what is granted.
    Reader,
    /// Reads everything and operates the server; writes only what is granted.
    Admin,
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "owner" => Ok(Self::Owner),
            "agent" => Ok(Self::Agent),
            "reader" => Ok(Self::Reader),
            "admin" => Ok(Self::Admin),
            _ => Err("a role is owner, agent, reader or admin".to_owned()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "owner",
            Self::Agent => "agent",
            Self::Reader => "reader",
            Self::Admin => "admin",
        })
    }
}

/// Access to every document whose name starts with `prefix`, to the letter: `team/` is a folder, `team` is also
/// the start of `teamwork`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// How the names start.
    pub prefix: String,
    /// What is allowed there.
    pub access: GrantAccess,
}

/// What a grant allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantAccess {
    /// To read.
    Read,
    /// To read and write.
    Write,
}

/// What someone may do with one document over a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DocumentAccess {
    /// Nothing; not even learn whether it exists.
    None,
    /// Read it.
    Read,
    /// Read and write it.
    Write,
}

/// Decides what the bearer of these claims may do with a document. `None` is an open server.
pub fn access(claims: Option<&Claims>, document: &DocumentName) -> DocumentAccess {
    let Some(claims) = claims else { return DocumentAccess::Write };
    let name = document.as_str();
    if claims.only.as_deref().is_some_and(|only| only != name) {
        return DocumentAccess::None;
    }
    let own = claims.role != Role::Admin && document.owner() == Some(claims.sub.as_str());
    let granted =
        claims.grants.iter().filter(|grant| name.starts_with(grant.prefix.as_str())).map(|grant| match grant
            .access
        {
            GrantAccess::Read => DocumentAccess::Read,
            GrantAccess::Write => DocumentAccess::Write,
        });
    let base = match (claims.role, own) {
        (Role::Admin, _) => DocumentAccess::Read,
        (_, true) => DocumentAccess::Write,
        (_, false) => DocumentAccess::None,
    };
    let most = granted.fold(base, DocumentAccess::max);
    match claims.role {
        Role::Owner | Role::Admin => most,
        Role::Agent | Role::Reader => most.min(DocumentAccess::Read),
    }
}

/// Says why a token is not accepted. The text is shown to its bearer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is none.
    #[error("a token is needed: get one with `syncline token` and send it as the provider's token")]
    Missing,
    /// It is not a token, or its claims are not ours.
    #[error("the token is malformed: {0}")]
    Malformed(String),
    /// Its algorithm is none that is accepted here.
    #[error(
        "the token's algorithm is not accepted here: use HS256, or RS256 or EdDSA with the configured key"
    )]
    Algorithm,
    /// Its signature does not fit.
    #[error("the token was not signed by this server: get a new one")]
    Signature,
    /// Its time is over.
    #[error("the token has expired: get a new one")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet: check the clocks")]
    Early,
    /// It is meant for somebody else.
    #[error("the token is for another audience: it must be the one given with --jwt-audience")]
    Audience,
    /// Somebody else made it.
    #[error("the token is from another issuer: it must be the one given with --jwt-issuer")]
    Issuer,
    /// Its device was signed out for good.
    #[error(
        "this device was revoked by its user: let it in again from another one, or sign in as a new device"
    )]
    Revoked,
    /// Whether its device was signed out cannot be read for now.
    #[error("whether this device was revoked cannot be read for now: try again in a moment")]
    Unknown,
    /// Its user or device is not a name.
    #[error("the token names nobody: {0}")]
    Name(#[from] NameError),
}

impl Denied {
    /// Returns the stable word for metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Malformed(_) => "token_malformed",
            Self::Algorithm => "token_algorithm",
            Self::Signature => "token_signature",
            Self::Expired => "token_expired",
            Self::Early => "token_early",
            Self::Audience => "token_audience",
            Self::Issuer => "token_issuer",
            Self::Revoked => "device_revoked",
            Self::Unknown => "device_unknown",
            Self::Name(_) => "token_name",
        }
    }
}

/// Says why the server cannot check tokens: its configuration is wrong.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The secret cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The public key's file cannot be read.
    #[error("cannot read the public key {}: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The public key is not one.
    #[error("{} holds no public key that is usable: it must be PEM, RSA or Ed25519", .0.display())]
    PublicKey(PathBuf),
}

/// Who a connection or a request acts for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Principal(Option<Arc<Bearer>>);

#[derive(Debug)]
struct Bearer {
    claims: Claims,
    user: Arc<str>,
    device: Option<Arc<str>>,
}

impl Principal {
    /// Everyone, on an open server.
    pub fn anyone() -> Self {
        Self(None)
    }

    /// The bearer of checked claims.
    pub fn of(claims: Claims) -> Self {
        let user = claims.sub.as_str().into();
        let device = claims.device.as_deref().map(Into::into);
        Self(Some(Arc::new(Bearer { claims, user, device })))
    }

    /// Returns the claims; `None` on an open server.
    pub fn claims(&self) -> Option<&Claims> {
        self.0.as_deref().map(|bearer| &bearer.claims)
    }

    /// Returns the user; `None` on an open server.
    pub fn user(&self) -> Option<&Arc<str>> {
        self.0.as_deref().map(|bearer| &bearer.user)
    }

    /// Returns the token's device.
    pub fn device(&self) -> Option<&Arc<str>> {
        self.0.as_deref().and_then(|bearer| bearer.device.as_ref())
    }

    /// Decides what they may do with a document.
    pub fn access(&self, document: &DocumentName) -> DocumentAccess {
        access(self.claims(), document)
    }

    /// Says whether they may operate the server: inspect, back up, mint tokens for others.
    pub fn may_operate(&self) -> bool {
        self.claims().is_none_or(|claims| claims.role == Role::Admin && claims.only.is_none())
    }

    /// Returns when the token expires, Unix milliseconds; `None` on an open server.
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.claims().map(|claims| claims.exp.saturating_mul(1_000))
    }
}

/// Checks and mints tokens.
pub struct Auth {
    open: bool,
    signing: EncodingKey,
    secret: DecodingKey,
    public: Option<(Algorithm, DecodingKey)>,
    audience: Option<String>,
    issuer: Option<String>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Auth {
    /// Reads the keys that a configuration names; makes the secret if there is none.
    ///
    /// # Errors
    /// [`AuthError`] says which file is wrong.
    pub fn from_config(config: &Config) -> Result<Self, AuthError> {
        let secret = Secret::read_or_create(&config.data)?;
        let public = match &config.jwt_public_key {
            Some(path) => {
                let pem = std::fs::read(path)
                    .map_err(|error| AuthError::Unreadable { path: path.clone(), error })?;
                Some(public_key(&pem).ok_or_else(|| AuthError::PublicKey(path.clone()))?)
            }
            None => None,
        };
        let mut auth = Self::with_secret(&secret);
        auth.open = config.open;
        auth.public = public;
        auth.audience = config.jwt_audience.clone();
        auth.issuer = config.jwt_issuer.clone();
        Ok(auth)
    }

    /// Checks and mints under a secret alone.
    pub fn with_secret(secret: &Secret) -> Self {
        Self {
            open: false,
            signing: EncodingKey::from_secret(secret.as_bytes()),
            secret: DecodingKey::from_secret(secret.as_bytes()),
            public: None,
            audience: None,
            issuer: None,
        }
    }

    /// Says whether the server asks for no token.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Finds out who the bearer of a token is. On an open server the token is not looked at.
    ///
    /// # Errors
    /// [`Denied`] says why the token is not accepted; an empty one counts as missing.
    pub fn principal(&self, token: Option<&str>) -> Result<Principal, Denied> {
        if self.open {
            return Ok(Principal::anyone());
        }
        match token.map(str::trim) {
            None | Some("") => Err(Denied::Missing),
            Some(token) => self.check(token).map(Principal::of),
        }
    }

    /// Checks a token's signature, time, audience, issuer and names.
    ///
    /// # Errors
    /// [`Denied`] says what is wrong with it.
    pub fn check(&self, token: &str) -> Result<Claims, Denied> {
        if token.len() > TOKEN_BYTES {
            return Err(Denied::Malformed("too long".to_owned()));
        }
        let header = decode_header(token).map_err(|error| denied(error.kind()))?;
        let (key, validation) = match (header.alg, &self.public) {
            (Algorithm::HS256, _) => (&self.secret, self.validation(Algorithm::HS256, false)),
            (algorithm, Some((ours, key))) if algorithm == *ours => (key, self.validation(algorithm, true)),
            _ => return Err(Denied::Algorithm),
        };
        let claims = decode::<Claims>(token, key, &validation).map_err(|error| denied(error.kind()))?.claims;
        // To the second exactly, as sockets are closed: else it would open one more in its last.
        if claims.exp <= now_seconds() {
            return Err(Denied::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now_seconds() + SKEW_SECONDS) {
            return Err(Denied::Early);
        }
        check_user(&claims.sub)?;
        if let Some(device) = &claims.device {
            check_device(device)?;
        }
        Ok(claims)
    }

    /// A token of our own making (`syncline token`) has no audience and no issuer: there they are checked only
    /// where they are present. Another issuer's token must have what is configured.
    fn validation(&self, algorithm: Algorithm, foreign: bool) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = 0;
        let mut required = vec!["exp", "sub"];
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            required.extend(foreign.then_some("aud"));
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.extend(foreign.then_some("iss"));
        }
        validation.set_required_spec_claims(&required);
        validation
    }

    /// Signs claims with the data folder's secret.
    ///
    /// # Errors
    /// [`Denied::Malformed`] where the claims do not encode, which is a bug.
    pub fn mint(&self, claims: &Claims) -> Result<String, Denied> {
        encode(&Header::new(Algorithm::HS256), claims, &self.signing)
            .map_err(|error| Denied::Malformed(error.to_string()))
    }
}

fn public_key(pem: &[u8]) -> Option<(Algorithm, DecodingKey)> {
    let ed = || DecodingKey::from_ed_pem(pem).map(|key| (Algorithm::EdDSA, key));
    let rsa = || DecodingKey::from_rsa_pem(pem).map(|key| (Algorithm::RS256, key));
    ed().or_else(|_| rsa()).ok()
}

fn denied(kind: &ErrorKind) -> Denied {
    match kind {
        ErrorKind::ExpiredSignature => Denied::Expired,
        ErrorKind::ImmatureSignature => Denied::Early,
        ErrorKind::InvalidAudience => Denied::Audience,
        ErrorKind::InvalidIssuer => Denied::Issuer,
        ErrorKind::InvalidSignature => Denied::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm | ErrorKind::InvalidAlgorithmName => {
            Denied::Algorithm
        }
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Denied::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => Denied::Issuer,
        ErrorKind::MissingRequiredClaim(claim) => Denied::Malformed(format!("it has no {claim}")),
        ErrorKind::Json(error) => Denied::Malformed(format!("its claims do not fit: {error}")),
        _ => Denied::Malformed("it is not a JWT".to_owned()),
    }
}

/// Returns the Unix time in seconds.
pub fn now_seconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map(|time| time.as_secs()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
