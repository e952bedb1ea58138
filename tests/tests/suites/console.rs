//! The web console of a served program: its page and files over HTTP, and what it shows and does in a browser, without keys and
//! with one (`tests/clients/console`). Hides how the browser's part is installed.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use stepwell_tests::{node, place::Place, server};

use super::{clients::both, trial};

/// The browser, and Debian's package of it.
const BROWSER: &str = "/usr/bin/chromium";
const PACKAGE: &str = "chromium";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("console::files", files),
        trial("console::browser", browser),
    ]
}

/// The program was built with its console, says where it is, and has all that its page begins with.
fn files() -> Result<()> {
    let place = Place::new()?;
    let server = place.serve(&[])?;
    let client = server.client();
    let (status, page) = client.get("/console/")?;
    ensure!(status == 200, "GET /console/ answers {status}: {page}");
    server.says(&format!("  console  {}/console/", client.endpoint()), 1)?;
    let named = page.split('"');
    let named: Vec<&str> = named
        .filter(|text| text.starts_with("/console/assets/"))
        .collect();
    for ending in [".js", ".css"] {
        let is_named = named.iter().any(|path| path.ends_with(ending));
        ensure!(is_named, "the page names no {ending}: {page}");
    }
    for path in named {
        let (status, text) = client.get(path)?;
        ensure!(status == 200, "GET {path} answers {status}: {text}");
    }
    let (status, licences) = client.get("/console/licenses.txt")?;
    ensure!(
        status == 200 && licences.contains("## react - "),
        "the licences of what it is made of are not there: {status} {licences}"
    );
    server.stop()
}

fn browser() -> Result<()> {
    let told = Command::new(BROWSER).arg("--version").output();
    ensure!(
        told.is_ok_and(|told| told.status.success()),
        "{BROWSER} is missing, in which the console is opened; install it as root: apt-get install {PACKAGE}"
    );
    let modules = node::package("tests/clients/console")?;
    let guest = server::guest("echo")?;
    let guests = guest.parent().context("a folder of guests")?;
    both("the console in a browser", |served| {
        served.install("from-dir", "echo", "version = \"1.2.0\"")?;
        let mut command = served.command("node");
        command.arg(modules.join("run.mjs"));
        command.arg(served.endpoint()).arg(guests);
        if let Some((id, secret)) = served.asked_key() {
            command.args(["--signed", id, secret]);
        }
        Ok(command)
    })
}
