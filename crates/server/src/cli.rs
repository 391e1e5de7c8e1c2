//! The command line: commands and flags as the contract names them. What they do is in `commands/`.

mod failure;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{auth::Role, commands};

pub use failure::Failure;

/// Documents and runtime stacks are as deep as what devices nest; so are those of the commands.
const STACK_BYTES: usize = 16 << 20;

/// Syncs Yjs documents between devices: any Yjs client, three dialects on one port, and saved means on disk.
///
/// Exit codes: 0 ok; 1 a check failed, or something was unsaved at shutdown; 2 usage or configuration; 3 the data
/// folder is in use; 4 the store is damaged or its layout is too new.
#[derive(Debug, Parser)]
#[command(name = "syncline", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<Serve>),
    Token(Token),
    Inspect(Inspect),
    Backup(Backup),
    Restore(Restore),
    Verify(Verify),
    Compact(Compact),
    Import(Import),
    Export(Export),
    Erasures(Erasures),
}

/// Runs the server.
///
/// Each setting comes from the flag, else from the environment (SYNCLINE_LISTEN, SYNCLINE_LIMITS__DOCUMENT_BYTES),
/// else from the file, else from the default. Prints `syncline ready on http://ADDR` once it is ready; logs go to
/// stderr. SIGTERM or ctrl-c ends it: what is queued is saved and acknowledged first.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen [default: 127.0.0.1:8787]; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// The data folder [default: ./syncline-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A TOML file with any of these settings (with _ for -), and a section [limits]
    #[arg(long, value_name = "FILE.toml", env = "SYNCLINE_CONFIG")]
    pub config: Option<PathBuf>,
    /// No auth: everyone may read and write every document. Only on a loopback address
    #[arg(long)]
    pub open: bool,
    /// Allows --open on an address that others can reach
    #[arg(long)]
    pub open_to_the_world: bool,
    /// The TLS certificate chain, PEM
    #[arg(long, value_name = "F")]
    pub tls_cert: Option<PathBuf>,
    /// The TLS private key, PEM
    #[arg(long, value_name = "F")]
    pub tls_key: Option<PathBuf>,
    /// An origin whose pages may connect, beside the same host: https://app.example.com. Repeatable
    #[arg(long, value_name = "O")]
    pub allow_origin: Vec<String>,
    /// A public key, PEM: tokens that it signed (RS256, EdDSA) are accepted too
    #[arg(long, value_name = "F")]
    pub jwt_public_key: Option<PathBuf>,
    /// The audience that those tokens must name
    #[arg(long, value_name = "A")]
    pub jwt_audience: Option<String>,
    /// The issuer that those tokens must name
    #[arg(long, value_name = "I")]
    pub jwt_issuer: Option<String>,
    /// What is logged [default: info]: a level, or target=level, separated by commas
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Logs JSON, one object a line
    #[arg(long)]
    pub log_json: bool,
}

/// Makes a token that lets a user in.
///
/// Reads only the secret in the data folder (and makes it if there is none), so it works while the server runs.
#[derive(Debug, Args)]
pub struct Token {
    /// The server's data folder
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The user: 1 to 128 of A-Z a-z 0-9 . _ @ -
    #[arg(long, value_name = "U")]
    pub user: String,
    /// Binds the token to a device: 1 to 64 of A-Z a-z 0-9 _ -
    #[arg(long, value_name = "D")]
    pub device: Option<String>,
    /// owner reads and writes U/...; agent and reader read it; admin reads everything and operates the server
    #[arg(long, value_name = "R", default_value_t = Role::Owner)]
    pub role: Role,
    /// How long the token is good for: 30d, 12h, 15m, 90s
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = humantime::parse_duration)]
    pub ttl: std::time::Duration,
}

/// Where the documents are: a data folder, or a server that runs.
#[derive(Debug, Args)]
pub struct Place {
    /// The data folder of a server that does not run
    #[arg(long, value_name = "DIR", conflicts_with = "server", required_unless_present = "server")]
    pub data: Option<PathBuf>,
    /// A server that runs: http://127.0.0.1:8787
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// A token of role admin for it (not needed with --open)
    #[arg(long, value_name = "ADMIN", env = "SYNCLINE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// Lists the documents, or shows what is in one.
#[derive(Debug, Args)]
pub struct Inspect {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Shows the content of this document instead
    #[arg(value_name = "DOCUMENT")]
    pub document: Option<String>,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

/// Writes all documents to a file, as of one moment, and the blobs of users; a running server goes on meanwhile.
#[derive(Debug, Args)]
pub struct Backup {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The file to write; it must not be there yet
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Leaves the blobs out: they are copied apart
    #[arg(long)]
    pub without_blobs: bool,
}

/// Makes a data folder's store from a backup. The store must not be there yet.
#[derive(Debug, Args)]
pub struct Restore {
    /// The data folder to fill
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// What was erased since the backup, as `syncline erasures` prints it: the server erases it again when it starts
    #[arg(long, value_name = "FILE")]
    pub erasures: Option<PathBuf>,
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Reads everything in a data folder and lists what is wrong: checksums, heads, and whether each journal replays
/// onto its checkpoint.
#[derive(Debug, Args)]
pub struct Verify {
    /// The data folder of a server that does not run
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
}

/// Rewrites a data folder's store so that it takes only the room it needs.
///
/// The storage engine never shrinks its file. Needs room for the new store beside the old one, which is removed
/// at the end.
#[derive(Debug, Args)]
pub struct Compact {
    /// The data folder of a server that does not run
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
}

/// Whose state, and where it is: a data folder, or a server that runs.
#[derive(Debug, Args)]
pub struct Home {
    /// The user: 1 to 128 of A-Z a-z 0-9 . _ @ -
    #[arg(long, value_name = "U")]
    pub user: String,
    /// The data folder of a server that does not run
    #[arg(long, value_name = "DIR", conflicts_with = "server", required_unless_present = "server")]
    pub data: Option<PathBuf>,
    /// A server that runs: http://127.0.0.1:8787
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// A token of the user for it (not needed with --open). Give it in the environment: others see command lines
    #[arg(long, value_name = "T", env = "SYNCLINE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// Imports conversations of other products, or an archive made by `syncline export`.
///
/// Each FILE is a ChatGPT data export (conversations.json, a shard of it, or the zip as it was downloaded),
/// OpenAssistant message trees (JSON lines), or an archive of ours. All branches are kept. A line says what became of
/// each conversation: imported, unchanged, skipped (nothing in it) or failed, and why; a bad one never stops the rest.
/// Importing a file again changes nothing that is there, so an import that was interrupted is gone on with by giving
/// the same file again.
///
/// With --data the folder's store is made where there is none, as `syncline serve` does. Exit codes: 1 something was
/// not imported; 2 usage; 3 the data folder is in use; 4 the store is damaged or its layout is too new.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  syncline import --user ada --data ./syncline-data chatgpt-export.zip
  SYNCLINE_TOKEN=$(syncline token --data ./syncline-data --user ada) \\
    syncline import --user ada --server http://127.0.0.1:8787 conversations.json
  syncline import --user ada --data ./syncline-data --json *.jsonl > report.jsonl")]
pub struct Import {
    #[command(flatten)]
    pub(crate) home: Home,
    /// Prints JSON lines: a report for each conversation, then totals for each file
    #[arg(long)]
    pub json: bool,
    /// What to import
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// Writes all of a user's state into a zip of JSON files and blobs, which `syncline import` takes again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  syncline export --user ada --data ./syncline-data --to ada.zip
  SYNCLINE_TOKEN=... syncline export --user ada --server http://127.0.0.1:8787 --to ada.zip")]
pub struct Export {
    #[command(flatten)]
    pub(crate) home: Home,
    /// The file to write; it must not be there yet
    #[arg(long, value_name = "FILE.zip")]
    pub to: PathBuf,
    /// Leaves the blobs out
    #[arg(long)]
    pub without_blobs: bool,
}

/// Lists what was erased for good, one receipt a line as JSON, and checks that each is as it was sealed.
///
/// Keep the list beside the backups: `syncline restore --erasures` has it erased again from an older one.
#[derive(Debug, Args)]
pub struct Erasures {
    /// The data folder of a server that does not run
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
}

impl Cli {
    /// Does what was asked, on a thread whose stack holds the deepest document.
    ///
    /// # Errors
    /// [`Failure`] knows the exit code.
    pub fn run(self) -> Result<(), Failure> {
        let thread = std::thread::Builder::new().name("command".to_owned()).stack_size(STACK_BYTES);
        let running = thread.spawn(|| match self.command {
            Command::Serve(serve) => commands::serve::run(&serve),
            Command::Token(token) => commands::token::run(&token),
            Command::Inspect(inspect) => commands::inspect::run(&inspect),
            Command::Backup(backup) => commands::backup::run(&backup),
            Command::Restore(restore) => commands::restore::run(&restore),
            Command::Verify(verify) => commands::verify::run(&verify),
            Command::Compact(compact) => commands::compact::run(&compact),
            Command::Import(import) => commands::import::run(&import),
            Command::Export(export) => commands::export::run(&export),
            Command::Erasures(erasures) => commands::erasures::run(&erasures),
        });
        let running = running.map_err(|error| Failure::Check(format!("no thread: {error}")))?;
        // The panic's own text is on stderr already.
        running
            .join()
            .unwrap_or_else(|_| Err(Failure::Check("the command panicked, which is a bug".to_owned())))
    }
}

/// Returns the stack of threads on which documents are built.
pub fn stack_bytes() -> usize {
    STACK_BYTES
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_place_is_a_folder_or_a_server() {
        assert!(Cli::try_parse_from(["syncline", "inspect"]).is_err());
        assert!(Cli::try_parse_from(["syncline", "inspect", "--data", "d", "--server", "s"]).is_err());
        assert!(Cli::try_parse_from(["syncline", "inspect", "--data", "d", "doc", "--json"]).is_ok());
        assert!(
            Cli::try_parse_from(["syncline", "backup", "--server", "s", "--token", "t", "--to", "f"]).is_ok()
        );
    }

    #[test]
    fn a_token_lasts_thirty_days_unless_told() {
        let cli = Cli::try_parse_from(["syncline", "token", "--data", "d", "--user", "u"]).expect("parsed");
        let Command::Token(token) = cli.command else { panic!("another command") };
        assert_eq!((token.ttl.as_secs(), token.role), (30 * 24 * 3_600, Role::Owner));
        let bad = ["syncline", "token", "--data", "d", "--user", "u", "--role", "root"];
        assert!(Cli::try_parse_from(bad).is_err());
    }
}
