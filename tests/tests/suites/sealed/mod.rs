//! What is kept sealed in the store, and the operator's files that change under a running server: with real guests, a real API that
//! is asked, and the bytes of the data directory.

mod granted;
mod store;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Output, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    command, place,
    server::{self, Client, Server},
};

use super::trial;

/// Who waits longer for something waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("sealed::secrets", store::secrets),
        trial("sealed::connections", store::connections),
        trial("sealed::without_a_key_file", store::without_a_key_file),
        trial(
            "sealed::files_are_taken_again",
            granted::files_are_taken_again,
        ),
        trial("sealed::inspected", granted::inspected),
        trial(
            "sealed::a_rotation_says_what_it_leaves",
            store::a_rotation_says_what_it_leaves,
        ),
        trial(
            "sealed::inspected_by_a_tenant",
            granted::inspected_by_a_tenant,
        ),
        trial("sealed::held_by_a_server", store::held_by_a_server),
        trial("sealed::damaged_access_keys", store::damaged_access_keys),
        trial(
            "sealed::access_keys_that_nobody_can_name",
            store::access_keys_that_nobody_can_name,
        ),
    ]
}

/// A place for a server with the plugin `task`, which may have the secret KEY and ask the API with it.
struct Place {
    place: place::Place,
    api: Api,
}

impl Place {
    fn new() -> Result<Place> {
        let place = Place {
            place: place::Place::new()?,
            api: Api::start()?,
        };
        let manifest = format!(
            "[grants]\nsecrets = [\"KEY\"]\nhttp = [{{ host = \"{}\", secrets = [\"KEY\"] }}]",
            place.api.origin
        );
        server::install(&place.place.plugins, "task", "behave", &manifest)?;
        Ok(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.folder().join(name)
    }

    fn serve(&self, flags: &[&str]) -> Result<Server> {
        self.place.serve(flags)
    }

    /// The program, which reads `stdin`.
    fn run(&self, arguments: &[&str], stdin: &str) -> Result<Output> {
        self.run_by(None, arguments, stdin)
    }

    /// The same with an access key.
    fn run_by(&self, key: Option<&Value>, arguments: &[&str], stdin: &str) -> Result<Output> {
        let mut command = command::stepwell(self.place.folder(), arguments)?;
        if let Some(key) = key {
            let part = |name: &str| key[name].as_str().unwrap_or_default();
            command
                .env("AWS_ACCESS_KEY_ID", part("accessKeyId"))
                .env("AWS_SECRET_ACCESS_KEY", part("secretAccessKey"));
        }
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        let mut pipe = child.stdin.take().context("a pipe")?;
        pipe.write_all(stdin.as_bytes())?;
        drop(pipe);
        Ok(child.wait_with_output()?)
    }

    /// The end of a server that has to be refused; one that goes on is ended.
    fn refused_to_serve(&self, flags: &[&str]) -> Result<Output> {
        let listens = ["serve", "--listen", "127.0.0.1:0", "--data", "data"];
        let arguments = [&listens[..], flags].concat();
        let mut child = command::stepwell(self.place.folder(), &arguments)?.spawn()?;
        let begun = Instant::now();
        while child.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                child.kill()?;
                child.wait()?;
                bail!("it serves");
            }
            std::thread::sleep(LOOK);
        }
        Ok(child.wait_with_output()?)
    }

    /// What a command that has to succeed printed.
    fn told(&self, arguments: &[&str], stdin: &str) -> Result<String> {
        let output = self.run(arguments, stdin)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {errors}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// All that lies in the data directory, and the server's log.
    fn stored(&self) -> Result<Vec<u8>> {
        let mut bytes = fs::read(self.path("data.log"))?;
        let mut folders = vec![self.path("data")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => bytes.extend(fs::read(path)?),
                }
            }
        }
        Ok(bytes)
    }
}

/// An API that answers every request with 200 and keeps its head.
#[derive(Clone)]
struct Api {
    origin: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Api {
    /// Listens until the process ends.
    fn start() -> Result<Api> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let api = Api {
            origin: format!("http://{}", listener.local_addr()?),
            heads: Arc::default(),
        };
        let heads = api.heads.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One that breaks off is nobody's.
                let _ = answer(stream, &heads);
            }
        });
        Ok(api)
    }

    fn heads(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.clone()
    }
}

fn answer(mut stream: TcpStream, heads: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let (mut text, mut chunk) = (String::new(), [0; 1024]);
    while !text.contains("\r\n\r\n") {
        let read = stream.read(&mut chunk)?;
        text += &String::from_utf8_lossy(&chunk[..read]);
        if read == 0 {
            break;
        }
    }
    let mut heads = heads.lock().unwrap_or_else(PoisonError::into_inner);
    heads.push(text);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
}

fn task(client: &Client) -> Result<String> {
    let task = json!({ "Type": "Task", "Resource": "wasm:task", "End": true });
    let machine = json!({ "StartAt": "T", "States": { "T": task } });
    Ok(client.create_machine("task", &machine)?)
}

fn ended(client: &Client, machine: &str, input: &Value) -> Result<Value> {
    let name = fresh_name();
    let execution = client.start(machine, &name, input)?;
    client.ended(&execution, PATIENCE)
}

/// A name that no other has in this process.
fn fresh_name() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("run-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn reads() -> Value {
    json!({ "do": "secret", "name": "KEY" })
}
