//! Messages of a conversation, and what people say of them.

use serde_json::Value;
use syncline_document::schema::{Unfit, conversation};

use super::{Branch, Feedback, Message, NewMessage, conversation_id, json, new_id};
use crate::{Client, ClientError, keeper::Keeper};

impl Client {
    /// Lists the messages of a conversation, first to last, what is pending at the end.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::TooManyOpen`], [`ClientError::Damaged`].
    pub async fn messages(&self, id: String, branch: Branch) -> Result<Vec<Message>, ClientError> {
        self.run(move |keeper| {
            let name = keeper.conversation(&conversation_id(&id)?)?;
            let (seen, delivered) = keeper.read(&name, |copy| {
                Ok((conversation::messages(&mut copy.replica, branch.into())?, copy.delivered()))
            })?;
            Ok(seen.into_iter().map(|message| Message::new(message, delivered)).collect())
        })
        .await
    }

    /// Sends a message; returns its id. It is on this device's disk when this returns, and shows as pending until the server
    /// has accepted it.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] where parts or role have no such form, [`ClientError::Store`].
    pub async fn send(&self, conversation: String, message: NewMessage) -> Result<String, ClientError> {
        let parts = json(&message.parts_json, "parts_json", self.config.limits.edit_bytes)?;
        let Value::Array(parts) = parts else {
            return Err(ClientError::Invalid("parts_json is no array".to_owned()));
        };
        self.run(move |keeper| keeper.say(&conversation, message, parts)).await
    }

    /// Chooses which message is shown behind a parent, or first.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Store`].
    pub async fn select_message(
        &self,
        conversation: String,
        parent: Option<String>,
        child: String,
    ) -> Result<(), ClientError> {
        self.on(conversation, move |pen, stamp| conversation::select(pen, parent.as_deref(), stamp, &child))
            .await
    }

    /// Says what somebody thinks of a message; nothing takes it back.
    ///
    /// # Errors
    /// [`ClientError::NotFound`]; [`ClientError::Invalid`] for another value than 1, 0, -1; [`ClientError::Store`].
    pub async fn set_feedback(
        &self,
        conversation: String,
        message: String,
        feedback: Option<Feedback>,
    ) -> Result<(), ClientError> {
        let feedback = feedback.map(|feedback| conversation::Feedback {
            v: feedback.value,
            tags: feedback.tags,
            text: feedback.text,
        });
        self.on(conversation, move |pen, stamp| {
            conversation::set_feedback(pen, &message, stamp, feedback.as_ref())
        })
        .await
    }

    /// Keeps a message out of sight, or shows it again.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Store`].
    pub async fn hide_message(
        &self,
        conversation: String,
        message: String,
        hidden: bool,
    ) -> Result<(), ClientError> {
        self.on(conversation, move |pen, stamp| conversation::set_hidden(pen, &message, stamp, hidden)).await
    }

    /// Asks something of the server: `stop` a run, `approve` a tool call, `regenerate` an answer.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn request(
        &self,
        conversation: String,
        verb: String,
        target: String,
        value_json: String,
    ) -> Result<(), ClientError> {
        let value = json(&value_json, "value_json", self.config.limits.edit_bytes)?;
        self.on(conversation, move |pen, stamp| conversation::request(pen, &verb, &target, stamp, &value))
            .await
    }

    async fn on(
        &self,
        conversation: String,
        write: impl FnOnce(
            &mut syncline_document::Pen<'_, '_>,
            &syncline_document::register::Stamp,
        ) -> Result<(), Unfit>
        + Send
        + 'static,
    ) -> Result<(), ClientError> {
        self.run(move |keeper| {
            let name = keeper.conversation(&conversation_id(&conversation)?)?;
            keeper.edit(&name, write)
        })
        .await
    }
}

impl Keeper {
    fn say(
        &mut self,
        conversation: &str,
        message: NewMessage,
        parts: Vec<Value>,
    ) -> Result<String, ClientError> {
        let name = self.conversation(&conversation_id(conversation)?)?;
        let id = new_id(self.now_ms());
        let parent = match (message.parent, message.first) {
            (Some(_), true) => {
                return Err(ClientError::Invalid("a first message has no parent".to_owned()));
            }
            (None, false) => {
                let shown = self.read(&name, |copy| {
                    conversation::messages(&mut copy.replica, conversation::Branch::Selected)
                })?;
                shown.last().map(|last| last.id.clone())
            }
            (parent, _) => parent,
        };
        let sent = id.clone();
        self.edit(&name, move |pen, stamp| {
            let new = conversation::NewMessage {
                id: sent,
                role: message.role,
                parent,
                alternative_to: message.alternative_to,
                stamp: stamp.clone(),
                req: message.req,
                model: message.model,
                parts,
            };
            conversation::append(pen, &new).map(|_| ())
        })?;
        Ok(id)
    }
}
