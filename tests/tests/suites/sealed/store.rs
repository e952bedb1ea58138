//! What is kept sealed in the store: secrets, connections and access keys; nowhere in clear, under the key file that there is,
//! another one or none.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use stepwell_tests::server::{self, CallError};

use super::{Place, ended, reads, task};

/// Put at the data directory and on the running server, read by a guest and put into its request, sealed anew, and nowhere in
/// clear.
pub(super) fn secrets() -> Result<()> {
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
pub(super) fn a_rotation_says_what_it_leaves() -> Result<()> {
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
pub(super) fn connections() -> Result<()> {
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
pub(super) fn without_a_key_file() -> Result<()> {
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
    let refused = place.refused_to_serve(&[])?;
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

/// An access key that was damaged in the store is refused and named, and keeps nobody else out; a store in which none is whole
/// is not served, least of all without asking for keys.
pub(super) fn damaged_access_keys() -> Result<()> {
    const MARKS: [&str; 2] = ["first-mark", "other-mark"];
    const OTHER: &str = "111111111111";
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
    tenant(&["add", OTHER])?;
    let other = tenant(&["keys", "add", OTHER, "--role", "operator", "--json"])?;
    let other: Value = serde_json::from_str(&other)?;
    damage(&place, MARKS[0], 0x01)?;
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
    let gone = ["tenant", "keys", "remove", ids[0], "--endpoint", &endpoint];
    let gone = place.run_by(Some(&other), &gone, "")?;
    ensure!(gone.status.success(), "{gone:?}");
    server.stop()?;

    let other = other["accessKeyId"].as_str().context("an id")?;
    tenant(&["keys", "remove", other])?;
    damage(&place, MARKS[1], 0x01)?;
    let refused = place.refused_to_serve(&[])?;
    let errors = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        refused.status.code() == Some(2) && errors.contains("no access key opens"),
        "{errors}"
    );
    tenant(&["keys", "remove", ids[1]])?;
    let open = place.refused_to_serve(&["--behind-proxy"])?;
    let errors = String::from_utf8_lossy(&open.stderr);
    ensure!(
        open.status.code() == Some(2) && errors.contains("through the proxy"),
        "{errors}"
    );
    // Whose they were is not known: both are told in the default account's, whoever took them away.
    let audit = tenant(&["audit", server::ACCOUNT])?;
    let removed = audit.matches("stepwell:RemoveAccessKey").count();
    ensure!(removed == 2, "{audit}");
    place.serve(&[])?.stop()
}

/// Access keys of which the store no longer says that they are some: nobody is served without one, and no key of the key file goes.
pub(super) fn access_keys_that_nobody_can_name() -> Result<()> {
    let place = Place::new()?;
    let data = ["--data", "data"];
    let tenant = |arguments: &[&'static str]| [&["tenant"][..], arguments, &data].concat();
    place.told(&tenant(&["add", server::ACCOUNT]), "")?;
    let add = ["keys", "add", server::ACCOUNT, "--role", "operator"];
    place.told(&tenant(&add), "")?;
    let key_file = fs::read(place.path("data.key"))?;
    // The kind of their records is no text any more.
    damage(&place, "access-key", 0x80)?;
    let refused = place.refused_to_serve(&[])?;
    let errors = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        refused.status.code() == Some(3)
            && errors.contains("may be access keys")
            && errors.contains("restore the store from a backup"),
        "{errors}"
    );
    let rotated = place.run(&tenant(&["rotate"]), "")?;
    let errors = String::from_utf8_lossy(&rotated.stderr);
    ensure!(
        !rotated.status.success() && errors.contains("that nobody can name"),
        "{errors}"
    );
    ensure!(
        fs::read(place.path("data.key"))? == key_file,
        "the key file is another"
    );
    Ok(())
}

/// Where a server holds the data directory, commands say how it is asked.
pub(super) fn held_by_a_server() -> Result<()> {
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

/// The text that an execution gave back.
fn output(end: &Value) -> Option<String> {
    serde_json::from_str(end["output"].as_str()?).ok()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// Changes bits of the first byte of a text wherever the store has it.
fn damage(place: &Place, text: &str, bits: u8) -> Result<()> {
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
            bytes[*at] ^= bits;
        }
        found += at.len();
        if !at.is_empty() {
            fs::write(&path, bytes)?;
        }
    }
    ensure!(found > 0, "the store has no `{text}`");
    Ok(())
}
