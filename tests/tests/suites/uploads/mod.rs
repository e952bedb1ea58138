//! The life of uploaded plugins through the command line and a server: what is said of them, who may ask, and where what was uploaded
//! is found. Their aliases, their code and what a terminal shows of both have files of their own.

mod aliases;
mod code;
mod shown;

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use stepwell_tests::{
    command::{self, refused, well},
    place::Place,
    server::{self, Client},
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
            aliases::go_back_while_a_task_runs,
        ),
        trial(
            "uploads::no_fresh_alias_goes_back",
            aliases::no_fresh_alias_goes_back,
        ),
        trial("uploads::weights_go_back", aliases::weights_go_back),
        trial(
            "uploads::no_alias_is_refused_too_late",
            aliases::no_alias_is_refused_too_late,
        ),
        trial("uploads::tell_what_is_in_force", tell_what_is_in_force),
        trial("uploads::ask_for_a_key_by_name", ask_for_a_key_by_name),
        trial("uploads::are_told_where_they_are", are_told_where_they_are),
        trial(
            "uploads::rollbacks_at_once_follow_each_other",
            aliases::rollbacks_at_once_follow_each_other,
        ),
        trial(
            "uploads::calls_are_listed_of_what_is_there",
            calls_are_listed_of_what_is_there,
        ),
        trial(
            "uploads::calls_are_executions_by_name",
            calls_are_executions_by_name,
        ),
        trial("uploads::are_collected", code::are_collected),
        trial("uploads::stop_with_the_server", code::stop_with_the_server),
        trial(
            "uploads::end_with_the_compilers_time",
            code::end_with_the_compilers_time,
        ),
        trial(
            "uploads::broken_ones_replace_nothing",
            code::broken_ones_replace_nothing,
        ),
        trial("uploads::a_thousand_in_a_row", code::a_thousand_in_a_row),
        trial("uploads::bytes_that_go_up", shown::bytes_that_go_up),
        trial(
            "uploads::plugins_that_are_compiled",
            shown::plugins_that_are_compiled,
        ),
    ]
}

/// The program, with its flags after the place. What was compiled in other tests is not compiled here.
fn stepwell(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = command::stepwell(folder, arguments)?;
    command.env("XDG_CACHE_HOME", folder.join("user-cache"));
    Ok(command)
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
        (
            &["plugin", "alias", "nope", "live", "1"][..],
            "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nope\nhint: `stepwell plugin versions --endpoint",
        ),
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

/// `$lambda-NAME` in place of a state machine's name is the calls that nobody waits for, where commands on executions have it.
fn calls_are_executions_by_name() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let client = server.client();
    push(folder, &client, "noop", &[])?;
    let endpoint = client.endpoint();
    let refuses = |arguments: &[&str], words: &[&str]| -> Result<()> {
        let arguments = [arguments, &["--endpoint", &endpoint]].concat();
        let output = stepwell(folder, &arguments)?.output()?;
        refused(&output, 2, words).with_context(|| format!("{arguments:?}"))
    };
    let never = [
        "nobody has called the plugin `pay` without waiting",
        "hint: ",
    ];
    refuses(&["execution", "show", "$lambda-pay"], &never)?;
    let absent = ["there is no plugin `zz` uploaded", "hint: "];
    for command in ["list", "show", "redrive"] {
        refuses(&["execution", command, "$lambda-zz"], &absent)?;
    }
    let path = "/2015-03-31/functions/pay/invocations";
    let event = [("x-amz-invocation-type", "Event")];
    let (status, said) = client.post(path, &event, "{}")?;
    ensure!(status == 202, "{status}: {said}");
    let called = told(folder, &client, &["plugin", "events", "pay", "--json"])?;
    let called: Value = serde_json::from_str(&called)?;
    let arn = called[0]["executionArn"].as_str().context("an ARN")?;
    client.ended(arn, PATIENCE)?;
    let name = arn.rsplit(':').next().context("a name")?;
    let with_machine = format!("$lambda-pay/{name}");
    for (command, named) in [
        ("list", "$lambda-pay"),
        ("show", "$lambda-pay"),
        ("show", &with_machine),
    ] {
        let said = told(folder, &client, &["execution", command, named])?;
        ensure!(said.contains(arn), "{command} {named}: {said}");
    }
    let history = told(folder, &client, &["execution", "history", "$lambda-pay"])?;
    ensure!(history.contains("LambdaFunctionSucceeded"), "{history}");
    let forks = ["ExecutionNotForkable", "call the function again"];
    refuses(&["execution", "fork", "$lambda-pay"], &forks)?;
    let done = ["ExecutionNotRedrivable", "SUCCEEDED"];
    refuses(&["execution", "redrive", "$lambda-pay"], &done)?;
    let machine = "arn:aws:states:us-east-1:000000000000:stateMachine:$lambda-pay";
    let stands = [
        "stands for the calls of the plugin `pay` that nobody waits for",
        "hint: `stepwell plugin invoke pay`",
    ];
    for named in ["$lambda-pay", machine] {
        refuses(&["execution", "start", named], &stands)?;
        refuses(&["machine", "delete", named], &stands)?;
    }
    server.stop()
}
