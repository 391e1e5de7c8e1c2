//! All of a user's state in one archive.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufWriter, Seek, SeekFrom},
    sync::Arc,
};

use syncline_document::schema::{
    Kind,
    conversation::{self, Branch},
    drafts, index, marks, preferences, profile,
};
use syncline_exchange::{
    archive::{self, LeftBlob},
    import::Selection,
};
use tokio_util::sync::CancellationToken;

use super::{spooled, unwritable};
use crate::{
    api::{home::Home, problem::Problem},
    blobs::{Blobs, Key},
    clock::now_ms,
};

type Writer = archive::Writer<BufWriter<File>>;

impl Home {
    /// Writes all of the user's state into an archive: a file beside the store that goes with its handle.
    pub(crate) async fn archive(&self, with_blobs: bool) -> Result<File, Problem> {
        let now = now_ms();
        let file = BufWriter::new(spooled(self)?);
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
        let writer = if with_blobs { self.with_blobs(writer).await? } else { writer };
        let mut file =
            writer.finish().map_err(failed)?.into_inner().map_err(|error| unwritable(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(unwritable)?;
        Ok(file)
    }

    /// Adds the files that messages refer to. Where nobody waits for the archive any more, it ends between two of them.
    async fn with_blobs(&self, mut writer: Writer) -> Result<Writer, Problem> {
        let (shelf, user, draining) = (self.open.blobs.clone(), self.user.clone(), self.draining.clone());
        let unwanted = CancellationToken::new();
        let _guard = unwanted.clone().drop_guard();
        let copying = tokio::task::spawn_blocking(move || {
            let is_over = || draining.is_cancelled() || unwanted.is_cancelled();
            let blobs = copy(&shelf, &user, &mut writer, is_over)?;
            writer.blobs(&blobs).map_err(failed)?;
            Ok(writer)
        });
        copying.await.map_err(|error| {
            tracing::error!(event = "export_panicked", %error);
            Problem::unavailable("bug", "the export failed inside the server; its log says more")
        })?
    }
}

/// Copies a user's blobs into an archive, one after the other; tells which are in it and which are not.
fn copy(
    shelf: &Blobs,
    user: &Arc<str>,
    writer: &mut Writer,
    is_over: impl Fn() -> bool,
) -> Result<archive::Blobs, Problem> {
    let all = shelf.all_of(user)?;
    let names: HashSet<String> = all.iter().map(|(name, _)| name.to_string()).collect();
    let mut told = archive::Blobs {
        absent: writer.names().iter().filter(|name| !names.contains(*name)).cloned().collect(),
        ..archive::Blobs::default()
    };
    let most = shelf.limits.archive_blob_bytes;
    let mut room = most;
    for (name, blob) in all {
        if is_over() {
            return Err(Problem::unavailable("restarting", "the export was stopped before its end"));
        }
        let (key, sha256): (Key, _) = ((user.clone(), name), name.to_string());
        let entry = archive::Blob { sha256: sha256.clone(), bytes: blob.bytes, media_type: Some(blob.kind) };
        let outcome = match File::open(shelf.path(&key)) {
            _ if shelf.room_for(blob.bytes).is_err() => {
                Err("the server's disk has no room for it in an archive: fetch it with GET".to_owned())
            }
            _ if blob.bytes > room => {
                Err(format!("the blobs of one archive have at most {most} bytes together: fetch it with GET"))
            }
            Ok(mut file) => writer.blob(&entry, &mut file).map_err(failed)?,
            Err(error) => Err(format!("its file cannot be read: {error}")),
        };
        match outcome {
            Ok(()) => {
                room -= blob.bytes;
                told.blobs.push(entry);
            }
            // Collected or deleted meanwhile: there is nothing to miss.
            Err(_) if !shelf.is_listed(&key)? => {}
            Err(why) => {
                tracing::warn!(event = "blob_not_exported", name = %name, why);
                told.left.push(LeftBlob { sha256, why });
            }
        }
    }
    Ok(told)
}

#[allow(clippy::needless_pass_by_value, reason = "what `map_err` takes")]
fn failed(error: archive::ArchiveError) -> Problem {
    Problem::unavailable("no_room", error.to_string())
}
