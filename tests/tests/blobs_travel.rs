//! Files go where their user goes: with an export into another server, with a backup into another folder. What is
//! missing or wrong is said, and the rest goes on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use syncline_tests::{
    Server,
    files::{below, content, hash},
    http, limited,
    rest::Api,
    run, token,
    zips::zip,
};
use tempfile::TempDir;

const FIRST: &str = "019a0000-0000-7000-8000-000000000001";

fn start(limits: &[(&str, u64)]) -> (Server, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = limited::start(&folder, &[], limits).expect("ready");
    (server, folder)
}

/// The file of a blob in a data folder.
fn file_of(server: &Server, content: &[u8]) -> PathBuf {
    let name = hash(content);
    let mut all = below(&server.data().join("blobs")).into_iter();
    all.find(|path| path.ends_with(&name)).expect("its file")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

async fn ask(server: &Server, method: &str, path: &str, body: Vec<u8>) -> Response {
    let token = token(server.data(), "ada", &[]);
    let url = server.url(&format!("/v1/users/ada{path}"));
    let request = http().request(method.parse().expect("a method"), url).bearer_auth(token);
    request.header("content-type", "image/png").body(body).send().await.expect("an answer")
}

async fn put(server: &Server, content: &[u8]) {
    let answer = ask(server, "PUT", &format!("/blobs/{}", hash(content)), content.to_vec()).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
}

async fn download(server: &Server, content: &[u8]) -> Option<(String, Vec<u8>)> {
    let answer = ask(server, "GET", &format!("/blobs/{}", hash(content)), Vec::new()).await;
    let kind = answer.headers()["content-type"].to_str().expect("text").to_owned();
    let is_there = answer.status() == StatusCode::OK;
    let bytes = answer.bytes().await.expect("a body").to_vec();
    is_there.then_some((kind, bytes))
}

/// A conversation whose turns have these files.
async fn converse(server: &Server, contents: &[&[u8]]) {
    let ada = Api::new(server, "ada", &token(server.data(), "ada", &[]));
    ada.post("/conversations", json!({ "id": FIRST, "title": "Pictures" })).await;
    for content in contents {
        let url = format!("blob:sha256:{}", hash(content));
        let part = json!({ "type": "file", "mediaType": "image/png", "url": url });
        ada.post(&format!("/conversations/{FIRST}/messages"), json!({ "role": "user", "parts": [part] }))
            .await;
    }
}

async fn export(server: &Server) -> Vec<u8> {
    let answer = ask(server, "GET", "/export", Vec::new()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    answer.bytes().await.expect("bytes").to_vec()
}

/// Imports; returns the lines about blobs and the last one.
async fn import(server: &Server, file: Vec<u8>) -> (Vec<Value>, Value) {
    let answer = ask(server, "POST", "/import", file).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let text = answer.text().await.expect("text");
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = lines.pop().expect("a last line");
    assert!(last["totals"].is_object(), "{last}");
    lines.retain(|line| line["blob"].is_object());
    (lines.into_iter().map(|line| line["blob"].clone()).collect(), last)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_brings_its_files_to_an_empty_server() {
    let (server, _folder) = start(&[]);
    // One larger than many pieces, one that is empty, one that nothing refers to, one that is not there.
    let (large, absent) = (content(3 << 20), &b"not uploaded"[..]);
    let all: [&[u8]; 3] = [&large, b"", b"loose"];
    converse(&server, &[&large, b"", absent]).await;
    for content in all {
        put(&server, content).await;
    }
    let archive = export(&server).await;
    let (other, _other) = start(&[]);
    let (told, last) = import(&other, archive.clone()).await;
    assert_eq!(last["left"], json!([]));
    assert!(told.iter().all(|blob| blob["status"] == "stored") && told.len() == 3, "{told:?}");
    for content in all {
        let (kind, bytes) = download(&other, content).await.expect("it is there");
        assert!(kind == "image/png" && bytes == content, "{} bytes of {kind}", bytes.len());
    }
    // Once more changes nothing.
    let before = fs::metadata(file_of(&other, &large)).expect("a file").modified().expect("a time");
    let (told, last) = import(&other, archive).await;
    assert!(told.iter().all(|blob| blob["status"] == "present") && told.len() == 3, "{told:?}");
    assert_eq!((&last["unchanged"], &last["left"]), (&json!(1), &json!([])));
    assert_eq!(fs::metadata(file_of(&other, &large)).expect("a file").modified().expect("a time"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_carry_files_between_folders_and_servers() {
    let (mut server, folder) = start(&[]);
    let picture = content(200_000);
    converse(&server, &[&picture, b"never uploaded"]).await;
    put(&server, &picture).await;
    let at = |name: &str| folder.path().join(name);
    let (live, kept, copy) = (at("live.zip"), at("kept.zip"), at("copy"));
    let url = server.url("");
    let key = token(server.data(), "ada", &[]);
    let online = run(["export", "--user", "ada", "--server", &url, "--token", &key, "--to", text(&live)]);
    assert_eq!(online.status.code(), Some(0), "{}", said(&online));
    assert!(said(&online).contains("with 1 blobs"), "{}", said(&online));
    let absent = format!("absent     blob {}", hash(b"never uploaded"));
    assert!(said(&online).contains(&absent), "{}", said(&online));
    server.terminate().expect("ended");
    let data = server.data().to_owned();
    let offline = run(["export", "--user", "ada", "--data", text(&data), "--to", text(&kept)]);
    assert_eq!(offline.status.code(), Some(0), "{}", said(&offline));
    let verified = run(["verify", "--data", text(&data)]);
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
    assert!(said(&verified).contains("1 names of blobs stand in documents"), "{}", said(&verified));

    let imported = run(["import", "--user", "ada", "--data", text(&copy), text(&kept)]);
    assert_eq!(imported.status.code(), Some(0), "{}", said(&imported));
    assert!(said(&imported).contains("1 new blobs"), "{}", said(&imported));
    let restored = Server::start(&copy, &[], &[]).expect("ready");
    assert!(download(&restored, &picture).await.expect("it is there").1 == picture);
    let (empty, _empty) = start(&[]);
    let (url, key) = (empty.url(""), token(empty.data(), "ada", &[]));
    let imported = run(["import", "--user", "ada", "--server", &url, "--token", &key, text(&live)]);
    assert_eq!(imported.status.code(), Some(0), "{}", said(&imported));
    assert!(download(&empty, &picture).await.expect("it is there").1 == picture);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_damaged_missing_or_too_much_is_named_and_the_rest_goes_on() {
    let (server, folder) = start(&[("archive_blob_bytes", 1_000)]);
    let (small, damaged, gone, large) = (&b"small"[..], &b"damaged"[..], &b"gone"[..], content(1_001));
    converse(&server, &[small, damaged, gone, &large]).await;
    for content in [small, damaged, gone, &large] {
        put(&server, content).await;
    }
    fs::write(file_of(&server, damaged), b"DAMAGED").expect("written");
    fs::remove_file(file_of(&server, gone)).expect("removed");
    let (url, key) = (server.url(""), token(server.data(), "ada", &[]));
    let to = folder.path().join("ada.zip");
    let exported = run(["export", "--user", "ada", "--server", &url, "--token", &key, "--to", text(&to)]);
    assert_eq!(exported.status.code(), Some(1), "{}", said(&exported));
    for (content, why) in [(damaged, "holds something else"), (gone, "cannot be read"), (&large, "together")]
    {
        let line = format!("left out   blob {}", hash(content));
        let told = said(&exported);
        let found = told.lines().find(|said| said.starts_with(&line)).unwrap_or_else(|| panic!("{told}"));
        assert!(found.contains(why), "{found}");
    }
    let (other, _other) = start(&[]);
    let (told, last) = import(&other, fs::read(&to).expect("an archive")).await;
    assert_eq!(told.iter().filter(|blob| blob["status"] == "stored").count(), 1);
    assert_eq!(last["left"].as_array().map(Vec::len), Some(3), "they are not forgotten: {last}");
    assert_eq!(last["totals"]["imported"], 1);
    assert!(download(&other, small).await.is_some());
    assert!(download(&other, damaged).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_its_name_says_is_reported_and_not_kept() {
    let (server, _folder) = start(&[("blob_bytes", 1_000), ("archive_blob_bytes", 1_500)]);
    let manifest = json!({ "format": "syncline-export", "version": 1, "user": "ada", "exportedAt": 5 });
    let (good, meant, large) = (content(900), &b"meant"[..], vec![1; 1_001]);
    // They come by their names: this one after the other, beside which it has no room.
    let much = (2_u8..).map(|byte| vec![byte; 700]).find(|much| hash(much) > hash(&good)).expect("one");
    let name = |content: &[u8]| format!("blobs/{}", hash(content));
    let listed = json!({ "blobs": [
        { "sha256": hash(&good), "bytes": 900, "mediaType": "text/x\n-evil" },
        { "sha256": hash(b"listed only"), "bytes": 1 },
    ] });
    let (manifest, listed) = (manifest.to_string(), listed.to_string());
    let names = [name(&good), name(meant), name(&large), name(&much)];
    let mut archive = zip(&[
        ("syncline-export.json", manifest.as_bytes()),
        ("blobs.json", listed.as_bytes()),
        (&names[0], &good),
        (&names[1], b"other"),
        (&names[2], &large),
        (&names[3], &much),
        ("blobs/no-hash", b"x"),
        ("blobs/../../../escaped", b"x"),
    ]);
    let (told, last) = import(&server, archive.clone()).await;
    let stored: Vec<_> = told.iter().filter(|blob| blob["status"] == "stored").collect();
    assert_eq!(stored.len(), 1, "{told:?}");
    let why = |of: &str| {
        let of = told.iter().find(|blob| blob["sha256"] == of).unwrap_or_else(|| panic!("{told:?}"));
        of["reason"].as_str().unwrap_or_default().to_owned()
    };
    assert!(why(&hash(meant)).contains(&hash(b"other")), "{}", why(&hash(meant)));
    assert!(why(&hash(&large)).contains("at most 1000"), "{}", why(&hash(&large)));
    assert!(why(&hash(b"listed only")).contains("does not hold it"));
    assert!(why("no-hash").contains("SHA-256"));
    assert_eq!(last["left"].as_array().map(Vec::len), Some(6), "{last}");
    let (kind, bytes) = download(&server, &good).await.expect("it is there");
    assert!(kind == "application/octet-stream" && bytes == good, "{kind}");
    assert_eq!(below(&server.data().join("blobs")).len(), 1, "nothing is left of the others");

    // A bit that fell over on the way.
    let at = archive.windows(good.len()).position(|part| part == good).expect("its bytes");
    archive[at] ^= 1;
    let (other, _other) = start(&[]);
    let (told, _) = import(&other, archive).await;
    let broken = told.iter().find(|blob| blob["sha256"] == hash(&good)).expect("a line");
    assert_eq!(broken["status"], "failed", "{broken}");
    assert!(download(&other, &good).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_restores_with_its_files() {
    let (mut server, folder) = start(&[]);
    let picture = content(2 << 20);
    converse(&server, &[&picture, b""]).await;
    put(&server, &picture).await;
    put(&server, b"").await;
    let at = |name: &str| folder.path().join(name);
    let (live, kept, bare) = (at("live"), at("kept"), at("bare"));
    let url = server.url("");
    let admin = token(server.data(), "operator", &["--role", "admin"]);
    let online = run(["backup", "--server", &url, "--token", &admin, "--to", text(&live)]);
    assert_eq!(online.status.code(), Some(0), "{}", said(&online));
    assert!(said(&online).contains("2 blobs"), "{}", said(&online));
    let data = server.data().to_owned();
    server.terminate().expect("ended");
    for (to, more) in [(&kept, &[][..]), (&bare, &["--without-blobs"][..])] {
        let backup = ["backup", "--data", text(&data), "--to", text(to)];
        assert_eq!(run(backup.iter().chain(more)).status.code(), Some(0));
    }
    for (name, backup) in [("one", &live), ("two", &kept)] {
        let copy = at(name);
        let restored = run(["restore", "--data", text(&copy), text(backup)]);
        assert_eq!(restored.status.code(), Some(0), "{}", said(&restored));
        assert!(said(&restored).contains("2 blobs restored"), "{}", said(&restored));
        let verified = run(["verify", "--data", text(&copy)]);
        assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
        let again = Server::start(&copy, &[], &[]).expect("ready");
        let (kind, bytes) = download(&again, &picture).await.expect("it is there");
        assert!(kind == "image/png" && bytes == picture);
    }
    let copy = at("three");
    let restored = run(["restore", "--data", text(&copy), text(&bare)]);
    assert_eq!(restored.status.code(), Some(0), "{}", said(&restored));
    assert!(said(&restored).contains("carries no blobs"), "{}", said(&restored));
    let verified = run(["verify", "--data", text(&copy)]);
    assert_eq!(verified.status.code(), Some(1), "{}", said(&verified));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_names_the_files_that_it_could_not_read() {
    let (mut server, folder) = start(&[]);
    for content in [&b"good"[..], b"damaged", b"gone"] {
        put(&server, content).await;
    }
    let (good, damaged, gone) = (hash(b"good"), hash(b"damaged"), hash(b"gone"));
    fs::write(file_of(&server, b"damaged"), b"DAMAGED").expect("written");
    fs::remove_file(file_of(&server, b"gone")).expect("removed");
    let (to, copy) = (folder.path().join("backup"), folder.path().join("copy"));
    let url = server.url("");
    let admin = token(server.data(), "operator", &["--role", "admin"]);
    let backup = run(["backup", "--server", &url, "--token", &admin, "--to", text(&to)]);
    let restored = run(["restore", "--data", text(&copy), text(&to)]);
    for (what, output) in [("backup", backup), ("restore", restored)] {
        assert_eq!(output.status.code(), Some(1), "{what}: {}", said(&output));
        for name in [&damaged, &gone] {
            assert!(said(&output).contains(&format!("blob ada/{name} is not in")), "{}", said(&output));
        }
        assert!(!said(&output).contains(&good));
    }
    let verified = said(&run(["verify", "--data", text(&copy)]));
    assert!(
        verified.contains(&damaged) && verified.contains(&gone) && !verified.contains(&good),
        "{verified}"
    );
    server.terminate().expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_restore_leaves_nothing_behind_and_the_next_one_works() {
    let server = Server::fresh(&["--open"]).expect("ready");
    // Most of the backup, and not to be compressed.
    put(&server, &content(300_000)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (to, cut) = (folder.path().join("backup"), folder.path().join("cut"));
    let url = server.url("");
    assert!(run(["backup", "--server", &url, "--to", text(&to)]).status.success());
    let whole = fs::read(&to).expect("a backup");
    fs::write(&cut, &whole[..whole.len() - 3]).expect("written");
    let flipped = folder.path().join("flipped");
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    fs::write(&flipped, bytes).expect("written");
    let (fresh, used) = (folder.path().join("deep/fresh"), folder.path().join("used"));
    fs::create_dir(&used).expect("made");
    fs::write(used.join("secret"), "kept").expect("written");
    for (data, backup, why) in [(&fresh, &cut, "ends"), (&used, &cut, "ends"), (&used, &flipped, "checksum")]
    {
        let failed = run(["restore", "--data", text(data), text(backup)]);
        assert_eq!(failed.status.code(), Some(1), "{}", said(&failed));
        assert!(said(&failed).contains(why), "{}", said(&failed));
        assert!(said(&failed).contains("nothing was restored"), "{}", said(&failed));
    }
    assert!(!folder.path().join("deep").exists(), "not even a folder");
    assert_eq!(below(&used), [used.join("secret")]);
    for data in [&fresh, &used] {
        let restored = run(["restore", "--data", text(data), text(&to)]);
        assert_eq!(restored.status.code(), Some(0), "{}", said(&restored));
    }
    assert_eq!(fs::read_to_string(used.join("secret")).expect("kept"), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_killed_is_not_taken_for_a_whole_one() {
    let server = Server::fresh(&["--open"]).expect("ready");
    put(&server, &content(3_000)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (to, data) = (folder.path().join("backup"), folder.path().join("data"));
    assert!(run(["backup", "--server", &server.url(""), "--to", text(&to)]).status.success());
    assert!(run(["restore", "--data", text(&data), text(&to)]).status.success());
    assert!(run(["verify", "--data", text(&data)]).status.success());
    // What one that was killed leaves.
    fs::create_dir(data.join("blobs.restoring")).expect("made");
    let data = text(&data);
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", data];
    for (arguments, code) in [
        (&["verify", "--data", data][..], 2),
        (&["restore", "--data", data, text(&to)][..], 2),
        (&serve[..], 4),
    ] {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), Some(code), "{}", said(&refused));
        assert!(said(&refused).contains("did not come to its end"), "{}", said(&refused));
    }
}
