//! `syncline restore`: a new store from a backup.

use std::{fs::File, io::BufReader};

use syncline_store::{
    SledStore, Store,
    export::import,
    sled_store::{Expect, SledOptions},
};

use crate::{
    cli::{Failure, Restore},
    commands::{MARKER_FILE, STORE_FOLDER, erasures, print},
};

pub(crate) fn run(arguments: &Restore) -> Result<(), Failure> {
    let data = &arguments.data;
    let file = File::open(&arguments.file)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", arguments.file.display())))?;
    if data.join(STORE_FOLDER).exists() || data.join(MARKER_FILE).exists() {
        let text = format!("{} has a store already: restore into a folder without one", data.display());
        return Err(Failure::Usage(text));
    }
    let store = SledStore::open_folder(data, &SledOptions::default(), Expect::Nothing)?;
    let imported = import(&store, &mut BufReader::with_capacity(1 << 20, file));
    let marked = imported.and_then(|imported| store.mark().map(|()| imported));
    let marked = marked.map_err(Failure::from).and_then(|imported| {
        let again = arguments.erasures.as_deref().map(|ledger| erasures::replay(&store, ledger));
        Ok((imported, again.transpose()?))
    });
    drop(store);
    match marked {
        Ok((restored, again)) => {
            if let Some(again) = again {
                print(&format!("{again} erasures are done again when the server starts"))?;
            }
            let (documents, entries) = (restored.documents, restored.entries);
            print(&format!("{documents} documents with {entries} entries restored into {}", data.display()))
        }
        Err(error) => {
            // Half a restore must not be taken for a whole one.
            let removed = std::fs::remove_dir_all(data.join(STORE_FOLDER))
                .and_then(|()| std::fs::remove_file(data.join(MARKER_FILE)));
            let hint = match removed {
                Ok(()) => "nothing was restored".to_owned(),
                Err(left) => format!("remove {} before the next attempt: {left}", data.display()),
            };
            Err(Failure::Check(format!("{}: {error}; {hint}", arguments.file.display())))
        }
    }
}
