//! Segments of released versions still read and fold as they did.

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use stepwell_interp::{Run, decode, encode};
use stepwell_tests::{
    case::{self, Case},
    driver, print,
};

use super::trial;

/// Cases whose logs are kept.
const KEPT: [&str; 6] = [
    "map-results-in-order",
    "parallel-fails-and-aborts",
    "redrive-map-run",
    "redrive-mixture",
    "retry-own-counters",
    "task-callback",
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("interp::segments of v1", check),
        trial("interp::damaged segments", damaged),
    ]
}

fn check() -> Result<(), String> {
    let dir = folder();
    if std::env::var_os("BLESS").is_some_and(|what| what == "v1") {
        bless(&dir)?;
    }
    for name in KEPT {
        let segment = std::fs::read(dir.join(format!("{name}.segment")))
            .map_err(|error| format!("{name}: {error}"))?;
        let text = std::fs::read_to_string(dir.join(format!("{name}.txt")))
            .map_err(|error| error.to_string())?;
        let events = decode(&segment).map_err(|error| format!("{name}: {error}"))?;
        if print::history(&events) != text {
            return Err(format!(
                "{name}\n{}",
                case::difference(&text, &print::history(&events))
            ));
        }
        let mut run = Run::default();
        events.iter().for_each(|event| run.evolve(event));
        if run.ending().is_none() {
            return Err(format!("{name}: the run has no end"));
        }
        if encode(&events) != segment {
            return Err(format!(
                "{name}: is written otherwise now; a change of the form needs a new version"
            ));
        }
    }
    Ok(())
}

/// Whatever a byte is changed to, reading ends with events or an error.
fn damaged() -> Result<(), String> {
    for name in KEPT {
        let mut segment = std::fs::read(folder().join(format!("{name}.segment")))
            .map_err(|error| error.to_string())?;
        for at in 0..segment.len() {
            drop(decode(&segment[..at]));
            let sound = segment[at];
            for byte in [
                0,
                1,
                2,
                0x7f,
                0x80,
                0xff,
                sound ^ 1,
                sound ^ 0x80,
                sound.wrapping_add(1),
            ] {
                segment[at] = byte;
                if let Ok(events) = decode(&segment) {
                    let mut run = Run::default();
                    events.iter().for_each(|event| run.evolve(event));
                }
            }
            segment[at] = sound;
        }
    }
    Ok(())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/interp/tests/histories/v1")
}

/// Written once for a version; a released file is never written again.
fn bless(dir: &PathBuf) -> Result<(), String> {
    std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
    for name in KEPT {
        if dir.join(format!("{name}.segment")).exists() {
            continue;
        }
        let case = Case::read(
            &Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("runs")
                .join(name),
        );
        let mut script = case.script.clone();
        let driven = driver::drive(
            &case.program,
            driver::start(case.input.clone(), false),
            &mut script,
            None,
        );
        // As it is read: what shares an allocation is settled by the first reading.
        let events = decode(&encode(&driven.events)).map_err(|error| error.to_string())?;
        std::fs::write(dir.join(format!("{name}.segment")), encode(&events))
            .map_err(|error| error.to_string())?;
        std::fs::write(dir.join(format!("{name}.txt")), print::history(&events))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
