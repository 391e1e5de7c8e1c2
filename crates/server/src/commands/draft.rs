//! A file that is there whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::cli::Failure;

/// The file while it is written: it gets its name when it is whole and on disk.
pub(super) struct Draft {
    pub(super) file: File,
    path: PathBuf,
}

impl Draft {
    pub(super) fn new(to: &Path) -> Result<Self, Failure> {
        if to.exists() {
            return Err(Failure::Usage(format!("{} is there already: choose another name", to.display())));
        }
        let name = to.file_name().ok_or_else(|| Failure::Usage("--to must name a file".to_owned()))?;
        let mut draft = name.to_owned();
        draft.push(format!(".{}.part", std::process::id()));
        let path = to.with_file_name(draft);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        Ok(Self { file: file.map_err(|error| Failure::Usage(unwritable(to, &error).to_string()))?, path })
    }

    pub(super) fn keep(&self, to: &Path) -> Result<u64, Failure> {
        let failed = |error| unwritable(to, &error);
        self.file.sync_all().map_err(failed)?;
        // A link, not a rename: it replaces nothing that came meanwhile.
        fs::hard_link(&self.path, to).map_err(failed)?;
        self.file.metadata().map(|metadata| metadata.len()).map_err(failed)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Kept under its own name by now, or not wanted.
        let _ = fs::remove_file(&self.path);
    }
}

pub(super) fn unwritable(to: &Path, error: &std::io::Error) -> Failure {
    Failure::Check(format!("cannot write {}: {error}", to.display()))
}
