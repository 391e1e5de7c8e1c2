//! Zips: a `ChatGPT` export as it is downloaded, or an archive of ours. Zips inside are not opened.

use std::{
    borrow::Cow,
    io::{Read, Seek},
};

use serde::de::DeserializeOwned;
use zip::ZipArchive;

use super::{
    ImportError, Item, Run,
    elements::{Element, Elements},
    zipped_blobs,
};
use crate::{
    Report, Status,
    archive::{self, entries},
};

/// Reads a zip.
pub(super) fn read<R: Read + Seek>(input: R, run: &mut Run<'_>) -> Result<(), ImportError> {
    let mut zip = ZipArchive::new(input)?;
    let limit = run.options.bounds.entries;
    if zip.len() > limit {
        return Err(ImportError::TooMuch { what: "entries of a zip", limit: limit as u64 });
    }
    // An entry whose name is no text is none of those that are looked for.
    let names: Vec<String> = zip.file_names().flatten().map(Cow::into_owned).collect();
    if names.iter().any(|name| name == entries::MANIFEST) {
        return read_archive(&mut zip, &names, run);
    }
    let mut shards: Vec<&String> = names.iter().filter(|name| is_shard(name)).collect();
    if shards.is_empty() {
        return Err(ImportError::Unknown);
    }
    shards.sort();
    for name in shards {
        if run.is_over {
            break;
        }
        // One file that is damaged does not stop the others.
        let damage = match zip.by_name(name) {
            Ok(entry) => match run.elements(entry) {
                Ok(()) => continue,
                Err(ImportError::Input(error)) => error.to_string(),
                Err(other) => return Err(other),
            },
            Err(error) => error.to_string(),
        };
        let report = Report::new(run.next_position()?, Some(name.clone()), None);
        run.give(Item::Left(
            report.ended(Status::Failed, format!("the rest of this file cannot be read: {damage}")),
        ));
    }
    Ok(())
}

/// Says whether a file of a zip holds conversations: `conversations.json`, `conversations-000.json`, JSON lines.
fn is_shard(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    if path.starts_with("__MACOSX/") || name.starts_with('.') {
        return false;
    }
    let number = name.strip_prefix("conversations").and_then(|rest| rest.strip_suffix(".json"));
    name.ends_with(".jsonl")
        || number.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'_')))
}

fn read_archive<R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    names: &[String],
    run: &mut Run<'_>,
) -> Result<(), ImportError> {
    let manifest: archive::Manifest = match entry(zip, entries::MANIFEST, run)? {
        Ok(manifest) => manifest,
        Err(_) => return Err(ImportError::Unknown),
    };
    if manifest.format != entries::FORMAT {
        return Err(ImportError::Unknown);
    }
    if manifest.version > entries::VERSION {
        return Err(ImportError::TooNew(manifest.version));
    }
    run.give(Item::Archive(manifest));
    single(zip, names, entries::PROFILE, run, Item::Profile)?;
    single(zip, names, entries::INDEX, run, Item::Index)?;
    let mut conversations: Vec<&String> = names
        .iter()
        .filter(|name| name.starts_with(entries::CONVERSATIONS) && name.ends_with(".json"))
        .collect();
    conversations.sort();
    for name in conversations {
        if run.is_over {
            return Ok(());
        }
        let position = run.next_position()?;
        let stem = name.trim_start_matches(entries::CONVERSATIONS).trim_end_matches(".json");
        let report = Report::new(position, Some(stem.to_owned()), None);
        let read = entry::<archive::Conversation, _>(zip, name, run)?;
        run.give(match read.and_then(|conversation| conversation.checked(stem)) {
            Ok(conversation) => {
                let report = conversation.report(report);
                Item::Archived(Box::new(conversation), report)
            }
            Err(reason) => Item::Left(report.ended(Status::Failed, reason)),
        });
    }
    single(zip, names, entries::MARKS, run, Item::Marks)?;
    single(zip, names, entries::DRAFTS, run, Item::Drafts)?;
    zipped_blobs::read(zip, names, run)
}

/// Hands out a file of an archive, if it is there.
fn single<T: DeserializeOwned, R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    names: &[String],
    name: &str,
    run: &mut Run<'_>,
    item: impl FnOnce(T) -> Item,
) -> Result<(), ImportError> {
    if run.is_over || !names.iter().any(|there| there == name) {
        return Ok(());
    }
    match entry(zip, name, run)? {
        Ok(value) => run.give(item(value)),
        Err(reason) => {
            let report = Report::new(run.next_position()?, Some(name.to_owned()), None);
            run.give(Item::Left(report.ended(Status::Failed, reason)));
        }
    }
    Ok(())
}

/// Reads one file of an archive; the inner error says what is wrong with it.
pub(super) fn entry<T: DeserializeOwned, R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    name: &str,
    run: &mut Run<'_>,
) -> Result<Result<T, String>, ImportError> {
    let (element, bytes) = match zip.by_name(name) {
        Ok(entry) => {
            let mut elements = Elements::new(entry.take(run.left.saturating_add(1)), run.room());
            let first = elements.next();
            // Only at its end is the checksum of an entry compared.
            let rest = elements.next();
            (first.and_then(|first| rest.map(|rest| (first, rest))), elements.read_bytes())
        }
        Err(error) => return Ok(Err(error.to_string())),
    };
    run.spend(bytes)?;
    Ok(match element {
        Ok((Some(Element::Whole(text)), None)) => {
            serde_json::from_slice(&text).map_err(|error| error.to_string())
        }
        Ok((Some(Element::TooLarge), _)) => Err("it is larger than a file of an archive may be".to_owned()),
        Ok(_) => Err("it is no JSON object".to_owned()),
        Err(error) => Err(error.to_string()),
    })
}
