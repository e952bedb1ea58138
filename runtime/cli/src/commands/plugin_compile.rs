//! `plugin compile`: plugins compiled ahead of time, and what such a file says of itself.

use std::path::Path;

use anyhow::anyhow;
use serde_json::json;
use stepwell_sandbox::{CODE_EXTENSION, CodeInspection};

use super::plugin::{format_name, print_problems, problems_json};
use crate::args::{AheadArgs, PrecompiledArg};
use crate::exit::{Outcome, Stop};
use crate::terminal::shown_lines;

/// Whether a path names code that was compiled ahead of time.
pub(super) fn is_code(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == CODE_EXTENSION)
}

/// Tells whether this program can run the code; fails when it cannot.
pub(super) fn check(found: &CodeInspection, whether: PrecompiledArg) -> Outcome {
    let (record, file) = (&found.record, found.file.display());
    print_problems(&found.problems);
    if let Some(why) = &found.unfit {
        return Err(Stop::Usage(anyhow!("`{file}` is not loaded: {why}")));
    }
    // A file may have any text in its record.
    super::print(&shown_lines(&format!(
        "{file} is a compiled plugin ({} code for {}, {} bytes)\n{}\n",
        record.profile,
        record.target,
        record.code_bytes,
        loaded(whether)
    )))
}

/// What becomes of code that fits.
fn loaded(whether: PrecompiledArg) -> &'static str {
    match whether {
        PrecompiledArg::No => {
            "it fits this program, which loads such code with `--precompiled also` or `--precompiled only`"
        }
        PrecompiledArg::Also | PrecompiledArg::Only => "this program loads it",
    }
}

/// Prints what the file says of itself; fails when this program cannot run the code.
pub(super) fn inspect(found: &CodeInspection, whether: PrecompiledArg, as_json: bool) -> Outcome {
    let record = &found.record;
    let fits = match &found.unfit {
        None => Ok(()),
        Some(why) => Err(why),
    };
    if as_json {
        let mut told = json!(record);
        told["fits"] = json!(fits.is_ok());
        told["loaded"] = json!(fits.is_ok() && whether != PrecompiledArg::No);
        told["why"] = json!(fits.err());
        told["problems"] = problems_json(&found.problems);
        super::print_json(&told)?;
        return fits.map_err(|_| Stop::Refused);
    }
    let fuel = match record.metered {
        true => "counted",
        false => "not counted",
    };
    let lines = [
        ("file", found.file.display().to_string()),
        ("profile", record.profile.to_string()),
        ("target", record.target.clone()),
        (
            "made by",
            format!(
                "Stepwell {}, Wasm runtime {}",
                record.stepwell, record.runtime
            ),
        ),
        ("engine", record.engine.clone()),
        ("size", format!("{} bytes", record.code_bytes)),
        ("sha256", record.code_sha256.clone()),
        (
            "made of",
            format!(
                "a {} of {} bytes",
                format_name(record.format),
                record.wasm_bytes
            ),
        ),
        ("", format!("sha256 {}", record.wasm_sha256)),
        ("fuel", fuel.to_owned()),
        (
            "here",
            match fits {
                Ok(()) => loaded(whether).to_owned(),
                Err(_) => "this program does not load it".to_owned(),
            },
        ),
    ];
    let text: String = lines
        .iter()
        .map(|(label, value)| format!("{label:<9} {value}\n"))
        .collect();
    super::print(&shown_lines(&text))?;
    print_problems(&found.problems);
    fits.map_err(|why| Stop::Usage(anyhow!("it is not loaded: {why}")))
}

#[cfg(not(feature = "compiler"))]
pub(super) async fn compile(args: AheadArgs) -> Outcome {
    let AheadArgs {
        paths,
        profile,
        target,
        output,
        compile: _,
    } = args;
    let target = target.unwrap_or_else(stepwell_sandbox::this_target);
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    Err(Stop::Usage(anyhow!(
        "this program was built without the feature `compiler` and compiles nothing\nhint: on a machine with the whole program: stepwell plugin compile {} --profile {profile} --target {target} -o {}",
        paths.join(" "),
        output.display()
    )))
}

#[cfg(feature = "compiler")]
pub(super) use whole::compile;

#[cfg(feature = "compiler")]
mod whole {
    use std::path::PathBuf;

    use super::*;
    use anyhow::Context;
    use stepwell_sandbox::{
        AheadOfTime, CodeRecord, Inspection, Limits, compile_ahead, this_target,
    };

    use crate::commands::plugin::inspection;
    use crate::commands::plugin_named::source;
    use crate::exit::Blame;
    use crate::host::{self, TENANT};
    use crate::policy::Policy;
    use crate::terminal::Waiting;

    /// Compiles one after the other; the first that fails ends it.
    pub(in crate::commands) async fn compile(args: AheadArgs) -> Outcome {
        let how = AheadOfTime {
            profile: args.profile,
            target: args.target.clone(),
            compiler: host::own_compiler(args.compile, false),
            limits: Limits::ceiling(),
        };
        let target = args.target.clone().unwrap_or_else(this_target);
        let count = args.paths.len();
        for (n, path) in args.paths.iter().enumerate() {
            let path = &source(path, None)?;
            if is_code(path) && path.is_file() {
                return Err(Stop::Usage(anyhow!(
                    "`{}` is compiled already, and is not compiled again\nhint: give the .wasm that it was made of; `stepwell plugin inspect` tells its hash",
                    path.display()
                )));
            }
            let found = inspection(path, TENANT, None, args.compile, Policy::default()).await?;
            print_problems(&found.problems);
            if !found.usable() {
                return Err(Stop::Usage(anyhow!(
                    "`{}` is not compiled: nothing could call it",
                    path.display()
                )));
            }
            let goal = Goal::of(path, &found, &args.output)?;
            let what = format!(
                "compiling {} for {target}, profile {} ({} of {count})",
                goal.name,
                args.profile,
                n + 1
            );
            let (record, file) = compiled(what, path, &how).await?;
            goal.write(path, &file)?;
            super::super::print(&format!(
                "{}: {} code for {}, {} kB, of {} kB of WebAssembly\n",
                goal.file.display(),
                record.profile,
                record.target,
                record.code_bytes.div_ceil(1_000),
                record.wasm_bytes.div_ceil(1_000)
            ))?;
        }
        Ok(())
    }

    /// Compiles one plugin, under a sign that it goes on.
    async fn compiled(
        what: String,
        path: &Path,
        how: &AheadOfTime,
    ) -> Outcome<(CodeRecord, Vec<u8>)> {
        let mut waiting = Waiting::new(what, false);
        let (path, how) = (path.to_owned(), how.clone());
        let mut work = tokio::task::spawn_blocking(move || compile_ahead(&path, &how));
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break done,
                _ = tokio::signal::ctrl_c() => {
                    waiting.over();
                    return Err(Stop::Runtime(anyhow!("interrupted")));
                }
                () = waiting.turn() => {}
            }
        };
        waiting.over();
        done.runtime()?.usage()
    }

    /// Where the compiled form of a plugin goes.
    struct Goal {
        name: String,
        /// `NAME.cwasm`, or `NAME/MODULE.cwasm`.
        file: PathBuf,
        /// The plugin's manifest, which goes beside it.
        manifest: Option<PathBuf>,
    }

    impl Goal {
        fn of(path: &Path, found: &Inspection, output: &Path) -> Outcome<Goal> {
            let stem = |path: &Path| {
                path.file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned())
            };
            let module = stem(&found.file).unwrap_or_default();
            if !path.is_dir() {
                return Ok(Goal {
                    file: output.join(format!("{module}.{CODE_EXTENSION}")),
                    name: module,
                    manifest: None,
                });
            }
            // Of `.` or `..` too, the folder has a name.
            let folder = path.canonicalize().usage()?;
            let name = folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            Ok(Goal {
                file: output
                    .join(&name)
                    .join(format!("{module}.{CODE_EXTENSION}")),
                manifest: Some(path.join("plugin.toml")),
                name,
            })
        }

        /// Writes beside and renames: a server may have mapped the file that was there.
        fn write(&self, path: &Path, bytes: &[u8]) -> Outcome {
            let folder = self.file.parent().unwrap_or(Path::new("."));
            let unwritten = || format!("`{}` cannot be written", self.file.display());
            host::make_plugin_folder(folder)
                .with_context(unwritten)
                .usage()?;
            let same = path.canonicalize().ok() == folder.canonicalize().ok();
            if let Some(manifest) = self.manifest.as_ref().filter(|_| !same) {
                std::fs::copy(manifest, folder.join("plugin.toml"))
                    .with_context(unwritten)
                    .usage()?;
            }
            let beside = self
                .file
                .with_extension(format!("{}.tmp", std::process::id()));
            let written =
                std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, &self.file));
            if written.is_err() {
                let _ = std::fs::remove_file(&beside);
            }
            written.with_context(unwritten).usage()
        }
    }
}
