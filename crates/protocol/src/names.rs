//! Names that cross the wire, parsed once at the edge: documents, users, devices (rules: the contract's
//! "Names, tokens, access").

use std::{fmt, sync::Arc};

/// The longest document name, in bytes of UTF-8.
pub const DOCUMENT_NAME_BYTES: usize = 512;

/// A valid document name. Cheap to clone; one name is one document in every dialect.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentName(Arc<str>);

/// Says why a name is not one. The text is shown to the peer that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or an empty segment (`a//b`, a leading or trailing slash).
    #[error("a document name has no empty segment")]
    EmptySegment,
    /// Longer than [`DOCUMENT_NAME_BYTES`].
    #[error("a document name has at most 512 bytes")]
    TooLong,
    /// A control character.
    #[error("a document name has no control character")]
    Control,
    /// A `.` or `..` segment.
    #[error("a document name has no '.' or '..' segment")]
    Dots,
    /// Not `[A-Za-z0-9._@-]{1,128}`.
    #[error("a user is 1 to 128 of A-Z a-z 0-9 . _ @ -")]
    User,
    /// Not `[A-Za-z0-9_-]{1,64}`.
    #[error("a device is 1 to 64 of A-Z a-z 0-9 _ -")]
    Device,
}

impl DocumentName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        if name.len() > DOCUMENT_NAME_BYTES {
            return Err(NameError::TooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        for segment in name.split('/') {
            match segment {
                "" => return Err(NameError::EmptySegment),
                "." | ".." => return Err(NameError::Dots),
                _ => {}
            }
        }
        Ok(Self(name.into()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first segment of a name with more than one: the user that `U/...` belongs to.
    pub fn owner(&self) -> Option<&str> {
        self.0.split_once('/').map(|(owner, _)| owner)
    }
}

impl fmt::Display for DocumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DocumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Checks a user name.
///
/// # Errors
/// [`NameError::User`] where it is not `[A-Za-z0-9._@-]{1,128}`.
pub fn check_user(user: &str) -> Result<(), NameError> {
    let fits = (1..=128).contains(&user.len())
        && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b));
    if fits { Ok(()) } else { Err(NameError::User) }
}

/// Checks a device id.
///
/// # Errors
/// [`NameError::Device`] where it is not `[A-Za-z0-9_-]{1,64}`.
pub fn check_device(device: &str) -> Result<(), NameError> {
    let fits = (1..=64).contains(&device.len())
        && device.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if fits { Ok(()) } else { Err(NameError::Device) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_names_follow_the_contract() {
        for good in ["doc", "ada/c/0190", "a b", "ü/ñ", "..a", "a/...", &"x".repeat(512)] {
            assert!(DocumentName::parse(good).is_ok(), "{good}");
        }
        assert_eq!(DocumentName::parse(""), Err(NameError::EmptySegment));
        assert_eq!(DocumentName::parse("/a"), Err(NameError::EmptySegment));
        assert_eq!(DocumentName::parse("a//b"), Err(NameError::EmptySegment));
        assert_eq!(DocumentName::parse("a/../b"), Err(NameError::Dots));
        assert_eq!(DocumentName::parse("a\0b"), Err(NameError::Control));
        assert_eq!(DocumentName::parse(&"x".repeat(513)), Err(NameError::TooLong));
        assert_eq!(
            DocumentName::parse("ada/c/1").map(|n| n.owner().map(str::to_owned)),
            Ok(Some("ada".into()))
        );
        assert_eq!(DocumentName::parse("notes").map(|n| n.owner().map(str::to_owned)), Ok(None));
    }

    #[test]
    fn users_and_devices_follow_the_contract() {
        assert!(check_user("ada.l@x-y_z").is_ok());
        assert!(
            check_user("a/b").is_err() && check_user("").is_err() && check_user(&"u".repeat(129)).is_err()
        );
        assert!(check_device("phone_1").is_ok());
        assert!(
            check_device("a.b").is_err()
                && check_device("").is_err()
                && check_device(&"d".repeat(65)).is_err()
        );
    }
}
