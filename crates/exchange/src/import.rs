//! Reading what comes from elsewhere, one conversation at a time.

mod chatgpt;
mod citations;
mod content;
mod elements;
mod forest;
mod identity;
mod imported;
mod oasst;
mod zipped;
mod zipped_blobs;

use std::{
    collections::HashSet,
    io::{Read, Seek, SeekFrom},
    ops::ControlFlow,
};

use serde_json::{Map, Value};

pub(crate) use self::imported::stamp;
pub use self::imported::{Imported, Selection};
pub use self::zipped_blobs::listed as blobs_of;
use self::{
    elements::{Element, Elements, Room},
    forest::Node,
};
use crate::{
    Bounds, Report, Status, Totals,
    archive::{self, Blob, Drafts, Index, LeftBlob, Manifest, Marks, Profile},
};

/// For whom, when and within what bounds to import.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// Whose the conversations become: their ids follow from it.
    pub user: &'a str,
    /// The time: nothing is stamped later.
    pub now_ms: u64,
    /// The limits.
    pub bounds: Bounds,
}

/// What an import hands out.
#[derive(Debug)]
pub enum Item {
    /// A conversation of another product.
    Conversation(Box<Imported>),
    /// One that is not imported, and why.
    Left(Report),
    /// An archive of ours begins: who made it, and when.
    Archive(Manifest),
    /// Preferences, devices and folders of an archive.
    Profile(Profile),
    /// What was set on the conversations of an archive.
    Index(Index),
    /// A conversation of an archive, with its report.
    Archived(Box<archive::Conversation>, Report),
    /// The read marks of an archive; they come after the conversations.
    Marks(Marks),
    /// The drafts of an archive.
    Drafts(Drafts),
    /// A blob of an archive begins; they come last. Its pieces follow, then its end, and nothing else between them.
    Blob(Blob),
    /// So much more of that blob; 64 KiB at most.
    BlobPiece(Vec<u8>),
    /// The blob ends, or what is wrong with it: then it is not to be kept. Whether it is what its name says is for the
    /// caller to check.
    BlobEnd(Result<(), String>),
    /// A blob that cannot be read, or that the archive says it does not hold.
    BlobLeft(LeftBlob),
}

/// Says why an import ended before its input.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The input cannot be read.
    #[error("the input cannot be read: {0}")]
    Input(#[from] std::io::Error),
    /// The zip cannot be read.
    #[error("the zip cannot be read: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// It is of no kind that is known.
    #[error("this is no ChatGPT export, no message trees and no archive")]
    Unknown,
    /// It is larger than is let in.
    #[error("more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How many are let in.
        limit: u64,
    },
    /// The archive is of a version that comes after this one.
    #[error("this archive has version {0}, which is newer than what is understood here")]
    TooNew(u64),
}

/// A conversation as its source has it.
#[derive(Debug)]
struct Source {
    id: String,
    origin: &'static str,
    title: Option<String>,
    created_ms: Option<u64>,
    updated_ms: Option<u64>,
    archived: bool,
    pinned: bool,
    nodes: Vec<Node>,
    current: Option<usize>,
}

/// Takes what is imported; it may break off.
pub type Sink<'a> = &'a mut dyn FnMut(Item) -> ControlFlow<()>;

/// Reads a `ChatGPT` export (`conversations.json`, a shard of it, or the zip), `OpenAssistant` trees (JSON lines), or an
/// archive of ours, and hands out what is in it. What is wrong with one conversation is in its report.
///
/// # Errors
/// [`ImportError`] where the input as a whole cannot be read on. What was handed out before stands.
pub fn read<R: Read + Seek>(
    mut input: R,
    options: &Options<'_>,
    sink: Sink<'_>,
) -> Result<Totals, ImportError> {
    let mut start = [0; 4];
    let mut length = 0;
    while length < start.len() {
        match input.read(&mut start[length..])? {
            0 => break,
            more => length += more,
        }
    }
    input.seek(SeekFrom::Start(0))?;
    let mut run = Run::new(options, sink);
    if start[..length] == *b"PK\x03\x04" || start[..length] == *b"PK\x05\x06" {
        zipped::read(input, &mut run)?;
        return Ok(run.totals);
    }
    let text = start[..length].strip_prefix(b"\xEF\xBB\xBF".as_slice()).unwrap_or(&start[..length]);
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[' | b'{') | None => {}
        Some(_) => return Err(ImportError::Unknown),
    }
    run.elements(input)?;
    Ok(run.totals)
}

/// An import on its way.
struct Run<'a> {
    options: &'a Options<'a>,
    sink: Sink<'a>,
    totals: Totals,
    /// How many conversations were met.
    position: usize,
    /// Those that were handed out.
    seen: HashSet<String>,
    /// Bytes of input that may still come.
    left: u64,
    /// Bytes of blobs that may still come.
    blobs_left: u64,
    is_over: bool,
}

impl<'a> Run<'a> {
    fn new(options: &'a Options<'a>, sink: Sink<'a>) -> Self {
        Self {
            options,
            sink,
            totals: Totals::default(),
            position: 0,
            seen: HashSet::new(),
            left: options.bounds.total_bytes,
            blobs_left: options.bounds.all_blobs_bytes,
            is_over: false,
        }
    }

    /// Hands something out.
    fn give(&mut self, item: Item) {
        match &item {
            Item::Left(report) | Item::Archived(_, report) => self.totals.add(report),
            Item::Conversation(imported) => self.totals.add(&imported.report),
            _ => {}
        }
        self.is_over |= (self.sink)(item).is_break();
    }

    /// Counts a conversation.
    fn next_position(&mut self) -> Result<usize, ImportError> {
        let limit = self.options.bounds.conversations;
        if self.position >= limit {
            return Err(ImportError::TooMuch { what: "conversations", limit: limit as u64 });
        }
        self.position += 1;
        Ok(self.position)
    }

    /// Reads all conversations of a file.
    fn elements(&mut self, input: impl Read) -> Result<(), ImportError> {
        let mut elements = Elements::new(input.take(self.left.saturating_add(1)), self.room());
        let read = self.drain(&mut elements);
        self.spend(elements.read_bytes())?;
        read
    }

    fn drain<R: Read>(&mut self, elements: &mut Elements<R>) -> Result<(), ImportError> {
        while !self.is_over {
            let Some(element) = elements.next()? else { break };
            let position = self.next_position()?;
            let item = self.element(element, position);
            self.give(item);
        }
        Ok(())
    }

    fn room(&self) -> Room {
        let bounds = &self.options.bounds;
        Room { bytes: bounds.conversation_bytes, values: bounds.values }
    }

    /// Takes bytes that were read from those that may come.
    fn spend(&mut self, bytes: u64) -> Result<(), ImportError> {
        let limit = self.options.bounds.total_bytes;
        self.left = self.left.checked_sub(bytes).ok_or(ImportError::TooMuch { what: "bytes", limit })?;
        Ok(())
    }

    fn element(&mut self, element: Element, position: usize) -> Item {
        let failed =
            |reason: &str| Item::Left(Report::new(position, None, None).ended(Status::Failed, reason));
        let text = match element {
            Element::Whole(text) => text,
            Element::TooLarge => return failed("it is larger than a conversation may be"),
            Element::Cut => return failed("the file ends in the middle of it"),
        };
        let object = match serde_json::from_slice::<Map<String, Value>>(&text) {
            Ok(object) => object,
            Err(error) => return failed(&format!("it is no JSON object: {error}")),
        };
        drop(text);
        let title = content::text(&object, "title").map(str::to_owned);
        let id = chatgpt::id_of(&object).or_else(|| oasst::id_of(&object));
        let mut report = Report::new(position, id, title);
        let source = if object.contains_key("prompt") {
            oasst::read(object, &self.options.bounds)
        } else {
            chatgpt::read(object, &self.options.bounds)
        };
        let source = match source {
            Ok(source) => source,
            Err(reason) => return Item::Left(report.ended(Status::Failed, reason)),
        };
        report.source_id = Some(source.id.clone());
        report.title.clone_from(&source.title);
        match Imported::of(source, report, self.options) {
            Ok(imported) if !self.seen.insert(imported.id.to_string()) => {
                Item::Left(imported.report.ended(Status::Skipped, "it came before in this import"))
            }
            Ok(imported) => Item::Conversation(Box::new(imported)),
            Err(report) => Item::Left(*report),
        }
    }
}

#[cfg(test)]
#[path = "import/import_tests.rs"]
mod tests;
