//! A server that is killed at random moments, with executions that wait in every way: all end right, nothing that was
//! told is taken back, and nothing that was over is done again.

mod machines;
mod map_run;
mod measured;
mod outside;
mod redrive;
mod verdict;

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::{Duration, Instant, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    place::Place,
    server::{self, CallError, Client, Dice, Server},
};

use super::trial;
use machines::Kind;
use outside::World;
use verdict::{Call, Ended, Life};

const KILLS: usize = 20;
const EXECUTIONS: usize = 200;
/// One kill in so many comes before the server is ready.
const EARLY: u64 = 5;
/// Between the starts of two executions.
const PACE: Duration = Duration::from_millis(60);
/// Executions whose history is read right before a kill.
const LOOKED_AT: usize = 6;
/// After the last kill all executions end within this time.
const END_MAX: Duration = Duration::from_secs(60);
const WORKERS: usize = 3;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("kill::twenty_times", twenty_times),
        trial("kill::map_run", map_run::goes_on),
        trial("kill::measured", measured::adds_up),
        trial("kill::redrive", redrive::goes_on),
        trial("kill::the_judge_sees", verdict::sees_what_is_wrong),
    ]
}

/// An execution that was asked for.
struct Asked {
    kind: usize,
    arn: String,
    input: Value,
}

/// Calls the plugin once, so that it is compiled before the first kill: servers that die while they compile it call
/// nothing, and in the end the engine gives such attempts up.
fn warm(client: &Client) -> Result<()> {
    let definition = json!({ "StartAt": "Once", "States": { "Once": {
        "Type": "Task", "Resource": format!("wasm:{}", machines::PLUGIN),
        "Parameters": { "do": "sleep", "ms": 0 }, "End": true,
    } } });
    let machine = client.create_machine("warm", &definition)?;
    let execution = client.start(&machine, "once", &json!({}))?;
    let ended = client.ended(&execution, END_MAX)?;
    ensure!(ended["status"] == "SUCCEEDED", "{ended}");
    Ok(())
}

/// Gives a server the plugin of these machines, which notes its calls; the folder where it does.
fn noted(place: &Place) -> Result<PathBuf> {
    let notes = place.folder().join("notes");
    std::fs::create_dir(&notes)?;
    let grant =
        format!("[grants]\nfs = [{{ host = {notes:?}, guest = \"/notes\", mode = \"rw\" }}]");
    server::install(&place.plugins, machines::PLUGIN, "behave", &grant)?;
    Ok(notes)
}

/// The folder of a bucket that its executions have.
fn bucket(place: &Place, name: &str) -> Result<PathBuf> {
    let bucket = place.data.join("buckets").join(name);
    std::fs::create_dir_all(&bucket)?;
    Ok(bucket)
}

fn twenty_times() -> Result<()> {
    let (seed, mut dice) = Dice::seeded()?;
    println!("kill: seed {seed} (STEPWELL_SEED={seed} repeats its moments)");
    let begun = Instant::now();
    let place = Place::new()?;
    let calls = noted(&place)?.join("calls");

    let server = place.serve(&[])?;
    let client = server.client();
    warm(&client)?;
    let activity = client.call("CreateActivity", &json!({ "name": "outside" }))?;
    let activity = activity["activityArn"]
        .as_str()
        .context("an ARN")?
        .to_owned();
    let kinds = machines::kinds(&activity);
    let asked = executions(&client, &kinds, &mut dice)?;
    let world = World::new();
    let mut all = Killed {
        place: &place,
        calls: &calls,
        world: &world,
        asked: &asked,
        lives: Vec::new(),
        told: Vec::new(),
    };
    let ended = std::thread::scope(|scope| {
        let mut fork = || dice.fork();
        let people = fork();
        scope.spawn(|| outside::people(&world, &calls, people));
        for _ in 0..WORKERS {
            let dice = fork();
            scope.spawn(|| outside::worker(&world, &activity, dice));
        }
        scope.spawn(|| starter(&world, &asked, &kinds));
        let ended = all.live(server, fork());
        world.over.store(true, Ordering::Relaxed);
        ended
    });
    let histories = ended?;
    let ended = begun.elapsed();
    let wrong = judge(&all, &kinds, &histories)?;
    let (made, again) = all.counts()?;
    println!(
        "kill: {EXECUTIONS} executions ended after {KILLS} kills in {:.0} s; {made} calls made, {again} of them again \
         after a crash; {} answers lost, {} histories compared; {} wrong",
        ended.as_secs_f64(),
        world.lost.load(Ordering::Relaxed),
        all.told.len(),
        wrong.len()
    );
    ensure!(
        again > 0,
        "no kill met a running task, so this run shows nothing"
    );
    none_wrong(seed, &wrong)
}

/// Creates the state machines and draws the inputs.
fn executions(client: &Client, kinds: &[Kind], dice: &mut Dice) -> Result<Vec<Asked>> {
    let mut machines = Vec::new();
    for kind in kinds {
        let machine = client.create_machine(kind.name, &kind.definition);
        machines.push(machine.with_context(|| format!("machine {}", kind.name))?);
    }
    let asked = (0..EXECUTIONS).map(|n| {
        let kind = n % kinds.len();
        let waits = std::array::from_fn(|_| dice.roll(1..6));
        let arn = machines[kind].replace(":stateMachine:", ":execution:");
        Asked {
            kind,
            arn: format!("{arn}:e{n}"),
            input: machines::input(n, dice.roll(5..201), waits),
        }
    });
    Ok(asked.collect())
}

/// Starts the executions one after the other. A start whose answer was lost is asked for again: the name makes it one.
fn starter(world: &World, asked: &[Asked], kinds: &[Kind]) {
    for (n, asked) in asked.iter().enumerate() {
        let machine = asked.arn.replace(":execution:", ":stateMachine:");
        let machine = machine.rsplit_once(':').map_or("", |(machine, _)| machine);
        let request = json!({
            "stateMachineArn": machine, "name": format!("e{n}"), "input": asked.input.to_string(),
        });
        match world.call("StartExecution", &request) {
            Some(Ok(answer)) if answer["executionArn"] == asked.arn => {
                world.started.fetch_add(1, Ordering::Relaxed);
            }
            Some(answer) => {
                world.complain(format!("start of a {}: {answer:?}", kinds[asked.kind].name))
            }
            None => return,
        }
        std::thread::sleep(PACE);
    }
}

/// The server's lives, and what it told in them.
struct Killed<'a> {
    place: &'a Place,
    calls: &'a Path,
    world: &'a World,
    asked: &'a [Asked],
    lives: Vec<Life>,
    /// Executions and their histories as told before a kill.
    told: Vec<(usize, Vec<Value>)>,
}

impl Killed<'_> {
    /// Kills the server again and again, then lets all executions end. Gives their histories, in order.
    fn live(&mut self, first: Server, mut dice: Dice) -> Result<Vec<Vec<Value>>> {
        self.publish(Some(first.client()));
        let mut server = Some(first);
        for _ in 0..KILLS {
            let mut running = match server.take() {
                Some(running) => running,
                None => Server::spawn(&self.place.data, &self.place.plugins)?,
            };
            let early = !self.lives.is_empty() && dice.roll(0..EARLY) == 0;
            if early {
                std::thread::sleep(Duration::from_millis(dice.roll(1..80)));
            } else {
                self.serve(&mut running, &mut dice)?;
            }
            running.kill()?;
            self.publish(None);
            let died = UNIX_EPOCH.elapsed()?.as_millis();
            self.lives.push(Life {
                died_ms: u64::try_from(died)?,
                calls_bytes: std::fs::metadata(self.calls).map_or(0, |meta| meta.len()),
            });
        }
        let server = self.place.serve(&[])?;
        self.publish(Some(server.client()));
        let histories = self.all_ended(&server.client())?;
        // A clean stop and one more start change nothing.
        self.publish(None);
        server.stop()?;
        let server = self.place.serve(&[])?;
        for (asked, history) in self.asked.iter().zip(&histories) {
            let again = server.client().history(&asked.arn)?;
            ensure!(
                again == *history,
                "{}: its history changed in a clean restart",
                asked.arn
            );
        }
        server.stop()?;
        Ok(histories)
    }

    /// One life up to its end: some time, then looks at what some executions have done.
    fn serve(&mut self, server: &mut Server, dice: &mut Dice) -> Result<()> {
        if !self.lives.is_empty() {
            let client = server.ready()?;
            self.publish(Some(client));
        }
        std::thread::sleep(Duration::from_millis(dice.roll(50..1_600)));
        let started = self.world.started.load(Ordering::Relaxed);
        for _ in 0..LOOKED_AT {
            let n = usize::try_from(dice.roll(0..started.max(1)))?;
            match server.client().history(&self.asked[n].arn) {
                Ok(history) => self.told.push((n, history)),
                // Not started yet.
                Err(CallError::Refused { code, .. }) if code == "ExecutionDoesNotExist" => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn publish(&self, client: Option<Client>) {
        *self.world.server.write().expect("nobody panics holding it") = client;
    }

    /// Waits until all executions have ended.
    fn all_ended(&self, client: &Client) -> Result<Vec<Vec<Value>>> {
        let end = Instant::now() + END_MAX;
        let mut histories = Vec::new();
        for asked in self.asked {
            let left = end.saturating_duration_since(Instant::now());
            // The starter may not have come to it yet.
            while let Err(CallError::Refused { code, message }) =
                client.call("DescribeExecution", &json!({ "executionArn": asked.arn }))
            {
                ensure!(Instant::now() < end, "{}: {code}: {message}", asked.arn);
                std::thread::sleep(PACE);
            }
            if let Err(late) = client.ended(&asked.arn, left) {
                let history = client.history(&asked.arn)?;
                let last: Vec<_> = history.iter().rev().take(4).map(Value::to_string).collect();
                bail!(
                    "{late:#}; its last events, newest first:\n  {}",
                    last.join("\n  ")
                );
            }
            histories.push(client.history(&asked.arn)?);
        }
        Ok(histories)
    }

    /// How many calls were made, and how many of them repeated an attempt.
    fn counts(&self) -> Result<(usize, usize)> {
        let made = self.made()?;
        let attempts = made.iter().map(|call| (&call.key, call.attempt));
        let attempts = attempts.collect::<HashSet<_>>().len();
        Ok((made.len(), made.len() - attempts))
    }

    fn made(&self) -> Result<Vec<Call>> {
        made(self.calls, &self.lives)
    }
}

/// Fails with the first of what is wrong.
fn none_wrong(seed: u64, wrong: &[String]) -> Result<()> {
    let shown: Vec<&str> = wrong.iter().take(12).map(String::as_str).collect();
    ensure!(
        wrong.is_empty(),
        "seed {seed}: {} wrong, the first:\n  {}",
        wrong.len(),
        shown.join("\n  ")
    );
    Ok(())
}

/// All calls that tasks wrote down.
fn made(calls: &Path, lives: &[Life]) -> Result<Vec<Call>> {
    let text = std::fs::read_to_string(calls).context("no task was called")?;
    let mut at = 0_u64;
    let mut made = Vec::new();
    for line in text.lines() {
        let call: Value =
            serde_json::from_str(line).with_context(|| format!("a line of calls: {line}"))?;
        let member = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
        made.push(Call {
            execution: member("execution"),
            label: member("call"),
            key: member("key"),
            attempt: usize::try_from(call["attempt"].as_u64().unwrap_or_default())?,
            life: lives.iter().filter(|life| life.calls_bytes <= at).count(),
        });
        at += line.len() as u64 + 1;
    }
    Ok(made)
}

fn judge(all: &Killed<'_>, kinds: &[Kind], histories: &[Vec<Value>]) -> Result<Vec<String>> {
    let made = all.made()?;
    let mut calls: HashMap<&str, Vec<&Call>> = HashMap::new();
    for call in &made {
        calls.entry(&call.execution).or_default().push(call);
    }
    let answers = all.world.answers.lock().expect("nobody panics holding it");
    let mut wrong = all
        .world
        .wrong
        .lock()
        .expect("nobody panics holding it")
        .clone();
    for (asked, history) in all.asked.iter().zip(histories) {
        let ended = Ended {
            arn: &asked.arn,
            kind: &kinds[asked.kind],
            input: &asked.input,
            history,
        };
        let own: Vec<_> = answers
            .values()
            .filter(|answer| answer.execution == asked.arn)
            .cloned()
            .collect();
        let calls = calls.remove(asked.arn.as_str()).unwrap_or_default();
        wrong.extend(verdict::judge(&ended, &calls, &own, &all.lives));
    }
    wrong.extend(
        calls
            .keys()
            .map(|arn| format!("{arn} made calls and is unknown")),
    );
    for (n, earlier) in &all.told {
        if let Err(why) = verdict::is_beginning(earlier, &histories[*n]) {
            wrong.push(format!("{}: {why}", all.asked[*n].arn));
        }
    }
    Ok(wrong)
}
