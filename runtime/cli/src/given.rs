//! What the user hands over as text: JSON from the command line, a file or stdin; definitions. Hides where it comes
//! from; errors name the place and the position.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow};
use stepwell_asl::{ExecutionType, Limits, Options, Program, Severity};
use stepwell_query::Value;

use crate::args::LimitsArg;
use crate::exit::{Blame, Outcome, Stop};
use crate::needs;

/// Bytes of a text that is given (ours): above the largest payload and the largest definition with raised limits.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// JSON text given to `flag` as JSON, `@FILE` or `-`, checked and unchanged.
pub(crate) fn json(given: &str, flag: &str) -> Outcome<String> {
    let (text, origin) = match given.strip_prefix('@') {
        Some(path) => (read(Path::new(path))?, path.to_owned()),
        None if given == STDIN => {
            let text = bounded(std::io::stdin().lock(), "stdin")?;
            (text, "stdin".to_owned())
        }
        None => (given.to_owned(), flag.to_owned()),
    };
    match Value::parse(&text) {
        Ok(_) => Ok(text),
        Err(error) => {
            let hint = if let Some(hint) = error.hint(&text) {
                format!("\nhint: {hint}")
            } else if given.starts_with(['@', '-', '{', '[']) {
                String::new()
            } else if Path::new(given).is_file() {
                format!("\nhint: the file {given} is given as @{given}")
            } else {
                "\nhint: a file is given as @FILE, a text as '\"text\"' in quotes of both kinds"
                    .to_owned()
            };
            let at = format!("{origin}:{}:{}", error.line, error.column);
            Err(Stop::Usage(anyhow!(
                "the {} is not JSON at {at}: {}{hint}",
                flag.trim_start_matches('-'),
                error.message
            )))
        }
    }
}

/// What stands for stdin where a file is expected.
const STDIN: &str = "-";

/// How messages call what a path names.
pub(crate) fn label(path: &Path) -> String {
    if path == Path::new(STDIN) {
        "stdin".to_owned()
    } else {
        path.display().to_string()
    }
}

/// A text file, whatever else can be read at that path, or stdin as `-`; up to a bound.
pub(crate) fn read(path: &Path) -> Outcome<String> {
    if path == Path::new(STDIN) {
        return bounded(std::io::stdin().lock(), "stdin");
    }
    let name = format!("`{}`", path.display());
    let file = std::fs::File::open(path)
        .with_context(|| format!("{name} cannot be read"))
        .usage()?;
    bounded(file, &name)
}

/// The text of a source that may have no end.
fn bounded(source: impl Read, name: &str) -> Outcome<String> {
    let mut bytes = Vec::new();
    source
        .take(TEXT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{name} cannot be read"))
        .usage()?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(Stop::Usage(anyhow!(
            "{name} is larger than {} MiB, which no definition and no input may be",
            TEXT_BYTES_MAX >> 20
        )));
    }
    String::from_utf8(bytes)
        .with_context(|| format!("{name} is not UTF-8 text"))
        .usage()
}

/// Refuses to read two things from stdin.
pub(crate) fn stdin_once(definition: Option<&Path>, texts: &[Option<&str>]) -> Outcome {
    let definition = usize::from(definition.is_some_and(|path| path == Path::new(STDIN)));
    let texts = texts.iter().filter(|text| **text == Some(STDIN)).count();
    if definition + texts > 1 {
        return Err(Stop::Usage(anyhow!(
            "`-` is given twice, and stdin can be read only once\nhint: keep one of them in a file"
        )));
    }
    Ok(())
}

/// A definition and what it says: its diagnostics are printed to stderr, and errors refuse it.
pub(crate) fn definition(
    path: &Path,
    kind: ExecutionType,
    limits: LimitsArg,
    warn: bool,
) -> Outcome<(String, Program)> {
    let text = read(path)?;
    let loaded = stepwell_asl::load(&text, &options(kind, limits));
    let file = label(path);
    for diagnostic in &loaded.diagnostics {
        if warn || diagnostic.severity() == Severity::Error {
            say!("{}\n", diagnostic.show(&file));
        }
    }
    match loaded.program {
        Some(program) => Ok((text, program)),
        None => {
            let errors = loaded
                .diagnostics
                .iter()
                .filter(|d| d.severity() == Severity::Error)
                .count();
            let hint = loaded.diagnostics.first().map_or("", |d| d.code.id());
            say!(
                "`{file}` has {}; `stepwell explain {hint}` tells more",
                count(errors, "error")
            );
            Err(Stop::Refused)
        }
    }
}

/// Warns of the tasks whose resource nobody serves here.
pub(crate) fn warn_unserved(path: &Path, program: &Program, definition: &str) {
    let file = label(path);
    for warning in needs::unserved(program, definition) {
        say!("{}\n", warning.show(&file));
    }
}

pub(crate) fn options(kind: ExecutionType, limits: LimitsArg) -> Options {
    let limits = match limits {
        LimitsArg::Strict => Limits::Strict,
        LimitsArg::Raised => Limits::Raised,
    };
    Options {
        limits,
        kind,
        allow_substitutions: false,
    }
}

/// `1 error`, `2 errors`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
