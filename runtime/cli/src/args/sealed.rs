//! The commands of `stepwell secret` and `stepwell connection`: names, flags and their help.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::TenantPlace;

/// Whose they are, and where.
#[derive(Debug, Args)]
pub(crate) struct OwnerArgs {
    /// Account of a tenant, which takes an operator's access key; that of the access key when absent, or the default one at a data
    /// directory
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) tenant: Option<String>,
    #[command(flatten)]
    pub(crate) place: TenantPlace,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Keep a secret, in the place of the one of that name; the value is read from a file or from stdin, without its last line break
    Put {
        /// Its name: 1 to 64 letters, digits, `.`, `-` and `_`
        name: String,
        /// A value that stands where others could see it: taken to be refused without being repeated
        #[arg(hide = true)]
        misplaced: Vec<String>,
        /// File with the value; stdin when absent, or as `-`
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
        file: Option<PathBuf>,
        #[command(flatten)]
        owner: OwnerArgs,
    },
    /// List the names of secrets; no command shows a value
    List {
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        owner: OwnerArgs,
    },
    /// Forget a secret
    Delete {
        /// Its name
        name: String,
        #[command(flatten)]
        owner: OwnerArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionCommand {
    /// Keep a connection, in the place of the one of that name
    Put {
        /// Its name: 1 to 64 letters, digits, `.`, `-` and `_`
        name: String,
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
        #[command(flatten)]
        owner: OwnerArgs,
    },
    /// List connections, without what is secret of them
    List {
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        owner: OwnerArgs,
    },
    /// Forget a connection
    Delete {
        /// Its name
        name: String,
        #[command(flatten)]
        owner: OwnerArgs,
    },
}
