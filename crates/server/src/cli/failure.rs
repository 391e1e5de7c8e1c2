//! How a command ends when it does not end well: the one place that knows the exit codes.

use std::process::ExitCode;

use syncline_store::StoreError;

use crate::{
    auth::{AuthError, SecretError},
    config::ConfigError,
    serve::ServeError,
};

/// Why a command failed, by whose turn it is now.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A check failed, or something is not saved.
    #[error("{0}")]
    Check(String),
    /// The command line or the configuration is wrong.
    #[error("{0}")]
    Usage(String),
    /// Another process has the data folder.
    #[error("{0}")]
    InUse(String),
    /// The store is damaged, or of a newer version.
    #[error("{0}")]
    Damaged(String),
}

impl Failure {
    /// Returns the contract's exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Check(_) => 1,
            Self::Usage(_) => 2,
            Self::InUse(_) => 3,
            Self::Damaged(_) => 4,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::InUse(_) => Self::InUse(text),
            StoreError::Damaged(_) | StoreError::TooNew { .. } => Self::Damaged(text),
            _ => Self::Check(text),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Store(error) => error.into(),
            ServeError::Unsaved(_) => Self::Check(error.to_string()),
            ServeError::Listen { .. } | ServeError::Auth(_) | ServeError::Tls(_) => {
                Self::Usage(error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_contracts() {
        let code = |error: StoreError| Failure::from(error).code();
        assert_eq!(code(StoreError::InUse("x".into())), 3);
        assert_eq!(code(StoreError::Damaged("x".into())), 4);
        assert_eq!(code(StoreError::TooNew { found: 9, known: 1 }), 4);
        assert_eq!(code(StoreError::Full("x".into())), 1);
        assert_eq!(code(StoreError::Export("x".into())), 1);
        assert_eq!(Failure::from(ConfigError::Invalid("x".into())).code(), 2);
        assert_eq!(Failure::from(ServeError::Unsaved("x".into())).code(), 1);
        assert_eq!(Failure::from(ServeError::Store(StoreError::InUse("x".into()))).code(), 3);
    }
}
