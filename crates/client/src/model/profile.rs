//! The user's devices and folders.

use syncline_document::schema::profile::{self, DeviceField, FolderField};

use super::{Folder, UserDevice, new_id};
use crate::{Client, ClientError};

impl Client {
    /// Lists the devices, by id.
    ///
    /// # Errors
    /// [`ClientError::Damaged`].
    pub async fn devices(&self) -> Result<Vec<UserDevice>, ClientError> {
        self.run(|keeper| {
            let name = keeper.config.document("profile")?;
            let seen = keeper.read(&name, |copy| profile::devices(&mut copy.replica))?;
            Ok(seen.into_iter().map(UserDevice::from).collect())
        })
        .await
    }

    /// Names a device and says what it is.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn name_device(&self, id: String, name: String, kind: String) -> Result<(), ClientError> {
        self.run(move |keeper| {
            let document = keeper.config.document("profile")?;
            keeper.edit(&document, |pen, stamp| {
                let (name, kind) = (DeviceField::Name(name), DeviceField::Kind(kind));
                profile::check_device(&id, &name)?;
                profile::check_device(&id, &kind)?;
                profile::set_device(pen, &id, stamp, &name)?;
                profile::set_device(pen, &id, stamp, &kind)
            })
        })
        .await
    }

    /// Marks a device as signed out for good, or lets it in again.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn revoke_device(&self, id: String, revoked: bool) -> Result<(), ClientError> {
        self.run(move |keeper| {
            let document = keeper.config.document("profile")?;
            keeper.edit(&document, |pen, stamp| {
                profile::set_device(pen, &id, stamp, &DeviceField::Revoked(revoked))
            })
        })
        .await
    }

    /// Lists the folders, by id; those that were deleted too.
    ///
    /// # Errors
    /// [`ClientError::Damaged`].
    pub async fn folders(&self) -> Result<Vec<Folder>, ClientError> {
        self.run(|keeper| {
            let name = keeper.config.document("profile")?;
            let seen = keeper.read(&name, |copy| profile::folders(&mut copy.replica))?;
            Ok(seen.into_iter().map(Folder::from).collect())
        })
        .await
    }

    /// Makes a folder; returns its id.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn new_folder(&self, name: String, parent: Option<String>) -> Result<String, ClientError> {
        self.run(move |keeper| {
            let document = keeper.config.document("profile")?;
            let id = new_id(keeper.now_ms());
            let folder = id.clone();
            keeper.edit(&document, |pen, stamp| {
                let (name, parent) = (FolderField::Name(name), FolderField::Parent(parent));
                profile::check_folder(&name)?;
                profile::set_folder(pen, &folder, stamp, &parent)?;
                profile::set_folder(pen, &folder, stamp, &name)
            })?;
            Ok(id)
        })
        .await
    }

    /// Names a folder.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn rename_folder(&self, id: String, name: String) -> Result<(), ClientError> {
        self.set_folder(id, FolderField::Name(name)).await
    }

    /// Moves a folder into another, or to the top.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn move_folder(&self, id: String, parent: Option<String>) -> Result<(), ClientError> {
        self.set_folder(id, FolderField::Parent(parent)).await
    }

    /// Places a folder among its siblings: by a text that sorts.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn order_folder(&self, id: String, order: String) -> Result<(), ClientError> {
        self.set_folder(id, FolderField::Order(order)).await
    }

    /// Deletes a folder, or restores it.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Store`].
    pub async fn delete_folder(&self, id: String, deleted: bool) -> Result<(), ClientError> {
        self.set_folder(id, FolderField::Deleted(deleted)).await
    }

    async fn set_folder(&self, id: String, field: FolderField) -> Result<(), ClientError> {
        self.run(move |keeper| {
            let document = keeper.config.document("profile")?;
            keeper.edit(&document, |pen, stamp| profile::set_folder(pen, &id, stamp, &field))
        })
        .await
    }
}
