//! Who connected, and what they may do with a document.

use std::{net::IpAddr, sync::Arc, time::Duration};

use syncline_protocol::names::DocumentName;
use syncline_sync::Access;
use tokio::time::Instant;

use crate::{
    app::App,
    auth::{Denied, DocumentAccess, Principal},
    clock::now_ms,
    outbound::Closing,
};

/// Who connected, as far as the upgrade request tells.
#[derive(Debug)]
pub(crate) struct Visitor {
    /// The document that the path names.
    pub(crate) document: Option<DocumentName>,
    /// The path is y-sweet's.
    pub(crate) ysweet: bool,
    /// Who the request's token names, or why it names nobody.
    pub(crate) principal: Result<Principal, Denied>,
    /// The device named in the URL.
    pub(crate) device: Option<Arc<str>>,
    pub(crate) device_name: Option<Arc<str>>,
    pub(crate) device_kind: Option<Arc<str>>,
    /// It asked for status messages.
    pub(crate) wants_status: bool,
    pub(crate) address: IpAddr,
}

/// For whom a connection edits a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) user: Option<Arc<str>>,
    pub(super) device: Option<Arc<str>>,
}

impl Visitor {
    /// Returns the user and the device that edits are written down for.
    pub(super) fn identity(&self, principal: &Principal) -> Identity {
        Identity {
            user: principal.user().cloned(),
            device: principal.device().or(self.device.as_ref()).cloned(),
        }
    }

    /// Says what the bearer of the request's token may do with a document, or why nothing.
    pub(crate) fn rights(&self, app: &App, name: &DocumentName) -> Result<(Principal, Access), Closing> {
        self.rights_of(app, &self.principal, name)
    }

    /// Says what the bearer of a token may do with a document, or why nothing. A device that was revoked may nothing,
    /// whether the token or the URL names it.
    pub(super) fn rights_of(
        &self,
        app: &App,
        principal: &Result<Principal, Denied>,
        name: &DocumentName,
    ) -> Result<(Principal, Access), Closing> {
        let granted = rights(principal, name)?;
        let identity = self.identity(&granted.0);
        app.check_device(identity.user.as_ref(), identity.device.as_ref()).map_err(closing)?;
        Ok(granted)
    }
}

/// Returns why a socket is closed whose token is not accepted.
pub(super) fn closing(denied: Denied) -> Closing {
    match denied {
        Denied::Revoked => Closing::Forbidden(denied.to_string()),
        Denied::Unknown => Closing::TryLater(denied.to_string()),
        denied => Closing::Unauthorized(denied.to_string()),
    }
}

fn rights(
    principal: &Result<Principal, Denied>,
    name: &DocumentName,
) -> Result<(Principal, Access), Closing> {
    let principal = principal.clone().map_err(closing)?;
    if principal.expires_at_ms().is_some_and(|at| at <= now_ms()) {
        return Err(Closing::Unauthorized(Denied::Expired.to_string()));
    }
    let access = match principal.access(name) {
        DocumentAccess::Write => Access::Write,
        DocumentAccess::Read => Access::Read,
        DocumentAccess::None => {
            return Err(Closing::Forbidden(
                "this token does not open this document: ask for a grant".to_owned(),
            ));
        }
    };
    Ok((principal, access))
}

/// Returns when a token runs out, on the clock of timers.
pub(super) fn expiry(principal: &Principal) -> Option<Instant> {
    let left_ms = principal.expires_at_ms()?.saturating_sub(now_ms());
    Instant::now().checked_add(Duration::from_millis(left_ms))
}
