//! Search over HTTP: what is written is found soon, by its owner alone; the index may be lost or late without anything
//! else being the worse for it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use syncline_protocol::frame::Dialect;
use syncline_tests::{
    DEADLINE, Server, Witness, http,
    rest::{Api, get},
    token,
};
use tokio::time::timeout;
use yrs::{Any, Map, MapPrelim, WriteTxn};

const FIRST: &str = "019a0000-0000-7000-8000-000000000001";
const SECOND: &str = "019a0000-0000-7000-8000-000000000002";

fn said(text: &str) -> Value {
    json!({ "role": "user", "parts": [{ "type": "text", "text": text }] })
}

/// Searches until the answer is as wanted.
async fn until(api: &Api, query: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    // What was written is found after a while: nothing tells when. Not faster than the rate limits allow.
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    let asked = timeout(DEADLINE, async {
        loop {
            looks.tick().await;
            // Right after a start the index is not open yet: 503.
            let answer = api.call("GET", &format!("/search?{query}"), Value::Null).await;
            last = answer.body;
            if answer.status.is_success() && is_so(&last) {
                break;
            }
        }
    });
    let in_time = asked.await.is_ok();
    assert!(in_time, "{query}: {what}: {last}");
    last
}

fn count(page: &Value) -> usize {
    page["items"].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_over_http_and_over_a_socket_is_found() {
    let server = Server::fresh(&[]).expect("ready");
    let key = token(server.data(), "ada", &["--device", "laptop"]);
    let ada = Api::new(&server, "ada", &key);
    ada.post("/conversations", json!({ "id": FIRST, "title": "Crème brûlée" })).await;
    let path = format!("/conversations/{FIRST}/messages");
    let turn = ada.post(&path, said("How long does a 🍮 crème brûlée bake?")).await;
    let page = until(&ada, "q=creme%20brul", "title and turn", |page| count(page) == 2).await;
    let hit = page["items"].as_array().expect("items").iter().find(|hit| hit["message"] == turn["id"]);
    let hit = hit.expect("the turn");
    assert_eq!((&hit["conversation"], &hit["title"]), (&json!(FIRST), &json!("Crème brûlée")));
    assert_eq!((&hit["role"], &hit["alternative"]), (&json!("user"), &json!(false)));
    let text: Vec<u16> = hit["snippet"]["text"].as_str().expect("a text").encode_utf16().collect();
    let ranges = hit["snippet"]["ranges"].as_array().expect("ranges").iter().map(|range| {
        let at = |key: &str| range[key].as_u64().expect("a number") as usize;
        String::from_utf16(&text[at("start")..at("end")]).expect("text")
    });
    assert_eq!(ranges.collect::<Vec<_>>(), ["crème", "brûlée"]);

    let beside = json!({ "parts": [{ "type": "text", "text": "How long does a tarte bake?" }] });
    let id = turn["id"].as_str().expect("an id");
    ada.post(&format!("{path}/{id}/alternatives"), beside).await;
    let page = until(&ada, "q=tarte%20", "the alternative", |page| count(page) == 1).await;
    assert_eq!(page["items"][0]["alternative"], true);

    let mut device = Witness::new(Dialect::Hocuspocus, &format!("ada/c/{SECOND}"), 7).with_token(&key);
    device.sync(server.address()).await.expect("synced");
    let head = r#"{"role":"user","parent":null,"by":"laptop.s","at":"1700000000000-0001"}"#;
    device
        .edit(|_, _, txn| {
            let message = txn.get_or_insert_map("messages").insert(txn, "m1", MapPrelim::default());
            message.insert(txn, "head", Any::from_json(head).expect("JSON"));
            let parts = r#"[{"type":"text","text":"a socketed spanner"}]"#;
            message.insert(txn, "parts", Any::from_json(parts).expect("JSON"));
        })
        .await
        .expect("sent");
    device.until_saved().await.expect("saved");
    let page = until(&ada, "q=spanner", "what a device wrote", |page| count(page) == 1).await;
    assert_eq!(
        (&page["items"][0]["message"], &page["items"][0]["at"]),
        (&json!("m1"), &json!(1_700_000_000_000_u64))
    );
    // Times and roles narrow.
    assert_eq!(count(&ada.get("/search?q=spanner&to=1700000000000").await), 0);
    assert_eq!(count(&ada.get("/search?q=spanner&from=1700000000000&to=1700000000001").await), 1);
    assert_eq!(count(&ada.get("/search?q=spanner&role=assistant").await), 0);
    assert_eq!(count(&ada.get(&format!("/search?q=spanner&conversation={FIRST}")).await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_finds_their_own_and_asks_what_can_be_answered() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = Api::new(&server, "ada", &token(server.data(), "ada", &[]));
    let bob = Api::new(&server, "bob", &token(server.data(), "bob", &[]));
    for (api, id) in [(&ada, FIRST), (&bob, SECOND)] {
        api.post("/conversations", json!({ "id": id, "title": "Shared word" })).await;
    }
    let page = until(&ada, "q=shared", "ada's", |page| count(page) == 1).await;
    assert_eq!(page["items"][0]["conversation"], FIRST);
    until(&bob, "q=shared", "bob's", |page| page["items"][0]["conversation"] == SECOND).await;
    let stranger = Api::new(&server, "ada", &token(server.data(), "bob", &[]));
    assert_eq!(stranger.call("GET", "/search?q=shared", Value::Null).await.problem(), (403, "forbidden"));
    let long = format!("q={}", "x".repeat(2_000));
    for bad in ["", "q=a&cursor=zz", "q=a&limit=x", "q=a&conversation=7", &long] {
        let answer = ada.call("GET", &format!("/search?{bad}"), Value::Null).await;
        assert_eq!(answer.problem(), (400, "bad_request"), "{bad}");
    }
    assert_eq!(count(&ada.get("/search?q=").await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_conversations_are_left_out_unless_they_are_asked_for_and_pages_stay_full() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = Api::new(&server, "ada", &token(server.data(), "ada", &[]));
    let id = |n: usize| format!("019a0000-0000-7000-8000-{n:012x}");
    for n in 0..8 {
        ada.post("/conversations", json!({ "id": id(n), "title": "pudding" })).await;
    }
    until(&ada, "q=pudding", "all", |page| count(page) == 8).await;
    for n in [1, 3, 5, 7] {
        ada.call("DELETE", &format!("/conversations/{}", id(n)), Value::Null).await.ok();
    }
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = ada.get(&format!("/search?q=pudding&limit=3{cursor}")).await;
        let items = page["items"].as_array().expect("items").iter();
        found.extend(items.map(|hit| hit["conversation"].as_str().expect("an id").to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    found.sort();
    assert_eq!(found, [id(0), id(2), id(4), id(6)]);
    let all = ada.get("/search?q=pudding&deleted=true").await;
    let gone = all["items"].as_array().expect("items").iter().filter(|hit| hit["deleted"] == true).count();
    assert_eq!((count(&all), gone), (8, 4));
    // It comes back at once, and under its new name.
    ada.call("POST", &format!("/conversations/{}/restore", id(1)), Value::Null).await.ok();
    assert_eq!(count(&ada.get("/search?q=pudding").await), 5);
    ada.call("PATCH", &format!("/conversations/{}", id(1)), json!({ "title": "custard" })).await.ok();
    until(&ada, "q=custard", "the new title", |page| count(page) == 1).await;
    assert_eq!(count(&ada.get("/search?q=pudding").await), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_late_lost_or_damaged_is_made_again_from_the_documents() {
    let mut server = Server::fresh(&[]).expect("ready");
    let data = server.data().to_owned();
    let key = token(&data, "ada", &[]);
    let ada = Api::new(&server, "ada", &key);
    ada.post("/conversations", json!({ "id": FIRST, "title": "One" })).await;
    let path = format!("/conversations/{FIRST}/messages");
    ada.post(&path, said("first walrus")).await;
    until(&ada, "q=walrus", "indexed", |page| count(page) == 1).await;
    // Killed right after the answer: whatever the index had not committed is indexed with the next start.
    for n in 0..20 {
        ada.post(&path, said(&format!("walrus number {n}"))).await;
    }
    server.kill().expect("killed");
    let mut server = server.restart().expect("ready");
    let ada = Api::new(&server, "ada", &key);
    until(&ada, "q=walrus&limit=100", "what came late", |page| count(page) == 21).await;
    until(&ada, "q=walrus", "caught up", |page| page["indexing"] == false).await;

    server.terminate().expect("ended");
    std::fs::remove_dir_all(data.join("search")).expect("removed");
    let mut server = server.restart().expect("ready");
    let ada = Api::new(&server, "ada", &key);
    until(&ada, "q=walrus&limit=100", "a lost index", |page| count(page) == 21).await;

    server.terminate().expect("ended");
    let live = std::fs::read_dir(data.join("search")).expect("a folder").flatten();
    let live = live.map(|entry| entry.path()).find(|path| path.join("meta.json").exists()).expect("an index");
    std::fs::write(live.join("meta.json"), b"garbage").expect("written");
    let mut server = server.restart().expect("ready");
    let ada = Api::new(&server, "ada", &key);
    until(&ada, "q=walrus&limit=100", "a damaged index", |page| count(page) == 21).await;

    // One that cannot be opened costs search, and nothing else.
    server.terminate().expect("ended");
    std::fs::remove_dir_all(data.join("search")).expect("removed");
    std::fs::write(data.join("search"), b"not a folder").expect("written");
    let mut server = server.restart().expect("ready");
    let ada = Api::new(&server, "ada", &key);
    let failed = timeout(DEADLINE, async {
        loop {
            let answer = ada.call("GET", "/search?q=walrus", Value::Null).await;
            assert_eq!(answer.problem(), (503, "search_unavailable"));
            if !answer.body["detail"].as_str().is_some_and(|detail| detail.contains("being opened")) {
                return;
            }
        }
    });
    failed.await.expect("a reason");
    assert_eq!(get(&server, "/readyz").await.status(), StatusCode::OK);
    ada.post(&path, said("one more walrus")).await;
    let metrics = get(&server, "/metrics").await.text().await.expect("text");
    assert!(metrics.contains("syncline_search_up 0\n"), "{metrics}");
    assert!(server.log().contains("search_down"), "{}", server.log());
}

/// Finds real input, or says that it is missing.
fn real(name: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found =
        here.ancestors().map(|folder| folder.join("shared/data").join(name)).find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: no shared/data/{name} beside the repository");
    }
    found
}

/// Lists the words of a text, as search takes them apart: letters and digits, in lower case.
fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// Reads every page.
async fn all(api: &Api, path: &str, cursor: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut from = String::new();
    loop {
        let page = api.get(&format!("{path}{from}")).await;
        items.extend(page["items"].as_array().expect("items").clone());
        match page["next"].as_str() {
            Some(next) => from = format!("&{cursor}={next}"),
            None => return items,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_conversations_are_found_as_a_scan_of_them_finds_them() {
    let Some(path) = real("conversations.json") else { return };
    let server = Server::fresh(&[]).expect("ready");
    let key = token(server.data(), "ada", &[]);
    let file = std::fs::read(path).expect("reads");
    let imported = http().post(server.url("/v1/users/ada/import")).bearer_auth(&key).body(file);
    imported.send().await.expect("an answer").text().await.expect("text");
    let ada = Api::new(&server, "ada", &key);
    // Every text there is: titles, and the text parts of the turns of all branches.
    let mut texts = Vec::new();
    let mut conversations = all(&ada, "/conversations?limit=200", "after").await;
    conversations.extend(all(&ada, "/conversations?limit=200&archived=true", "after").await);
    for conversation in conversations {
        texts.extend(conversation["title"].as_str().map(words));
        let id = conversation["id"].as_str().expect("an id");
        for turn in all(&ada, &format!("/conversations/{id}/messages?branch=all&limit=200"), "after").await {
            let parts = turn["parts"].as_array().expect("parts").iter();
            let text = parts.filter(|part| part["type"] == "text").filter_map(|part| part["text"].as_str());
            texts.push(words(&text.collect::<Vec<_>>().join("\n")));
        }
    }
    let total = texts.len();
    // Plain words of ASCII letters, from rare to frequent, picked from the data.
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for word in
        texts.iter().flatten().filter(|word| word.len() > 4 && word.bytes().all(|b| b.is_ascii_alphabetic()))
    {
        *counts.entry(word).or_default() += 1;
    }
    let mut ranked: Vec<(usize, &str)> = counts.into_iter().map(|(word, count)| (count, word)).collect();
    ranked.sort_unstable();
    let picked: Vec<(usize, &str)> = ranked.iter().step_by((ranked.len() / 30).max(1)).copied().collect();
    let picked = picked.into_iter().chain(ranked.last().copied());
    let (most, _) = *ranked.last().expect("a word");
    assert!(most > 20 && total > 300, "{most} of {total}: too little to compare");
    until(&ada, "q=the", "all indexed", |page| page["indexing"] == false).await;
    for (count, word) in picked {
        // The space ends the word.
        let query = format!("q={word}%20&limit=100");
        until(&ada, &query, "committed", |page| self::count(page) >= count.min(100)).await;
        let hits = all(&ada, &format!("/search?{query}"), "cursor").await;
        assert_eq!(hits.len(), count, "{word}");
        let pairs: BTreeSet<String> =
            hits.iter().map(|hit| format!("{}{}", hit["conversation"], hit["message"])).collect();
        assert_eq!(pairs.len(), count, "{word}: nothing twice");
    }
}

fn in_folder(folder: &Path, word: &str) -> bool {
    std::fs::read_dir(folder).expect("a folder").flatten().any(|item| {
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            return in_folder(&item.path(), word);
        }
        let bytes = std::fs::read(item.path()).expect("a file");
        bytes.windows(word.len()).any(|window| window == word.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_just_before_it_was_erased_is_never_found_again() {
    let server = Server::fresh(&[]).expect("ready");
    let [ada, bob] = ["ada", "bob"].map(|user| Api::new(&server, user, &token(server.data(), user, &[])));
    // The index is open, and writes every second: what is erased is on its way there.
    ada.post("/conversations", json!({ "id": SECOND, "title": "opening" })).await;
    until(&ada, "q=opening", "the index is open", |page| count(page) == 1).await;
    for user in [&ada, &bob] {
        user.post("/conversations", json!({ "id": FIRST, "title": "zyzzyva title" })).await;
        for _ in 0..3 {
            user.post(&format!("/conversations/{FIRST}/messages"), said("quokka turn")).await;
        }
    }
    ada.post(&format!("/conversations/{FIRST}/erase"), Value::Null).await;
    bob.post("/erase", Value::Null).await;
    // What was noted before this is in the index before this is.
    ada.post(&format!("/conversations/{SECOND}/messages"), said("afterwards")).await;
    until(&ada, "q=afterwards", "what came later", |page| count(page) == 1 && page["indexing"] == false)
        .await;
    for word in ["quokka", "zyzzyva"] {
        assert_eq!(count(&ada.get(&format!("/search?q={word}&deleted=true")).await), 0, "{word}");
    }
    let mut server = server.restart().expect("ready");
    let ada = Api::new(&server, "ada", &token(server.data(), "ada", &[]));
    until(&ada, "q=afterwards", "all is indexed", |page| count(page) == 1 && page["indexing"] == false).await;
    assert!(server.terminate().expect("ends").success());
    let index = server.data().join("search");
    assert!(in_folder(&index, "afterwards"));
    for word in ["quokka", "zyzzyva"] {
        assert!(!in_folder(&index, word), "{word}");
    }
}
