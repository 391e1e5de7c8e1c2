//! The house rules that a compiler does not check: arrows between crates only point down, crates without IO have
//! none, and each awkward dependency has one crate that names it.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// From the ground up. A crate may depend on those of lower rows only.
const FLOORS: &[&[&str]] = &[
    &["syncline-protocol", "syncline-search"],
    &["syncline-document"],
    &["syncline-sync", "syncline-store", "syncline-exchange"],
    &["syncline-testkit"],
    &["syncline-server", "syncline-client"],
    &["syncline-tests", "syncline-benches"],
];

/// Crates that know no sockets, files, runtimes or stores.
const WITHOUT_IO: [&str; 4] =
    ["syncline-protocol", "syncline-document", "syncline-sync", "syncline-exchange"];
const IO: [&str; 9] =
    ["tokio", "tokio-util", "tokio-tungstenite", "axum", "hyper", "reqwest", "sled", "mio", "async-std"];

/// Who names what. The packages that test and measure are free.
const OWNERS: [(&str, &str); 5] = [
    ("yrs", "syncline-document"),
    ("sled", "syncline-store"),
    ("bincode", "syncline-store"),
    ("tantivy", "syncline-search"),
    ("zip", "syncline-exchange"),
];
const FREE: [&str; 3] = ["syncline-tests", "syncline-benches", "syncline-testkit"];

/// Package name to the names of its dependencies, those for tests aside.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let needed = |package: &Value| {
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        all.filter(|dependency| dependency["kind"] != "dev").map(name).collect()
    };
    packages.iter().map(|package| (name(package), needed(package))).collect()
}

fn floor(package: &str) -> usize {
    let floor = FLOORS.iter().position(|floor| floor.contains(&package));
    floor.unwrap_or_else(|| panic!("{package} has no floor: give it one in this test"))
}

#[test]
fn arrows_point_down() {
    for (package, needs) in dependencies() {
        for need in needs.iter().filter(|need| need.starts_with("syncline-")) {
            assert!(floor(need) < floor(&package), "{package} must not depend on {need}");
        }
    }
}

#[test]
fn sync_never_sees_the_store() {
    let all = dependencies();
    assert!(!all["syncline-sync"].contains(&"syncline-store".to_owned()));
    assert!(!all["syncline-store"].contains(&"syncline-sync".to_owned()));
}

#[test]
fn a_device_knows_nothing_of_the_servers_side() {
    let needs = &dependencies()["syncline-client"];
    let ours: Vec<&str> =
        needs.iter().map(String::as_str).filter(|need| need.starts_with("syncline-")).collect();
    assert_eq!(ours, ["syncline-document", "syncline-protocol"]);
}

#[test]
fn crates_without_io_have_none() {
    let all = dependencies();
    for package in WITHOUT_IO {
        for need in &all[package] {
            assert!(!IO.contains(&need.as_str()), "{package} must not depend on {need}");
        }
    }
}

#[test]
fn awkward_dependencies_have_one_owner() {
    let all = dependencies();
    for (dependency, owner) in OWNERS {
        assert!(all[owner].iter().any(|need| need == dependency), "{owner} names {dependency}");
        let named = all.iter().filter(|(package, needs)| {
            package.as_str() != owner
                && !FREE.contains(&package.as_str())
                && needs.iter().any(|need| need == dependency)
        });
        let others: Vec<&String> = named.map(|(package, _)| package).collect();
        assert!(others.is_empty(), "only {owner} names {dependency}, not {others:?}");
    }
}
