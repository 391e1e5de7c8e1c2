//! `syncline restore`: a new data folder from a backup: its store, and the blobs that it carries.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use syncline_store::{
    SledStore,
    export::{Exported, import_with},
    sled_store::{Expect, SledOptions},
};

use crate::{
    blobs::{
        FOLDER,
        backup::{DRAFT, Restored, discard},
    },
    cli::{Failure, Restore},
    commands::{MARKER_FILE, STORE_FOLDER, check_restored, erasures, print},
};

/// What a restore makes in a data folder.
const MADE: [&str; 6] = [STORE_FOLDER, MARKER_FILE, "syncline.json.new", "reserve", "lock", FOLDER];

pub(crate) fn run(arguments: &Restore) -> Result<(), Failure> {
    let data = &arguments.data;
    check_restored(data)?;
    let file = File::open(&arguments.file)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", arguments.file.display())))?;
    if data.join(STORE_FOLDER).exists() || data.join(MARKER_FILE).exists() {
        let text = format!("{} has a store already: restore into a folder without one", data.display());
        return Err(Failure::Usage(text));
    }
    let before = Before::of(data);
    match restore(arguments, file) {
        Ok(restored) => tell(arguments, &restored),
        Err(error @ Failure::InUse(_)) => {
            // Whoever has the folder open has it still. Where that is another restore, what it has put there stays.
            let _ = fs::remove_dir(data.join(DRAFT));
            Err(error)
        }
        Err(error) => {
            // Half a restore must not be taken for a whole one.
            let hint = match before.bring_back() {
                Ok(()) => "nothing was restored".to_owned(),
                Err(left) => format!("remove {} before the next attempt: {left}", data.display()),
            };
            Err(Failure::Check(format!("{}: {error}; {hint}", arguments.file.display())))
        }
    }
}

/// What came of a restore.
struct Done {
    exported: Exported,
    blobs: u64,
    left: Vec<(String, String)>,
    again: Option<u64>,
}

fn restore(arguments: &Restore, file: File) -> Result<Done, Failure> {
    let data = &arguments.data;
    let unwritable = |error: io::Error| Failure::Check(format!("cannot write {}: {error}", data.display()));
    // Nobody opens a folder in which it is: one that is killed is not taken for a whole one.
    fs::create_dir_all(data.join(DRAFT)).map_err(unwritable)?;
    let store = SledStore::open_folder(data, &SledOptions::default(), Expect::Nothing)?;
    let mut blobs = Restored::new(&store, data);
    let exported = import_with(&store, &mut blobs, &mut BufReader::with_capacity(1 << 20, file))?;
    if exported.files.is_some() {
        blobs.settle()?;
    }
    let again = arguments.erasures.as_deref().map(|ledger| erasures::replay(&store, ledger)).transpose()?;
    let (whole, left) = (blobs.whole, std::mem::take(&mut blobs.left));
    blobs.keep().map_err(unwritable)?;
    Ok(Done { exported, blobs: whole, left, again })
}

fn tell(arguments: &Restore, done: &Done) -> Result<(), Failure> {
    if let Some(again) = done.again {
        print(&format!("{again} erasures are done again when the server starts"))?;
    }
    for (blob, why) in &done.left {
        print(&format!("blob {blob} is not in the backup: {why}"))?;
    }
    if done.exported.files.is_none() {
        print("the backup carries no blobs: put the copy of DATA/blobs beside the store")?;
    }
    let (documents, entries, blobs) = (done.exported.documents, done.exported.entries, done.blobs);
    let place = arguments.data.display();
    print(&format!("{documents} documents with {entries} entries and {blobs} blobs restored into {place}"))?;
    match done.left.len() {
        0 => Ok(()),
        left => Err(Failure::Check(format!("{left} blobs are missing; all else is restored"))),
    }
}

/// A data folder as it was before the restore.
struct Before {
    data: PathBuf,
    /// Folders that were not there, the innermost first.
    missing: Vec<PathBuf>,
    /// What a restore makes and was there.
    there: Vec<&'static str>,
}

impl Before {
    fn of(data: &Path) -> Self {
        let missing = data.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let missing = missing.map(Path::to_owned).collect();
        let there = MADE.into_iter().filter(|name| data.join(name).exists()).collect();
        Self { data: data.to_owned(), missing, there }
    }

    /// Removes what was made since.
    fn bring_back(&self) -> io::Result<()> {
        discard(&self.data)?;
        for name in MADE.into_iter().filter(|name| !self.there.contains(name)) {
            let path = self.data.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone(removed)?;
        }
        self.missing.iter().try_for_each(|folder| gone(fs::remove_dir(folder)))
    }
}

/// Takes it for removed where it was not there.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
