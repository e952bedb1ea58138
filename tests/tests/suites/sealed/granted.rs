//! What a plugin is granted of secrets and ceilings: as the operator's files change under a running server, and as
//! `plugin inspect` tells it to the operator and to a tenant.

use std::{fs, process::Output, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use stepwell_tests::server;

use super::{LOOK, PATIENCE, Place, ended, reads, task};

/// Files of secrets and ceilings count again when they change; one that is broken replaces nothing and is told.
pub(super) fn files_are_taken_again() -> Result<()> {
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
pub(super) fn inspected() -> Result<()> {
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
        !wrong.status.success()
            && errors.contains("ceiling.toml:1:")
            && !errors.contains("the ceiling:")
            && errors.contains("`much` is no size"),
        "{errors}"
    );
    let check = place.told(&["plugin", "check", "task", "--plugins", "plugins"], "")?;
    ensure!(check.contains("is a plugin"), "{check}");
    Ok(())
}

/// Whoever inspects a plugin by a tenant's key is told of the tenant's own ceiling and secrets, without naming its account.
pub(super) fn inspected_by_a_tenant() -> Result<()> {
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
