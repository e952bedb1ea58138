//! A place for a server: a folder of a test's own with a data directory and a plugin folder, and the turn to have a server.
//! Hides that suites with a server run one after the other.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::server::{Server, Turn};

/// Gone with all that is in it when it is dropped.
#[derive(Debug)]
pub struct Place {
    _turn: Turn,
    scratch: tempfile::TempDir,
    /// Not there before a server or the program makes it.
    pub data: PathBuf,
    /// There, and empty.
    pub plugins: PathBuf,
}

impl Place {
    /// Waits until no other suite has a server.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn new() -> Result<Place> {
        let turn = Turn::take()?;
        let scratch = tempfile::tempdir()?;
        let (data, plugins) = (scratch.path().join("data"), scratch.path().join("plugins"));
        std::fs::create_dir(&plugins)?;
        Ok(Place {
            _turn: turn,
            scratch,
            data,
            plugins,
        })
    }

    /// The folder that both are in.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// A server on them; another one once the last is gone.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn serve(&self, flags: &[&str]) -> Result<Server> {
        Server::start_with(&self.data, &self.plugins, flags)
    }
}
