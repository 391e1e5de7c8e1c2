//! `syncline verify` for blobs: every blob's file is there and holds what its name says.

use std::{collections::HashSet, fs::File, path::Path};

use syncline_store::{Store, StoreError};

use super::{
    BLOB, Blob, FOLDER, Name, PAGE, UPLOAD,
    mentions::{self, Referral},
    parse_key, path, row_key,
    upload::hash_file,
};

/// Documents that are read to see whether a name still stands in them, at most.
const READ: usize = 10_000;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Blobs that the store knows of.
    pub(crate) blobs: u64,
    /// What is wrong: which blob, and how.
    pub(crate) findings: Vec<(String, String)>,
    /// Names that stand in documents of their user and were not uploaded: by a device that is offline, or at all.
    pub(crate) absent: u64,
    /// Files that no row tells of: left by a copy of the folder that is newer than the store.
    pub(crate) strangers: u64,
}

/// Reads every blob of a data folder.
///
/// # Errors
/// As the store fails.
pub(crate) fn check(store: &dyn Store, data: &Path) -> Result<Checked, StoreError> {
    let folder = data.join(FOLDER);
    let (mut checked, mut known) = (Checked::default(), HashSet::new());
    for table in [BLOB, UPLOAD] {
        let mut from = format!("{table}/").into_bytes();
        loop {
            let page = store.rows(&from, format!("{table}0").as_bytes(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            for (row, value) in &page {
                let Some((user, name)) = parse_key(table, row) else { continue };
                let file = path(&folder, &user, name);
                if table == BLOB {
                    checked.blobs += 1;
                    if let Err(problem) = whole(&file, name, value) {
                        checked.findings.push((format!("blob {user}/{name}"), problem));
                    }
                }
                known.insert(file);
            }
        }
    }
    checked.absent = absent(store)?;
    checked.strangers = files(&folder, 3).filter(|file| !known.contains(file)).count() as u64;
    Ok(checked)
}

/// Counts the names under which there is nothing and that a document holds.
fn absent(store: &dyn Store) -> Result<u64, StoreError> {
    let (mut from, to) = mentions::of_all();
    let (mut count, mut last_found, mut read) = (0, None, 0);
    loop {
        let page = store.rows(&from, &to, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(count) };
        from = [last.as_slice(), &[0]].concat();
        for (row, _) in &page {
            let Some((key, document)) = mentions::parse(row) else { continue };
            let is_here =
                store.row(&row_key(BLOB, &key))?.is_some() || store.row(&row_key(UPLOAD, &key))?.is_some();
            if is_here || last_found.as_ref() == Some(&key) || read >= READ {
                continue;
            }
            read += 1;
            // One that cannot be read is told of by itself.
            let Ok(Some(stored)) = store.read(&document) else { continue };
            if mentions::in_stored(&stored, key.1) != Referral::None {
                count += 1;
                last_found = Some(key);
            }
        }
    }
}

fn whole(file: &Path, name: Name, row: &[u8]) -> Result<(), String> {
    let blob: Blob =
        serde_json::from_slice(row).map_err(|error| format!("its row cannot be read: {error}"))?;
    let mut file = File::open(file).map_err(|error| format!("its file cannot be read: {error}"))?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    if length != blob.bytes {
        return Err(format!("its file has {length} bytes instead of {}", blob.bytes));
    }
    let hash = hash_file(&mut file).map_err(|error| format!("its file cannot be read: {error}"))?;
    match Name::of(hash) {
        found if found == name => Ok(()),
        found => Err(format!("its file holds something else: {found}")),
    }
}

/// Lists the files so many folders down.
pub(super) fn files(folder: &Path, depth: usize) -> Box<dyn Iterator<Item = std::path::PathBuf>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    match depth {
        0 | 1 => Box::new(entries),
        _ => Box::new(entries.flat_map(move |folder| files(&folder, depth - 1))),
    }
}
