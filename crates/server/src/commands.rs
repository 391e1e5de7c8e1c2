//! What the commands of the binary do.

pub(crate) mod backup;
pub(crate) mod compact;
mod draft;
pub(crate) mod erasures;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod inspect;
mod progress;
mod remote;
pub(crate) mod restore;
pub(crate) mod serve;
pub(crate) mod token;
pub(crate) mod verify;

use std::{
    io::{self, Write},
    path::Path,
};

use syncline_store::{
    SledStore,
    sled_store::{Expect, SledOptions},
};

use tokio::runtime::Runtime;

use crate::{
    blobs::{Blobs, HALF_RESTORED},
    cli::{Failure, stack_bytes},
    config,
    offline::Offline,
};

/// Refuses a folder that no server ever used: a mistyped one is not to be made.
fn check_existing(data: &Path) -> Result<(), Failure> {
    check_restored(data)?;
    if !data.join(STORE_FOLDER).is_dir() && !data.join(MARKER_FILE).exists() {
        return Err(Failure::Usage(format!("{} is no data folder of a syncline server", data.display())));
    }
    Ok(())
}

/// Refuses a folder in which a restore did not come to its end.
fn check_restored(data: &Path) -> Result<(), Failure> {
    if Blobs::is_half_restored(data) {
        return Err(Failure::Usage(format!("{}: {HALF_RESTORED}", data.display())));
    }
    Ok(())
}

/// Opens the store of a data folder in order to look at it: nothing is made where there is none.
fn open_existing(data: &Path) -> Result<SledStore, Failure> {
    check_existing(data)?;
    Ok(SledStore::open_folder(data, &SledOptions::default(), Expect::Existing)?)
}

/// Makes a runtime whose threads hold the deepest document.
fn runtime() -> Result<Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.enable_all().thread_stack_size(stack_bytes()).build();
    built.map_err(|error| Failure::Check(format!("no runtime: {error}")))
}

/// Returns the environment; what is not UTF-8 in it is none of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Opens the engine on a data folder, with the limits that the environment sets for the server.
async fn open_offline(data: &Path) -> Result<Offline, Failure> {
    let Some(text) = data.to_str() else {
        return Err(Failure::Usage(format!("{} is not UTF-8", data.display())));
    };
    let folder = toml::Table::from_iter([("data".to_owned(), toml::Value::String(text.to_owned()))]);
    Ok(Offline::open(config::load(None, environment(), folder)?.config).await?)
}

/// What a data folder is known by.
const STORE_FOLDER: &str = "store";
const MARKER_FILE: &str = "syncline.json";

/// Prints a line; that nobody reads it any more is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Check(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
