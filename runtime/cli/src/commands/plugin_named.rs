//! What a path or a name of a plugin means. Hides the forms that a plugin has in the plugin directory, and which of them is served.

use std::path::{Component, Path, PathBuf};

use anyhow::anyhow;
use stepwell_sandbox::{CODE_EXTENSION, CodeRecord};

use super::plugin_compile;
use crate::args::{CompileArgs, PrecompiledArg};
use crate::exit::{Blame, Outcome, Stop};
use crate::host::{TENANT, USUAL_DATA};

/// The plugin that a path or name means, which is there, and no sources; a file of compiled code says of itself what it is. An
/// account's plugins are one level deeper than those of the default one.
pub(super) fn existing(
    path: &Path,
    plugins: Option<&Path>,
    account: Option<&str>,
    compile: CompileArgs,
) -> Outcome<PathBuf> {
    let folder = folder_of(plugins, account);
    let mut path = named(path, &folder, compile.precompiled == PrecompiledArg::Only);
    if !is_there(&path)
        && let Some(misnamed) = misnamed(&path, &folder)
    {
        path = misnamed;
    }
    // What a link or a pipe of that name is, the plugin directory's own reading says.
    let is_file = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
    if plugin_compile::is_code(&path) && is_file {
        // Whether it is loaded is its account's matter, what is wrong with the file itself nobody has to be asked for.
        CodeRecord::read(&path).usage()?;
        return Ok(path);
    }
    if !is_there(&path) {
        return Err(missing(&path, &folder));
    }
    check_no_sources(&path)?;
    Ok(path)
}

/// The file or folder that is compiled or sent: a bare name is that of a plugin of the plugin directory, where it has one. Links are
/// followed, but for those of that directory that lead out of it: no server follows them.
pub(super) fn source(path: &Path, data: Option<&Path>) -> Outcome<PathBuf> {
    let folder = data.unwrap_or(Path::new(USUAL_DATA)).join("plugins");
    let path = named(path, &folder, false);
    if let (Ok(to), Err(_)) = (path.read_link(), path.metadata()) {
        return Err(Stop::Usage(anyhow!(
            "`{}` is a link to `{}`, which leads nowhere\nhint: name the file or folder itself, or mend the link",
            path.display(),
            to.display()
        )));
    }
    // Of what is there and cannot be read, its reader says why.
    let found = path.symlink_metadata();
    if found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Err(missing(&path, &folder));
    }
    match link_out(&path, &folder) {
        Some((link, to)) => Err(Stop::Usage(anyhow!(
            "`{}` is a link that leads out of the plugin directory, which is not followed\nhint: put the file itself there, or name where it leads: `{}`",
            link.display(),
            to.display()
        ))),
        None => Ok(path),
    }
}

/// Neither a path nor a plugin of the plugin directory.
fn missing(path: &Path, folder: &Path) -> Stop {
    // What was uploaded has a name alone, and is in no directory.
    let uploaded = bare_name(path).map_or_else(String::new, |name| {
        format!(", `stepwell plugin versions {name}` shows one that was uploaded")
    });
    Stop::Usage(anyhow!(
        "there is no `{}`: no file or folder of that path, and no plugin of that name in `{}`\nhint: `stepwell plugin list` lists those of a directory{uploaded}",
        path.display(),
        folder.display()
    ))
}

/// What of a plugin is a link that leads out of the plugin directory which it is in, and where to.
fn link_out(path: &Path, folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let folder = folder.canonicalize().ok()?;
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let parent = parent.unwrap_or(Path::new(".")).canonicalize().ok()?;
    if !parent.starts_with(&folder) {
        return None;
    }
    // Of a folder what makes it a plugin.
    let is_of_plugin = |file: &PathBuf| {
        let is_program = |kind: &std::ffi::OsStr| kind == "wasm" || kind == CODE_EXTENSION;
        file.ends_with("plugin.toml") || file.extension().is_some_and(is_program)
    };
    let within = std::fs::read_dir(path).into_iter().flatten().flatten();
    let within = within.map(|entry| entry.path()).filter(is_of_plugin);
    std::iter::once(path.to_owned())
        .chain(within)
        .find_map(|file| {
            let to = file.canonicalize().ok()?;
            (!to.starts_with(&folder)).then_some((file, to))
        })
}

/// The name that a path may be as well: `resize`, and not `./resize`, `resize/` or `resize.wasm`.
pub(super) fn bare_name(path: &Path) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name = path.to_str().filter(|name| name.chars().all(plain))?;
    let mut parts = path.components();
    let alone = matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    );
    alone.then_some(name)
}

/// Refuses a folder that holds a plugin's sources, and says where what was built of them is.
pub(super) fn check_no_sources(path: &Path) -> Outcome {
    if path.join("Cargo.toml").is_file() {
        let at = path.display();
        let built = path
            .file_name()
            .map(|name| Path::new(USUAL_DATA).join("plugins").join(name));
        let hint = match built.filter(|built| built.exists()) {
            Some(built) => format!("what was built of them is `{}`", built.display()),
            None => format!("`stepwell plugin build {at}` builds, installs and checks it"),
        };
        return Err(Stop::Usage(anyhow!(
            "`{at}` holds a plugin's sources\nhint: {hint}"
        )));
    }
    Ok(())
}

/// A bare name is that of the plugin in the plugin directory, where there is one, and only then a path. Says what else may have
/// been meant.
fn named(path: &Path, folder: &Path, only_compiled: bool) -> PathBuf {
    let Some(name) = bare_name(path) else {
        return path.to_owned();
    };
    let mut forms = forms(folder, name, only_compiled).into_iter();
    let Some(served) = forms.next() else {
        return path.to_owned();
    };
    for other in forms {
        say!(
            "`{}` is there as well and is not served: `{}` goes before it",
            other.display(),
            served.display()
        );
    }
    if path.exists() && path.canonicalize().ok() != served.canonicalize().ok() {
        say!(
            "`{name}` is the plugin `{}`; what is called so in this folder is `./{name}`",
            served.display()
        );
    }
    served
}

/// What a plugin directory has under a name, the one that is served first: a folder, then the file that a server takes that runs
/// code of that kind. A folder without `plugin.toml` is no plugin, and what is wrong with it is told when there is nothing else.
fn forms(folder: &Path, name: &str, only_compiled: bool) -> Vec<PathBuf> {
    let own = folder.join(name);
    let is_plugin = own.join("plugin.toml").exists();
    let wasm = folder.join(format!("{name}.wasm"));
    let code = folder.join(format!("{name}.{CODE_EXTENSION}"));
    let files = match only_compiled {
        true => [code, wasm],
        false => [wasm, code],
    };
    let mut found: Vec<PathBuf> = is_plugin.then(|| own.clone()).into_iter().collect();
    // One that cannot be served, a link that leads nowhere or a pipe, is what is meant all the same.
    let is_program = |file: &PathBuf| is_there(file) && !file.is_dir();
    found.extend(files.into_iter().filter(is_program));
    if found.is_empty() && is_there(&own) {
        found.push(own);
    }
    found
}

/// Whether something has that name, be it a link that leads nowhere.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// What a plugin directory has under a name that no plugin may have, as a list of it says it: without the ending.
fn misnamed(path: &Path, folder: &Path) -> Option<PathBuf> {
    let mut parts = path.components();
    let (Some(Component::Normal(_)), None) = (parts.next(), parts.next()) else {
        return None;
    };
    let name = path.to_str()?;
    let forms = [
        name.to_owned(),
        format!("{name}.wasm"),
        format!("{name}.{CODE_EXTENSION}"),
    ];
    let mut forms = forms.into_iter().map(|form| folder.join(form));
    forms.find(|form| is_there(form))
}

/// The plugin directory that a path may be in: the one that was named, else the usual one, where it can be read.
pub(super) fn directory(named: Option<&Path>) -> Option<PathBuf> {
    let usual = || Path::new(USUAL_DATA).join("plugins");
    let is_readable = |folder: &PathBuf| std::fs::read_dir(folder).is_ok();
    match named {
        Some(named) => Some(named.to_owned()),
        None => Some(usual()).filter(is_readable),
    }
}

/// The folder with an account's plugins.
fn folder_of(plugins: Option<&Path>, account: Option<&str>) -> PathBuf {
    let usual = Path::new(USUAL_DATA).join("plugins");
    let mut folder = plugins.unwrap_or(&usual).to_owned();
    folder.extend(account.filter(|account| *account != TENANT));
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_folder_and_no_ending() {
        assert_eq!(bare_name(Path::new("resize-2_a")), Some("resize-2_a"));
        for path in [
            "./resize",
            "resize/",
            "a/resize",
            "/resize",
            ".",
            "..",
            "",
            "resize.wasm",
        ] {
            assert_eq!(bare_name(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn the_plugin_directory_goes_before_what_is_called_so_here() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        let served = |only| named(Path::new("src"), folder, only);
        // The crate's own folder of that name, in which this runs.
        assert_eq!(served(false), Path::new("src"));
        let (own, wasm) = (folder.join("src"), folder.join("src.wasm"));
        let code = folder.join("src.cwasm");
        std::fs::write(&code, "").unwrap();
        assert_eq!(served(false), code);
        std::fs::write(&wasm, "").unwrap();
        assert_eq!((served(false), served(true)), (wasm.clone(), code.clone()));
        assert_eq!(named(Path::new("./src"), folder, false), Path::new("./src"));
        // What a list calls so is found, whatever name it has.
        let odd = folder.join("odd name.wasm");
        std::fs::write(&odd, "").unwrap();
        assert_eq!(misnamed(Path::new("odd name"), folder), Some(odd));
        assert_eq!(misnamed(Path::new("./odd name"), folder), None);
        // A folder is a plugin by its manifest.
        std::fs::create_dir(&own).unwrap();
        assert_eq!(served(false), wasm);
        std::fs::write(own.join("plugin.toml"), "").unwrap();
        assert_eq!(forms(folder, "src", true), [own, code, wasm]);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_compiled_or_sent_is_followed_as_the_directory_does() {
        use std::os::unix::fs::symlink;

        let scratch = tempfile::tempdir().unwrap();
        let data = scratch.path().join("data");
        let (plugins, outside) = (data.join("plugins"), scratch.path().join("outside.wasm"));
        std::fs::create_dir_all(plugins.join("all")).unwrap();
        for file in [
            &outside,
            &plugins.join("in.wasm"),
            &plugins.join("all/plugin.toml"),
        ] {
            std::fs::write(file, "").unwrap();
        }
        symlink("in.wasm", plugins.join("stays.wasm")).unwrap();
        symlink("none.wasm", plugins.join("gone.wasm")).unwrap();
        symlink(&outside, plugins.join("out.wasm")).unwrap();
        symlink(&outside, plugins.join("all/all.wasm")).unwrap();
        symlink(&outside, plugins.join("all/data.txt")).unwrap();
        symlink(&outside, scratch.path().join("here.wasm")).unwrap();
        let told = |path: &Path| match source(path, Some(&data)) {
            Ok(found) => found.display().to_string(),
            Err(Stop::Usage(why)) => why.to_string(),
            Err(other) => panic!("{other:?}"),
        };
        for (name, file) in [("in", "in.wasm"), ("stays", "stays.wasm")] {
            let file = plugins.join(file);
            assert_eq!(told(Path::new(name)), file.display().to_string());
            assert_eq!(told(&file), file.display().to_string());
        }
        for (name, file, why) in [
            (
                "gone",
                "gone.wasm",
                "is a link to `none.wasm`, which leads nowhere",
            ),
            (
                "out",
                "out.wasm",
                "out.wasm` is a link that leads out of the plugin directory",
            ),
            (
                "all",
                "all",
                "all/all.wasm` is a link that leads out of the plugin directory",
            ),
        ] {
            let file = plugins.join(file);
            for path in [Path::new(name), file.as_path()] {
                let told = told(path);
                assert!(told.contains(why) && told.contains("\nhint: "), "{told}");
            }
        }
        // Elsewhere a link is what it leads to.
        let here = scratch.path().join("here.wasm");
        assert_eq!(told(&here), here.display().to_string());
        // What is not there is told as `plugin inspect` does.
        let file = scratch.path().join("none.wasm");
        for path in [Path::new("none"), file.as_path()] {
            let told = told(path);
            let why = format!("there is no `{}`: no file or folder", path.display());
            assert!(told.starts_with(&why), "{told}");
            assert!(told.contains(&plugins.display().to_string()), "{told}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_served_is_found_by_its_name() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        let link = |name: &str| {
            let place = folder.join(name);
            std::os::unix::fs::symlink("none", &place).unwrap();
            place
        };
        for (name, place) in [("lnk", link("lnk.wasm")), ("all", link("all"))] {
            assert_eq!(named(Path::new(name), folder, false), place);
            let found = existing(Path::new(name), Some(folder), None, CompileArgs::default());
            assert_eq!(found.ok(), Some(place));
        }
        // A socket stands for what is no file; it is no plugin's, but it is there.
        let place = folder.join("pipe.wasm");
        let _socket = std::os::unix::net::UnixListener::bind(&place).unwrap();
        assert_eq!(forms(folder, "pipe", false), [place]);
    }
}
