//! The life of uploaded plugins through the command line and a server: back to an earlier version while a task runs, the
//! collection of code that nothing has, a server that is told to stop while it compiles, and uploads that mean harm: one that a
//! compiler has no end with, what is no plugin or could not begin, and a thousand in a row.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    command::{self, refused, well},
    place::Place,
    python,
    server::{self, Client, ROLE},
};

use super::{tenants, trial};

/// Who waits longer for something waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "uploads::go_back_while_a_task_runs",
            go_back_while_a_task_runs,
        ),
        trial(
            "uploads::no_fresh_alias_goes_back",
            no_fresh_alias_goes_back,
        ),
        trial("uploads::weights_go_back", weights_go_back),
        trial(
            "uploads::no_alias_is_refused_too_late",
            no_alias_is_refused_too_late,
        ),
        trial("uploads::tell_what_is_in_force", tell_what_is_in_force),
        trial("uploads::ask_for_a_key_by_name", ask_for_a_key_by_name),
        trial("uploads::are_told_where_they_are", are_told_where_they_are),
        trial(
            "uploads::rollbacks_at_once_follow_each_other",
            rollbacks_at_once_follow_each_other,
        ),
        trial(
            "uploads::calls_are_listed_of_what_is_there",
            calls_are_listed_of_what_is_there,
        ),
        trial("uploads::are_collected", are_collected),
        trial("uploads::stop_with_the_server", stop_with_the_server),
        trial(
            "uploads::end_with_the_compilers_time",
            end_with_the_compilers_time,
        ),
        trial(
            "uploads::broken_ones_replace_nothing",
            broken_ones_replace_nothing,
        ),
        trial("uploads::a_thousand_in_a_row", a_thousand_in_a_row),
    ]
}

/// The program, with its flags after the place. What was compiled in other tests is not compiled here.
fn stepwell(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = command::stepwell(folder, arguments)?;
    command.env("XDG_CACHE_HOME", folder.join("user-cache"));
    Ok(command)
}

/// The same on a wide terminal, which Python brings along: its exit code, and all that it shows.
fn on_a_terminal(folder: &Path, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    const SPAWN: &str =
        "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    const WIDE: &str = r#"stty cols 200 rows 50; exec "$0" "$@""#;
    let output = Command::new(python::interpreter()?)
        .args(["-c", SPAWN, "sh", "-c", WIDE])
        .arg(server::program()?)
        .args(arguments)
        .current_dir(folder)
        .env("TERM", "xterm")
        .env("XDG_CACHE_HOME", folder.join("user-cache"))
        .env_remove("AWS_ACCESS_KEY_ID")
        .stdin(Stdio::null())
        .output()?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((output.status.code(), shown))
}

/// A command on a running server that must succeed, and what it prints.
fn told(folder: &Path, client: &Client, arguments: &[&str]) -> Result<String> {
    let endpoint = client.endpoint();
    let place = ["--endpoint", &endpoint];
    well(stepwell(folder, &[arguments, &place].concat())?.output()?)
}

fn push(folder: &Path, client: &Client, guest: &str, more: &[&str]) -> Result<String> {
    let file = server::guest(guest)?;
    let file = file.to_str().context("a path")?;
    let push = ["plugin", "push", file, "--name", "pay", "--timeout", "60s"];
    told(folder, client, &[&push, more].concat())
}

fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if is_so()? {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    bail!("in vain waited for: {what}")
}

fn go_back_while_a_task_runs() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let client = server.client();
    let live = ["--publish", "--alias", "live"];
    push(folder, &client, "behave", &live)?;
    let function = "arn:aws:lambda:us-east-1:000000000000:function:pay:live";
    let definition = json!({
        "StartAt": "Pay",
        "States": {"Pay": {"Type": "Task", "Resource": function, "End": true}}
    });
    let durable = client.create_machine("durable", &definition)?;
    let express = json!({
        "name": "express", "definition": definition.to_string(), "roleArn": ROLE, "type": "EXPRESS",
    });
    let express = client.call("CreateStateMachine", &express)?;
    let express = express["stateMachineArn"].as_str().context("an ARN")?;
    let now = |client: &Client| -> Result<Value> {
        let request = json!({"stateMachineArn": express, "input": "{\"do\": \"echo\"}"});
        let answer = client.call("StartSyncExecution", &request)?;
        let output = answer["output"].as_str();
        Ok(serde_json::from_str(
            output.with_context(|| answer.to_string())?,
        )?)
    };
    let one = json!({"do": "echo"});
    ensure!(now(&client)? == one, "the first version");
    let running = client.start(&durable, "running", &json!({"do": "sleep", "ms": 3_000}))?;
    until("the task", || {
        let history = client.history(&running)?;
        Ok(history
            .iter()
            .any(|event| event["type"] == "LambdaFunctionStarted"))
    })?;
    push(folder, &client, "noop", &live)?;
    ensure!(now(&client)? == Value::Null, "the second version");
    told(folder, &client, &["plugin", "rollback", "pay", "live"])?;
    ensure!(now(&client)? == one, "the first version again");
    // The newest code goes back as well, by the same upload.
    push(folder, &client, "behave", &[])?;
    told(
        folder,
        &client,
        &["plugin", "alias", "pay", "live", "$LATEST"],
    )?;
    ensure!(now(&client)? == one, "the first code again");
    // What it stood for before is no matter of numbers, and a second one takes the first back.
    for version in ["1", "$LATEST"] {
        let said = told(folder, &client, &["plugin", "rollback", "pay", "live"])?;
        ensure!(
            said == format!("live of pay stands for {version}\n"),
            "{said}"
        );
    }
    let ended = client.ended(&running, PATIENCE)?;
    ensure!(
        ended["output"] == "\"awake\"",
        "a running task did not finish on its version: {ended}"
    );
    server.stop()
}

/// An alias that stood for one version alone does not go to another one that is there.
fn no_fresh_alias_goes_back() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let client = server.client();
    push(folder, &client, "noop", &["--publish"])?;
    push(
        folder,
        &client,
        "behave",
        &["--publish", "--alias", "fresh"],
    )?;
    let endpoint = client.endpoint();
    let rollback = [
        "plugin",
        "rollback",
        "pay",
        "fresh",
        "--endpoint",
        &endpoint,
    ];
    let output = stepwell(folder, &rollback)?.output()?;
    refused(
        &output,
        2,
        &[
            "fresh of pay stands for 2, and has stood for nothing else",
            "hint: ",
        ],
    )?;
    let versions = ["plugin", "versions", "pay", "--json"];
    let told: Value = serde_json::from_str(&told(folder, &client, &versions)?)?;
    ensure!(told["aliases"][0]["FunctionVersion"] == "2", "{told}");
    server.stop()
}

/// What an alias stood for is a version and its weights, of which neither goes in silence.
fn weights_go_back() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let client = server.client();
    for guest in ["noop", "behave", "echo"] {
        push(folder, &client, guest, &["--publish"])?;
    }
    let weigh = |alias: &str, weights: Value| -> Result<()> {
        let change = json!({"RoutingConfig": {"AdditionalVersionWeights": weights}});
        let path = format!("/2015-03-31/functions/pay/aliases/{alias}");
        let (status, answer) = client.put(&path, &change.to_string())?;
        ensure!(status == 200, "{status}: {answer}");
        Ok(())
    };
    for version in ["1", "2"] {
        told(folder, &client, &["plugin", "alias", "pay", "can", version])?;
    }
    weigh("can", json!({"3": 0.1}))?;
    told(folder, &client, &["plugin", "alias", "pay", "one", "1"])?;
    weigh("one", json!({"3": 1.0}))?;
    let said = told(folder, &client, &["plugin", "versions", "pay"])?;
    for (version, aliases) in [
        ("1", "one 0 %"),
        ("2", "can 90 %"),
        ("3", "can 10 %, one 100 %"),
    ] {
        let row = said.lines().find(|row| row.starts_with(version));
        ensure!(row.is_some_and(|row| row.contains(aliases)), "{said}");
    }
    for (alias, stands_for) in [
        ("can", "2"),
        ("can", "2, and for 3 in 10 % of its calls"),
        ("can", "2"),
        ("one", "1"),
        ("one", "1, and for 3 in 100 % of its calls"),
    ] {
        let said = told(folder, &client, &["plugin", "rollback", "pay", alias])?;
        ensure!(
            said == format!("{alias} of pay stands for {stands_for}\n"),
            "{said}"
        );
    }
    let endpoint = client.endpoint();
    let file = server::guest("noop")?;
    let file = file.to_str().context("a path")?;
    for takes in [
        &["plugin", "alias", "pay", "one", "2"][..],
        &[
            "plugin",
            "push",
            file,
            "--name",
            "pay",
            "--publish",
            "--alias",
            "one",
        ],
    ] {
        let output = stepwell(folder, &[takes, &["--endpoint", &endpoint]].concat())?.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success()
                && said.contains("the weights of one are taken away: it stood for"),
            "{said}"
        );
        told(folder, &client, &["plugin", "rollback", "pay", "one"])?;
    }
    server.stop()
}

/// What no alias may be called is refused before anything is sent.
fn no_alias_is_refused_too_late() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let endpoint = server.client().endpoint();
    let file = server::guest("noop")?;
    let file = file.to_str().context("a path")?;
    for name in ["a b", "7", ""] {
        let push = [
            "plugin",
            "push",
            file,
            "--name",
            "pay",
            "--publish",
            "--alias",
            name,
        ];
        let output =
            stepwell(folder, &[&push[..], &["--endpoint", &endpoint]].concat())?.output()?;
        refused(
            &output,
            2,
            &["an alias's name is 1 to 128 of A-Z a-z 0-9 - _"],
        )?;
    }
    let said = told(folder, &server.client(), &["plugin", "versions", "--json"])?;
    let all: Value = serde_json::from_str(&said)?;
    ensure!(all == json!([]), "{all}");
    server.stop()
}

/// Under a ceiling an upload is told with what it has, and not with what it asked for.
fn tell_what_is_in_force() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let ceilings = "[default]\nlimits = { memory = \"64MiB\", wall = \"10s\" }\n";
    std::fs::write(folder.join("ceilings.toml"), ceilings)?;
    let file = folder.join("ceilings.toml");
    let file = file.to_str().context("a path")?;
    let server = place.serve(&["--ceilings", file])?;
    let said = push(folder, &server.client(), "noop", &["--memory", "4GiB"])?;
    let told =
        "64 MiB of memory (not 4096 MiB: the operator's ceiling allows no more), 10 s (not 60 s: ";
    ensure!(said.contains(told), "{said}");
    server.stop()
}

/// Whoever has no key is told how to give one, as by all other commands.
fn ask_for_a_key_by_name() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    tenants::told(&place.data, &["tenant", "add", tenants::A])?;
    tenants::add_key(&place.data, tenants::A, "admin", "a")?;
    let server = place.serve(&["--auth"])?;
    let endpoint = server.client().endpoint();
    for keyless in [
        &["plugin", "versions"][..],
        &["plugin", "rollback", "pay", "live"],
        &["plugin", "invoke", "pay"],
    ] {
        let output = stepwell(folder, &[keyless, &["--endpoint", &endpoint]].concat())?.output()?;
        let words = [
            "IncompleteSignatureException",
            "hint: ",
            "set AWS_ACCESS_KEY_ID",
        ];
        refused(&output, 2, &words).with_context(|| format!("{keyless:?}"))?;
    }
    server.stop()
}

/// Whoever looks in the wrong place, or for what is not there, is told what lists it.
fn are_told_where_they_are() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let client = server.client();
    push(folder, &client, "noop", &[])?;
    let endpoint = client.endpoint();
    let of_it = "hint: `stepwell plugin versions pay --endpoint";
    let all = "`stepwell plugin versions --endpoint";
    for (wrong, word) in [
        (&["plugin", "alias", "pay", "canary", "9"][..], of_it),
        (&["plugin", "invoke", "pay:9"][..], of_it),
        (&["plugin", "rollback", "nope", "nope"][..], all),
        (&["plugin", "remove", "nope"][..], all),
        (&["plugin", "versions", "nope"][..], all),
        (
            &["plugin", "inspect", "pay"][..],
            "`stepwell plugin versions pay` shows one that was uploaded",
        ),
    ] {
        let output = stepwell(folder, &[wrong, &["--endpoint", &endpoint]].concat())?.output()?;
        refused(&output, 2, &[word]).with_context(|| format!("{wrong:?}"))?;
    }
    std::fs::create_dir_all(folder.join("empty"))?;
    let list = stepwell(folder, &["plugin", "list", "--plugins", "empty"])?.output()?;
    let said = String::from_utf8_lossy(&list.stderr).into_owned();
    ensure!(
        said.contains("`stepwell plugin versions` lists what was uploaded"),
        "{said}"
    );
    server.stop()
}

/// Whoever rolls back is told what the alias stands for by it, or that somebody else was faster.
fn rollbacks_at_once_follow_each_other() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let client = server.client();
    let live = ["--publish", "--alias", "live"];
    push(folder, &client, "noop", &live)?;
    push(folder, &client, "behave", &live)?;
    let endpoint = client.endpoint();
    let rollback = ["plugin", "rollback", "pay", "live", "--endpoint", &endpoint];
    let mut running = Vec::new();
    for _ in 0..7 {
        let mut command = stepwell(folder, &rollback)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        running.push(command.spawn()?);
    }
    let (mut back, mut forth) = (0, 0);
    for child in running {
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match said.as_str() {
            "live of pay stands for 1\n" => back += 1,
            "live of pay stands for 2\n" => forth += 1,
            _ => refused(&output, 2, &["live of pay was changed meanwhile", "hint: "])?,
        }
    }
    // From 2 to 1, and in turn: no other sequence gives these replies.
    ensure!(
        back == forth || back == forth + 1,
        "{back} to 1, {forth} to 2"
    );
    ensure!(back > 0, "nobody was first");
    let versions = ["plugin", "versions", "pay", "--json"];
    let told: Value = serde_json::from_str(&told(folder, &client, &versions)?)?;
    let now = if back == forth { "2" } else { "1" };
    ensure!(told["aliases"][0]["FunctionVersion"] == now, "{told}");
    server.stop()
}

/// The calls that nobody waits for are those of a plugin that is there, by its name or its ARN.
fn calls_are_listed_of_what_is_there() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let client = server.client();
    push(folder, &client, "noop", &[])?;
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:pay";
    for named in ["pay", arn] {
        let listed = told(folder, &client, &["plugin", "events", named, "--json"])?;
        ensure!(listed == "[]\n", "{named}: {listed}");
    }
    let endpoint = client.endpoint();
    let events = |named: &str| -> Result<std::process::Output> {
        let events = ["plugin", "events", named, "--endpoint", &endpoint];
        Ok(stepwell(folder, &events)?.output()?)
    };
    let (other, version) = (arn.replace("us-east-1", "eu-west-1"), format!("{arn}:live"));
    for (named, parts) in [
        ("zz", ["there is no plugin `zz` uploaded", "hint: "]),
        ("pay:live", ["names the version or alias `live`", "hint: "]),
        (
            version.as_str(),
            ["names the version or alias `live`", "hint: "],
        ),
        (other.as_str(), ["in eu-west-1; asked is account", "hint: "]),
    ] {
        refused(&events(named)?, 2, &parts)?;
    }
    server.stop()
}

fn are_collected() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let client = server.client();
    push(folder, &client, "noop", &[])?;
    push(folder, &client, "identity", &[])?;
    let gc = |more: &[&str]| -> Result<Value> {
        let gc = ["plugin", "gc", "--json", "--grace", "0s"];
        let said = told(folder, &client, &[&gc, more].concat())?;
        Ok(serde_json::from_str(&said)?)
    };
    // On a server there is a minute of grace, whatever is asked for.
    let found = gc(&["--dry-run"])?;
    ensure!(
        found["code"] == json!([]) && found["waiting"] == 1 && found["graceSeconds"] == 60,
        "{found}"
    );
    let endpoint = client.endpoint();
    let gc_now = ["plugin", "gc", "--dry-run", "--grace", "0s", "--endpoint"];
    let said = stepwell(folder, &[&gc_now[..], &[endpoint.as_str()]].concat())?.output()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(said.contains("--grace 0s counts as 60 s"), "{said}");
    told(folder, &client, &["plugin", "remove", "pay"])?;
    let found = gc(&[])?;
    ensure!(
        found["code"] == json!([]) && found["waiting"] == 2,
        "{found}"
    );
    let compiled = || -> Result<usize> { Ok(std::fs::read_dir(place.data.join("cache"))?.count()) };
    ensure!(compiled()? == 4, "{} files of compiled code", compiled()?);
    server.stop()?;
    let offline = ["--grace", "0s", "--data", "data"];
    let told_here = |first: &[&str]| -> Result<String> {
        well(stepwell(folder, &[first, &offline].concat())?.output()?)
    };
    let said = told_here(&["plugin", "gc", "--dry-run"])?;
    ensure!(said.contains("2 codes would go"), "{said}");
    let said = told_here(&["plugin", "gc", "--json"])?;
    let gone: Value = serde_json::from_str(&said)?;
    let code = gone["code"].as_array().context("a list")?;
    ensure!(
        code.len() == 2 && code.iter().all(|one| one["removed"] == true),
        "{gone}"
    );
    ensure!(compiled()? == 0, "compiled code is left behind");
    let said = told_here(&["plugin", "gc"])?;
    ensure!(said == "no code went, 0 bytes\n", "{said}");
    // And it comes again as if it had never been there.
    let server = place.serve(&[])?;
    push(folder, &server.client(), "noop", &[])?;
    server.stop()
}

/// The server ends within its time, and nothing compiles on after it.
fn stop_with_the_server() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    std::fs::write(folder.join("slow.wasm"), slow())?;
    let endpoint = server.client().endpoint();
    let push = ["plugin", "push", "slow.wasm", "--endpoint", &endpoint];
    let pushing = stepwell(folder, &push)?.spawn()?;
    let mut worker = None;
    until("a process that compiles", || {
        worker = compiling(folder)?;
        Ok(worker.is_some())
    })?;
    let worker = worker.context("it was there")?;
    server.stop()?;
    let status = Path::new("/proc").join(&worker).join("cmdline");
    until("its end", || {
        let left = std::fs::read(&status).unwrap_or_default();
        Ok(!String::from_utf8_lossy(&left).contains("compile-plugin"))
    })?;
    ended(pushing)
}

/// The upload that was under way says how it ended: it has the time of a request in progress.
fn ended(pushing: Child) -> Result<()> {
    let output = pushing.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success() || (output.status.code() == Some(3) && said.contains("error")),
        "{}: {said}",
        output.status
    );
    Ok(())
}

/// A process that compiles for a server whose data is in this folder.
fn compiling(folder: &Path) -> Result<Option<String>> {
    let folder = folder.to_str().context("a path")?;
    let line = |process: &str| {
        let line = std::fs::read(Path::new("/proc").join(process).join("cmdline"));
        String::from_utf8_lossy(&line.unwrap_or_default()).into_owned()
    };
    for process in std::fs::read_dir("/proc")?.flatten() {
        let process = process.file_name().to_string_lossy().into_owned();
        if !line(&process).contains("compile-plugin") {
            continue;
        }
        let stat = Path::new("/proc").join(&process).join("stat");
        let stat = std::fs::read_to_string(stat).unwrap_or_default();
        // Behind the name, which may have anything in it, the state and the parent.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1).map(str::to_owned));
        if parent.is_some_and(|parent| line(&parent).contains(folder)) {
            return Ok(Some(process));
        }
    }
    Ok(None)
}

/// A plugin that takes minutes to compile is refused by the bound's name; what it was to replace goes on, and so does the server.
fn end_with_the_compilers_time() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&["--compile-cpu", "5s"])?;
    let client = server.client();
    push(folder, &client, "echo", &[])?;
    std::fs::write(folder.join("slow.wasm"), slow())?;
    let endpoint = client.endpoint();
    let again = [
        "plugin",
        "push",
        "slow.wasm",
        "--name",
        "pay",
        "--endpoint",
        &endpoint,
    ];
    let (code, shown) = on_a_terminal(folder, &again)?;
    ensure!(
        code == Some(2)
            && shown.contains("more than 5 s of CPU time")
            && shown.contains("--compile-cpu"),
        "{code:?}: {shown}"
    );
    // Meanwhile a line was drawn again and again: what it is at, and for how long.
    let drawn = shown.matches("\u{1b}[1A\r\u{1b}[J").count();
    // Which of the seconds are shown is the machine's affair.
    let counts = (3..=PATIENCE.as_secs()).any(|s| shown.contains(&format!("  {s} s")));
    ensure!(
        drawn > 5 && shown.contains("plugin `pay` is being compiled") && counts,
        "drawn {drawn} times: {shown}"
    );
    let path = "/2015-03-31/functions/pay/invocations";
    let (status, answer) = client.post(path, &[], "7")?;
    ensure!(status == 200 && answer == "7", "{status}: {answer}");
    push(folder, &client, "noop", &[])?;
    server.stop()
}

/// What is no plugin, or could not begin, is refused with what is wrong and what to do, and the code before it serves on.
fn broken_ones_replace_nothing() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let client = server.client();
    let sent = ["plugin", "push", "broken.wasm", "--name", "pay"];
    let endpoint = client.endpoint();
    let to_it = ["--memory", "128MiB", "--endpoint", &endpoint];
    push(folder, &client, "echo", &[])?;
    let whole = std::fs::read(server::guest("echo")?)?;
    let not_offered = "it imports what this host does not have: `env.door`";
    for (what, wasm, words) in [
        (
            "a text",
            b"#!/bin/sh\nexit 0\n".to_vec(),
            [
                "`broken.wasm`",
                "neither a zip archive nor WebAssembly: it begins with `#!/bin/sh",
            ],
        ),
        (
            "a half",
            whole[..whole.len() / 2].to_vec(),
            ["pay", "not valid WebAssembly for this host"],
        ),
        (
            "a stranger",
            importing_a_door(),
            [not_offered, "build it without"],
        ),
        (
            "memories of 160 MiB",
            idle(5, &[b"\x04".to_vec(), b"\0\x80\x05".repeat(4)].concat()),
            [
                "167772160 bytes of memory and may have 134217728",
                "raise MemorySize",
            ],
        ),
        (
            "tables of 8 times 49,999",
            idle(
                4,
                &[b"\x08".to_vec(), b"\x70\0\xcf\x86\x03".repeat(8)].concat(),
            ),
            [
                "399992 elements of tables",
                "may have 50000; build it with smaller tables",
            ],
        ),
    ] {
        std::fs::write(folder.join("broken.wasm"), wasm)?;
        let pushed = stepwell(folder, &[&sent[..], &to_it].concat())?.output()?;
        refused(&pushed, 2, &words).with_context(|| what.to_owned())?;
        let path = "/2015-03-31/functions/pay/invocations";
        let (status, answer) = client.post(path, &[], "7")?;
        ensure!(status == 200 && answer == "7", "{what}: {status}: {answer}");
    }
    server.stop()
}

/// A command that does nothing, with a section of so many things before its exports.
fn idle(id: u8, things: &[u8]) -> Vec<u8> {
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    section(&mut wasm, 1, b"\x01\x60\0\0");
    section(&mut wasm, 3, b"\x01\0");
    section(&mut wasm, id, things);
    section(&mut wasm, 7, b"\x01\x06_start\0\0");
    let mut code = vec![1];
    body(&mut code, b"");
    section(&mut wasm, 10, &code);
    wasm
}

/// One that wants a function `door` of its host.
fn importing_a_door() -> Vec<u8> {
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    section(&mut wasm, 1, b"\x01\x60\0\0");
    section(&mut wasm, 2, b"\x01\x03env\x04door\0\0");
    section(&mut wasm, 3, b"\x01\0");
    section(&mut wasm, 7, b"\x01\x06_start\0\x01");
    let mut code = vec![1];
    body(&mut code, b"");
    section(&mut wasm, 10, &code);
    wasm
}

/// Functions of different content, one after the other: all are there, each is what was sent, and the server serves.
fn a_thousand_in_a_row() -> Result<()> {
    const COUNT: usize = 1_000;
    let place = Place::new()?;
    let server = place.serve(&[])?;
    let client = server.client();
    for number in 0..COUNT {
        let code = STANDARD.encode(small(number));
        let request = json!({
            "FunctionName": format!("task-{number}"), "Role": ROLE, "Code": {"ZipFile": code},
        });
        let headers = [("Content-Type", "application/json")];
        let answer = client.post("/2015-03-31/functions", &headers, &request.to_string())?;
        ensure!(answer.0 == 201, "{number}: {answer:?}");
    }
    for number in [0, COUNT / 2, COUNT - 1] {
        let path = format!("/2015-03-31/functions/task-{number}/invocations");
        let (status, answer) = client.post(&path, &[], "null")?;
        ensure!(
            status == 200 && answer == number.to_string(),
            "{number}: {status}: {answer}"
        );
    }
    let (mut found, mut page) = (0, String::new());
    loop {
        let path = format!("/2015-03-31/functions?MaxItems=50{page}");
        let (status, answer) = client.get(&path)?;
        ensure!(status == 200, "{status}: {answer}");
        let answer: Value = serde_json::from_str(&answer)?;
        found += answer["Functions"].as_array().map_or(0, Vec::len);
        match answer["NextMarker"].as_str() {
            Some(marker) => {
                let coded: String = marker.bytes().map(|byte| format!("%{byte:02X}")).collect();
                page = format!("&Marker={coded}");
            }
            None => break,
        }
    }
    ensure!(found == COUNT, "{found} functions are listed");
    let (_, metrics) = client.get("/metrics")?;
    let loaded = metrics
        .lines()
        .find(|line| line.starts_with("stepwell_sandbox_loaded "));
    let loaded = loaded.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    ensure!(
        loaded.is_some_and(|loaded| loaded <= 1_000.0),
        "{loaded:?} plugins are in memory"
    );
    server.stop()
}

/// A command that writes a number of its own.
fn small(number_of_it: usize) -> Vec<u8> {
    let text = number_of_it.to_string();
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    // Types: (i32 i32 i32 i32) -> i32, () -> ()
    let types = b"\x02\x60\x04\x7f\x7f\x7f\x7f\x01\x7f\x60\0\0";
    section(&mut wasm, 1, types);
    let mut import = vec![1, 22];
    import.extend(b"wasi_snapshot_preview1");
    import.push(8);
    import.extend(b"fd_write\0\0");
    section(&mut wasm, 2, &import);
    section(&mut wasm, 3, b"\x01\x01");
    section(&mut wasm, 5, b"\x01\0\x01");
    section(&mut wasm, 7, b"\x02\x06memory\x02\0\x06_start\0\x01");
    let mut code = vec![1];
    // fd_write(1, iovec at 0, 1, written at 8); drop
    body(&mut code, b"\x41\x01\x41\0\x41\x01\x41\x08\x10\0\x1a");
    section(&mut wasm, 10, &code);
    // At 0: the iovec (16, its length); at 16: the text.
    let mut data = b"\x02\0\x41\0\x0b\x08\x10\0\0\0".to_vec();
    data.extend([text.len() as u8, 0, 0, 0]);
    data.extend(b"\0\x41\x10\x0b");
    data.push(text.len() as u8);
    data.extend(text.as_bytes());
    section(&mut wasm, 11, &data);
    wasm
}

/// A command that takes a compiler minutes: functions that each do a lot, and none of which is called.
fn slow() -> Vec<u8> {
    const FUNCTIONS: u32 = 800;
    const STEPS: usize = 6_000;
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    section(&mut wasm, 1, b"\x02\x60\0\0\x60\x01\x7f\x01\x7f");
    let mut types = Vec::new();
    number(&mut types, FUNCTIONS + 1);
    types.push(0);
    types.extend(std::iter::repeat_n(1, FUNCTIONS as usize));
    section(&mut wasm, 3, &types);
    section(&mut wasm, 7, b"\x01\x06_start\0\0");
    let mut code = Vec::new();
    number(&mut code, FUNCTIONS + 1);
    body(&mut code, b"");
    // local.get 0; then again and again: i32.const; i32.xor; local.get 0; i32.rotl; local.get 0; i32.add
    let mut sum = b"\x20\0".to_vec();
    for step in 0..STEPS {
        sum.extend([0x20, 0, 0x41, (step % 64) as u8, 0x73, 0x20, 0, 0x77, 0x6a]);
    }
    for _ in 0..FUNCTIONS {
        body(&mut code, &sum);
    }
    section(&mut wasm, 10, &code);
    wasm
}

fn body(code: &mut Vec<u8>, instructions: &[u8]) {
    number(code, instructions.len() as u32 + 2);
    code.push(0);
    code.extend(instructions);
    code.push(0x0b);
}

fn section(wasm: &mut Vec<u8>, id: u8, content: &[u8]) {
    wasm.push(id);
    number(wasm, content.len() as u32);
    wasm.extend(content);
}

/// LEB128.
fn number(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}
