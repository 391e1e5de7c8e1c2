//! A user's devices, as they are named, and the folders of the sidebar.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{
        FromRequestParts, Query,
        rejection::{JsonRejection, QueryRejection},
    },
    http::request::Parts,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_document::schema::{
    Kind,
    profile::{self, DeviceField, FolderField},
};
use utoipa::{IntoParams, ToSchema};

use super::{
    at,
    home::Home,
    paging::{Page, present},
    preferences::personal,
    problem::Problem,
};
use crate::app::App;

/// A device.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Device {
    /// As in its token.
    id: String,
    name: Option<String>,
    /// Phone, laptop, browser.
    kind: Option<String>,
    /// Its owner signed it out for good.
    revoked: bool,
    /// Values that lost, by field.
    #[schema(value_type = Object)]
    conflicts: Value,
}

/// What to set on a device; what is not named stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceChange {
    name: Option<String>,
    kind: Option<String>,
}

/// A folder.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Folder {
    id: String,
    name: Option<String>,
    /// The folder it stands in; null at the top.
    parent: Option<String>,
    /// Its place among its siblings: a text that sorts.
    order: Option<String>,
    deleted: bool,
    /// Values that lost, by field.
    #[schema(value_type = Object)]
    conflicts: Value,
}

/// A folder to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewFolder {
    /// Drawn if not given. Making the same one twice changes nothing.
    id: Option<String>,
    name: String,
    parent: Option<String>,
    order: Option<String>,
}

/// What to set on a folder; what is not named stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FolderChange {
    name: Option<String>,
    /// Null for the top.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    parent: Option<Option<String>>,
    order: Option<String>,
    /// False brings a deleted one back.
    deleted: Option<bool>,
}

/// Which folders.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only deleted ones, or none of them (the default).
    #[serde(default)]
    deleted: bool,
}

/// A device or a folder: `{id}`.
pub(super) struct AtId(String);

impl FromRequestParts<Arc<App>> for AtId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        Ok(Self(at::names(parts, app).await?.remove("id").unwrap_or_default()))
    }
}

impl From<profile::Device> for Device {
    fn from(seen: profile::Device) -> Self {
        let conflicts = serde_json::to_value(&seen.conflicts).unwrap_or_default();
        Self { id: seen.id, name: seen.name, kind: seen.kind, revoked: seen.revoked, conflicts }
    }
}

impl From<profile::Folder> for Folder {
    fn from(seen: profile::Folder) -> Self {
        Self {
            conflicts: serde_json::to_value(&seen.conflicts).unwrap_or_default(),
            id: seen.id,
            name: seen.name,
            parent: seen.parent,
            order: seen.order,
            deleted: seen.deleted,
        }
    }
}

impl Home {
    async fn set_device(&self, id: String, fields: Vec<DeviceField>) -> Result<Json<Device>, Problem> {
        let wanted = id.clone();
        self.write(&Kind::Profile, move |desk| {
            fields.iter().try_for_each(|field| profile::check_device(&wanted, field))?;
            desk.edit(|pen, stamp| {
                fields.iter().try_for_each(|field| profile::set_device(pen, &wanted, stamp, field))
            })
        })
        .await?;
        let devices = self.look(&Kind::Profile, profile::devices).await?;
        let found = devices.into_iter().find(|device| device.id == id);
        found.map(|device| Json(device.into())).ok_or_else(|| Problem::missing("device"))
    }

    /// Sets fields of a folder that is there, or makes it where `make` says so and it is not.
    async fn set_folder(
        &self,
        id: String,
        fields: Vec<FolderField>,
        make: bool,
    ) -> Result<Json<Folder>, Problem> {
        let wanted = id.clone();
        self.write(&Kind::Profile, move |desk| {
            let folders = profile::folders(desk.replica())?;
            let is_there = folders.iter().any(|folder| folder.id == wanted);
            match (is_there, make) {
                (true, true) => return Ok(()),
                (false, false) => return Err(Problem::missing("folder").into()),
                _ => {}
            }
            fields.iter().try_for_each(profile::check_folder)?;
            if let Some(parent) = moved_to(&fields)
                && leads_to(&profile::folder_parents(desk.replica())?, parent, &wanted)
            {
                let detail = format!(
                    "folder {wanted} cannot stand in {parent}: that is the folder itself, or stands in it; move \
                     {parent} out of it first"
                );
                return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "folder_cycle", detail).into());
            }
            desk.edit(|pen, stamp| {
                fields.iter().try_for_each(|field| profile::set_folder(pen, &wanted, stamp, field))
            })
        })
        .await?;
        let folders = self.look(&Kind::Profile, profile::folders).await?;
        let found = folders.into_iter().find(|folder| folder.id == id);
        found.map(|folder| Json(folder.into())).ok_or_else(|| Problem::missing("folder"))
    }
}

/// Returns where a folder is moved to.
fn moved_to(fields: &[FolderField]) -> Option<&str> {
    fields.iter().find_map(|field| match field {
        FolderField::Parent(parent) => parent.as_deref(),
        _ => None,
    })
}

/// Says whether a folder is another one, or stands in it. Devices that move folders at the same time may have made a
/// circle: the walk ends after as many steps as there are folders.
fn leads_to(parents: &BTreeMap<String, String>, from: &str, to: &str) -> bool {
    std::iter::successors(Some(from), |at| parents.get(*at).map(String::as_str))
        .take(parents.len() + 1)
        .any(|at| at == to)
}

/// Lists the devices that were named or revoked.
#[utoipa::path(get, path = "/v1/users/{user}/devices", tag = "devices", params(("user" = String, Path)),
    responses((status = 200, body = Page<Device>), (status = "default", body = Problem)))]
pub(super) async fn devices(home: Home) -> Result<Json<Page<Device>>, Problem> {
    let devices = home.look(&Kind::Profile, profile::devices).await?;
    Ok(Json(Page { items: devices.into_iter().map(Device::from).collect(), next: None }))
}

/// Names a device.
#[utoipa::path(put, path = "/v1/users/{user}/devices/{id}", tag = "devices",
    params(("user" = String, Path), ("id" = String, Path)), request_body = DeviceChange,
    responses((status = 200, body = Device), (status = "default", body = Problem)))]
pub(super) async fn name_device(
    home: Home,
    AtId(id): AtId,
    body: Result<Json<DeviceChange>, JsonRejection>,
) -> Result<Json<Device>, Problem> {
    home.writable()?;
    let Json(change) = body?;
    let name = change.name.map(DeviceField::Name);
    home.set_device(id, name.into_iter().chain(change.kind.map(DeviceField::Kind)).collect()).await
}

/// Signs a device out for good: its sockets are closed, and it is not let in any more.
#[utoipa::path(post, path = "/v1/users/{user}/devices/{id}/revoke", tag = "devices",
    params(("user" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Device), (status = "default", body = Problem)))]
pub(super) async fn revoke_device(home: Home, AtId(id): AtId) -> Result<Json<Device>, Problem> {
    home.writable()?;
    personal(&home)?;
    home.set_device(id, vec![DeviceField::Revoked(true)]).await
}

/// Lets a device in again.
#[utoipa::path(post, path = "/v1/users/{user}/devices/{id}/restore", tag = "devices",
    params(("user" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Device), (status = "default", body = Problem)))]
pub(super) async fn restore_device(home: Home, AtId(id): AtId) -> Result<Json<Device>, Problem> {
    home.writable()?;
    personal(&home)?;
    home.set_device(id, vec![DeviceField::Revoked(false)]).await
}

/// Lists the folders.
#[utoipa::path(get, path = "/v1/users/{user}/folders", tag = "folders", params(("user" = String, Path), Which),
    responses((status = 200, body = Page<Folder>), (status = "default", body = Problem)))]
pub(super) async fn folders(
    home: Home,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Page<Folder>>, Problem> {
    let Query(which) = which?;
    let folders = home.look(&Kind::Profile, profile::folders).await?;
    let folders = folders.into_iter().filter(|folder| folder.deleted == which.deleted);
    Ok(Json(Page { items: folders.map(Folder::from).collect(), next: None }))
}

/// Makes a folder.
#[utoipa::path(post, path = "/v1/users/{user}/folders", tag = "folders",
    params(("user" = String, Path)), request_body = NewFolder,
    responses((status = 201, body = Folder), (status = "default", body = Problem)))]
pub(super) async fn create_folder(
    home: Home,
    body: Result<Json<NewFolder>, JsonRejection>,
) -> Result<(StatusCode, Json<Folder>), Problem> {
    home.writable()?;
    let Json(new) = body?;
    let id = new.id.unwrap_or_else(|| home.fresh_id());
    let mut fields = vec![FolderField::Name(new.name)];
    fields.extend(new.parent.map(|parent| FolderField::Parent(Some(parent))));
    fields.extend(new.order.map(FolderField::Order));
    Ok((StatusCode::CREATED, home.set_folder(id, fields, true).await?))
}

/// Renames, moves or restores a folder. Into itself, or what stands in it, it is not moved: 422 `folder_cycle`.
#[utoipa::path(patch, path = "/v1/users/{user}/folders/{id}", tag = "folders",
    params(("user" = String, Path), ("id" = String, Path)), request_body = FolderChange,
    responses((status = 200, body = Folder), (status = "default", body = Problem)))]
pub(super) async fn change_folder(
    home: Home,
    AtId(id): AtId,
    body: Result<Json<FolderChange>, JsonRejection>,
) -> Result<Json<Folder>, Problem> {
    home.writable()?;
    let Json(change) = body?;
    let mut fields = Vec::new();
    fields.extend(change.name.map(FolderField::Name));
    fields.extend(change.parent.map(FolderField::Parent));
    fields.extend(change.order.map(FolderField::Order));
    fields.extend(change.deleted.map(FolderField::Deleted));
    home.set_folder(id, fields, false).await
}

/// Deletes a folder; the conversations in it stay.
#[utoipa::path(delete, path = "/v1/users/{user}/folders/{id}", tag = "folders",
    params(("user" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Folder), (status = "default", body = Problem)))]
pub(super) async fn delete_folder(home: Home, AtId(id): AtId) -> Result<Json<Folder>, Problem> {
    home.writable()?;
    home.set_folder(id, vec![FolderField::Deleted(true)], false).await
}
