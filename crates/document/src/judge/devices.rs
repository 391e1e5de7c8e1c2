//! Which devices are signed out for good, and which were let in again: what the server's tables have to say too.

use std::{cmp::Reverse, collections::BTreeMap};

use yrs::Any;

use super::{Bench, DeviceStanding};
use crate::{
    hlc::Hlc,
    ids::{Writer, is_id},
    register::split,
    winners::Winners,
};

/// The root map of devices.
pub(super) const DEVICES: &str = "devices";
/// What follows a device's id in the field.
const REVOKED: &str = "|revoked";
/// Devices told of one judgement, the latest first: an update that names more of them is no person's.
const TOLD: usize = 1_000;

/// Says whether a field is that of a device's revocation.
pub(super) fn is_revocation(field: &str) -> bool {
    device_of(field).is_some()
}

fn device_of(field: &str) -> Option<&str> {
    field.strip_suffix(REVOKED).filter(|device| is_id(device))
}

/// Tells how the devices stand whose revocation changed.
pub(super) fn judge(bench: &mut Bench<'_, '_, '_>, revoked: &mut Winners) {
    let mut changed: BTreeMap<&str, (Hlc, bool)> = BTreeMap::new();
    for (root, key) in bench.changes.keys.keys() {
        let Some((field, _)) = split(key).filter(|_| *root == DEVICES) else { continue };
        let Some(device) = device_of(field) else { continue };
        revoked.refresh(bench.pen.txn(), DEVICES, key);
        // The judge may have moved it there.
        revoked.refresh(bench.pen.txn(), DEVICES, &format!("{field}@{}", Writer::SERVER));
        let winner = revoked.winner(field);
        let (hlc, is_revoked) =
            winner.map_or((Hlc::default(), false), |(hlc, value)| (hlc, *value == Any::Bool(true)));
        changed.insert(device, (hlc, is_revoked));
    }
    let mut standings: Vec<_> = changed.into_iter().collect();
    standings.sort_by_key(|(_, (hlc, _))| Reverse(*hlc));
    let told = standings.into_iter().take(TOLD);
    bench.judgement.devices = told
        .map(|(device, (_, is_revoked))| DeviceStanding { device: device.to_owned(), is_revoked })
        .collect();
}
