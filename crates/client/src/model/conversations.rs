//! Conversations: the list, and what people set on them.

use std::sync::Arc;

use syncline_document::{
    Broken,
    ids::ConversationId,
    schema::{Kind, conversation, index, marks},
};
use syncline_protocol::names::DocumentName;

use super::{Conversation, ReadMark, conversation_id, new_id};
use crate::{Client, ClientError, client::DocumentStream, keeper::Keeper};

impl Client {
    /// Makes a conversation; returns its id.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a title over 64 KiB, [`ClientError::Store`].
    pub async fn new_conversation(&self, title: Option<String>) -> Result<String, ClientError> {
        self.run(move |keeper| {
            let now_ms = keeper.now_ms();
            let text = new_id(now_ms);
            let id = conversation_id(&text)?;
            if let Some(title) = &title {
                index::check(&index::Setting::Title(title.clone()))?;
            }
            let owner = keeper.config.user.clone();
            let made = keeper.conversation(&id)?;
            keeper.edit(&made, |pen, _| {
                conversation::create(pen, &id, &owner, now_ms, None);
                Ok(())
            })?;
            let listed = keeper.index(&id)?;
            keeper.edit(&listed, |pen, stamp| {
                index::enter(pen, &id, stamp, now_ms);
                title.map_or(Ok(()), |title| index::set(pen, &id, stamp, &index::Setting::Title(title)))
            })?;
            Ok(text)
        })
        .await
    }

    /// Lists the conversations of the quarters that are open, newest first, those that were deleted too.
    ///
    /// # Errors
    /// [`ClientError::Damaged`].
    pub async fn conversations(&self) -> Result<Vec<Conversation>, ClientError> {
        self.run(|keeper| {
            let mut all = Vec::new();
            for name in keeper.names() {
                if matches!(Kind::of(&name), Kind::Index(_)) {
                    all.extend(keeper.read(&name, |copy| index::read(&mut copy.replica))?);
                }
            }
            all.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
            Ok(all.into_iter().map(Conversation::from).collect())
        })
        .await
    }

    /// Opens the quarter before the oldest one that is listed; returns which, such as `2026-q3`. What is in it comes over the
    /// connection.
    ///
    /// # Errors
    /// [`ClientError::TooManyOpen`], [`ClientError::Store`].
    pub async fn load_older_conversations(&self) -> Result<String, ClientError> {
        self.run(Keeper::open_older).await
    }

    /// Reads what people set on a conversation; nothing where nobody entered it anywhere.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Damaged`].
    pub async fn conversation(&self, id: String) -> Result<Option<Conversation>, ClientError> {
        self.run(move |keeper| {
            let id = conversation_id(&id)?;
            let name = keeper.index(&id)?;
            let seen = keeper.read(&name, |copy| index::read_one(&mut copy.replica, &id))?;
            Ok(seen.map(Conversation::from))
        })
        .await
    }

    /// Names a conversation; with an empty title the automatic one shows again.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn rename_conversation(&self, id: String, title: String) -> Result<(), ClientError> {
        self.set_on(id, index::Setting::Title(title)).await
    }

    /// Puts a conversation on top, or back.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn pin_conversation(&self, id: String, pinned: bool) -> Result<(), ClientError> {
        self.set_on(id, index::Setting::Pinned(pinned)).await
    }

    /// Puts a conversation away, or back.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn archive_conversation(&self, id: String, archived: bool) -> Result<(), ClientError> {
        self.set_on(id, index::Setting::Archived(archived)).await
    }

    /// Moves a conversation into a folder, or out of all.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn move_conversation(&self, id: String, folder: Option<String>) -> Result<(), ClientError> {
        self.set_on(id, index::Setting::Folder(folder)).await
    }

    /// Gives a conversation a tag, or takes it away.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn tag_conversation(&self, id: String, tag: String, tagged: bool) -> Result<(), ClientError> {
        self.set_on(id, index::Setting::Tag(tag, tagged)).await
    }

    /// Deletes a conversation. It can be restored, and what others write in it meanwhile shows as news.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn delete_conversation(&self, id: String) -> Result<(), ClientError> {
        self.run(move |keeper| {
            let id = conversation_id(&id)?;
            let name = keeper.conversation(&id)?;
            let seen = match keeper.is_open(&name) {
                true => Some(keeper.read(&name, |copy| conversation::last_seq(&mut copy.replica))?),
                false => None,
            };
            keeper.set_on(&id, &index::Setting::Deleted { seen })
        })
        .await
    }

    /// Restores a deleted conversation.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn restore_conversation(&self, id: String) -> Result<(), ClientError> {
        self.set_on(id, index::Setting::Restored).await
    }

    /// Marks a conversation as read up to a message's number; a lower one marks it unread.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn mark_read(&self, id: String, seq: u64, tip: Option<String>) -> Result<(), ClientError> {
        self.run(move |keeper| {
            let id = conversation_id(&id)?;
            let name = keeper.config.document("marks")?;
            keeper.edit(&name, |pen, stamp| marks::set(pen, &id, stamp, seq, tip.as_deref()))
        })
        .await
    }

    /// Lists how far each conversation was read.
    ///
    /// # Errors
    /// [`ClientError::Damaged`].
    pub async fn read_marks(&self) -> Result<Vec<ReadMark>, ClientError> {
        self.run(|keeper| {
            let name = keeper.config.document("marks")?;
            let seen = keeper.read(&name, |copy| marks::read(&mut copy.replica))?;
            Ok(seen.into_iter().map(|(id, mark)| ReadMark::new(id, mark)).collect())
        })
        .await
    }

    /// Opens a conversation: it is kept in step from now on. Returns what to watch it by.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::TooManyOpen`], [`ClientError::Damaged`].
    pub async fn open_conversation(&self, id: String) -> Result<Arc<DocumentStream>, ClientError> {
        let name = self
            .run(move |keeper| {
                let name = keeper.conversation(&conversation_id(&id)?)?;
                keeper.read(&name, |_| Ok::<_, Broken>(()))?;
                Ok(name)
            })
            .await?;
        self.watch_document(name.as_str()).ok_or(ClientError::Closed)
    }

    /// Closes a conversation: it stays in the store, and is not kept in step. One with unsaved edits stays open.
    ///
    /// # Errors
    /// [`ClientError::Invalid`].
    pub async fn close_conversation(&self, id: String) -> Result<(), ClientError> {
        self.run(move |keeper| {
            let name = keeper.conversation(&conversation_id(&id)?)?;
            if keeper.is_open(&name) && keeper.read(&name, |copy| Ok(copy.unsaved() == 0))? {
                keeper.close(&name);
            }
            Ok(())
        })
        .await
    }

    async fn set_on(&self, id: String, setting: index::Setting) -> Result<(), ClientError> {
        self.run(move |keeper| keeper.set_on(&conversation_id(&id)?, &setting)).await
    }
}

impl Keeper {
    /// Names a conversation's document.
    pub(super) fn conversation(&self, id: &ConversationId) -> Result<DocumentName, ClientError> {
        self.config.document(&format!("c/{id}"))
    }

    /// Names the index that a conversation stands in.
    pub(super) fn index(&self, id: &ConversationId) -> Result<DocumentName, ClientError> {
        self.config.document(&format!("index/{}", id.quarter()))
    }

    fn set_on(&mut self, id: &ConversationId, setting: &index::Setting) -> Result<(), ClientError> {
        let name = self.index(id)?;
        self.edit(&name, |pen, stamp| index::set(pen, id, stamp, setting))
    }
}
