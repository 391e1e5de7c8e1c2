//! Opens what is in the folder, if it is whole; sets it aside, if it is not.
//!
//! The folder holds `v{VERSION}`, the index; `damaged`, one that was set aside; `suspect`, a note that what seemed
//! whole when it was opened was not.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tantivy::{
    IndexReader, IndexWriter, ReloadPolicy,
    directory::{Directory, INDEX_WRITER_LOCK, MmapDirectory},
};

use crate::{
    error::{SearchError, contained},
    options::Options,
    schema::{self, Schema},
    tokens::UserWords,
    worker,
};

/// What [`crate::Index::open`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The index as it was at its last commit.
    Existing,
    /// An empty one: everything has to be indexed.
    Fresh {
        /// Why the one that was there was set aside, if there was one.
        damage: Option<String>,
    },
}

/// An open index.
pub(crate) struct Files {
    pub(crate) index: tantivy::Index,
    pub(crate) schema: Schema,
    pub(crate) reader: IndexReader,
    pub(crate) writer: IndexWriter,
}

/// Where the index itself is.
pub(crate) fn live(folder: &Path) -> PathBuf {
    folder.join(format!("v{}", schema::VERSION))
}

/// Where one goes that was set aside.
pub(crate) fn aside(folder: &Path) -> PathBuf {
    folder.join("damaged")
}

fn note(folder: &Path) -> PathBuf {
    folder.join("suspect")
}

/// Has the index set aside when it is opened next.
pub(crate) fn suspect(folder: &Path, why: &SearchError) {
    if let Err(error) = fs::write(note(folder), why.to_string()) {
        tracing::warn!(%error, "cannot note that the search index is damaged");
    }
}

pub(crate) fn open(folder: &Path, options: &Options) -> Result<(Files, Opened), SearchError> {
    let live = live(folder);
    fs::create_dir_all(&live)?;
    remove_other_versions(folder)?;
    // Held before anything is judged: what another process is writing may look damaged.
    let lock = MmapDirectory::open(&live)
        .map_err(tantivy::TantivyError::from)?
        .acquire_lock(&INDEX_WRITER_LOCK)
        .map_err(tantivy::TantivyError::from)?;
    let existed = holds_files(&live)?;
    let checked = if existed { contained(|| check(folder)) } else { Ok(()) };
    drop(lock);
    let damage = match checked.and_then(|()| contained(|| files(&live, options))) {
        Ok(files) if existed => return Ok((files, Opened::Existing)),
        Ok(files) => return Ok((files, Opened::Fresh { damage: None })),
        // In use, no room, no rights: an empty one would fail alike.
        Err(error) if !error.is_damage() => return Err(error),
        Err(error) => error.to_string(),
    };
    tracing::warn!(damage, "search index set aside, an empty one is begun");
    set_aside(folder)?;
    let files = contained(|| files(&live, options))?;
    Ok((files, Opened::Fresh { damage: Some(damage) }))
}

/// Whether there is more than locks: some of an index is a damaged index.
fn holds_files(live: &Path) -> Result<bool, SearchError> {
    for entry in fs::read_dir(live)? {
        if entry?.path().extension().is_none_or(|extension| extension != "lock") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn files(live: &Path, options: &Options) -> Result<Files, SearchError> {
    let (schema, fields) = Schema::new();
    let directory = MmapDirectory::open(live).map_err(tantivy::TantivyError::from)?;
    let index = tantivy::Index::open_or_create(directory, fields)?;
    index.tokenizers().register(schema::TOKENIZER, UserWords);
    let writer = worker::writer(&index, options)?;
    // By hand: the other policy starts a thread that looks at the folder. A block of texts has 16 kB and more.
    let reader = index
        .reader_builder()
        .reload_policy(ReloadPolicy::Manual)
        .doc_store_cache_num_blocks(8)
        .try_into()?;
    Ok(Files { index, schema, reader, writer })
}

/// Compares every file with its checksum.
fn check(folder: &Path) -> Result<(), SearchError> {
    if let Ok(why) = fs::read_to_string(note(folder)) {
        return Err(SearchError::Damaged(why));
    }
    let live = live(folder);
    // The library maps files; a sector that cannot be read would then end the process. Reading finds it as an error.
    for entry in fs::read_dir(&live)? {
        let path = entry?.path();
        let read = fs::File::open(&path).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
        read.map_err(|error| SearchError::Damaged(format!("{}: {error}", path.display())))?;
    }
    // Without its list of files the library would never delete any of them.
    if !live.join(".managed.json").exists() {
        return Err(SearchError::Damaged("the list of its files is gone".into()));
    }
    let index = tantivy::Index::open_in_dir(&live)?;
    // Some of the names are of files that a segment need not have.
    let listed = index.directory().list_managed_files();
    let named = index.load_metas()?.list_segment_files();
    for file in named.iter().filter(|file| listed.contains(*file) || live.join(file).exists()) {
        // A file that was cut has no checksum: an error like any other to the library.
        if !index.directory().validate_checksum(file).unwrap_or(false) {
            return Err(SearchError::Damaged(format!("{} fails its checksum", file.display())));
        }
    }
    Ok(())
}

fn set_aside(folder: &Path) -> Result<(), SearchError> {
    let (live, aside) = (live(folder), aside(folder));
    remove(&aside)?;
    if fs::rename(&live, &aside).is_err() {
        fs::remove_dir_all(&live)?;
    }
    remove(&note(folder))?;
    Ok(fs::create_dir_all(&live)?)
}

/// Removes what other versions left: they would keep words that are erased here.
fn remove_other_versions(folder: &Path) -> Result<(), SearchError> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix('v').and_then(|number| number.parse::<u32>().ok());
        if number.is_some_and(|number| number != schema::VERSION) {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// Removes a file or a folder, if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let outcome = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    outcome.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
