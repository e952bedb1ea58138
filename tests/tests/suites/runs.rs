//! The cases of `runs/`, on the bare interpreter.

use libtest_mimic::Trial;
use stepwell_interp::Input;
use stepwell_tests::{case, case::Case, driver, print};

use super::{replay, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let cases = case::cases().into_iter();
    cases
        .map(|dir| {
            let name = dir
                .file_name()
                .expect("a case has a name")
                .to_string_lossy()
                .into_owned();
            trial(format!("interp::{name}"), move || run(&Case::read(&dir)))
        })
        .collect()
}

fn run(case: &Case) -> Result<(), String> {
    let stop = case.script.stop.as_ref().map(|stop| {
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        (
            stop.after_ms,
            Input::StopAsked {
                error: text(&stop.error),
                cause: text(&stop.cause),
            },
        )
    });
    let mut script = case.script.clone();
    let driven = driver::drive(
        &case.program,
        driver::start(case.input.clone(), false),
        &mut script,
        stop,
    );
    case.expect("history.txt", Some(&print::history(&driven.events)))?;
    case.expect(
        "output.json",
        driven
            .output()
            .map(|output| output.to_json() + "\n")
            .as_deref(),
    )?;
    if driven.run.ending().is_none() {
        return Err("the run does not end".to_owned());
    }
    replay::check(&case.program, &driven, case.script.random)
}
