//! `syncline inspect`: the documents of a data folder or a server, or the content of one.

use syncline_protocol::names::DocumentName;

use crate::{
    cli::{Failure, Inspect, Place},
    commands::{
        open_existing, print,
        remote::{Remote, encode},
    },
    inspection::{self, Content, Listing, Row},
};

pub(crate) fn run(arguments: &Inspect) -> Result<(), Failure> {
    match &arguments.document {
        None => {
            let listing = list(&arguments.place)?;
            print(&if arguments.json { json(&listing)? } else { table(&listing.documents) })
        }
        Some(name) => {
            let name = DocumentName::parse(name)
                .map_err(|error| Failure::Usage(format!("document {name:?}: {error}")))?;
            let content = show(&arguments.place, &name)?;
            if arguments.json {
                return print(&json(&content)?);
            }
            let pretty = serde_json::to_string_pretty(&content.content).map_err(|error| bug(&error))?;
            print(&format!("{} as of sequence {}\n{pretty}", content.name, content.seq))
        }
    }
}

fn list(place: &Place) -> Result<Listing, Failure> {
    let mut all = Listing::default();
    let source = Source::new(place)?;
    loop {
        let after = all.documents.last().map(|row| row.name.clone());
        let page = source.page(after.as_deref())?;
        if page.documents.is_empty() {
            return Ok(all);
        }
        all.documents.extend(page.documents);
    }
}

fn show(place: &Place, name: &DocumentName) -> Result<Content, Failure> {
    let content = match Source::new(place)? {
        Source::Folder(store) => inspection::content(&*store, name).map_err(Failure::from)?,
        Source::Server(remote) => {
            Some(remote.json(&format!("/v1/admin/documents/{}", encode(name.as_str())))?)
        }
    };
    content.ok_or_else(|| Failure::Check(format!("there is no document {name}")))
}

enum Source {
    Folder(Box<syncline_store::SledStore>),
    Server(Remote),
}

impl Source {
    fn new(place: &Place) -> Result<Self, Failure> {
        match (&place.data, &place.server) {
            (Some(data), _) => open_existing(data).map(Box::new).map(Self::Folder),
            (None, Some(server)) => Remote::new(server, place.token.as_deref()).map(Self::Server),
            (None, None) => Err(Failure::Usage("give --data or --server".to_owned())),
        }
    }

    fn page(&self, after: Option<&str>) -> Result<Listing, Failure> {
        match self {
            Self::Folder(store) => Ok(inspection::page(&**store, after, inspection::PAGE)?),
            Self::Server(remote) => {
                let after = after.map(|after| format!("&after={}", encode(after))).unwrap_or_default();
                remote.json(&format!("/v1/admin/documents?limit={}{after}", inspection::PAGE))
            }
        }
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| bug(&error))
}

fn bug(error: &serde_json::Error) -> Failure {
    Failure::Check(format!("cannot write JSON, which is a bug: {error}"))
}

/// Lays rows out in columns.
fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no documents".to_owned();
    }
    let header = ["DOCUMENT", "SEQ", "UPDATES", "BYTES", "CHECKPOINT", "PENDING", "QUARANTINED", "REFUSED"];
    let mut lines = vec![header.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        let checkpoint =
            row.checkpoint.as_ref().map_or("-".to_owned(), |checkpoint| checkpoint.seq.to_string());
        let numbers = [row.seq, row.updates, row.bytes, row.pending, row.quarantined, row.refused];
        let [seq, updates, bytes, pending, quarantined, refused] = numbers.map(|number| number.to_string());
        [row.name.clone(), seq, updates, bytes, checkpoint, pending, quarantined, refused]
    }));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let rendered = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    });
    rendered.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up() {
        let row = |name: &str, seq| Row { name: name.into(), seq, ..Row::default() };
        let text = table(&[row("ada/notes", 7), row("b", 1234)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        assert!(lines[1].starts_with("ada/notes     7  "), "{text}");
        assert_eq!(table(&[]), "no documents");
    }
}
