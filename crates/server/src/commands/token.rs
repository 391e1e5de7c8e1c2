//! `syncline token`: a token, signed with the data folder's secret.

use syncline_protocol::names::{check_device, check_user};

use crate::{
    auth::{Auth, Claims, Secret, now_seconds},
    cli::{Failure, Token},
    commands::print,
};

pub(crate) fn run(arguments: &Token) -> Result<(), Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::Usage(error.to_string());
    check_user(&arguments.user).map_err(|error| usage(&format!("--user {:?}: {error}", arguments.user)))?;
    if let Some(device) = &arguments.device {
        check_device(device).map_err(|error| usage(&format!("--device {device:?}: {error}")))?;
    }
    if arguments.ttl.as_secs() == 0 {
        return Err(usage(&"--ttl must be at least a second, such as 30d, 12h or 90s"));
    }
    let now = now_seconds();
    let claims = Claims {
        sub: arguments.user.clone(),
        device: arguments.device.clone(),
        role: arguments.role,
        grants: Vec::new(),
        only: None,
        exp: now.saturating_add(arguments.ttl.as_secs()),
        iat: now,
        nbf: None,
    };
    let auth = Auth::with_secret(&Secret::read_or_create(&arguments.data)?);
    print(&auth.mint(&claims).map_err(|error| Failure::Check(error.to_string()))?)
}
