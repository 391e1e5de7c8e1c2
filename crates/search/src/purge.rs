//! Erases for good: a removed entry is only hidden until its segment is written anew.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tantivy::indexer::NoMergePolicy;

use crate::{
    error::SearchError,
    open,
    worker::{self, Worker},
};

/// How long searches that still look at old files are waited for. They end in a fraction of it.
const PATIENCE: Duration = Duration::from_secs(5);

impl Worker {
    /// Writes anew every segment that hides something, and sees the old files go.
    pub(crate) fn purge(&mut self) -> Result<(), SearchError> {
        self.commit()?;
        // A merge that is under way may carry along what was hidden after it began: let it end first.
        if let Some(writer) = self.writer.take() {
            writer.wait_merging_threads()?;
        }
        let mut writer = worker::writer(&self.index, &self.options)?;
        writer.set_merge_policy(Box::new(NoMergePolicy));
        for segment in self.index.searchable_segment_metas()? {
            if segment.has_deletes() {
                writer.merge(&[segment.id()]).wait()?;
            }
        }
        self.reader.reload()?;
        let end = Instant::now() + PATIENCE;
        loop {
            writer.garbage_collect_files().wait()?;
            // Whoever looks at an old file has it mapped and is not disturbed when it goes.
            let waiting = Instant::now() < end;
            let listed = self.index.directory().list_managed_files();
            let (later, now): (Vec<_>, Vec<_>) = self.old_files()?.into_iter().partition(|path| {
                // What an interrupted commit left may be in no list: the library will not remove it.
                waiting && path.file_name().is_some_and(|name| listed.contains(Path::new(name)))
            });
            now.iter().try_for_each(|path| open::remove(path))?;
            if later.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        open::remove(&open::aside(&self.folder))?;
        sync(&open::live(&self.folder))?;
        sync(&self.folder)?;
        writer.set_merge_policy(Box::new(worker::merge_policy()));
        self.writer = Some(writer);
        Ok(())
    }

    /// Files of segments that are no part of the index any more, those of an interrupted commit included.
    fn old_files(&self) -> Result<Vec<PathBuf>, SearchError> {
        let live: HashSet<String> =
            self.index.searchable_segment_ids()?.iter().map(|id| id.uuid_string()).collect();
        let mut old = Vec::new();
        for entry in fs::read_dir(open::live(&self.folder))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let segment = name.split('.').next().unwrap_or_default();
            // What is no segment's begins with a dot or is the list of segments.
            if !segment.is_empty() && name != "meta.json" && !live.contains(segment) {
                old.push(path);
            }
        }
        Ok(old)
    }
}

/// Makes durable that files are gone.
fn sync(folder: &Path) -> Result<(), SearchError> {
    Ok(fs::File::open(folder)?.sync_all()?)
}
