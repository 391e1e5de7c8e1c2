//! Sync status: which devices have opened the document, and how far behind each is.
//!
//! Kept in memory and written now and then as the document's side record: no write per delivery.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use syncline_document::record::Sequence;

/// One device of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name for people.
    #[serde(default)]
    pub name: Option<Arc<str>>,
    /// Its kind.
    #[serde(default)]
    pub kind: Option<Arc<str>>,
    /// Unix milliseconds at which it was last heard of.
    pub last_seen: u64,
    /// It has everything up to here in its own store.
    pub received: Sequence,
    /// Connections it has right now.
    #[serde(skip)]
    pub connections: u32,
}

/// The side record.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Side {
    devices: BTreeMap<Arc<str>, Device>,
    /// Updates of this document that were refused, ever.
    #[serde(default)]
    refused: u64,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    id: &'a str,
    name: Option<&'a str>,
    kind: Option<&'a str>,
    online: bool,
    #[serde(rename = "lastSeen")]
    last_seen: u64,
    behind: u64,
}

#[derive(Debug, Serialize)]
struct Status<'a> {
    r#type: &'a str,
    document: &'a str,
    saved: Sequence,
    devices: Vec<Line<'a>>,
}

/// The devices of one document.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    side: Side,
    /// Something changed since the side record was written.
    pub(crate) unsaved: bool,
}

impl Devices {
    /// Takes in the stored side record; one that cannot be read counts as empty, it holds nothing that is owed.
    pub(crate) fn restore(&mut self, side: &[u8]) {
        let Ok(stored) = serde_json::from_slice::<Side>(side) else { return };
        self.side.refused += stored.refused;
        for (id, device) in stored.devices {
            let here = self.side.devices.entry(id).or_default();
            here.received = here.received.max(device.received);
            here.last_seen = here.last_seen.max(device.last_seen);
            here.name = here.name.take().or(device.name);
            here.kind = here.kind.take().or(device.kind);
        }
    }

    /// Encodes the side record.
    pub(crate) fn encode(&mut self) -> Bytes {
        self.unsaved = false;
        Bytes::from(serde_json::to_vec(&self.side).unwrap_or_default())
    }

    /// Counts a refused update.
    pub(crate) fn refuse(&mut self) {
        self.side.refused += 1;
        self.unsaved = true;
    }

    /// A device has one more connection. Past `limit` devices the one unseen for longest makes room.
    pub(crate) fn arrive(
        &mut self,
        id: &Arc<str>,
        name: Option<&Arc<str>>,
        kind: Option<&Arc<str>>,
        limit: usize,
        now_ms: u64,
    ) {
        if !self.side.devices.contains_key(id) && self.side.devices.len() >= limit {
            let oldest = self.side.devices.iter().filter(|(_, device)| device.connections == 0);
            let Some(oldest) = oldest.min_by_key(|(_, device)| device.last_seen).map(|(id, _)| id.clone())
            else {
                return;
            };
            self.side.devices.remove(&oldest);
        }
        let device = self.side.devices.entry(id.clone()).or_default();
        device.connections += 1;
        device.last_seen = now_ms;
        device.name = name.cloned().or(device.name.take());
        device.kind = kind.cloned().or(device.kind.take());
        self.unsaved = true;
    }

    /// A device has one connection less.
    pub(crate) fn leave(&mut self, id: &str, now_ms: u64) {
        if let Some(device) = self.side.devices.get_mut(id) {
            device.connections = device.connections.saturating_sub(1);
            device.last_seen = now_ms;
            self.unsaved = true;
        }
    }

    /// Lists the devices.
    pub(crate) fn ids(&self) -> Vec<Arc<str>> {
        self.side.devices.keys().cloned().collect()
    }

    /// A device does not come back: nothing is behind for its sake. Says whether it was known.
    pub(crate) fn forget(&mut self, id: &str) -> bool {
        let known = self.side.devices.remove(id).is_some();
        self.unsaved |= known;
        known
    }

    /// A device has everything up to `sequence`. Says whether that is news.
    pub(crate) fn receive(&mut self, id: &str, sequence: Sequence) -> bool {
        let Some(device) = self.side.devices.get_mut(id) else { return false };
        let news = sequence > device.received;
        device.received = device.received.max(sequence);
        self.unsaved |= news;
        news
    }

    /// A device wrote `sequence` itself: if it lacked nothing before it, it lacks nothing now.
    pub(crate) fn wrote(&mut self, id: &str, before: Sequence, sequence: Sequence) {
        if let Some(device) = self.side.devices.get_mut(id)
            && device.received >= before
        {
            device.received = sequence;
            self.unsaved = true;
        }
    }

    /// Returns how far a device has confirmed.
    pub(crate) fn received(&self, id: &str) -> Sequence {
        self.side.devices.get(id).map_or(0, |device| device.received)
    }

    /// Renders the status message.
    pub(crate) fn status(&self, document: &str, saved: Sequence) -> String {
        let devices = self.side.devices.iter().map(|(id, device)| Line {
            id,
            name: device.name.as_deref(),
            kind: device.kind.as_deref(),
            online: device.connections > 0,
            last_seen: device.last_seen,
            behind: saved.saturating_sub(device.received),
        });
        let status = Status { r#type: "status", document, saved, devices: devices.collect() };
        serde_json::to_string(&status).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_behind_by_what_it_has_not_confirmed() {
        let mut devices = Devices::default();
        let phone: Arc<str> = "phone".into();
        devices.arrive(&phone, Some(&"Ada's phone".into()), Some(&"phone".into()), 8, 5);
        assert_eq!(
            devices.status("d", 3),
            r#"{"type":"status","document":"d","saved":3,"devices":[{"id":"phone","name":"Ada's phone","kind":"phone","online":true,"lastSeen":5,"behind":3}]}"#
        );
        assert!(devices.receive("phone", 2));
        assert!(!devices.receive("phone", 1), "a confirmation never goes back");
        devices.wrote("phone", 3, 4);
        assert_eq!(devices.received("phone"), 2, "it lacks 3, so writing 4 does not make it whole");
        devices.leave("phone", 9);
        assert!(devices.status("d", 3).contains(r#""online":false,"lastSeen":9,"behind":1"#));
    }

    #[test]
    fn the_side_record_survives() {
        let mut devices = Devices::default();
        devices.arrive(&"a".into(), None, None, 8, 1);
        devices.receive("a", 7);
        devices.refuse();
        let side = devices.encode();
        let mut back = Devices::default();
        back.restore(&side);
        assert_eq!((back.received("a"), back.side.refused), (7, 1));
        back.restore(b"not json");
        assert_eq!(back.received("a"), 7);
    }

    #[test]
    fn a_device_that_is_forgotten_is_behind_in_nothing() {
        let mut devices = Devices::default();
        devices.arrive(&"phone".into(), None, None, 8, 5);
        devices.encode();
        assert!(!devices.forget("laptop") && !devices.unsaved);
        assert!(devices.forget("phone") && devices.unsaved);
        devices.leave("phone", 9);
        assert!(!devices.receive("phone", 3) && devices.ids().is_empty());
        assert!(devices.status("d", 3).contains(r#""devices":[]"#));
    }

    #[test]
    fn the_list_is_bounded() {
        let mut devices = Devices::default();
        for n in 0..5_u64 {
            devices.arrive(&format!("d{n}").into(), None, None, 3, n);
            devices.leave(&format!("d{n}"), n);
        }
        assert_eq!(devices.side.devices.len(), 3);
        assert!(devices.side.devices.contains_key("d4"));
    }
}
