//! Servers with limits of a test's own, set in a configuration file.

use std::{fmt::Write as _, path::Path};

use anyhow::Result;
use tempfile::TempDir;

use crate::Server;

/// Starts a server on `FOLDER/data` with these `[limits]`. The folder must outlive it.
///
/// # Errors
/// It does not become ready.
pub fn start(folder: &TempDir, arguments: &[&str], limits: &[(&str, u64)]) -> Result<Server> {
    start_on(folder.path(), &folder.path().join("data"), arguments, limits)
}

/// As [`start`], with the configuration in one folder and the data in another.
///
/// # Errors
/// It does not become ready.
pub fn start_on(home: &Path, data: &Path, arguments: &[&str], limits: &[(&str, u64)]) -> Result<Server> {
    let mut text = String::from("[limits]\n");
    for (name, value) in limits {
        writeln!(text, "{name} = {value}")?;
    }
    let config = home.join("syncline.toml");
    std::fs::write(&config, text)?;
    let config = config.display().to_string();
    let arguments: Vec<&str> = ["--config", &config].iter().chain(arguments).copied().collect();
    Server::start(data, &arguments, &[])
}
