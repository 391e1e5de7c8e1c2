//! Making an archive, file by file, so that only one conversation is in memory at a time.

use std::{
    collections::BTreeSet,
    io::{Read, Seek, Write},
};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{
    Blob, Blobs, Conversation, Drafts, Index, Manifest, Marks, Profile, entries,
    files::{Names, Noting, fill},
};

/// Bytes of a blob in memory at a time.
const PIECE: usize = 64 << 10;
/// From here on a zip needs larger numbers for an entry.
const LARGE: u64 = u32::MAX as u64;

/// Says why an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The output does not take it.
    #[error("the archive cannot be written: {0}")]
    Output(#[from] std::io::Error),
    /// The zip cannot be made.
    #[error("the archive cannot be made: {0}")]
    Zip(#[from] zip::result::ZipError),
}

/// Writes an archive. Each file is written once, in any order; the same content makes the same bytes.
#[derive(Debug)]
pub struct Writer<W: Write + Seek> {
    zip: ZipWriter<W>,
    names: Names,
}

impl<W: Write + Seek> Writer<W> {
    /// Starts the archive of a user.
    ///
    /// # Errors
    /// [`ArchiveError`], as every function here; the output is then of no use.
    pub fn new(output: W, user: &str, exported_at_ms: u64) -> Result<Self, ArchiveError> {
        let mut writer = Self { zip: ZipWriter::new(output), names: Names::default() };
        let manifest = Manifest {
            format: entries::FORMAT.to_owned(),
            version: entries::VERSION,
            user: user.to_owned(),
            exported_at: exported_at_ms,
        };
        writer.file(entries::MANIFEST, &manifest)?;
        Ok(writer)
    }

    /// Writes preferences, devices and folders.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn profile(&mut self, profile: Profile) -> Result<(), ArchiveError> {
        self.file(entries::PROFILE, &profile.settled())
    }

    /// Writes what was set on the conversations of all quarters.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn index(&mut self, index: Index) -> Result<(), ArchiveError> {
        self.file(entries::INDEX, &index.settled())
    }

    /// Writes a conversation.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn conversation(&mut self, conversation: &Conversation) -> Result<(), ArchiveError> {
        self.file(&format!("{}{}.json", entries::CONVERSATIONS, conversation.meta.id), conversation)
    }

    /// Writes the read marks.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn marks(&mut self, marks: &Marks) -> Result<(), ArchiveError> {
        self.file(entries::MARKS, marks)
    }

    /// Writes the drafts.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn drafts(&mut self, drafts: &Drafts) -> Result<(), ArchiveError> {
        self.file(entries::DRAFTS, drafts)
    }

    /// Returns the names of blobs in all that was written so far.
    pub fn names(&self) -> &BTreeSet<String> {
        self.names.found()
    }

    /// Writes a blob, as it is: most files are compressed by themselves. One that turns out to be another is left out
    /// again; the inner error says why.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn blob(&mut self, blob: &Blob, content: &mut dyn Read) -> Result<Result<(), String>, ArchiveError> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(blob.bytes >= LARGE);
        self.zip.start_file(format!("{}{}", entries::BLOB, blob.sha256), options)?;
        let (mut hash, mut length, mut piece) = (Sha256::new(), 0_u64, vec![0; PIECE]);
        let wrong = loop {
            match fill(content, &mut piece) {
                Ok(0) if length < blob.bytes => break Some(format!("its file ends after {length} bytes")),
                Ok(0) => {
                    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
                    break (found != blob.sha256).then(|| format!("its file holds something else: {found}"));
                }
                Ok(count) if length + count as u64 > blob.bytes => {
                    break Some(format!("its file has more than its {} bytes", blob.bytes));
                }
                Ok(count) => {
                    hash.update(&piece[..count]);
                    self.zip.write_all(&piece[..count])?;
                    length += count as u64;
                }
                Err(error) => break Some(format!("its file cannot be read: {error}")),
            }
        };
        match wrong {
            None => Ok(Ok(())),
            Some(why) => {
                self.zip.abort_file()?;
                Ok(Err(why))
            }
        }
    }

    /// Writes which blobs are in the archive.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn blobs(&mut self, blobs: &Blobs) -> Result<(), ArchiveError> {
        self.file(entries::BLOBS, blobs)
    }

    /// Ends the archive, and gives the output back.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn finish(self) -> Result<W, ArchiveError> {
        Ok(self.zip.finish()?)
    }

    fn file(&mut self, name: &str, value: &impl Serialize) -> Result<(), ArchiveError> {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        self.zip.start_file(name, options)?;
        let noting = Noting { to: &mut self.zip, names: &mut self.names };
        let mut buffered = std::io::BufWriter::new(noting);
        serde_json::to_writer(&mut buffered, value).map_err(std::io::Error::from)?;
        Ok(buffered.flush()?)
    }
}
