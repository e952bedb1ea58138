//! What is kept sealed in the store, and the operator's files that change under a running server: with real guests, a real API that
//! is asked, and the bytes of the data directory.

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
    server::{self, CallError, Client, Server},
};

use super::trial;

/// Who waits longer for something waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("sealed::secrets", secrets),
        trial("sealed::connections", connections),
        trial("sealed::without_a_key_file", without_a_key_file),
        trial("sealed::files_are_taken_again", files_are_taken_again),
        trial("sealed::inspected", inspected),
        trial(
            "sealed::a_rotation_says_what_it_leaves",
            a_rotation_says_what_it_leaves,
        ),
        trial("sealed::inspected_by_a_tenant", inspected_by_a_tenant),
        trial("sealed::held_by_a_server", held_by_a_server),
        trial("sealed::damaged_access_keys", damaged_access_keys),
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
    fn refused_to_serve(&self) -> Result<Output> {
        let listens = ["serve", "--listen", "127.0.0.1:0", "--data", "data"];
        let mut child = command::stepwell(self.place.folder(), &listens)?.spawn()?;
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

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
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

/// The text that an execution gave back.
fn output(end: &Value) -> Option<String> {
    serde_json::from_str(end["output"].as_str()?).ok()
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

/// Put at the data directory and on the running server, read by a guest and put into its request, sealed anew, and nowhere in
/// clear.
fn secrets() -> Result<()> {
    let place = Place::new()?;
    let (first, second) = ("first-5b1e77f0", "second-9c40d2aa");
    place.told(
        &["secret", "put", "KEY", "--file", "-", "--data", "data"],
        &format!("{first}\n"),
    )?;
    ensure!(place.path("data.key").exists(), "no key file was made");
    #[cfg(unix)]
    for (made, mode) in [
        ("data", 0o700),
        ("data.key", 0o600),
        ("data/journal.sqlite", 0o600),
    ] {
        use std::os::unix::fs::PermissionsExt;
        let found = fs::metadata(place.path(made))?.permissions().mode() & 0o777;
        ensure!(found == mode, "{made} has the mode {found:o}");
    }
    let server = place.serve(&[])?;
    let client = server.client();
    let machine = task(&client)?;
    let end = ended(&client, &machine, &reads())?;
    ensure!(output(&end).as_deref() == Some(first), "{end}");

    let endpoint = client.endpoint();
    let value = place.path("value.txt");
    fs::write(&value, second)?;
    let file = value.to_string_lossy();
    place.told(
        &[
            "secret",
            "put",
            "KEY",
            "--file",
            &file,
            "--endpoint",
            &endpoint,
        ],
        "",
    )?;
    let end = ended(&client, &machine, &reads())?;
    ensure!(output(&end).as_deref() == Some(second), "{end}");
    let asks = json!({
        "do": "http", "url": format!("{}/v1", place.api.origin),
        "headers": { "authorization": "Bearer {{secret:KEY}}" },
    });
    let end = ended(&client, &machine, &asks)?;
    ensure!(end["status"] == "SUCCEEDED", "{end}");
    let sent = place.api.heads().pop().unwrap_or_default();
    ensure!(sent.contains(&format!("Bearer {second}")), "{sent}");
    let listed = place.told(&["secret", "list", "--endpoint", &endpoint], "")?;
    ensure!(
        listed.contains("KEY") && !listed.contains(second),
        "{listed}"
    );
    server.stop()?;

    // Both were outputs of tasks, which the history has; what was kept alone has to be nowhere.
    let alone = "alone-e7d1c35b";
    place.told(&["secret", "put", "ALONE", "--data", "data"], alone)?;
    ensure!(
        !holds(&place.stored()?, alone),
        "the data directory holds a secret"
    );
    place.told(&["tenant", "rotate", "--data", "data"], "")?;
    ensure!(
        !holds(&place.stored()?, alone),
        "the data directory holds a secret that was sealed anew"
    );
    let audit = place.told(&["tenant", "audit", server::ACCOUNT, "--data", "data"], "")?;
    ensure!(
        audit.contains("stepwell:PutSecret") && !audit.contains(alone),
        "{audit}"
    );
    let server = place.serve(&[])?;
    let end = ended(&server.client(), &machine, &reads())?;
    ensure!(output(&end).as_deref() == Some(second), "{end}");
    let endpoint = server.client().endpoint();
    place.told(&["secret", "delete", "KEY", "--endpoint", &endpoint], "")?;
    let end = ended(&server.client(), &machine, &reads())?;
    let cause = end["cause"].as_str().unwrap_or_default();
    ensure!(cause.contains("secret put KEY"), "{end}");
    server.stop()
}

/// What another key file has sealed does not open: the rest is sealed anew, and the old keys stay until nothing is left.
fn a_rotation_says_what_it_leaves() -> Result<()> {
    let place = Place::new()?;
    place.told(&["secret", "put", "FOREIGN", "--data", "data"], "x")?;
    place.told(&["tenant", "key-file", "--data", "other"], "")?;
    let ours = ["--data", "data", "--key-file", "other.key"];
    let run = |arguments: &[&str], stdin: &str| place.run(&[arguments, &ours].concat(), stdin);
    ensure!(run(&["secret", "put", "KEY"], "y")?.status.success());
    let keys = || -> Result<usize> {
        let text = fs::read_to_string(place.path("other.key"))?;
        Ok(text.lines().filter(|line| !line.starts_with('#')).count())
    };
    let mut newest = None;
    for sealed in ["sealed 1 record anew", "sealed 0 records anew"] {
        let rotated = run(&["tenant", "rotate"], "")?;
        let errors = String::from_utf8_lossy(&rotated.stderr);
        ensure!(rotated.status.code() == Some(3), "{errors}");
        for part in [sealed, "`FOREIGN`", "1 record could not be"] {
            ensure!(errors.contains(part), "{part} in {errors}");
        }
        ensure!(!errors.contains("internal failure"), "{errors}");
        ensure!(
            keys()? == 2,
            "the old key stays, and the new one is used on"
        );
        let text = fs::read_to_string(place.path("other.key"))?;
        let first = text.lines().nth(1).map(str::to_owned);
        ensure!(newest.is_none() || newest == first, "another new key");
        newest = first;
    }
    // Of a store that another key sealed nothing is rotated, and it is said which is wrong.
    ensure!(run(&["secret", "delete", "KEY"], "")?.status.success());
    let mut keys_before = 2;
    for _ in 0..2 {
        let rotated = run(&["tenant", "rotate"], "")?;
        let errors = String::from_utf8_lossy(&rotated.stderr);
        let told =
            errors.contains("does not hold the key that sealed") && errors.contains("`FOREIGN`");
        ensure!(rotated.status.code() == Some(2) && told, "{errors}");
        ensure!(keys()? == keys_before, "a key is added that sealed nothing");
        let text = fs::read_to_string(place.path("other.key"))?;
        let alone: Vec<&str> = text.lines().take(2).collect();
        fs::write(place.path("other.key"), alone.join("\n"))?;
        keys_before = 1;
    }
    ensure!(run(&["secret", "delete", "FOREIGN"], "")?.status.success());
    ensure!(run(&["tenant", "rotate"], "")?.status.success());
    ensure!(keys()? == 1, "nothing needs the old keys");
    Ok(())
}

/// A connection of the store carries its credentials, and opens no private address unless an operator said so.
fn connections() -> Result<()> {
    let place = Place::new()?;
    place.told(&["tenant", "key-file", "--data", "data"], "")?;
    let server = place.serve(&[])?;
    let client = server.client();
    let endpoint = client.endpoint();
    let hidden = "hidden-connection-41aa";
    fs::write(place.path("password.txt"), format!("{hidden}\n"))?;
    fs::write(
        place.path("api.toml"),
        format!(
            "allow = [\"{}\"]\nbasic = {{ username = \"u\", password = {{ file = \"password.txt\" }} }}\n",
            place.api.origin
        ),
    )?;
    let put = [
        "connection",
        "put",
        "api",
        "--file",
        "api.toml",
        "--endpoint",
        &endpoint,
    ];
    let call = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::http:invoke",
        "Parameters": {
            "ApiEndpoint": format!("{}/x", place.api.origin), "Method": "GET",
            "InvocationConfig": { "ConnectionArn": "api" },
        },
        "End": true,
    });
    let machine = json!({ "StartAt": "Call", "States": { "Call": call } });
    let machine = client.create_machine("calls", &machine)?;
    let asks = || ended(&client, &machine, &json!({}));
    let missing = asks()?;
    ensure!(
        missing["error"] == "Events.ConnectionResource.ResourceNotFound",
        "{missing}"
    );
    place.told(&put, "")?;
    let refused = asks()?;
    ensure!(
        refused["error"] == "States.Http.AccessDenied"
            && refused["cause"].to_string().contains("--private"),
        "{refused}"
    );
    ensure!(place.api.heads().is_empty(), "a private address was asked");
    place.told(&[&put[..], &["--private"]].concat(), "")?;
    let served = asks()?;
    ensure!(served["status"] == "SUCCEEDED", "{served}");
    let head = place.api.heads().pop().unwrap_or_default();
    // u:hidden-connection-41aa
    ensure!(
        head.contains("Basic dTpoaWRkZW4tY29ubmVjdGlvbi00MWFh"),
        "{head}"
    );
    let listed = place.told(&["connection", "list", "--endpoint", &endpoint], "")?;
    ensure!(
        listed.contains("BASIC") && !listed.contains(hidden),
        "{listed}"
    );
    place.told(
        &["connection", "delete", "api", "--endpoint", &endpoint],
        "",
    )?;
    ensure!(asks()?["error"] == missing["error"]);
    server.stop()?;
    ensure!(
        !holds(&place.stored()?, hidden),
        "the data directory holds a password"
    );
    Ok(())
}

/// What is refused says how to make the key file; one that is lost is not made anew over what it sealed.
fn without_a_key_file() -> Result<()> {
    let place = Place::new()?;
    let server = place.serve(&[])?;
    let value = "never-kept-0d9f";
    let request = json!({ "name": "KEY", "value": value });
    match server.client().call("Stepwell.PutSecret", &request) {
        Err(CallError::Refused { message, .. }) => ensure!(
            message.contains("stepwell tenant key-file") && !message.contains(value),
            "{message}"
        ),
        other => bail!("it was kept: {other:?}"),
    }
    server.stop()?;
    place.told(&["secret", "put", "KEY", "--data", "data"], value)?;
    fs::rename(place.path("data.key"), place.path("lost.key"))?;
    let again = place.run(&["secret", "put", "KEY", "--data", "data"], value)?;
    let errors = String::from_utf8_lossy(&again.stderr);
    ensure!(
        !again.status.success() && errors.contains("is missing") && !errors.contains(value),
        "{errors}"
    );
    // No server takes up what would fail for the want of it.
    let refused = place.refused_to_serve()?;
    let errors = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        refused.status.code() == Some(2) && errors.contains("--key-file"),
        "it serves without the key file: {errors}"
    );
    // With another key file a task that cannot have it fails and says nothing of it, and the list tells.
    let other = ["--data", "elsewhere", "--key-file", "other.key"];
    place.told(&[&["tenant", "key-file"][..], &other].concat(), "")?;
    let other = place.path("other.key");
    let server = place.serve(&["--key-file", &other.to_string_lossy()])?;
    let endpoint = server.client().endpoint();
    let listed = place.told(&["secret", "list", "--endpoint", &endpoint], "")?;
    ensure!(listed.contains("does not open"), "{listed}");
    let machine = task(&server.client())?;
    let end = ended(&server.client(), &machine, &reads())?;
    ensure!(end["status"] == "FAILED", "{end}");
    server.stop()?;
    ensure!(!holds(&place.stored()?, value), "the secret is told");
    let terminal = place.run(&["secret", "put", "KEY", value, "--data", "data"], "")?;
    let errors = String::from_utf8_lossy(&terminal.stderr);
    ensure!(
        !terminal.status.success() && errors.contains("--file") && !errors.contains(value),
        "a value is no argument: {errors}"
    );
    Ok(())
}

/// Files of secrets and ceilings count again when they change; one that is broken replaces nothing and is told.
fn files_are_taken_again() -> Result<()> {
    let place = Place::new()?;
    let (secrets, ceilings) = (place.path("secrets.toml"), place.path("ceilings.toml"));
    fs::write(&secrets, "[secret]\nKEY = { file = \"key.txt\" }\n")?;
    fs::write(place.path("key.txt"), "one")?;
    fs::write(&ceilings, "[default]\ngrants = \"as asked\"\n")?;
    let flags = [
        "--secrets",
        &secrets.to_string_lossy(),
        "--ceilings",
        &ceilings.to_string_lossy(),
    ];
    let server = place.serve(&flags)?;
    let client = server.client();
    let machine = task(&client)?;
    let reads = || -> Result<Value> { ended(&client, &machine, &reads()) };
    ensure!(reads()?["output"] == "\"one\"");
    // A file that the file names is looked at as well.
    fs::write(place.path("key.txt"), "another")?;
    until(|| Ok(reads()?["output"] == "\"another\""))?;
    fs::write(&ceilings, "[default]\ngrants = \"nothing\"\n")?;
    until(|| Ok(reads()?["cause"].to_string().contains("not granted")))?;
    let health = || -> Result<String> { Ok(client.get("/health")?.1) };
    fs::write(&ceilings, "[default]\ngrants = \"everything there is\"\n")?;
    until(|| Ok(health()?.contains("everything there is")))?;
    ensure!(reads()?["status"] == "FAILED", "the old one holds on");
    fs::write(&ceilings, "[default]\ngrants = { secrets = [\"KEY\"] }\n")?;
    until(|| Ok(reads()?["output"] == "\"another\""))?;
    ensure!(!health()?.contains("warning"), "{}", health()?);
    server.signal("HUP")?;
    server.says("were taken again", 4)?;
    server.stop()
}

fn until(mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if holds()? {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    bail!("it does not come")
}

/// `plugin inspect` says which secrets are not set, where that can be known, and what the account's own ceiling leaves.
fn inspected() -> Result<()> {
    let place = Place::new()?;
    let other = "111111111111";
    server::install(
        &place.path("plugins").join(other),
        "theirs",
        "behave",
        "[grants]\nsecrets = [\"KEY\"]",
    )?;
    let inspect = |flags: &[&str]| -> Result<Value> {
        let base = ["plugin", "inspect", "--json", "--plugins", "plugins"];
        let told = place.told(&[&base[..], flags].concat(), "")?;
        Ok(serde_json::from_str(&told)?)
    };
    let secret = |told: &Value| -> Value { told["grants"][0].clone() };
    ensure!(
        secret(&inspect(&["task"])?)["granted"] == "yes",
        "nobody looked"
    );
    fs::write(place.path("secrets.toml"), "[secret]\nOTHER = \"x\"\n")?;
    let lacks = secret(&inspect(&["task", "--secrets", "secrets.toml"])?);
    ensure!(
        lacks["granted"] == "not set" && lacks["why"].to_string().contains("secret put KEY"),
        "{lacks}"
    );
    fs::write(place.path("secrets.toml"), "[secret]\nKEY = \"x\"\n")?;
    let has = secret(&inspect(&["task", "--secrets", "secrets.toml"])?);
    ensure!(has["granted"] == "yes", "{has}");
    place.told(&["tenant", "add", other, "--data", "data"], "")?;
    let of_data = secret(&inspect(&["task", "--data", "data"])?);
    ensure!(of_data["granted"] == "not set", "{of_data}");
    place.told(&["secret", "put", "KEY", "--data", "data"], "x")?;
    let of_data = secret(&inspect(&["task", "--data", "data"])?);
    ensure!(of_data["granted"] == "yes", "{of_data}");

    let theirs = ["theirs", "--tenant", other, "--data", "data"];
    ensure!(secret(&inspect(&theirs)?)["granted"] == "no", "no ceiling");
    let ceiling = "limits = { memory = \"16MiB\" }\ngrants = { secrets = [\"KEY\"] }\n";
    fs::write(place.path("ceiling.toml"), ceiling)?;
    let set = ["tenant", "set", other, "--data", "data"];
    place.told(&[&set[..], &["--ceiling", "ceiling.toml"]].concat(), "")?;
    let shown = inspect(&theirs)?;
    ensure!(
        shown["ceiling"] == ceiling
            && shown["limits"]["memory"]["inForce"] == "16MiB"
            && secret(&shown)["granted"] == "not set",
        "{shown}"
    );
    let show = place.told(&["tenant", "show", other, "--data", "data"], "")?;
    ensure!(show.contains("memory = \"16MiB\""), "{show}");
    // The file of --ceilings takes away what it does not allow.
    fs::write(
        place.path("ceilings.toml"),
        "[others]\nlimits = { memory = \"8MiB\" }\n",
    )?;
    let both = inspect(&[&theirs[..], &["--ceilings", "ceilings.toml"]].concat())?;
    ensure!(
        both["limits"]["memory"]["inForce"] == "8MiB" && secret(&both)["granted"] == "no",
        "{both}"
    );
    place.told(&[&set[..], &["--no-ceiling"]].concat(), "")?;
    ensure!(inspect(&theirs)?["ceiling"].is_null(), "it is gone");
    fs::write(
        place.path("ceiling.toml"),
        "limits = { memory = \"much\" }\n",
    )?;
    let wrong = place.run(&[&set[..], &["--ceiling", "ceiling.toml"]].concat(), "")?;
    let errors = String::from_utf8_lossy(&wrong.stderr);
    ensure!(
        !wrong.status.success() && errors.contains("`much` is no size"),
        "{errors}"
    );
    let check = place.told(&["plugin", "check", "task", "--plugins", "plugins"], "")?;
    ensure!(check.contains("is a plugin"), "{check}");
    Ok(())
}

/// Whoever inspects a plugin by a tenant's key is told of the tenant's own ceiling and secrets, without naming its account.
fn inspected_by_a_tenant() -> Result<()> {
    let place = Place::new()?;
    let account = "111111111111";
    server::install(
        &place.path("plugins").join(account),
        "theirs",
        "behave",
        "[grants]\nsecrets = [\"KEY\"]",
    )?;
    place.told(&["tenant", "add", account, "--data", "data"], "")?;
    let add = ["tenant", "keys", "add", account, "--role", "admin"];
    let made = place.told(&[&add[..], &["--json", "--data", "data"]].concat(), "")?;
    let key: Value = serde_json::from_str(&made)?;
    fs::write(
        place.path("ceiling.toml"),
        "grants = { secrets = [\"KEY\"] }\n",
    )?;
    let set = ["tenant", "set", account, "--ceiling", "ceiling.toml"];
    place.told(&[&set[..], &["--data", "data"]].concat(), "")?;
    let server = place.serve(&["--auth"])?;
    let endpoint = server.client().endpoint();
    let inspect = |plugin: &str, more: &[&str]| -> Result<Output> {
        let base = ["plugin", "inspect", plugin, "--json", "--plugins"];
        let at = ["plugins", "--endpoint", &endpoint];
        place.run_by(Some(&key), &[&base[..], &at, more].concat(), "")
    };
    let output = inspect("theirs", &[])?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let told: Value =
        serde_json::from_slice(&output.stdout).with_context(|| errors.into_owned())?;
    let why = told["grants"][0]["why"].to_string();
    ensure!(
        told["grants"][0]["granted"] == "not set" && why.contains(account),
        "{told}"
    );
    ensure!(told["ceiling"].is_string(), "{told}");
    // By its path: the folder of that account has no such plugin, of which the server is not asked.
    let path = format!("plugins/{account}/theirs");
    let another = ["--tenant", "222222222222"];
    let foreign = inspect(&path, &another)?;
    let errors = String::from_utf8_lossy(&foreign.stderr);
    ensure!(
        !foreign.status.success() && errors.contains("AccessDenied"),
        "another tenant's are told: {errors}"
    );
    server.stop()?;
    // What is wrong with a path or name is told without the server, which is gone.
    fs::write(place.path("broken.cwasm"), "no code")?;
    for (plugin, more) in [("theirs", &another[..]), ("broken.cwasm", &[][..])] {
        let refused = inspect(plugin, more)?;
        let errors = String::from_utf8_lossy(&refused.stderr);
        ensure!(
            refused.status.code() == Some(2) && !errors.contains("no answer from"),
            "{plugin}: {errors}"
        );
    }
    Ok(())
}

/// An access key that was damaged in the store is refused and named, and keeps nobody else out; a store in which none is whole
/// is not served, least of all without asking for keys.
fn damaged_access_keys() -> Result<()> {
    const MARKS: [&str; 2] = ["first-mark", "other-mark"];
    let place = Place::new()?;
    let data = ["--data", "data"];
    let tenant = |arguments: &[&str]| place.told(&[&["tenant"][..], arguments, &data].concat(), "");
    tenant(&["add", server::ACCOUNT])?;
    let mut keys = Vec::new();
    for mark in MARKS {
        let of = ["keys", "add", server::ACCOUNT, "--role", "operator"];
        let made = tenant(&[&of[..], &["--description", mark, "--json"]].concat())?;
        keys.push(serde_json::from_str::<Value>(&made)?);
    }
    let ids = keys.iter().map(|key| key["accessKeyId"].as_str());
    let ids: Vec<&str> = ids.collect::<Option<_>>().context("ids")?;
    damage(&place, MARKS[0])?;
    let listed = tenant(&["keys", "list"])?;
    let remove = format!("stepwell tenant keys remove {}", ids[0]);
    for part in [&*remove, "damaged", ids[1]] {
        ensure!(listed.contains(part), "{part} in {listed}");
    }
    let server = place.serve(&[])?;
    let endpoint = server.client().endpoint();
    let list = ["tenant", "keys", "list", "--endpoint", &endpoint];
    let by_a_damaged_one = place.run_by(Some(&keys[0]), &list, "")?;
    ensure!(!by_a_damaged_one.status.success(), "a damaged key counts");
    let listed = place.run_by(Some(&keys[1]), &list, "")?;
    let listed = String::from_utf8(listed.stdout)?;
    ensure!(
        listed.contains(&remove) && listed.contains(ids[1]),
        "{listed}"
    );
    server.stop()?;

    damage(&place, MARKS[1])?;
    let refused = place.refused_to_serve()?;
    let errors = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        refused.status.code() == Some(2) && errors.contains("no access key opens"),
        "{errors}"
    );
    for id in ids {
        tenant(&["keys", "remove", id])?;
    }
    let audit = tenant(&["audit", server::ACCOUNT])?;
    let removed = audit.matches("stepwell:RemoveAccessKey").count();
    ensure!(removed == 2, "{audit}");
    place.serve(&[])?.stop()
}

/// Changes the first byte of a text wherever the store has it.
fn damage(place: &Place, text: &str) -> Result<()> {
    let mut found = 0;
    for entry in fs::read_dir(place.path("data"))? {
        let path = entry?.path();
        if !path.is_file() {
            continue;
        }
        let mut bytes = fs::read(&path)?;
        let windows = bytes.windows(text.len()).enumerate();
        let at: Vec<usize> = windows
            .filter(|(_, window)| *window == text.as_bytes())
            .map(|(at, _)| at)
            .collect();
        for at in &at {
            bytes[*at] ^= 0x01;
        }
        found += at.len();
        if !at.is_empty() {
            fs::write(&path, bytes)?;
        }
    }
    ensure!(found > 0, "the store has no `{text}`");
    Ok(())
}

/// Where a server holds the data directory, commands say how it is asked.
fn held_by_a_server() -> Result<()> {
    let place = Place::new()?;
    let server = place.serve(&[])?;
    for command in [&["machine", "list"][..], &["secret", "list"]] {
        let held = place.run(&[command, &["--data", "data"]].concat(), "")?;
        let errors = String::from_utf8_lossy(&held.stderr);
        ensure!(
            held.status.code() == Some(3)
                && errors.contains("is in use")
                && errors.contains("--endpoint"),
            "{errors}"
        );
    }
    let key_file = ["tenant", "key-file", "--data", "data"];
    place.told(&[&key_file[..], &["--key-file", "held.key"]].concat(), "")?;
    server.stop()?;
    // What cannot be opened otherwise is no server's.
    fs::write(place.path("data/journal.sqlite"), "")?;
    let gone = place.run(&["machine", "list", "--data", "data"], "")?;
    let errors = String::from_utf8_lossy(&gone.stderr);
    ensure!(
        errors.contains("restore the file") && !errors.contains("--endpoint"),
        "{errors}"
    );
    let refused = place.run(&key_file, "")?;
    ensure!(
        !refused.status.success() && !place.path("data.key").exists(),
        "a key file is made beside a store that nobody could read"
    );
    Ok(())
}
