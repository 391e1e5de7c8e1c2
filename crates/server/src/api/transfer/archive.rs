//! All of a user's state in one archive.

use std::{
    fs::File,
    io::{BufWriter, Seek, SeekFrom},
};

use syncline_document::schema::{
    Kind,
    conversation::{self, Branch},
    drafts, index, marks, preferences, profile,
};
use syncline_exchange::{archive, import::Selection};

use crate::{
    api::{home::Home, problem::Problem},
    clock::now_ms,
};

impl Home {
    /// Writes all of the user's state into an archive.
    pub(crate) async fn archive(&self) -> Result<File, Problem> {
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
