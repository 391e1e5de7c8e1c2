//! Tokens that expire or are no good, and TLS.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use syncline_client::{Client, RefusalCode, Status, TokenError, TokenSource};
use syncline_tests::{Server, rest::Api, token};
use tokio::sync::Notify;

use crate::kit::{config, device, messages, over_http, saved, say, texts, until};

/// Gives these tokens one after the other, and then the last again.
struct Tokens {
    list: Mutex<Vec<String>>,
    refused: AtomicUsize,
    asked: Notify,
}

impl Tokens {
    fn new(list: &[&str]) -> Arc<Self> {
        let list = Mutex::new(list.iter().rev().map(|token| (*token).to_owned()).collect());
        Arc::new(Self { list, refused: AtomicUsize::new(0), asked: Notify::new() })
    }
}

#[async_trait::async_trait]
impl TokenSource for Tokens {
    async fn token(&self, refused: bool) -> Result<String, TokenError> {
        self.refused.fetch_add(usize::from(refused), Ordering::SeqCst);
        let mut list = self.list.lock();
        let last = list.last().cloned();
        if list.len() > 1 {
            list.pop();
        }
        self.asked.notify_one();
        last.ok_or_else(|| TokenError::Unavailable("none left".to_owned()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_or_is_refused_is_replaced_and_nothing_is_lost() {
    let server = Server::fresh(&[]).expect("ready");
    let mint = |ttl: &str| token(server.data(), "ada", &["--device", "phone", "--ttl", ttl]);
    let (short, long) = (mint("2s"), mint("1h"));
    let tokens = Tokens::new(&["rubbish", &short, &long]);
    let folder = tempfile::tempdir().expect("a folder");
    let settings = config(&server.url(""), folder.path(), "phone");
    let client = Client::open(settings, Some(tokens.clone())).await.expect("opens");
    let trip = client.new_conversation(None).await.expect("made");
    say(&client, &trip, "one").await;
    saved(&client).await;
    assert!(tokens.refused.load(Ordering::SeqCst) >= 1, "rubbish was replaced");
    // The short one expires, or has: the server asks for another.
    while tokens.refused.load(Ordering::SeqCst) < 2 {
        tokio::time::timeout(syncline_tests::DEADLINE, tokens.asked.notified()).await.expect("asked");
    }
    say(&client, &trip, "two").await;
    saved(&client).await;
    assert_eq!(over_http(&Api::new(&server, "ada", &long), &trip).await, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_and_keeps_the_edits() {
    let server = Server::fresh(&[]).expect("ready");
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = config(&server.url(""), folder.path(), "phone");
    settings.token = Some(token(server.data(), "eve", &["--device", "phone"]));
    let client = Client::open(settings.clone(), None).await.expect("opens");
    client.set_preference("tone".to_owned(), "1".to_owned()).await.expect("kept");
    let seen = until(&client, "refused", |seen| matches!(seen.status, Status::Refused { .. })).await;
    let Status::Refused { code, reason, unsaved } = seen.status else { unreachable!() };
    assert_eq!((code, unsaved), (RefusalCode::Access, 1), "{reason}");
    client.close().await;

    // A reader's edits stay here, and say so; a good token has them saved.
    settings.token = Some(token(server.data(), "ada", &["--role", "reader"]));
    let client = Client::open(settings.clone(), None).await.expect("opens");
    let read_only =
        |status: &Status| matches!(status, Status::Refused { code: RefusalCode::ReadOnly, unsaved: 1, .. });
    until(&client, "read-only", |seen| read_only(&seen.status)).await;
    client.close().await;
    settings.token = Some(token(server.data(), "ada", &["--device", "phone"]));
    let client = Client::open(settings, None).await.expect("opens");
    saved(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_with_the_roots_that_are_given() {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let home = tempfile::tempdir().expect("a folder");
    let (cert, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let path = |path: &std::path::Path| path.display().to_string();
    let flags = ["--open", "--tls-cert", &path(&cert), "--tls-key", &path(&key)].map(str::to_owned);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Server::start(&home.path().join("data"), &flags, &[]).expect("ready");

    let phone = device(&server, "phone", |config| config.root_certificates_pem = Some(made.cert.pem())).await;
    let trip = phone.client.new_conversation(None).await.expect("made");
    say(&phone.client, &trip, "in secret").await;
    saved(&phone.client).await;
    let laptop =
        device(&server, "laptop", |config| config.root_certificates_pem = Some(made.cert.pem())).await;
    messages(&laptop.client, &trip, "there", |seen| texts(seen) == ["in secret"]).await;
    // Nobody else trusts this certificate.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let eve = device(&server, "eve", |config| config.root_certificates_pem = Some(other.cert.pem())).await;
    until(&eve.client, "offline", |seen| seen.status == Status::Offline { unsaved: 0 }).await;
}
