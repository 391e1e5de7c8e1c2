//! Drafts: what stands in a composer, here and on other devices.

use serde_json::Value;
use syncline_document::{
    ids::{ConversationId, Writer},
    schema::{
        conversation,
        drafts::{self, Composer},
    },
};

use super::{Draft, conversation_id, json, new_id};
use crate::{Client, ClientError, keeper::Keeper};

impl Client {
    /// Lists all drafts.
    ///
    /// # Errors
    /// [`ClientError::Damaged`].
    pub async fn drafts(&self) -> Result<Vec<Draft>, ClientError> {
        self.run(|keeper| {
            let seen = keeper.drafts()?;
            Ok(seen
                .into_iter()
                .map(|draft| Draft::new(draft.clone(), keeper.is_own(&draft.writer)))
                .collect())
        })
        .await
    }

    /// Keeps what the composer of a conversation holds: every 2 seconds while somebody types, or when it loses the focus.
    /// Returns the request to send the message with: the draft goes once that message is accepted.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for more than 64 KiB, [`ClientError::Store`].
    pub async fn set_draft(
        &self,
        conversation: String,
        text: String,
        attachments_json: String,
        model: Option<String>,
    ) -> Result<String, ClientError> {
        let attachments = json(&attachments_json, "attachments_json", self.config.limits.edit_bytes)?;
        let Value::Array(attachments) = attachments else {
            return Err(ClientError::Invalid("attachments_json is no array".to_owned()));
        };
        self.run(move |keeper| {
            let id = conversation_id(&conversation)?;
            let own = keeper.own_drafts(&id)?;
            let req = own.iter().max_by_key(|draft| draft.hlc).map(|draft| draft.req.clone());
            let req = req.unwrap_or_else(|| new_id(keeper.now_ms()));
            let composer = Composer { text, attachments, model, req: req.clone() };
            let gone = keeper.gone_writers(&own);
            let name = keeper.config.document("drafts")?;
            keeper.edit(&name, |pen, stamp| {
                drafts::set(pen, &id, stamp, &composer)?;
                gone.iter().for_each(|writer| drafts::remove(pen, &id, writer));
                Ok(req)
            })
        })
        .await
    }

    /// Goes on here with another device's draft. Sending either is one message.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Store`].
    pub async fn take_over_draft(&self, conversation: String, writer: String) -> Result<(), ClientError> {
        self.run(move |keeper| {
            let id = conversation_id(&conversation)?;
            let from = Writer::parse(&writer).ok_or_else(|| ClientError::NotFound(writer.clone()))?;
            let name = keeper.config.document("drafts")?;
            keeper.edit(&name, |pen, stamp| drafts::take_over(pen, &id, stamp, &from))
        })
        .await
    }

    /// Removes this device's draft of a conversation.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub async fn discard_draft(&self, conversation: String) -> Result<(), ClientError> {
        self.run(move |keeper| {
            let id = conversation_id(&conversation)?;
            let own = keeper.own_drafts(&id)?;
            let mut writers = keeper.gone_writers(&own);
            writers.push(keeper.writer().clone());
            let name = keeper.config.document("drafts")?;
            keeper.edit(&name, |pen, _| {
                writers.iter().for_each(|writer| drafts::remove(pen, &id, writer));
                Ok(())
            })
        })
        .await
    }
}

impl Keeper {
    pub(crate) fn drafts(&mut self) -> Result<Vec<drafts::Draft>, ClientError> {
        let name = self.config.document("drafts")?;
        self.read(&name, |copy| drafts::read(&mut copy.replica))
    }

    /// Lists this device's drafts of a conversation, those of earlier sessions too.
    pub(crate) fn own_drafts(&mut self, id: &ConversationId) -> Result<Vec<drafts::Draft>, ClientError> {
        let mut drafts = self.drafts()?;
        drafts.retain(|draft| draft.conversation == id.as_str() && self.is_own(&draft.writer));
        Ok(drafts)
    }

    /// Removes this device's drafts of which the message was accepted: it is saved, wherever it was sent.
    pub(crate) fn drop_sent_drafts(&mut self, id: &ConversationId) -> Result<(), ClientError> {
        let drafts = self.own_drafts(id)?;
        if drafts.is_empty() {
            return Ok(());
        }
        let name = self.conversation(id)?;
        let all = conversation::Branch::All;
        let messages = self.read(&name, |copy| conversation::messages(&mut copy.replica, all))?;
        let sent = |draft: &drafts::Draft| {
            let mut accepted = messages.iter().filter(|message| message.seq.is_some());
            accepted.any(|message| message.req.as_deref() == Some(&draft.req))
        };
        let name = self.config.document("drafts")?;
        for draft in drafts.iter().filter(|draft| sent(draft)) {
            self.edit(&name, |pen, _| {
                drafts::remove_sent(pen, id, &draft.req);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Lists the writers of drafts that are earlier sessions of this store.
    fn gone_writers(&self, drafts: &[drafts::Draft]) -> Vec<Writer> {
        let writers = drafts.iter().filter_map(|draft| Writer::parse(&draft.writer));
        writers.filter(|writer| self.is_gone(writer)).collect()
    }
}
