//! What the commands of the binary do.

pub(crate) mod backup;
pub(crate) mod compact;
pub(crate) mod erasures;
pub(crate) mod inspect;
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

use crate::cli::Failure;

/// Opens the store of a data folder in order to look at it: nothing is made where there is none.
fn open_existing(data: &Path) -> Result<SledStore, Failure> {
    if !data.join(STORE_FOLDER).is_dir() && !data.join(MARKER_FILE).exists() {
        return Err(Failure::Usage(format!("{} is no data folder of a syncline server", data.display())));
    }
    Ok(SledStore::open_folder(data, &SledOptions::default(), Expect::Existing)?)
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
