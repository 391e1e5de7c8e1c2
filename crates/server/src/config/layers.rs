//! File < environment < flags, merged as TOML tables and then read as one [`Config`].
//!
//! Merged by hand: the rules are these few lines, and a layering library would bring its own TOML and its own
//! errors for them.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, ConfigError};

const PREFIX: &str = "SYNCLINE_";
/// Names under the prefix that are not configuration: they belong to the command line and to tests.
const NOT_OURS: [&str; 4] = ["CONFIG", "TOKEN", "SERVER", "BIN"];
/// Keys that have no default, which the default table therefore does not show: all of them text.
const OPTIONAL: [&str; 5] = ["tls_cert", "tls_key", "jwt_public_key", "jwt_audience", "jwt_issuer"];

/// A configuration, and what was noticed while it was read.
#[derive(Debug)]
pub struct Loaded {
    /// The merged and checked configuration.
    pub config: Config,
    /// What does not stop the server but may be a mistake, to be logged.
    pub warnings: Vec<String>,
}

/// Reads the layers and checks the result.
///
/// # Errors
/// [`ConfigError`] names the layer and what is wrong.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: Table,
) -> Result<Loaded, ConfigError> {
    let mut merged = match file {
        Some(path) => read(path)?,
        None => Table::new(),
    };
    let schema =
        Table::try_from(Config::default()).map_err(|error| ConfigError::Invalid(error.to_string()))?;
    let mut warnings = Vec::new();
    for (name, raw) in environment {
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        if NOT_OURS.contains(&key) {
            continue;
        }
        match place(key, &schema) {
            Some((section, key, sample)) => {
                let invalid = |text| ConfigError::Environment { name: name.clone(), text };
                let value = typed(sample, &raw).map_err(invalid)?;
                let mut alone = Table::new();
                put(&mut alone, section, &key, value);
                Config::deserialize_from(alone.clone()).map_err(invalid)?;
                merge(&mut merged, alone);
            }
            // Not an error: orchestrators inject variables such as SYNCLINE_PORT for a service of this name.
            None => warnings.push(format!("environment variable {name} names no setting and is ignored")),
        }
    }
    merge(&mut merged, flags);
    let config = Config::deserialize_from(merged).map_err(ConfigError::Invalid)?;
    config.check()?;
    Ok(Loaded { config, warnings })
}

impl Config {
    fn deserialize_from(table: Table) -> Result<Self, String> {
        Value::Table(table).try_into().map_err(|error: toml::de::Error| error.to_string().trim().to_owned())
    }
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let what = "the configuration file";
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        what,
        path: path.to_owned(),
        error,
    })?;
    let wrong = |error: toml::de::Error| ConfigError::File {
        path: PathBuf::from(path),
        text: error.to_string().trim().to_owned(),
    };
    // Read as a configuration first: this error knows the line.
    toml::from_str::<Config>(&text).map_err(wrong)?;
    toml::from_str(&text).map_err(wrong)
}

/// Finds the setting of a variable: its section, its key, and its default where it has one.
fn place<'a>(variable: &str, schema: &'a Table) -> Option<(Option<&'a str>, String, Option<&'a Value>)> {
    let key = variable.to_ascii_lowercase();
    if let Some(inner) = key.strip_prefix("limits__") {
        let limits = schema.get("limits")?.as_table()?;
        return limits.get(inner).map(|sample| (Some("limits"), inner.to_owned(), Some(sample)));
    }
    match schema.get(&key) {
        Some(Value::Table(_)) => None,
        Some(sample) => Some((None, key, Some(sample))),
        None => OPTIONAL.contains(&key.as_str()).then_some((None, key, None)),
    }
}

/// Reads a variable as the kind of value that its default is.
fn typed(sample: Option<&Value>, raw: &str) -> Result<Value, String> {
    match sample {
        Some(Value::Boolean(_)) => match raw.trim().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(Value::Boolean(true)),
            "0" | "false" | "no" | "off" | "" => Ok(Value::Boolean(false)),
            _ => Err(format!("{raw:?} is neither true nor false")),
        },
        Some(Value::Integer(_)) => match raw.trim().replace('_', "").parse() {
            Ok(number) => Ok(Value::Integer(number)),
            Err(_) => Err(format!("{raw:?} is not a whole number")),
        },
        Some(Value::Array(_)) => {
            let items = raw.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        _ => Ok(Value::String(raw.to_owned())),
    }
}

fn put(table: &mut Table, section: Option<&str>, key: &str, value: Value) {
    match section {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some(section) => {
            let mut inner = Table::new();
            inner.insert(key.to_owned(), value);
            table.insert(section.to_owned(), Value::Table(inner));
        }
    }
}

fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn flags_win_over_the_environment_which_wins_over_the_file() {
        let file = file(
            "listen = '127.0.0.1:1'\ndata = 'file'\nlog = 'file'\n[limits]\ndocument_bytes = 1\nblocks = 7",
        );
        let environment = environment(&[
            ("SYNCLINE_LISTEN", "127.0.0.1:2"),
            ("SYNCLINE_LOG", "environment"),
            ("SYNCLINE_LIMITS__DOCUMENT_BYTES", "2_000"),
            ("PATH", "untouched"),
        ]);
        let mut flags = Table::new();
        flags.insert("listen".into(), "127.0.0.1:3".into());
        let loaded = load(Some(file.path()), environment, flags).expect("valid");
        let config = loaded.config;
        assert_eq!(config.listen.port(), 3, "flag");
        assert_eq!(
            (config.log.as_str(), config.limits.document_bytes),
            ("environment", 2_000),
            "environment"
        );
        assert_eq!((config.data, config.limits.blocks), (PathBuf::from("file"), 7), "file");
        assert!(loaded.warnings.is_empty());
    }

    #[test]
    fn every_kind_of_value_comes_from_the_environment() {
        let pairs = [
            ("SYNCLINE_OPEN", "true"),
            ("SYNCLINE_ALLOW_ORIGIN", "https://a.example, https://b.example"),
            ("SYNCLINE_JWT_AUDIENCE", "12"),
        ];
        let config = load(None, environment(&pairs), Table::new()).expect("valid").config;
        assert!(config.open);
        assert_eq!(config.allow_origin, ["https://a.example", "https://b.example"]);
        assert_eq!(config.jwt_audience.as_deref(), Some("12"));
    }

    #[test]
    fn a_bad_variable_is_named() {
        for (name, value) in
            [("SYNCLINE_OPEN", "maybe"), ("SYNCLINE_LISTEN", "here"), ("SYNCLINE_LIMITS__BLOCKS", "1 MB")]
        {
            let error = load(None, environment(&[(name, value)]), Table::new()).expect_err("refused");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_variable_that_names_no_setting_is_pointed_out() {
        let pairs = environment(&[("SYNCLINE_PORT", "tcp://10.0.0.1:80"), ("SYNCLINE_TOKEN", "t")]);
        let loaded = load(None, pairs, Table::new()).expect("valid");
        assert_eq!(loaded.warnings.len(), 1);
        assert!(loaded.warnings[0].contains("SYNCLINE_PORT"));
    }

    #[test]
    fn an_unknown_key_of_the_file_is_refused_with_its_line() {
        let file = file("open = true\nlisen = '127.0.0.1:1'\n");
        let text = load(Some(file.path()), [], Table::new()).expect_err("refused").to_string();
        assert!(text.contains("lisen") && text.contains("line 2"), "{text}");
    }

    #[test]
    fn every_optional_setting_is_reachable_from_the_environment() {
        let full = Config {
            tls_cert: Some("a".into()),
            tls_key: Some("b".into()),
            jwt_public_key: Some("c".into()),
            jwt_audience: Some("d".into()),
            jwt_issuer: Some("e".into()),
            ..Config::default()
        };
        let table = Table::try_from(full).expect("a table");
        let schema = Table::try_from(Config::default()).expect("a table");
        let missing = table.keys().filter(|key| *key != "limits" && place(key, &schema).is_none());
        assert_eq!(missing.count(), 0);
    }
}
