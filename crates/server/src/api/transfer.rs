//! Import from other products and from our own archives, and export of all of a user's state.
//!
//! An import answers line by line while it works: a report for each conversation, then the totals. A bad one never
//! stops the rest, and the same file once more changes nothing.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Seek, SeekFrom, Write},
    ops::ControlFlow,
    sync::Arc,
};

use axum::{
    Json,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use syncline_document::{
    ids::ConversationId,
    schema::{
        Kind,
        conversation::{self, Branch},
        drafts, index, marks, preferences, profile,
    },
};
use syncline_exchange::{
    Bounds, Report, Status,
    archive::{self, Restore},
    import::{self, Imported, Item, Selection},
    openai::{self, ChatMessage},
};
use tokio::sync::mpsc;

use super::{at::AtConversation, home::Home, problem::Problem};
use crate::clock::now_ms;

/// The largest file.
const FILE_BYTES: u64 = 1 << 30;
/// Conversations read ahead of those that are written.
const AHEAD: usize = 4;
/// Bytes of an archive sent at a time.
const PIECE: usize = 64 << 10;

/// Imports a ChatGPT data export (`conversations.json`, its shards, or the zip), message trees as JSON lines, or an
/// archive made by export. Answers JSON lines: `{"report": {...}}` for each conversation, then `{"totals": {...}}`, or
/// `{"problem": {...}}` where the file ends early.
#[utoipa::path(post, path = "/v1/users/{user}/import", tag = "transfer",
    params(("user" = String, Path)),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 200, content_type = "application/x-ndjson", body = String), (status = "default", body = Problem)))]
pub(super) async fn import(home: Home, request: Request) -> Result<Response, Problem> {
    home.writable()?;
    let file = spool(request.into_body()).await?;
    let (lines, mut told) = mpsc::channel::<Value>(AHEAD);
    let tasks = home.tasks.clone();
    tasks.spawn(async move { take_in(home, file, lines).await });
    let lines = stream::poll_fn(move |cx| told.poll_recv(cx));
    let body = Body::from_stream(lines.map(|line| Ok::<_, std::io::Error>(format!("{line}\n"))));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Puts a body in a file that goes with its handle.
async fn spool(body: Body) -> Result<File, Problem> {
    let unwritable = |error: std::io::Error| {
        Problem::unavailable("no_room", format!("the file cannot be kept for reading: {error}"))
    };
    let mut file = tempfile::tempfile().map_err(unwritable)?;
    let mut pieces = body.into_data_stream();
    let mut total = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| Problem::bad(format!("the body broke off: {error}")))?;
        total += piece.len() as u64;
        if total > FILE_BYTES {
            let text = format!("a file has at most {} MiB: split it", FILE_BYTES >> 20);
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text));
        }
        file.write_all(&piece).map_err(unwritable)?;
    }
    file.seek(SeekFrom::Start(0)).map_err(unwritable)?;
    Ok(file)
}

/// Writes everything in a file, and tells how it goes. Goes on to the end where nobody listens any more.
async fn take_in(home: Home, file: File, lines: mpsc::Sender<Value>) {
    let (give, mut items) = mpsc::channel(AHEAD);
    let user = home.user.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let options = import::Options { user: &user, now_ms: now_ms(), bounds: Bounds::default() };
        import::read(BufReader::new(file), &options, &mut |item| match give.blocking_send(item) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        })
    });
    let mut restore = None;
    let mut outcome = Ok(());
    while let Some(item) = items.recv().await {
        match home.take_item(item, &mut restore).await {
            // Whoever asked may be gone.
            Ok(Some(line)) => drop(lines.send(line).await),
            Ok(None) => {}
            Err(problem) => {
                outcome = Err(problem);
                break;
            }
        }
    }
    drop(items);
    let last = match (outcome, reading.await) {
        (Err(problem), _) => json!({ "problem": problem }),
        (Ok(()), Ok(Ok(totals))) => {
            let left = restore.map(|restore| restore.lock().left().iter().map(left_out).collect::<Vec<_>>());
            json!({ "totals": totals, "left": left.unwrap_or_default() })
        }
        (Ok(()), Ok(Err(error))) => json!({ "problem": Problem::bad(error.to_string()) }),
        (Ok(()), Err(error)) => {
            tracing::error!(event = "import_panicked", %error);
            json!({ "problem": Problem::unavailable("bug", "the import failed inside the server; its log says more") })
        }
    };
    let _ = lines.send(last).await;
}

fn left_out(left: &archive::Left) -> Value {
    json!({ "what": left.what, "why": left.why.to_string() })
}

type Restoring = Option<Arc<Mutex<Restore>>>;

impl Home {
    /// Writes one item of a file; returns what is to be told of it.
    async fn take_item(&self, item: Item, restore: &mut Restoring) -> Result<Option<Value>, Problem> {
        let restored = |restore: &Restoring| {
            restore.clone().ok_or_else(|| Problem::bad("the archive does not begin with its manifest"))
        };
        match item {
            Item::Left(report) => return Ok(Some(line(&report, 0))),
            Item::Conversation(imported) => return self.take_conversation(imported).await.map(Some),
            Item::Archive(manifest) => {
                *restore = Some(Arc::new(Mutex::new(archive::restore(&manifest, now_ms()))));
            }
            Item::Profile(profile) => {
                let restore = restored(restore)?;
                self.write(&Kind::Profile, move |desk| {
                    desk.edit(|pen, _| {
                        restore.lock().profile(pen, &profile);
                        Ok(())
                    })
                })
                .await?;
            }
            Item::Index(index) => {
                for entry in index.entries {
                    let Some(id) = ConversationId::parse(&entry.id) else { continue };
                    let restore = restored(restore)?;
                    self.write(&self.index_of(&id), move |desk| {
                        desk.edit(|pen, _| {
                            restore.lock().entry(pen, &entry);
                            Ok(())
                        })
                    })
                    .await?;
                }
            }
            Item::Archived(archived, report) => {
                let Some(id) = archived.id() else { return Ok(Some(line(&report, 0))) };
                if let Err(gone) = self.alive(&id) {
                    return Ok(Some(line(&refused(report, &gone), 0)));
                }
                let (restore, owner) = (restored(restore)?, self.user.clone());
                let kind = Kind::Conversation(id);
                let new = self.write(&kind, move |desk| {
                    desk.edit(|pen, _| Ok(restore.lock().conversation(pen, &owner, &archived)))
                });
                return Ok(Some(line(&report, new.await?)));
            }
            Item::Marks(marks) => {
                let restore = restored(restore)?;
                self.write(&Kind::Marks, move |desk| {
                    desk.edit(|pen, _| {
                        restore.lock().marks(pen, &marks);
                        Ok(())
                    })
                })
                .await?;
            }
            Item::Drafts(drafts) => {
                let restore = restored(restore)?;
                self.write(&Kind::Drafts, move |desk| {
                    desk.edit(|pen, _| {
                        restore.lock().drafts(pen, &drafts);
                        Ok(())
                    })
                })
                .await?;
            }
        }
        Ok(None)
    }

    async fn take_conversation(&self, imported: Box<Imported>) -> Result<Value, Problem> {
        if let Err(gone) = self.alive(&imported.id) {
            return Ok(line(&refused(imported.report, &gone), 0));
        }
        let imported = Arc::new(*imported);
        let now = now_ms();
        let entry = imported.clone();
        self.write(&self.index_of(&imported.id), move |desk| desk.edit(|pen, _| entry.write_index(pen, now)))
            .await?;
        let (turns, owner) = (imported.clone(), self.user.clone());
        let kind = Kind::Conversation(imported.id.clone());
        let new =
            self.write(&kind, move |desk| desk.edit(|pen, _| turns.write_conversation(pen, &owner, now)));
        Ok(line(&imported.report, new.await?))
    }

    /// Writes all of the user's state into an archive.
    async fn archive(&self) -> Result<File, Problem> {
        let failed = |error: archive::ArchiveError| Problem::unavailable("no_room", error.to_string());
        let unwritable = |error: std::io::Error| Problem::unavailable("no_room", error.to_string());
        let now = now_ms();
        let file = BufWriter::new(tempfile::tempfile().map_err(unwritable)?);
        let mut writer = archive::Writer::new(file, &self.user, now).map_err(failed)?;
        let profile = self.look(&Kind::Profile, move |replica| {
            Ok(archive::Profile {
                preferences: preferences::read(replica, now)?,
                devices: profile::devices(replica)?,
                folders: profile::folders(replica)?,
            })
        });
        writer.profile(profile.await?).map_err(failed)?;
        let mut entries = Vec::new();
        for quarter in self.quarters().await? {
            entries.extend(self.look(&Kind::Index(quarter), index::read).await?);
        }
        writer.index(archive::Index { entries }).map_err(failed)?;
        for id in self.conversations().await? {
            let kind = Kind::Conversation(id);
            let read = self.look(&kind, |replica| {
                let Some(meta) = conversation::meta(replica)? else { return Ok(None) };
                let selected = conversation::selected(replica)?.into_iter();
                let selected = selected.map(|(parent, child)| Selection { parent, child }).collect();
                let messages = conversation::messages(replica, Branch::All)?;
                Ok(Some(archive::Conversation { meta, selected, messages }))
            });
            if let Some(conversation) = read.await? {
                writer.conversation(&conversation).map_err(failed)?;
            }
        }
        let marks = self.look(&Kind::Marks, marks::read).await?;
        writer.marks(&archive::Marks { marks }).map_err(failed)?;
        let drafts = self.look(&Kind::Drafts, drafts::read).await?;
        writer.drafts(&archive::Drafts { drafts }).map_err(failed)?;
        let mut file =
            writer.finish().map_err(failed)?.into_inner().map_err(|error| unwritable(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(unwritable)?;
        Ok(file)
    }
}

/// The report of a conversation whose name is burned.
fn refused(report: Report, gone: &Problem) -> Report {
    Report { status: Status::Failed, reason: Some(gone.detail().to_owned()), ..report }
}

/// What is told of a conversation, and how many of its turns were new.
fn line(report: &Report, new: usize) -> Value {
    json!({ "report": report, "new": new })
}

/// Gives out all of a user's state as a zip of JSON files, which imports again.
#[utoipa::path(get, path = "/v1/users/{user}/export", tag = "transfer",
    params(("user" = String, Path)),
    responses((status = 200, content_type = "application/zip", body = Vec<u8>), (status = "default", body = Problem)))]
pub(super) async fn export(home: Home) -> Result<Response, Problem> {
    let file = tokio::fs::File::from_std(home.archive().await?);
    let pieces = tokio_util::io::ReaderStream::with_capacity(file, PIECE);
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    let name = HeaderValue::from_static("attachment; filename=\"syncline-export.zip\"");
    headers.insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// Gives out the branch that is shown as OpenAI chat messages.
#[utoipa::path(get, path = "/v1/users/{user}/conversations/{conversation}/openai", tag = "transfer",
    params(("user" = String, Path), ("conversation" = String, Path)),
    responses((status = 200, body = Vec<Object>), (status = "default", body = Problem)))]
pub(super) async fn chat(
    home: Home,
    AtConversation(id): AtConversation,
) -> Result<Json<Vec<ChatMessage>>, Problem> {
    home.conversation(&id).await?;
    let kind = Kind::Conversation(id);
    let read = home.look(&kind, |replica| conversation::messages(replica, Branch::Selected));
    Ok(Json(openai::chat_messages(&read.await?)))
}
