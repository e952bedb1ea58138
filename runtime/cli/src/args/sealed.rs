//! The commands of `stepwell secret` and `stepwell connection`: names, flags and their help.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{TenantPlace, place::account};

/// Whose they are, and where.
#[derive(Debug, Args)]
pub(crate) struct OwnerArgs {
    /// Account of a tenant, which takes an operator's access key; that of the access key when absent, or the default one at a data
    /// directory
    #[arg(long, value_name = "ACCOUNT", value_parser = account)]
    pub(crate) tenant: Option<String>,
    #[command(flatten)]
    pub(crate) place: TenantPlace,
}

/// All of an owner's.
#[derive(Debug, Args)]
pub(crate) struct AllKept {
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
}

/// One of an owner's.
#[derive(Debug, Args)]
pub(crate) struct OneKept {
    /// Its name: 1 to 64 letters, digits, `.`, `-` and `_`
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Keep a secret, in the place of the one of that name; the value is read from a file or from stdin, without its last line break
    Put {
        #[command(flatten)]
        one: OneKept,
        /// A value that stands where others could see it: taken to be refused without being repeated
        #[arg(hide = true)]
        misplaced: Vec<String>,
        /// File with the value; stdin when absent, or as `-`
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
        file: Option<PathBuf>,
    },
    /// List the names of secrets, and which do not open; no command shows a value
    List(AllKept),
    /// Forget a secret
    Delete(OneKept),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionCommand {
    /// Keep a connection, in the place of the one of that name
    Put {
        #[command(flatten)]
        one: OneKept,
        /// TOML or JSON file with what the file of --connections has below [connection.NAME]; stdin when absent, or
        /// as `-`
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
        file: Option<PathBuf>,
        /// What it is for; shown in lists
        #[arg(long, default_value = "")]
        description: String,
        /// Let its rules name private addresses, which takes an operator
        #[arg(long)]
        private: bool,
    },
    /// List connections, without what is secret of them
    List(AllKept),
    /// Forget a connection
    Delete(OneKept),
}
