//! The operator's key file: read, made, replaced. Hides its place, its permissions, and that it is never half written.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use stepwell_engine::Vault;

use crate::exit::{Blame, Outcome, Stop};
use crate::given;

/// Where it is: as given, or beside the data directory, so that a copy of that opens no secret.
pub(crate) fn place(given: Option<&Path>, data: &Path) -> PathBuf {
    if let Some(given) = given {
        return given.to_owned();
    }
    let mut name = data
        .file_name()
        .map_or_else(|| OsString::from("stepwell-data"), OsString::from);
    name.push(".key");
    data.with_file_name(name)
}

/// The keys of the file beside a data directory, if there is one.
pub(crate) fn beside(data: &Path) -> Outcome<Option<Vault>> {
    let path = place(None, data);
    path.exists().then(|| read(&path)).transpose()
}

/// The keys of a file that was named, or of the one beside a data directory, if that is there.
pub(crate) fn named_or_beside(given: Option<&Path>, data: &Path) -> Outcome<Option<Vault>> {
    match given {
        Some(path) => read(path).map(Some),
        None => beside(data),
    }
}

/// What a server says that finds no key file where something is sealed.
pub(crate) fn needed(given: Option<&Path>, data: &Path) -> String {
    format!(
        "the store holds secrets, connections or access keys that a key file sealed, and there is none at `{}`\nhint: --key-file names it where it is; if it is lost, `stepwell secret delete`, `stepwell connection delete` and `stepwell tenant keys remove` take away what only it opens",
        place(given, data).display()
    )
}

/// The keys of a file that only its owner may read.
pub(crate) fn read(path: &Path) -> Outcome<Vault> {
    let text = match given::read(path) {
        Ok(text) => text,
        Err(Stop::Usage(error)) => {
            return Err(Stop::Usage(anyhow!(
                "{error:#}\nhint: it opens what is sealed in the store, such as access keys; --key-file names it where it is, and `stepwell tenant key-file` makes a new one where nothing is sealed yet"
            )));
        }
        Err(other) => return Err(other),
    };
    check_owner(path)?;
    Vault::parse(&text)
        .map_err(|why| Stop::Usage(anyhow!("`{}` is no key file: {why}", path.display())))
}

/// The keys of a file, which is made when it is missing.
pub(crate) fn read_or_make(path: &Path) -> Outcome<Vault> {
    if path.exists() {
        return read(path);
    }
    let vault = Vault::fresh();
    write(path, &vault)?;
    say!(
        "made the key file {}: without it no access key works and no secret opens, so keep a copy, apart from the data",
        path.display()
    );
    Ok(vault)
}

/// Makes a file where there is none.
pub(crate) fn make(path: &Path) -> Outcome {
    if path.exists() {
        read(path)?;
        say!(
            "there is the key file {} already; it stays as it is",
            path.display()
        );
        return Ok(());
    }
    read_or_make(path).map(drop)
}

/// Replaces the file whole; of a link the file that it leads to, which may lie apart from the data on purpose.
pub(crate) fn write(path: &Path, vault: &Vault) -> Outcome {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = real.as_path();
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = PathBuf::from(name);
    let written = || -> std::io::Result<()> {
        // What an interrupted attempt left behind.
        if fresh.exists() {
            std::fs::remove_file(&fresh)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file: File = options.open(&fresh)?;
        file.write_all(vault.to_text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    written()
        .with_context(|| format!("the key file `{}` cannot be written", path.display()))
        .usage()
}

#[cfg(unix)]
fn check_owner(path: &Path) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let meta = std::fs::metadata(path).usage()?;
    if meta.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(Stop::Usage(anyhow!(
        "the key file `{0}` may be read by others than its owner\nhint: chmod 600 {0}",
        path.display()
    )))
}

#[cfg(not(unix))]
fn check_owner(_: &Path) -> Outcome {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_one_and_what_it_leads_to_is_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let (apart, link) = (
            scratch.path().join("apart"),
            scratch.path().join("data.key"),
        );
        std::fs::create_dir(&apart).unwrap();
        let real = apart.join("real.key");
        write(&real, &Vault::fresh()).unwrap_or_else(|_| panic!("written"));
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let fresh = Vault::fresh();
        write(&link, &fresh).unwrap_or_else(|_| panic!("written"));
        assert_eq!(std::fs::read_link(&link).unwrap(), real);
        assert_eq!(std::fs::read_to_string(&real).unwrap(), fresh.to_text());
    }
}
