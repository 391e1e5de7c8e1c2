//! Devices and folders of a person.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use yrs::{Any, Transact as _};

use super::{Unfit, VALUE_BYTES, check_id, check_name, grouped};
use crate::{
    Broken, Pen, Replica,
    register::{self, Field, Hint, Ranking, Stamp},
};

const DEVICES: &str = "devices";
const FOLDERS: &str = "folders";

/// A device as its owner named it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Its id, as in its token.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// What it is: phone, laptop, browser.
    pub kind: Option<String>,
    /// Says whether its owner signed it out for good.
    pub revoked: bool,
    /// Values that lost, by field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conflicts: BTreeMap<String, Vec<Hint>>,
}

/// What can be set on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceField {
    /// Its name.
    Name(String),
    /// What it is.
    Kind(String),
    /// Signed out for good, or let in again.
    Revoked(bool),
}

/// A folder of conversations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Folder {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// The folder it stands in. Folders that two devices moved into each other stand at the top.
    pub parent: Option<String>,
    /// Its place among its siblings: a text that sorts (a fractional index).
    pub order: Option<String>,
    /// Says whether it was deleted.
    pub deleted: bool,
    /// Values that lost, by field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conflicts: BTreeMap<String, Vec<Hint>>,
}

/// What can be set on a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FolderField {
    /// Its name.
    Name(String),
    /// The folder it stands in; none for the top.
    Parent(Option<String>),
    /// Its place among its siblings: a text that sorts.
    Order(String),
    /// Deleted, or there again.
    Deleted(bool),
}

/// Collects the losing values of some fields.
pub(super) fn conflicts(fields: &BTreeMap<String, Field>) -> BTreeMap<String, Vec<Hint>> {
    let hints = fields.iter().map(|(name, field)| (name.clone(), field.hints()));
    hints.filter(|(_, hints)| !hints.is_empty()).collect()
}

pub(super) fn text(fields: &BTreeMap<String, Field>, name: &str) -> Option<String> {
    fields.get(name).and_then(Field::text).map(str::to_owned)
}

pub(super) fn is_true(fields: &BTreeMap<String, Field>, name: &str) -> bool {
    fields.get(name).is_some_and(Field::is_true)
}

/// Reads the devices, by id.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn devices(replica: &mut Replica) -> Result<Vec<Device>, Broken> {
    replica.read(|doc| {
        let groups = grouped(register::read(&doc.transact(), DEVICES, Ranking::Time));
        let devices = groups.into_iter().map(|(id, fields)| Device {
            id,
            name: text(&fields, "name"),
            kind: text(&fields, "kind"),
            revoked: is_true(&fields, "revoked"),
            conflicts: conflicts(&fields),
        });
        devices.collect()
    })
}

/// Sets a field of a device.
///
/// # Errors
/// [`Unfit::Name`], [`Unfit::TooLong`].
pub fn set_device(
    pen: &mut Pen<'_, '_>,
    device: &str,
    stamp: &Stamp,
    field: &DeviceField,
) -> Result<(), Unfit> {
    check_device(device, field)?;
    let (name, value) = match field {
        DeviceField::Name(name) => ("name", short(name)?),
        DeviceField::Kind(kind) => ("kind", short(kind)?),
        DeviceField::Revoked(revoked) => ("revoked", Any::Bool(*revoked)),
    };
    register::write(pen, DEVICES, &format!("{device}|{name}"), stamp, value);
    Ok(())
}

/// Says whether a field of a device can be written: a call of several writes all of them or none.
///
/// # Errors
/// As [`set_device`].
pub fn check_device(device: &str, field: &DeviceField) -> Result<(), Unfit> {
    check_id(device)?;
    match field {
        DeviceField::Name(text) | DeviceField::Kind(text) => short(text).map(|_| ()),
        DeviceField::Revoked(_) => Ok(()),
    }
}

fn short(text: &str) -> Result<Any, Unfit> {
    if text.len() > VALUE_BYTES { Err(Unfit::TooLong) } else { Ok(Any::from(text)) }
}

/// Reads the folders, by id; those that were deleted too.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn folders(replica: &mut Replica) -> Result<Vec<Folder>, Broken> {
    replica.read(|doc| {
        let groups = grouped(register::read(&doc.transact(), FOLDERS, Ranking::Time));
        let parents = parents_in(&groups);
        let cycles = in_cycles(&parents);
        let folders = groups.into_iter().map(|(id, fields)| Folder {
            parent: parents.get(&id).filter(|_| !cycles.contains(id.as_str())).cloned(),
            name: text(&fields, "name"),
            order: text(&fields, "order"),
            deleted: is_true(&fields, "deleted"),
            conflicts: conflicts(&fields),
            id,
        });
        folders.collect()
    })
}

fn parents_in(groups: &BTreeMap<String, BTreeMap<String, Field>>) -> BTreeMap<String, String> {
    groups
        .iter()
        .filter_map(|(id, fields)| Some((id.clone(), text(fields, "parent")?)))
        .filter(|(_, parent)| groups.contains_key(parent))
        .collect()
}

/// Returns the parent of each folder as it is set: also those in a circle, which [`folders`] shows at the top.
///
/// # Errors
/// [`Broken`].
pub fn folder_parents(replica: &mut Replica) -> Result<BTreeMap<String, String>, Broken> {
    replica.read(|doc| parents_in(&grouped(register::read(&doc.transact(), FOLDERS, Ranking::Time))))
}

/// Finds the folders that stand in themselves, some levels up. Each folder is walked over once.
fn in_cycles(parents: &BTreeMap<String, String>) -> BTreeSet<&str> {
    let mut cycles = BTreeSet::new();
    // The walk in which a folder was met.
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    for (walk, start) in parents.keys().enumerate() {
        let mut at = start.as_str();
        while !met.contains_key(at) {
            met.insert(at, walk);
            match parents.get(at) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        // It came back to itself: once more around.
        while met.get(at) == Some(&walk) && parents.contains_key(at) && cycles.insert(at) {
            at = &parents[at];
        }
    }
    cycles
}

/// Sets a field of a folder.
///
/// # Errors
/// [`Unfit::Name`], [`Unfit::TooLong`].
pub fn set_folder(
    pen: &mut Pen<'_, '_>,
    folder: &str,
    stamp: &Stamp,
    field: &FolderField,
) -> Result<(), Unfit> {
    check_id(folder)?;
    check_folder(field)?;
    let (name, value) = match field {
        FolderField::Name(text) => ("name", short(text)?),
        FolderField::Parent(None) => ("parent", Any::Null),
        FolderField::Parent(Some(parent)) => ("parent", short(parent)?),
        FolderField::Order(order) => ("order", short(order)?),
        FolderField::Deleted(deleted) => ("deleted", Any::Bool(*deleted)),
    };
    register::write(pen, FOLDERS, &format!("{folder}|{name}"), stamp, value);
    Ok(())
}

/// Says whether a field of a folder can be written: a call of several writes all of them or none.
///
/// # Errors
/// As [`set_folder`].
pub fn check_folder(field: &FolderField) -> Result<(), Unfit> {
    match field {
        FolderField::Name(name) => check_name(name),
        FolderField::Parent(Some(parent)) => check_id(parent),
        FolderField::Order(order) => short(order).map(|_| ()),
        FolderField::Parent(None) | FolderField::Deleted(_) => Ok(()),
    }
}

/// Returns a JSON value as a short one to store.
pub(super) fn bounded(value: &Value) -> Result<Any, Unfit> {
    if value.to_string().len() > VALUE_BYTES { Err(Unfit::TooLong) } else { Ok(crate::json::store(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hlc::Hlc, ids::Writer};

    fn stamp(writer: &str, ms: u64) -> Stamp {
        Stamp { writer: Writer::parse(writer).expect("a writer"), hlc: Hlc::at(ms) }
    }

    #[test]
    fn a_device_has_a_name_and_can_be_revoked() {
        let mut replica = Replica::of_client(1);
        let edit = replica.edit(|pen| {
            set_device(pen, "d1", &stamp("d1.a", 1), &DeviceField::Name("iPhone".to_owned()))?;
            set_device(pen, "d1", &stamp("d1.a", 2), &DeviceField::Kind("phone".to_owned()))?;
            set_device(pen, "d1", &stamp("d2.a", 3), &DeviceField::Revoked(true))
        });
        assert_eq!(edit.expect("writes").value, Ok(()));
        let devices = devices(&mut replica).expect("reads");
        assert_eq!(devices.len(), 1);
        assert_eq!((devices[0].name.as_deref(), devices[0].revoked), (Some("iPhone"), true));
    }

    #[test]
    fn folders_moved_into_each_other_stand_at_the_top() {
        let mut replica = Replica::of_client(1);
        let edit = replica.edit(|pen| {
            for (folder, parent) in [("a", "b"), ("b", "a"), ("c", "a"), ("d", "gone"), ("e", "e")] {
                set_folder(pen, folder, &stamp("d1.a", 1), &FolderField::Parent(Some(parent.to_owned())))?;
            }
            set_folder(pen, "c", &stamp("d2.a", 2), &FolderField::Order("a0".to_owned()))
        });
        assert_eq!(edit.expect("writes").value, Ok(()));
        let found = folders(&mut replica).expect("reads");
        let parents: Vec<_> = found.iter().map(|folder| folder.parent.as_deref()).collect();
        assert_eq!(parents, [None, None, Some("a"), None, None]);
        let set = folder_parents(&mut replica).expect("reads");
        let set: Vec<_> = set.iter().map(|(folder, parent)| (folder.as_str(), parent.as_str())).collect();
        assert_eq!(
            set,
            [("a", "b"), ("b", "a"), ("c", "a"), ("e", "e")],
            "what is set is a circle all the same"
        );
    }

    #[test]
    fn a_long_chain_of_folders_is_walked_once() {
        let chain: BTreeMap<String, String> =
            (0..100_000).map(|n| (format!("f{n}"), format!("f{}", n + 1))).collect();
        assert!(in_cycles(&chain).is_empty());
        let mut ring = chain;
        ring.insert("f100000".to_owned(), "f50000".to_owned());
        assert_eq!(in_cycles(&ring).len(), 50_001, "those that lead into it stand where they stood");
    }
}
