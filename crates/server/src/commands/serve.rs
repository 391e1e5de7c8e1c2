//! `syncline serve`: configuration, logging and runtime, then the server.

use toml::{Table, Value};

use crate::{
    cli::{Failure, Serve},
    commands::{environment, print, runtime},
    config, logging,
};

pub(crate) fn run(arguments: &Serve) -> Result<(), Failure> {
    let loaded = config::load(arguments.config.as_deref(), environment(), flags(arguments)?)?;
    logging::start(&loaded.config.log, loaded.config.log_json).map_err(Failure::Usage)?;
    for warning in &loaded.warnings {
        tracing::warn!(event = "setting_ignored", "{warning}");
    }
    let runtime = runtime()?;
    let ready = |address: &str| {
        // Whoever started the server may not listen to it.
        let _ = print(&format!("syncline ready on {address}"));
    };
    let outcome = runtime.block_on(Box::pin(crate::serve::serve(loaded.config, ready)));
    // Jobs that are still on the pool have nothing to save any more.
    runtime.shutdown_background();
    Ok(outcome?)
}

/// Returns the flags that were given, as a layer of the configuration.
fn flags(arguments: &Serve) -> Result<Table, Failure> {
    let mut table = Table::new();
    let mut text = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            table.insert(key.to_owned(), Value::String(value));
        }
    };
    let path = |path: &Option<std::path::PathBuf>| match path.as_ref().map(|path| (path, path.to_str())) {
        None => Ok(None),
        Some((_, Some(path))) => Ok(Some(path.to_owned())),
        Some((path, None)) => Err(Failure::Usage(format!("{} is not UTF-8", path.display()))),
    };
    text("listen", arguments.listen.clone());
    text("data", path(&arguments.data)?);
    text("tls_cert", path(&arguments.tls_cert)?);
    text("tls_key", path(&arguments.tls_key)?);
    text("jwt_public_key", path(&arguments.jwt_public_key)?);
    text("jwt_audience", arguments.jwt_audience.clone());
    text("jwt_issuer", arguments.jwt_issuer.clone());
    text("log", arguments.log.clone());
    let switches = [
        ("open", arguments.open),
        ("open_to_the_world", arguments.open_to_the_world),
        ("log_json", arguments.log_json),
    ];
    for (key, on) in switches {
        if on {
            table.insert(key.to_owned(), Value::Boolean(true));
        }
    }
    if !arguments.allow_origin.is_empty() {
        let origins = arguments.allow_origin.iter().cloned().map(Value::String).collect();
        table.insert("allow_origin".to_owned(), Value::Array(origins));
    }
    Ok(table)
}
