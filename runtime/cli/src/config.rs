//! `stepwell.toml`: the flags of `serve` as keys of a file. Hides TOML. The flags themselves say what keys there are, so
//! a new flag is a new key.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, anyhow};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, ValueHint};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::args::Cli;
use crate::exit::{Blame, Outcome, Stop};
use crate::given;

/// The flag that names the file, which names no other.
const CONFIG: &str = "config";

/// The arguments of this process. What `serve` was not told on the command line, or in the environment, it takes from
/// the file of `--config`.
pub(crate) fn arguments() -> Outcome<Cli> {
    let given = matches(Cli::command(), std::env::args_os().collect());
    let serve = given.subcommand_matches("serve");
    let file = serve.and_then(|serve| {
        let path = serve.get_one::<std::path::PathBuf>(CONFIG)?;
        Some((serve, path))
    });
    let Some((serve, path)) = file else {
        return Ok(Cli::from_arg_matches(&given).unwrap_or_else(|error| error.exit()));
    };
    let text = given::read(path)?;
    let file = File {
        path,
        text: &text,
        command: serve_command(),
    };
    let more = file.flags(|id| told(serve, id))?;
    let parsed = matches(Cli::command(), std::env::args_os().chain(more).collect());
    Ok(Cli::from_arg_matches(&parsed).unwrap_or_else(|error| error.exit()))
}

/// What the arguments mean; ends the process when they mean nothing, or ask for help.
fn matches(command: Command, all: Vec<OsString>) -> ArgMatches {
    let parsed = command.try_get_matches_from(&all);
    parsed.unwrap_or_else(|error| end(&without_secrets(error), &all))
}

/// Ends the process with what is wrong with the arguments, or with the help that they ask for.
fn end(error: &clap::Error, all: &[OsString]) -> ! {
    let Some(left) = left_by_a_shell(error.kind(), all) else {
        error.exit()
    };
    // Nobody may read it any more.
    let _ = error.print();
    say!(
        "hint: where `{left}` was `$lambda{left}`, write it in single quotes, '$lambda{left}': a shell takes $lambda for a variable"
    );
    std::process::exit(error.exit_code())
}

/// What a shell leaves of `$lambda-NAME`, the calls of a plugin in place of a state machine, when it has no such variable.
fn left_by_a_shell(kind: ErrorKind, all: &[OsString]) -> Option<&str> {
    let is_meant = kind == ErrorKind::UnknownArgument && all.get(1)? == "execution";
    let mut words = all.iter().skip(2).filter_map(|word| word.to_str());
    // `-b` alone would be a flag that there is none of.
    let left =
        words.find(|word| word.len() > 2 && word.starts_with('-') && !word.starts_with("--"));
    left.filter(|_| is_meant)
}

/// An error of the arguments that shows no password and no key: of a value that is wrong, clap shows the whole.
fn without_secrets(mut error: clap::Error) -> clap::Error {
    let arg = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => arg.clone(),
        _ => String::new(),
    };
    if arg.starts_with("--storage-key") {
        error.insert(
            ContextKind::InvalidValue,
            ContextValue::String("…".to_owned()),
        );
        return error;
    }
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidArg] {
        if let Some(ContextValue::String(text)) = error.get(kind) {
            let shown = without_password(text);
            error.insert(kind, ContextValue::String(shown));
        }
    }
    error
}

/// A URL without the password that it may hold: `scheme://user:…@host`. Parameters may hold one as well.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (rest, parameters) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?…"),
        None => (rest, ""),
    };
    // A password may have an `@` of its own: the last one ends it.
    let place = match rest.rsplit_once('@') {
        Some((user, place)) => {
            let name = user.split(':').next().unwrap_or_default();
            let hidden = if user.contains(':') { ":…" } else { "" };
            format!("{name}{hidden}@{place}")
        }
        None => rest.to_owned(),
    };
    format!("{scheme}://{place}{parameters}")
}

fn serve_command() -> Command {
    let mut stepwell = Cli::command();
    stepwell.build();
    stepwell
        .find_subcommand("serve")
        .expect("`serve` is a command")
        .clone()
}

/// Whether a flag was given on the command line or in the environment.
fn told(given: &ArgMatches, id: &str) -> bool {
    matches!(
        given.value_source(id),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
    command: Command,
}

impl File<'_> {
    /// The keys as flags, but for those that are told elsewhere.
    fn flags(&self, told: impl Fn(&str) -> bool) -> Outcome<Vec<OsString>> {
        let table = DeTable::parse(self.text)
            .map_err(|error| {
                let at = error.span().map_or(0, |span| span.start);
                anyhow!("{}: {}", self.place(at), error.message())
            })
            .usage()?;
        let mut flags = Vec::new();
        for (key, value) in table.get_ref() {
            let arg = self.arg(key)?;
            let of_key = self.key_flags(arg, value)?;
            // Also what another place overrules has to be right.
            self.check(value.span().start, &of_key)?;
            if !told(arg.get_id().as_str()) {
                flags.extend(of_key);
            }
        }
        Ok(flags)
    }

    /// The flag that a key names.
    fn arg(&self, key: &Spanned<std::borrow::Cow<'_, str>>) -> Outcome<&Arg> {
        let name = key.get_ref();
        let known = || {
            let flags = self.command.get_arguments().filter_map(Arg::get_long);
            flags.filter(|name| ![CONFIG, "help", "version"].contains(name))
        };
        let arg = self
            .command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(name))
            .filter(|_| known().any(|known| known == name));
        if let Some(arg) = arg {
            return Ok(arg);
        }
        let guess = self
            .nearest(name)
            .filter(|guess| known().any(|known| known == guess));
        let guess = guess.map_or_else(String::new, |guess| format!("did you mean `{guess}`? "));
        let all: Vec<&str> = known().collect();
        Err(Stop::Usage(anyhow!(
            "{}: there is no key `{name}`\nhint: {guess}The keys are {}",
            self.place(key.span().start),
            all.join(", ")
        )))
    }

    /// The flag whose name is nearest, as the command line would suggest it.
    fn nearest(&self, name: &str) -> Option<String> {
        let refused = self
            .command
            .clone()
            .try_get_matches_from(["serve", &format!("--{name}")])
            .err()?;
        match refused.get(ContextKind::SuggestedArg)? {
            ContextValue::String(flag) => Some(flag.trim_start_matches('-').to_owned()),
            _ => None,
        }
    }

    fn key_flags(&self, arg: &Arg, value: &Spanned<DeValue<'_>>) -> Outcome<Vec<OsString>> {
        let name = arg.get_long().unwrap_or_default();
        let many = matches!(arg.get_action(), ArgAction::Append);
        let at = self.place(value.span().start);
        let wrong = |what: &str| Stop::Usage(anyhow!("{at}: `{name}` takes {what}"));
        let flag = |text: &str| {
            let path = arg.get_value_hint() == ValueHint::AnyPath;
            let mut flag = OsString::from(format!("--{name}="));
            match path {
                // A file means the same from wherever the server is started.
                true => flag.push(self.path.parent().unwrap_or(Path::new("")).join(text)),
                false => flag.push(text),
            }
            flag
        };
        match value.get_ref() {
            DeValue::Boolean(on) if !arg.get_action().takes_values() => {
                let set = format!("--{name}").into();
                Ok(if *on { vec![set] } else { Vec::new() })
            }
            _ if !arg.get_action().takes_values() => Err(wrong("true or false")),
            DeValue::String(text) => Ok(vec![flag(text)]),
            DeValue::Integer(number) => Ok(vec![flag(number.as_str())]),
            DeValue::Array(items) if many => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Ok(flag(text)),
                    _ => Err(wrong("an array of texts")),
                })
                .collect(),
            _ if many => Err(wrong("a text or an array of texts")),
            _ => Err(wrong("a text in quotes or an integer")),
        }
    }

    /// Refuses a value that the flag would refuse, with its place.
    fn check(&self, at: usize, flags: &[OsString]) -> Outcome {
        let name = OsString::from("serve");
        let all = std::iter::once(&name).chain(flags);
        let parsed = self.command.clone().try_get_matches_from(all);
        let why = |error: clap::Error| {
            let text = without_secrets(error).to_string();
            let mut lines = text.lines();
            let first = lines.next().unwrap_or_default();
            let values = lines.find_map(|line| line.trim().strip_prefix("[possible values: "));
            let values = values.map_or_else(String::new, |values| {
                format!("\nhint: it is one of {}", values.trim_end_matches(']'))
            });
            anyhow!("{}{values}", first.trim_start_matches("error: "))
        };
        parsed
            .map(drop)
            .map_err(why)
            .with_context(|| self.place(at))
            .usage()
    }

    /// `stepwell.toml:3`.
    fn place(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        format!("{}:{line}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str, told: &[&str]) -> Result<Vec<String>, String> {
        let file = File {
            path: Path::new("etc/stepwell.toml"),
            text,
            command: serve_command(),
        };
        let flags = file.flags(|id| told.contains(&id));
        match flags {
            Ok(flags) => Ok(flags
                .into_iter()
                .map(|flag| flag.into_string().expect("text"))
                .collect()),
            Err(Stop::Usage(error)) => Err(format!("{error:#}")),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_become_flags_unless_they_are_given() {
        let text = "listen = \"127.0.0.1:9\"\ndata = \"data\"\nplugins = \"/p\"\nlimits = \"raised\"\nhost = [\"a.example\", \"b\"]\n";
        let all = [
            "--data=etc/data",
            "--host=a.example",
            "--host=b",
            "--limits=raised",
            "--listen=127.0.0.1:9",
            "--plugins=/p",
        ];
        let mut found = flags(text, &[]).expect("it is right");
        found.sort();
        assert_eq!(found, all);
        assert_eq!(
            flags(text, &["listen", "data", "host", "plugins", "limits"]),
            Ok(vec![])
        );
        assert_eq!(flags("host = \"a\"", &[]), Ok(vec!["--host=a".to_owned()]));
        assert_eq!(flags("# nothing\n", &[]), Ok(vec![]));
    }

    #[test]
    fn passwords_are_not_shown() {
        for (given, shown) in [
            ("mysql://user:p%40w@db/x", "mysql://user:…@db/x"),
            (
                "mysql://user:p@w:1@db/x?password=y",
                "mysql://user:…@db/x?…",
            ),
            ("mysql://user@db/x", "mysql://user@db/x"),
            ("mysql://:pw@db", "mysql://:…@db"),
            ("loose", "loose"),
        ] {
            assert_eq!(without_password(given), shown);
            let command = || Cli::command().no_binary_name(true);
            for arguments in [
                vec!["serve", "--store", given],
                vec!["serve", given],
                vec!["serve", "--storage-key", "pw"],
            ] {
                let error = command().try_get_matches_from(arguments).map(drop);
                let text = without_secrets(error.expect_err(given)).to_string();
                assert!(
                    !text.contains("pw") && !text.contains("p%40w") && !text.contains("p@w"),
                    "{text}"
                );
            }
        }
        let found = flags("store = \"mysql://user:pw@db\"", &[]).expect_err("no such scheme");
        assert!(
            found.contains("mysql://user:…@db") && !found.contains(":pw@"),
            "{found}"
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, why) in [
            (
                "\nlisten = \"127.0.0.1:9\"\n\nhots = []",
                "etc/stepwell.toml:4: there is no key `hots`\nhint: did you mean `host`? The keys are listen, data, ",
            ),
            (
                "zzz = 1",
                "etc/stepwell.toml:1: there is no key `zzz`\nhint: The keys are listen, ",
            ),
            (
                "config = \"x\"",
                "etc/stepwell.toml:1: there is no key `config`",
            ),
            (
                "\n[limits]\nmemory = 1",
                "etc/stepwell.toml:2: `limits` takes a text in quotes or an integer",
            ),
            (
                "data = [\"a\"]",
                "etc/stepwell.toml:1: `data` takes a text in quotes or an integer",
            ),
            (
                "host = [1]",
                "etc/stepwell.toml:1: `host` takes an array of texts",
            ),
            (
                "host = \"http://a\"",
                "etc/stepwell.toml:1: invalid value 'http://a' for '--host <NAME>': a host is a name",
            ),
            (
                "\nlimits = \"loose\"",
                "etc/stepwell.toml:2: invalid value 'loose' for '--limits <LIMITS>'\nhint: it is one of strict, raised",
            ),
            (
                "listen = 8083",
                "etc/stepwell.toml:1: invalid value '8083' for '--listen <ADDRESS:PORT>'",
            ),
            (
                "data = \"a\"\ndata = \"b\"",
                "etc/stepwell.toml:2: duplicate key",
            ),
            ("data = ", "etc/stepwell.toml:1: "),
        ] {
            let found = flags(text, &["limits"]).expect_err(text);
            assert!(found.starts_with(why), "{text:?}: {found}");
        }
    }
}
