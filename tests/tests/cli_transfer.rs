//! `syncline import` and `syncline export`: on a data folder and on a running server, with what is broken, killed and
//! repeated.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use syncline_tests::{
    Server, command, run,
    story::{real, story},
    token,
    zips::zip,
};
use tempfile::TempDir;

/// Conversations of a made export: enough that it is under way when its first lines are read.
const MANY: usize = 400;

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// The JSON lines of an import.
fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A conversation of a ChatGPT export with a question and an answer.
fn conversation(id: &str, title: &str) -> Value {
    let node = |id: &str, parent: Value, children: Value, role: &str, text: &str| {
        json!({ "id": id, "parent": parent, "children": children, "message": {
            "id": id, "author": { "role": role }, "create_time": 1_700_000_001.0, "weight": 1.0,
            "content": { "content_type": "text", "parts": [text] }, "metadata": {},
        } })
    };
    json!({
        "id": id, "conversation_id": id, "title": title, "create_time": 1_700_000_000.0,
        "update_time": 1_700_000_100.0, "current_node": "a",
        "mapping": {
            "q": node("q", Value::Null, json!(["a"]), "user", &format!("What of {title}?")),
            "a": node("a", json!("q"), json!([]), "assistant", &"All is well. ".repeat(200)),
        },
    })
}

/// A folder with an export of many conversations in it.
fn many() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("conversations.json");
    let conversations: Vec<Value> =
        (0..MANY).map(|n| conversation(&format!("c{n}"), &format!("Number {n}"))).collect();
    fs::write(&file, json!(conversations).to_string()).expect("written");
    (folder, file)
}

#[test]
fn wrong_usage_ends_with_2_and_imports_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let (data, good) = (text(&data).to_owned(), folder.path().join("good.json"));
    fs::write(&good, "[]").expect("written");
    let good = text(&good);
    let cases: &[&[&str]] = &[
        &["import", "--user", "ada", "--data", &data],
        &["import", "--user", "ada", good],
        &["import", "--data", &data, good],
        &["import", "--user", "a/b", "--data", &data, good],
        &["import", "--user", "ada", "--data", &data, "--server", "http://127.0.0.1:1", good],
        &["import", "--user", "ada", "--data", &data, good, "/nowhere.json"],
        &["import", "--user", "ada", "--data", &data, text(folder.path())],
        &["import", "--user", "ada", "--server", "127.0.0.1:1", good],
        &["export", "--user", "ada", "--data", &data, "--to", &format!("{data}.zip")],
        &["export", "--user", "ada", "--data", &data],
    ];
    for arguments in cases {
        let output = run(*arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", stderr(&output));
        assert!(!Path::new(&data).exists(), "{arguments:?} makes no folder");
    }
}

#[test]
fn a_folder_in_use_ends_with_3_and_a_damaged_one_with_4() {
    let mut server = Server::fresh(&[]).expect("ready");
    let (_folder, file) = many();
    let to = server.data().join("out.zip");
    let data = server.data().to_owned();
    let import = ["import", "--user", "ada", "--data", text(&data), text(&file)];
    let export = ["export", "--user", "ada", "--data", text(&data), "--to", text(&to)];
    assert_eq!([code(&run(import)), code(&run(export))], [3, 3]);
    server.terminate().expect("ended");
    assert_eq!(code(&run(import)), 0);
    fs::remove_dir_all(data.join("store")).expect("removed");
    assert_eq!([code(&run(import)), code(&run(export))], [4, 4]);
    assert!(!to.exists(), "no half of an archive");
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_and_online_tell_the_same_of_real_input() {
    let Some(path) = real("conversations.json") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let (data, live, kept) = (at("data"), at("live.zip"), at("kept.zip"));
    let offline = run(["import", "--user", "ada", "--data", text(&data), text(&path)]);
    assert_eq!(code(&offline), 0, "{}", stderr(&offline));
    assert_eq!(stdout(&offline).lines().filter(|line| line.starts_with("imported ")).count(), 70);
    assert!(stderr(&offline).contains("100%"), "{}", stderr(&offline));
    let again = run(["import", "--user", "ada", "--data", text(&data), "--json", text(&path)]);
    assert_eq!(lines(&again).last().expect("a line")["unchanged"], 70);

    let server = Server::start(&data, &[], &[]).expect("ready");
    let first = story(&server).await;
    assert_eq!(first.len(), 70);
    let empty = Server::fresh(&[]).expect("ready");
    // The token comes from the environment.
    let ask = |server: &Server, arguments: &[&str]| {
        let mut command = command();
        command.args(arguments).args(["--user", "ada", "--server", &server.url("")]);
        command.env("SYNCLINE_TOKEN", token(server.data(), "ada", &[])).output().expect("runs")
    };
    let online = ask(&empty, &["import", text(&path)]);
    assert_eq!(code(&online), 0, "{}", stderr(&online));
    assert_eq!(stdout(&online), stdout(&offline), "the same lines");
    assert_eq!(story(&empty).await, first);

    let exported = ask(&server, &["export", "--to", text(&live)]);
    assert_eq!(code(&exported), 0, "{}", stderr(&exported));
    drop((server, empty));
    let exported = run(["export", "--user", "ada", "--data", text(&data), "--to", text(&kept)]);
    assert_eq!(code(&exported), 0, "{}", stderr(&exported));
    for (name, archive) in [("one", &live), ("two", &kept)] {
        let copy = at(name);
        let restored = run(["import", "--user", "ada", "--data", text(&copy), "--json", text(archive)]);
        let told = lines(&restored);
        assert_eq!(told.last().expect("a line")["left"], json!([]), "{}", stderr(&restored));
        let older = run(["import", "--user", "ada", "--data", text(&copy), "--json", text(&path)]);
        assert_eq!(lines(&older).last().expect("a line")["unchanged"], 70, "an archive holds all of it");
        let server = Server::start(&copy, &[], &[]).expect("ready");
        assert_eq!(story(&server).await, first);
    }
}

#[test]
fn a_broken_conversation_in_a_zip_stops_nothing_and_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, data) = (folder.path().join("export.zip"), folder.path().join("data"));
    let mut no_mapping = conversation("bad", "Broken");
    no_mapping["mapping"] = json!(7);
    let shard =
        json!([conversation("c1", "First"), no_mapping, conversation("c2", "Second\u{1b}[31m")]).to_string();
    let cut = json!([conversation("c3", "Third"), conversation("c4", "Fourth")]).to_string();
    let files: [(&str, &[u8]); 3] = [
        ("conversations-000.json", shard.as_bytes()),
        ("conversations-001.json", &cut.as_bytes()[..cut.len() - 40]),
        ("user.json", b"{}"),
    ];
    fs::write(&file, zip(&files)).expect("written");
    let import = |more: &[&str]| {
        let place = ["import", "--user", "ada", "--data", text(&data), text(&file)];
        run(place.iter().chain(more))
    };
    let output = import(&[]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let told = stdout(&output);
    let with = |word: &str| told.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!((with("imported "), with("failed ")), (3, 2), "{told}");
    assert!(told.contains("Broken: its mapping is missing or no object"), "{told}");
    assert!(!told.contains('\u{1b}'), "titles do not reach the terminal as they are");
    assert!(stderr(&output).contains("3 imported, 0 unchanged, 0 skipped, 2 failed"), "{}", stderr(&output));
    let again = import(&["--json"]);
    assert_eq!(code(&again), 1);
    let last = lines(&again).pop().expect("a line");
    assert_eq!((&last["unchanged"], &last["totals"]["failed"]), (&json!(3), &json!(2)));

    let strange = folder.path().join("strange.json");
    fs::write(&strange, "what is this").expect("written");
    let both = run(["import", "--user", "ada", "--data", text(&data), text(&strange), text(&file), "--json"]);
    let told = lines(&both);
    assert_eq!((code(&both), &told[0]["problem"]["code"]), (1, &json!("unreadable")));
    assert_eq!(told.last().expect("a line")["unchanged"], 3, "the next file is read all the same");
}

#[test]
fn an_import_that_is_killed_or_interrupted_is_gone_on_with() {
    for signal in [libc::SIGKILL, libc::SIGINT, libc::SIGTERM] {
        let (folder, file) = many();
        let data = folder.path().join("data");
        let import = ["import", "--user", "ada", "--data", text(&data), "--json", text(&file)];
        let mut child = command();
        child.args(import).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().expect("starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut seen = 0;
        let mut line = String::new();
        while out.read_line(&mut line).expect("reads") > 0 {
            seen += usize::from(line.contains("\"report\""));
            line.clear();
            if seen == 5 {
                // SAFETY: a signal to a child that was not waited for, so its id is still its own.
                #[allow(unsafe_code, reason = "the standard library sends no such signal")]
                unsafe {
                    libc::kill(child.id() as libc::pid_t, signal);
                }
            }
        }
        let ended = child.wait_with_output().expect("ended");
        if signal == libc::SIGKILL {
            assert_eq!(ended.status.code(), None);
        } else {
            assert_eq!(code(&ended), 1, "{}", stderr(&ended));
            assert!(stderr(&ended).contains("import the same file again"), "{}", stderr(&ended));
        }
        let again = run(import);
        assert_eq!(code(&again), 0, "{}", stderr(&again));
        let last = lines(&again).pop().expect("a line");
        let unchanged = last["unchanged"].as_u64().expect("a number") as usize;
        assert!(unchanged >= seen, "what was told is durable: {seen} told, {unchanged} there");
        assert!(unchanged < MANY, "it was under way");
        assert_eq!(last["totals"]["imported"], MANY);
        let twice = run(import);
        assert_eq!(lines(&twice).last().expect("a line")["unchanged"], MANY);
        let verified = run(["verify", "--data", text(&data)]);
        assert!(verified.status.success(), "{}", stderr(&verified));
    }
}

#[test]
fn an_import_of_which_nobody_can_be_told_ends_early_and_keeps_what_it_took_in() {
    let (folder, file) = many();
    let data = folder.path().join("data");
    let import = ["import", "--user", "ada", "--data", text(&data), "--json", text(&file)];
    // Takes no line.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
    let mut child = command();
    let ended = child.args(import).stdout(full).stderr(Stdio::piped()).output().expect("runs");
    assert_eq!(code(&ended), 1, "{}", stderr(&ended));
    assert!(stderr(&ended).contains("cannot write to stdout"), "{}", stderr(&ended));
    let again = run(import);
    assert_eq!(code(&again), 0, "{}", stderr(&again));
    let last = lines(&again).pop().expect("a line");
    let unchanged = last["unchanged"].as_u64().expect("a number") as usize;
    assert!((1..MANY).contains(&unchanged), "{unchanged} were there");
    assert!(run(["verify", "--data", text(&data)]).status.success());
}

#[test]
fn a_server_that_refuses_says_why() {
    let server = Server::fresh(&[]).expect("ready");
    let (folder, file) = many();
    let url = server.url("");
    let (reader, stranger) =
        (token(server.data(), "ada", &["--role", "reader"]), token(server.data(), "bob", &[]));
    for bad in ["none", &reader, &stranger] {
        let output = run(["import", "--user", "ada", "--server", &url, "--token", bad, text(&file)]);
        assert_eq!(code(&output), 2, "{}", stderr(&output));
        assert!(stderr(&output).contains("--token: "), "{}", stderr(&output));
    }
    let to = folder.path().join("out.zip");
    let output = run(["export", "--user", "ada", "--server", &url, "--token", &stranger, "--to", text(&to)]);
    assert_eq!((code(&output), to.exists()), (2, false), "{}", stderr(&output));
    drop(server);
    let gone = run(["import", "--user", "ada", "--server", &url, "--token", &reader, text(&file)]);
    assert_eq!(code(&gone), 1, "{}", stderr(&gone));
}

#[test]
fn the_help_shows_how() {
    for (name, words) in [("import", "chatgpt-export.zip"), ("export", "--to ada.zip")] {
        let help = stdout(&run([name, "--help"]));
        assert!(help.contains("Examples:") && help.contains(words), "{help}");
        assert!(help.contains("SYNCLINE_TOKEN"), "{help}");
    }
}
