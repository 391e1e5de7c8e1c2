//! Writes what is in a file into a user's documents, conversation by conversation, and tells how it goes.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syncline_document::{Pen, ids::ConversationId, schema::Kind};
use syncline_exchange::{
    Bounds, Report, Status, Totals,
    archive::{self, Restore},
    import::{self, ImportError, Imported, Item},
};
use tokio::sync::mpsc;

use super::{AHEAD, blobs::BlobReport};
use crate::{
    api::{home::Home, problem::Problem},
    clock::now_ms,
};

/// A line of what is told while a file is imported.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Told {
    /// What became of a conversation.
    Conversation {
        /// What there is to say of it.
        report: Report,
        /// How many of its turns were not there.
        new: usize,
        /// Whether anything of it was not there.
        changed: bool,
        /// Bytes of the file that were read by then.
        read: u64,
        /// Bytes of the file.
        of: u64,
    },
    /// What became of a file of an archive.
    Blob {
        /// What there is to say of it.
        blob: BlobReport,
        /// Bytes of the file that were read by then.
        read: u64,
        /// Bytes of the file.
        of: u64,
    },
    /// The file was read to its end.
    End {
        /// What became of all conversations.
        totals: Totals,
        /// How many of those that were imported were there already.
        unchanged: usize,
        /// What else of an archive could not be written.
        left: Vec<Left>,
    },
    /// It was not: a problem of the API.
    Stopped {
        /// Why; what was told before stands.
        problem: Value,
    },
}

/// Something of an archive that could not be written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Left {
    /// What it is.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: String,
}

/// Writes everything in a file, and tells how it goes. Goes on to the end where nobody listens any more.
pub(crate) async fn take_in(home: Home, file: File, lines: mpsc::Sender<Told>) {
    let of = file.metadata().map_or(0, |metadata| metadata.len());
    let read = Arc::new(AtomicU64::new(0));
    let (give, mut items) = mpsc::channel(AHEAD);
    let (user, counted) = (home.user.clone(), Counted { inner: file, read: read.clone() });
    let limits = &home.open.blobs.limits;
    let (blob_bytes, all_blobs_bytes) = (limits.blob_bytes, limits.archive_blob_bytes);
    let bounds = Bounds { blob_bytes, all_blobs_bytes, ..Bounds::default() };
    let reading = tokio::task::spawn_blocking(move || {
        let options = import::Options { user: &user, now_ms: now_ms(), bounds };
        import::read(BufReader::new(counted), &options, &mut |item| match give.blocking_send(item) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        })
    });
    let draining = home.draining.clone();
    let mut intake = Intake::of(home);
    let stopped = loop {
        let item = tokio::select! {
            biased;
            () = draining.cancelled() => {
                let detail = "the import was stopped before its end: import the same file again to go on";
                break Some(Problem::unavailable("restarting", detail));
            }
            item = items.recv() => item,
        };
        let Some(item) = item else { break None };
        let done = match item {
            Item::Blob(blob) => intake.blob(blob, &mut items).await.map(|blob| Some(Done::Blob(blob))),
            item => intake.take(item).await,
        };
        let read = read.load(Ordering::Relaxed).min(of);
        let line = match done {
            Ok(Some(Done::Conversation { report, new, changed })) => {
                Told::Conversation { report, new, changed, read, of }
            }
            Ok(Some(Done::Blob(blob))) => Told::Blob { blob, read, of },
            Ok(None) => continue,
            Err(problem) => break Some(problem),
        };
        // Whoever asked may be gone.
        let _ = lines.send(line).await;
    };
    drop(items);
    let last = match (stopped, reading.await) {
        (Some(problem), _) => Told::Stopped { problem: json!(problem) },
        (None, Ok(Ok(_))) => intake.end(),
        (None, Ok(Err(error))) => Told::Stopped { problem: json!(unreadable(&error)) },
        (None, Err(error)) => {
            tracing::error!(event = "import_panicked", %error);
            let text = "the import failed inside the server; its log says more";
            Told::Stopped { problem: json!(Problem::unavailable("bug", text)) }
        }
    };
    let _ = lines.send(last).await;
}

fn unreadable(error: &ImportError) -> Problem {
    match error {
        ImportError::TooMuch { .. } => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("{error}: split the file"))
        }
        ImportError::Input(_) | ImportError::Zip(_) | ImportError::Unknown | ImportError::TooNew(_) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unreadable", error.to_string())
        }
    }
}

/// Counts the bytes that are read of a file.
struct Counted {
    inner: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// What became of an item.
enum Done {
    Conversation { report: Report, new: usize, changed: bool },
    Blob(BlobReport),
}

/// A file on its way into a user's documents.
pub(super) struct Intake {
    pub(super) home: Home,
    /// What writes an archive, once its manifest was read.
    restore: Option<Arc<Mutex<Restore>>>,
    totals: Totals,
    unchanged: usize,
    /// Conversations of an archive of which something was set that was not there.
    entered: HashSet<String>,
    /// Parts of an archive, other than conversations, that could not be written.
    pub(super) left: Vec<Left>,
    /// Blobs that could not be stored.
    pub(super) blobs_failed: usize,
    /// Why none can be stored any more: the user has as many as there may be. Others are not counted against it again.
    pub(super) blobs_refused: Option<String>,
}

impl Intake {
    fn of(home: Home) -> Self {
        let (totals, entered) = (Totals::default(), HashSet::new());
        Self {
            home,
            restore: None,
            totals,
            unchanged: 0,
            entered,
            left: Vec::new(),
            blobs_failed: 0,
            blobs_refused: None,
        }
    }

    /// Writes one item; returns what is to be told of it. What is wrong with it stops nothing; an error does.
    async fn take(&mut self, item: Item) -> Result<Option<Done>, Problem> {
        let (report, written) = match item {
            Item::Left(report) => (report, Ok((0, false))),
            Item::Conversation(imported) => {
                let report = imported.report.clone();
                (report, self.imported(*imported).await)
            }
            Item::Archived(archived, report) => {
                let written = self.archived(*archived).await;
                (report, written)
            }
            Item::BlobLeft(left) => return Ok(Some(Done::Blob(self.blob_left(left)?))),
            // They come behind the beginning of theirs, which takes them.
            Item::Blob(_) | Item::BlobPiece(_) | Item::BlobEnd(_) => return Ok(None),
            Item::Archive(manifest) => {
                self.restore = Some(Arc::new(Mutex::new(archive::restore(&manifest, now_ms()))));
                return Ok(None);
            }
            Item::Profile(profile) => {
                let done = self.restore(&Kind::Profile, move |restore, pen| restore.profile(pen, &profile));
                let done = done.await;
                return self.note("profile", done);
            }
            Item::Index(index) => {
                for entry in index.entries {
                    let Some(id) = ConversationId::parse(&entry.id) else { continue };
                    match self.home.alive(&id) {
                        Err(problem) if problem.is_general() => return Err(problem),
                        // It is told of where the conversation itself comes.
                        Err(_) => continue,
                        Ok(()) => {}
                    }
                    let kind = self.home.index_of(&id);
                    let done = self.restore(&kind, move |restore, pen| restore.entry(pen, &entry)).await;
                    if matches!(done, Ok(((), true))) {
                        self.entered.insert(id.to_string());
                    }
                    self.note(&format!("index entry {id}"), done)?;
                }
                return Ok(None);
            }
            Item::Marks(marks) => {
                let done = self.restore(&Kind::Marks, move |restore, pen| restore.marks(pen, &marks)).await;
                return self.note("marks", done);
            }
            Item::Drafts(drafts) => {
                let done =
                    self.restore(&Kind::Drafts, move |restore, pen| restore.drafts(pen, &drafts)).await;
                return self.note("drafts", done);
            }
        };
        self.close(report, written).map(Some)
    }

    /// Counts a conversation, as what it turned out to be.
    fn close(&mut self, report: Report, written: Result<(usize, bool), Problem>) -> Result<Done, Problem> {
        let (report, (new, changed)) = match written {
            Ok(written) => (report, written),
            Err(problem) if problem.is_general() => return Err(problem),
            Err(problem) => (report.ended(Status::Failed, problem.to_string()), (0, false)),
        };
        self.totals.add(&report);
        self.unchanged += usize::from(report.status == Status::Imported && !changed);
        Ok(Done::Conversation { report, new, changed })
    }

    fn note(&mut self, what: &str, done: Result<((), bool), Problem>) -> Result<Option<Done>, Problem> {
        match done {
            Ok(_) => {}
            Err(problem) if problem.is_general() => return Err(problem),
            Err(problem) => self.left.push(Left { what: what.to_owned(), why: problem.to_string() }),
        }
        Ok(None)
    }

    /// Writes something of an archive; also says whether any of it was new.
    async fn restore<T: Send + 'static>(
        &self,
        kind: &Kind,
        write: impl FnOnce(&mut Restore, &mut Pen<'_, '_>) -> T + Send + 'static,
    ) -> Result<(T, bool), Problem> {
        let restore = self.restore.clone();
        let restore = restore.ok_or_else(|| Problem::bad("the archive does not begin with its manifest"))?;
        let written = self.home.write(kind, move |desk| {
            let value = desk.edit(|pen, _| Ok(write(&mut restore.lock(), pen)))?;
            Ok((value, desk.has_written()))
        });
        written.await
    }

    async fn archived(&mut self, archived: archive::Conversation) -> Result<(usize, bool), Problem> {
        let Some(id) = archived.id() else { return Err(Problem::bad("its id is none")) };
        let owner = self.home.user.clone();
        let entered = self.entered.remove(id.as_str());
        self.home.alive(&id)?;
        let kind = Kind::Conversation(id);
        let written = self.restore(&kind, move |restore, pen| restore.conversation(pen, &owner, &archived));
        let (new, changed) = written.await?;
        Ok((new, changed || entered))
    }

    async fn imported(&self, imported: Imported) -> Result<(usize, bool), Problem> {
        self.home.alive(&imported.id)?;
        let (imported, now) = (Arc::new(imported), now_ms());
        let (turns, owner) = (imported.clone(), self.home.user.clone());
        let kind = Kind::Conversation(imported.id.clone());
        let written = self.home.write(&kind, move |desk| {
            let new = desk.edit(|pen, _| turns.write_conversation(pen, &owner, now))?;
            Ok((new, desk.has_written()))
        });
        let (new, changed) = written.await?;
        // After its turns: what fails is not listed.
        let index = self.home.index_of(&imported.id);
        let entered = self.home.write(&index, move |desk| {
            desk.edit(|pen, _| imported.write_index(pen, now))?;
            Ok(desk.has_written())
        });
        Ok((new, entered.await? || changed))
    }

    /// What is told at the end of the file.
    fn end(self) -> Told {
        let mut left = self.left;
        if let Some(restore) = self.restore {
            let restored = restore.lock();
            let told = |left: &archive::Left| Left { what: left.what.clone(), why: left.why.to_string() };
            left.extend(restored.left().iter().map(told));
        }
        Told::End { totals: self.totals, unchanged: self.unchanged, left }
    }
}
