//! `syncline backup`: everything in one file, whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use syncline_store::export::export;

use crate::{
    cli::{Backup, Failure},
    commands::{open_existing, print, remote::Remote},
};

pub(crate) fn run(arguments: &Backup) -> Result<(), Failure> {
    let place = &arguments.place;
    let draft = Draft::new(&arguments.to)?;
    let mut out = BufWriter::with_capacity(1 << 20, &draft.file);
    match (&place.data, &place.server) {
        (Some(data), _) => {
            let store = open_existing(data)?;
            export(&store, &mut out)?;
        }
        (None, Some(server)) => {
            Remote::new(server, place.token.as_deref())?.copy("/v1/admin/backup", &mut out)?;
        }
        (None, None) => return Err(Failure::Usage("give --data or --server".to_owned())),
    }
    out.flush().map_err(|error| unwritable(&arguments.to, &error))?;
    drop(out);
    let bytes = draft.keep(&arguments.to)?;
    print(&format!("{bytes} bytes in {}", arguments.to.display()))
}

/// The file while it is written: it gets its name when it is whole and on disk.
struct Draft {
    file: File,
    path: PathBuf,
}

impl Draft {
    fn new(to: &Path) -> Result<Self, Failure> {
        if to.exists() {
            return Err(Failure::Usage(format!("{} is there already: choose another name", to.display())));
        }
        let name = to.file_name().ok_or_else(|| Failure::Usage("--to must name a file".to_owned()))?;
        let mut draft = name.to_owned();
        draft.push(format!(".{}.part", std::process::id()));
        let path = to.with_file_name(draft);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        Ok(Self { file: file.map_err(|error| Failure::Usage(unwritable(to, &error).to_string()))?, path })
    }

    fn keep(&self, to: &Path) -> Result<u64, Failure> {
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

fn unwritable(to: &Path, error: &std::io::Error) -> Failure {
    Failure::Check(format!("cannot write {}: {error}", to.display()))
}
