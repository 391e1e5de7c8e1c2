//! The command line: exit codes, shapes, the secret, and a store that goes out and comes back.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Output};

use serde_json::{Value, json};
use syncline_tests::{Device, Server, run, token};

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn inspect(place: &[&str], more: &[&str]) -> Value {
    let output = run(["inspect"].iter().chain(place).chain(more).chain(&["--json"]));
    serde_json::from_str(&stdout(&output)).expect("JSON")
}

/// Writes into a document over a socket, until it is saved.
async fn write(server: &Server, document: &str, words: &str) {
    let mut device = Device::hocuspocus();
    device.connect(server.address(), document, "").await.expect("synced");
    device.write(words).await.expect("sent");
    device.saved().await.expect("saved");
}

#[test]
fn wrong_usage_ends_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = text(folder.path());
    let (deep, pool) = (folder.path().join("deep.toml"), folder.path().join("pool.toml"));
    fs::write(&deep, "[limits]\ntype_depth = 65\n").expect("written");
    fs::write(&pool, "[limits]\nlarge_pool_bytes = 1000\n").expect("written");
    let cases: &[&[&str]] = &[
        &["frobnicate"],
        &["inspect"],
        &["serve", "--data", data, "--open", "--listen", "0.0.0.0:0"],
        &["serve", "--data", data, "--listen", "nowhere"],
        &["serve", "--data", data, "--tls-cert", "cert.pem"],
        &["serve", "--data", data, "--config", "/nowhere.toml"],
        &["serve", "--data", data, "--jwt-public-key", "/nowhere.pem"],
        &["serve", "--data", data, "--allow-origin", "example.com"],
        &["serve", "--data", data, "--config", text(&deep)],
        &["serve", "--data", data, "--config", text(&pool)],
        &["token", "--data", data, "--user", "a/b"],
        &["token", "--data", data, "--user", "a", "--ttl", "soon"],
        &["inspect", "--data", "/nowhere/at/all"],
        &["verify", "--data", "/nowhere/at/all"],
        &["restore", "--data", data, "/nowhere.backup"],
    ];
    for arguments in cases {
        let output = run(*arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty(), "{arguments:?} says why");
    }
    assert!(!Path::new("/nowhere").exists());
}

#[test]
fn an_open_server_on_every_address_must_be_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = run(["serve", "--data", text(folder.path()), "--open", "--listen", "0.0.0.0:0"]);
    assert!(stderr(&refused).contains("--open-to-the-world"), "{}", stderr(&refused));
}

#[test]
fn the_environment_and_the_file_configure_the_server_and_flags_win() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    fs::write(&file, "log = \"error\"\n[limits]\nhttp_json_bytes = 1000\n").expect("written");
    let data = folder.path().join("data");
    // The file alone has no --open: the environment has it.
    let server =
        Server::start(&data, &["--config", text(&file)], &[("SYNCLINE_OPEN", "true")]).expect("ready");
    assert_eq!(inspect(&["--server", &server.url("")], &[]), json!({ "documents": [] }));
    drop(server);
    let mistaken = run(["serve", "--data", text(&data), "--config", text(&file), "--log", "a=b=c"]);
    assert_eq!(code(&mistaken), 2, "{}", stderr(&mistaken));
}

#[test]
fn a_token_is_made_beside_a_running_server_and_the_secret_is_private() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let before = token(&data, "ada", &[]);
    let mode = fs::metadata(data.join("secret")).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let server = Server::start(&data, &[], &[]).expect("ready");
    let beside = token(&data, "ada", &["--device", "phone", "--role", "reader", "--ttl", "90s"]);
    drop(server);
    let claims = |token: &str| {
        use base64::Engine;
        let payload = token.split('.').nth(1).expect("three parts");
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64");
        serde_json::from_slice::<Value>(&bytes).expect("JSON")
    };
    let first = claims(&before);
    assert_eq!((&first["sub"], &first["role"]), (&json!("ada"), &json!("owner")));
    assert_eq!(
        first["exp"].as_u64().zip(first["iat"].as_u64()).map(|(exp, iat)| exp - iat),
        Some(30 * 86_400)
    );
    let second = claims(&beside);
    assert_eq!((&second["device"], &second["role"]), (&json!("phone"), &json!("reader")));
    assert_eq!(second["exp"].as_u64().zip(second["iat"].as_u64()).map(|(exp, iat)| exp - iat), Some(90));
}

#[test]
fn a_data_folder_in_use_ends_with_3() {
    let server = Server::open().expect("ready");
    let data = text(server.data());
    let to = server.data().join("backup");
    let cases: &[&[&str]] = &[
        &["serve", "--data", data, "--listen", "127.0.0.1:0"],
        &["inspect", "--data", data],
        &["verify", "--data", data],
        &["compact", "--data", data],
        &["backup", "--data", data, "--to", text(&to)],
    ];
    for arguments in cases {
        let output = run(*arguments);
        assert_eq!(code(&output), 3, "{arguments:?}: {}", stderr(&output));
    }
    assert!(!to.exists());
}

#[test]
fn a_newer_layout_ends_with_4() {
    let mut server = Server::open().expect("ready");
    server.terminate().expect("ended");
    let path = server.data().join("syncline.json");
    let mut marker: Value = serde_json::from_slice(&fs::read(&path).expect("there")).expect("JSON");
    marker["layout"] = json!(marker["layout"].as_u64().expect("a number") + 1);
    fs::write(&path, marker.to_string()).expect("written");
    for command in ["serve", "verify", "inspect", "compact"] {
        let mut arguments = vec![command, "--data", text(server.data())];
        if command == "serve" {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        let output = run(arguments);
        assert_eq!(code(&output), 4, "{command}: {}", stderr(&output));
        assert!(stderr(&output).contains("layout"), "{}", stderr(&output));
    }
}

#[test]
fn a_store_that_is_gone_ends_with_4_and_not_with_an_empty_one() {
    let mut server = Server::open().expect("ready");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(write(&server, "doc", "words"));
    server.terminate().expect("ended");
    fs::remove_dir_all(server.data().join("store")).expect("removed");
    let output = run(["serve", "--data", text(server.data()), "--listen", "127.0.0.1:0"]);
    assert_eq!(code(&output), 4, "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn inspect_shows_the_same_offline_and_live() {
    let mut server = Server::open().expect("ready");
    write(&server, "ada/notes", "hello").await;
    write(&server, "b", "words").await;
    let url = server.url("");
    let live = inspect(&["--server", &url], &[]);
    let names: Vec<&str> = live["documents"]
        .as_array()
        .expect("an array")
        .iter()
        .filter_map(|row| row["name"].as_str())
        .collect();
    assert_eq!(names, ["ada/notes", "b"]);
    let row = &live["documents"][0];
    let mut keys: Vec<&str> = row.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["bytes", "checkpoint", "name", "pending", "quarantined", "refused", "seq", "updates"]);
    assert_eq!((&row["pending"], &row["quarantined"], &row["refused"]), (&json!(0), &json!(0), &json!(0)));
    assert!(row["seq"].as_u64() >= Some(1) && row["updates"].as_u64() >= Some(1), "{row}");

    let content = inspect(&["--server", &url], &["ada/notes"]);
    assert_eq!((&content["name"], &content["content"]), (&json!("ada/notes"), &json!({ "text": "hello" })));
    assert_eq!(content["seq"], row["seq"]);

    let table = stdout(&run(["inspect", "--server", &url]));
    assert!(table.lines().next().is_some_and(|line| line.starts_with("DOCUMENT")), "{table}");
    let missing = run(["inspect", "--server", &url, "nothing/here"]);
    assert_eq!(code(&missing), 1);

    server.terminate().expect("ended");
    let data = text(server.data());
    let offline = inspect(&["--data", data], &["ada/notes"]);
    assert_eq!(offline["content"], content["content"]);
    assert_eq!(inspect(&["--data", data], &[])["documents"][1]["name"], "b");
    assert_eq!(code(&run(["inspect", "--data", data, "nothing/here"])), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_backup_is_restored_under_another_identity() {
    let mut server = Server::open().expect("ready");
    for (document, words) in [("ada/notes", "first"), ("b", "second")] {
        write(&server, document, words).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (live, offline) = (folder.path().join("live"), folder.path().join("offline"));
    stdout(&run(["backup", "--server", &server.url(""), "--to", text(&live)]));
    let again = run(["backup", "--server", &server.url(""), "--to", text(&live)]);
    assert_eq!(code(&again), 2, "a backup replaces nothing");
    server.terminate().expect("ended");
    stdout(&run(["backup", "--data", text(server.data()), "--to", text(&offline)]));

    for (number, file) in [&live, &offline].into_iter().enumerate() {
        let data = folder.path().join(format!("restored-{number}"));
        stdout(&run(["restore", "--data", text(&data), text(file)]));
        stdout(&run(["verify", "--data", text(&data)]));
        let place = ["--data", text(&data)];
        assert_eq!(inspect(&place, &["ada/notes"])["content"], json!({ "text": "first" }));
        assert_eq!(inspect(&place, &["b"])["content"], json!({ "text": "second" }));
        // The server's client ids derive from the identity: a restored server must not write under the old ones.
        let identity = |data: &Path| {
            let marker = fs::read(data.join("syncline.json")).expect("there");
            serde_json::from_slice::<Value>(&marker).expect("JSON")["identity"].clone()
        };
        assert!(identity(&data).is_string());
        assert_ne!(identity(&data), identity(server.data()));
        let twice = run(["restore", "--data", text(&data), text(file)]);
        assert_eq!(code(&twice), 2, "a restore replaces nothing");
    }

    let data = folder.path().join("restored-0");
    let restored = Server::start(&data, &["--open"], &[]).expect("ready");
    let mut device = Device::plain();
    device.connect(restored.address(), "b", "").await.expect("synced");
    assert_eq!(device.text(), "second");
}

#[test]
fn half_a_backup_is_refused_and_leaves_nothing() {
    let mut server = Server::open().expect("ready");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(write(&server, "doc", &"many words ".repeat(1_000)));
    server.terminate().expect("ended");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backup");
    stdout(&run(["backup", "--data", text(server.data()), "--to", text(&file)]));
    let whole = fs::read(&file).expect("there");
    fs::write(&file, &whole[..whole.len() - 10]).expect("cut");
    let data = folder.path().join("data");
    let output = run(["restore", "--data", text(&data), text(&file)]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    fs::write(&file, &whole).expect("mended");
    stdout(&run(["restore", "--data", text(&data), text(&file)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn compact_keeps_everything_and_the_identity() {
    let mut server = Server::open().expect("ready");
    write(&server, "doc", "words").await;
    server.terminate().expect("ended");
    let data = server.data().to_owned();
    let identity = |data: &Path| {
        let marker = fs::read(data.join("syncline.json")).expect("there");
        serde_json::from_slice::<Value>(&marker).expect("JSON")["identity"].clone()
    };
    let before = identity(&data);
    let said = stdout(&run(["compact", "--data", text(&data)]));
    assert!(said.starts_with("1 documents"), "{said}");
    stdout(&run(["verify", "--data", text(&data)]));
    assert_eq!(identity(&data), before);
    assert!(!data.join("store.old").exists() && !data.join("compacting").exists());
    let server = server.restart().expect("ready");
    let mut device = Device::hocuspocus();
    device.connect(server.address(), "doc", "").await.expect("synced");
    assert_eq!(device.text(), "words");
    device.write(" and more").await.expect("sent");
    device.saved().await.expect("saved");
}

#[test]
fn the_server_ends_well_when_asked() {
    let mut server = Server::open().expect("ready");
    let status = server.terminate().expect("ended");
    assert_eq!(status.code(), Some(0), "{}", server.log());
}
