//! Making an archive, file by file, so that only one conversation is in memory at a time.

use std::io::{Seek, Write};

use serde::Serialize;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{Conversation, Drafts, Index, Manifest, Marks, Profile, files};

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
}

impl<W: Write + Seek> Writer<W> {
    /// Starts the archive of a user.
    ///
    /// # Errors
    /// [`ArchiveError`], as every function here; the output is then of no use.
    pub fn new(output: W, user: &str, exported_at_ms: u64) -> Result<Self, ArchiveError> {
        let mut writer = Self { zip: ZipWriter::new(output) };
        let manifest = Manifest {
            format: files::FORMAT.to_owned(),
            version: files::VERSION,
            user: user.to_owned(),
            exported_at: exported_at_ms,
        };
        writer.file(files::MANIFEST, &manifest)?;
        Ok(writer)
    }

    /// Writes preferences, devices and folders.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn profile(&mut self, profile: Profile) -> Result<(), ArchiveError> {
        self.file(files::PROFILE, &profile.settled())
    }

    /// Writes what was set on the conversations of all quarters.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn index(&mut self, index: Index) -> Result<(), ArchiveError> {
        self.file(files::INDEX, &index.settled())
    }

    /// Writes a conversation.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn conversation(&mut self, conversation: &Conversation) -> Result<(), ArchiveError> {
        self.file(&format!("{}{}.json", files::CONVERSATIONS, conversation.meta.id), conversation)
    }

    /// Writes the read marks.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn marks(&mut self, marks: &Marks) -> Result<(), ArchiveError> {
        self.file(files::MARKS, marks)
    }

    /// Writes the drafts.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn drafts(&mut self, drafts: &Drafts) -> Result<(), ArchiveError> {
        self.file(files::DRAFTS, drafts)
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
        let mut buffered = std::io::BufWriter::new(&mut self.zip);
        serde_json::to_writer(&mut buffered, value).map_err(std::io::Error::from)?;
        Ok(buffered.flush()?)
    }
}
