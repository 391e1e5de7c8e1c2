//! Preferences of the person.

use syncline_document::schema::preferences::{self, Provenance};

use super::{Preference, json};
use crate::{Client, ClientError};

impl Client {
    /// Lists the preferences that have a value or are blocked, by name.
    ///
    /// # Errors
    /// [`ClientError::Damaged`].
    pub async fn preferences(&self) -> Result<Vec<Preference>, ClientError> {
        self.run(|keeper| {
            let (name, now_ms) = (keeper.config.document("profile")?, keeper.now_ms());
            let seen = keeper.read(&name, |copy| preferences::read(&mut copy.replica, now_ms))?;
            Ok(seen.into_iter().map(Preference::from).collect())
        })
        .await
    }

    /// Sets a preference, as the person does: it beats whatever an agent infers.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a bad name or more than 64 KiB, [`ClientError::Store`].
    pub async fn set_preference(&self, name: String, value_json: String) -> Result<(), ClientError> {
        let value = json(&value_json, "value_json", self.config.limits.edit_bytes)?;
        self.run(move |keeper| {
            let document = keeper.config.document("profile")?;
            keeper.edit(&document, |pen, stamp| {
                preferences::set(pen, &name, stamp, &value, &Provenance::explicit())
            })
        })
        .await
    }

    /// Takes back whatever was set or inferred; what comes later counts again.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn clear_preference(&self, name: String) -> Result<(), ClientError> {
        self.run(move |keeper| {
            let document = keeper.config.document("profile")?;
            keeper.edit(&document, |pen, stamp| preferences::clear(pen, &name, stamp))
        })
        .await
    }

    /// Takes back whatever was set or inferred, and forbids inference.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn block_preference(&self, name: String) -> Result<(), ClientError> {
        self.run(move |keeper| {
            let document = keeper.config.document("profile")?;
            keeper.edit(&document, |pen, stamp| preferences::block(pen, &name, stamp))
        })
        .await
    }
}
