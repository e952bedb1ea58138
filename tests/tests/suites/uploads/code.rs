//! The code of uploaded plugins: the collection of what nothing has, a server that is told to stop while it compiles, and uploads that
//! mean harm: one that a compiler has no end with, what is no plugin or could not begin, and a thousand in a row. Hides how such
//! modules are written.

use std::{path::Path, process::Child};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use stepwell_tests::{
    command::{refused, well},
    place::Place,
    server::{self, ROLE},
    terminal::{REDRAWN, Terminal},
};

use super::{PATIENCE, push, stepwell, told, until};

pub(super) fn are_collected() -> Result<()> {
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
pub(super) fn stop_with_the_server() -> Result<()> {
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
pub(super) fn end_with_the_compilers_time() -> Result<()> {
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
    let (code, shown) = Terminal::start(folder, &again)?.ended()?;
    ensure!(
        code == Some(2)
            && shown.contains("more than 5 s of CPU time")
            && shown.contains("--compile-cpu"),
        "{code:?}: {shown}"
    );
    // Meanwhile a line was drawn again and again: what it is at, and for how long.
    let drawn = shown.matches(REDRAWN).count();
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
pub(super) fn broken_ones_replace_nothing() -> Result<()> {
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
        ("no program", b"\0asm\x01\0\0\0".to_vec(), ["pay", "_start"]),
        (
            "a component of no contract",
            b"\0asm\x0d\0\x01\0".to_vec(),
            ["pay", "exports neither"],
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
pub(super) fn a_thousand_in_a_row() -> Result<()> {
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
pub(super) fn slow() -> Vec<u8> {
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
