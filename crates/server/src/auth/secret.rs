//! The secret that signs tokens: a file of random bytes in the data folder, readable by its owner only.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The file's name in the data folder.
pub const SECRET_FILE: &str = "secret";
const SECRET_BYTES: usize = 32;

/// The key of HS256: the file's bytes, whatever they are.
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Says why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file system refused.
    #[error("cannot {what} the secret {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is too short to be safe.
    #[error("the secret {} has fewer than 32 bytes: delete it to have a new one made (every token ends)", .0.display())]
    Short(PathBuf),
}

impl Secret {
    /// Reads the data folder's secret, or makes it, and the folder, if there is none.
    ///
    /// # Errors
    /// [`SecretError`] names the file and what to do.
    pub fn read_or_create(data: &Path) -> Result<Self, SecretError> {
        let path = data.join(SECRET_FILE);
        if let Some(secret) = Self::read(&path)? {
            return Ok(secret);
        }
        let failed = |error| SecretError::Io { what: "make", path: path.clone(), error };
        fs::create_dir_all(data).map_err(failed)?;
        write_once(data, &path).map_err(failed)?;
        // Whoever came first, this server or a `syncline token` beside it: the file decides.
        Self::read(&path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
    }

    fn read(path: &Path) -> Result<Option<Self>, SecretError> {
        match fs::read(path) {
            Ok(bytes) if bytes.len() < SECRET_BYTES => Err(SecretError::Short(path.to_owned())),
            Ok(bytes) => {
                warn_if_shared(path);
                Ok(Some(Self(bytes)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SecretError::Io { what: "read", path: path.to_owned(), error }),
        }
    }

    /// Returns the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(test)]
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

/// Writes a fresh secret under another name and links it, so that no half-written secret is ever read and an
/// existing one is never replaced.
fn write_once(data: &Path, path: &Path) -> io::Result<()> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let draft = data.join(format!(".{SECRET_FILE}-{}-{:016x}", std::process::id(), fastrand::u64(..)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(&bytes).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    });
    fs::remove_file(&draft)?;
    linked?;
    fs::File::open(data)?.sync_all()
}

fn warn_if_shared(path: &Path) {
    let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o077).unwrap_or_default();
    if mode != 0 {
        tracing::warn!(path = %path.display(), "the secret is readable by others: run chmod 600 on it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("not/there/yet");
        let first = Secret::read_or_create(&data).expect("made");
        let again = Secret::read_or_create(&data).expect("read");
        assert_eq!(first.as_bytes(), again.as_bytes());
        assert_eq!(first.as_bytes().len(), 32);
        let mode = fs::metadata(data.join(SECRET_FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&data).expect("a folder").count(), 1, "no draft is left behind");
    }

    #[test]
    fn racing_first_starts_agree_on_one_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let make = || Secret::read_or_create(folder.path()).expect("made").as_bytes().to_vec();
        let secrets: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(secrets.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_short_secret_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(SECRET_FILE), "short").expect("written");
        let error = Secret::read_or_create(folder.path()).expect_err("refused").to_string();
        assert!(error.contains("fewer than 32 bytes"), "{error}");
    }
}
