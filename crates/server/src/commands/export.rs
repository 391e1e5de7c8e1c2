//! `syncline export`: all of a user's state as a zip of JSON files and blobs.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
};

use syncline_exchange::import;
use syncline_protocol::names::check_user;

use crate::{
    cli::{Export, Failure},
    commands::{
        check_existing,
        draft::{Draft, unwritable},
        open_offline, print,
        remote::{Remote, encode},
        runtime,
    },
};

pub(crate) fn run(arguments: &Export) -> Result<(), Failure> {
    let home = &arguments.home;
    check_user(&home.user).map_err(|error| Failure::Usage(format!("--user {:?}: {error}", home.user)))?;
    let draft = Draft::new(&arguments.to)?;
    let mut out = BufWriter::with_capacity(1 << 20, &draft.file);
    match (&home.data, &home.server) {
        (Some(data), _) => {
            check_existing(data)?;
            let mut archive = runtime()?.block_on(archived(data, &home.user, !arguments.without_blobs))?;
            io::copy(&mut archive, &mut out).map_err(|error| unwritable(&arguments.to, &error))?;
        }
        (None, Some(server)) => {
            let remote = Remote::patient(server, home.token.as_deref())?;
            let with = if arguments.without_blobs { "?blobs=false" } else { "" };
            remote.copy(&format!("/v1/users/{}/export{with}", encode(&home.user)), &mut out)?;
        }
        (None, None) => return Err(Failure::Usage("give --data or --server".to_owned())),
    }
    out.flush().map_err(|error| unwritable(&arguments.to, &error))?;
    drop(out);
    let blobs = import::blobs_of(&draft.file)
        .map_err(|error| Failure::Check(format!("the archive cannot be read back: {error}")))?;
    let bytes = draft.keep(&arguments.to)?;
    for name in &blobs.absent {
        print(&format!("absent     blob {name}: messages name it, and it was not uploaded"))?;
    }
    for left in &blobs.left {
        print(&format!("left out   blob {}: {}", left.sha256, left.why))?;
    }
    let (kept, left) = (blobs.blobs.len(), blobs.left.len());
    print(&format!("{bytes} bytes in {}, with {kept} blobs", arguments.to.display()))?;
    match left {
        0 => Ok(()),
        left => Err(Failure::Check(format!("{left} blobs are not in the archive; all else is"))),
    }
}

async fn archived(data: &std::path::Path, user: &str, with_blobs: bool) -> Result<File, Failure> {
    let offline = open_offline(data).await?;
    let archive = match offline.home(user) {
        Some(home) => {
            Box::pin(home.archive(with_blobs)).await.map_err(|problem| Failure::Check(problem.to_string()))
        }
        None => Err(Failure::Check("the store is not open, which is a bug".to_owned())),
    };
    offline.close().await?;
    archive
}
