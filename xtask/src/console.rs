//! The web console's package: its modules installed, its files built to look at, its types checked. Hides that builds of the
//! program install and build at the same place, and whose turn it is.

use anyhow::{Error, Result};

use crate::{npm, tools};

/// Builds the console into `target/console`, with what npm and Vite say of it.
pub(crate) fn build() -> Result<()> {
    let folder = tools::root().join("target/console");
    let installed = installed()?;
    let mut vite = installed.script("build");
    vite.arg("--outDir").arg(&folder).arg("--emptyOutDir");
    tools::run(&mut vite, "the console was not built")?;
    eprintln!(
        "the console is in {}; the next build of the program takes it in by itself",
        tools::shown(&folder)
    );
    Ok(())
}

/// Checks the types of what it is built from.
pub(crate) fn check() -> Result<()> {
    let installed = installed()?;
    let mut types = installed.script("check");
    tools::run(&mut types, "the console's types are wrong")
}

fn installed() -> Result<npm::Installed> {
    npm::install(&tools::root().join("runtime/console")).map_err(Error::msg)
}
