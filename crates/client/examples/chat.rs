//! A chat in a terminal: two of them, with a folder each, are two devices. Everything works offline.
//!
//! ```sh
//! syncline serve --open &
//! cargo run -p syncline-client --example chat -- --device phone --folder /tmp/phone
//! cargo run -p syncline-client --example chat -- --device laptop --folder /tmp/laptop --conversation ID
//! ```

use std::{collections::HashMap, process::ExitCode, sync::Arc};

use syncline_client::{
    Branch, Client, ClientError, Config, Delivery, DocumentStream, NewMessage, Overview, Status,
};
use tokio::sync::mpsc;

const HELP: &str = "\
A chat in a terminal that works offline.

usage: chat --device DEVICE --folder FOLDER [options]

  --device DEVICE      this device's id: A-Z a-z 0-9 _ -
  --folder FOLDER      where this device keeps its copy
  --url URL            the server (http://127.0.0.1:8787)
  --user USER          whose conversations (ada)
  --token TOKEN        from `syncline token`; none for a server with --open
  --conversation ID    goes on with this one; without it a new one is made, and its id printed
  --offline            does not connect until /online

A line that you type is sent as a message; these are not:

  /offline /online     hangs up, connects
  /list                lists the conversations
  /name TITLE          names this one
  /wait                waits until everything is saved
  /quit                ends; what is not saved is offered next time
";

struct Arguments {
    config: Config,
    conversation: Option<String>,
}

fn arguments() -> Result<Arguments, String> {
    let mut given: HashMap<String, String> = HashMap::new();
    let mut words = std::env::args().skip(1);
    let mut online = true;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--offline" => online = false,
            "--device" | "--folder" | "--url" | "--user" | "--token" | "--conversation" => {
                let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
                given.insert(word, value);
            }
            _ => return Err(format!("{word} is not understood")),
        }
    }
    let mut take = |name: &str| given.remove(name);
    let device = take("--device").ok_or("--device is missing")?;
    let folder = take("--folder").ok_or("--folder is missing")?;
    let url = take("--url").unwrap_or_else(|| "http://127.0.0.1:8787".to_owned());
    let user = take("--user").unwrap_or_else(|| "ada".to_owned());
    let mut config = Config::new(url, user, device, folder);
    config.token = take("--token");
    config.online = online;
    config.device_kind = Some("terminal".to_owned());
    Ok(Arguments { config, conversation: take("--conversation") })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if std::env::args().skip(1).any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(reason) => {
            eprintln!("{reason}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match chat(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn chat(arguments: Arguments) -> Result<(), ClientError> {
    let client = Client::open(arguments.config, None).await?;
    let conversation = match arguments.conversation {
        Some(id) => id,
        None => client.new_conversation(None).await?,
    };
    let document = client.open_conversation(conversation.clone()).await?;
    println!("conversation {conversation}");
    let (typed, mut lines) = mpsc::channel(16);
    // A terminal is read by a thread: there is no other way that ends with the process.
    std::thread::spawn(move || read_lines(&typed));
    let status = client.watch_status();
    let mut shown = Shown::default();
    loop {
        tokio::select! {
            line = lines.recv() => match line.as_deref() {
                None | Some("/quit") => break,
                Some(line) => obey(&client, &conversation, line).await?,
            },
            overview = status.next() => match overview {
                Some(overview) => shown.status(&overview),
                None => break,
            },
            changed = changed(&document) => match changed {
                true => shown.messages(&client, &conversation).await?,
                false => break,
            },
        }
    }
    client.close().await;
    Ok(())
}

fn read_lines(typed: &mpsc::Sender<String>) {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        if typed.blocking_send(line).is_err() {
            return;
        }
    }
}

async fn changed(document: &Arc<DocumentStream>) -> bool {
    document.next().await.is_some()
}

/// Does what a line says.
async fn obey(client: &Client, conversation: &str, line: &str) -> Result<(), ClientError> {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("", "") => {}
        ("/offline", _) => client.go_offline(),
        ("/online", _) => client.go_online(),
        ("/wait", _) => {
            client.until_saved().await;
            println!("all saved");
        }
        ("/list", _) => {
            for seen in client.conversations().await?.iter().filter(|seen| !seen.deleted) {
                println!("{} {}", seen.id, seen.title.as_deref().unwrap_or("(no title)"));
            }
        }
        ("/name", title) => {
            client.rename_conversation(conversation.to_owned(), title.to_owned()).await?;
        }
        (word, _) if word.starts_with('/') => println!("{word} is not understood\n{HELP}"),
        _ => {
            let id = client.send(conversation.to_owned(), NewMessage::text(line.to_owned())).await?;
            // From here on it survives whatever happens to this process.
            println!("kept {id}");
        }
    }
    Ok(())
}

/// What was printed.
#[derive(Default)]
struct Shown {
    status: String,
    messages: HashMap<String, Delivery>,
}

impl Shown {
    fn status(&mut self, overview: &Overview) {
        let line = match &overview.status {
            Status::Offline { unsaved } => format!("offline ({unsaved} unsaved)"),
            Status::Connecting { .. } => "connecting".to_owned(),
            Status::Saving { unsaved } => format!("saving {unsaved}"),
            Status::Merging { changes } => format!("merging {changes}"),
            Status::Saved => "saved".to_owned(),
            Status::Refused { reason, unsaved, .. } => format!("refused, {unsaved} unsaved: {reason}"),
        };
        if line != self.status {
            println!("[{line}]");
            self.status = line;
        }
    }

    async fn messages(&mut self, client: &Client, conversation: &str) -> Result<(), ClientError> {
        for message in client.messages(conversation.to_owned(), Branch::Selected).await? {
            if self.messages.insert(message.id.clone(), message.delivery) != Some(message.delivery) {
                let how = match message.delivery {
                    Delivery::Pending => "pending",
                    Delivery::Accepted => "accepted",
                    Delivery::OnAllDevices => "on all devices",
                };
                println!("{} ({how}) {}", message.by, message.text);
            }
        }
        Ok(())
    }
}
