//! The flags with which plugins go to OCI registries and come from them.

use std::path::PathBuf;

use clap::Args;

use crate::oci::Reference;

/// How a registry is spoken to.
#[derive(Clone, Debug, Args)]
pub(crate) struct RegistryArgs {
    /// Speak HTTP without TLS with the registry; loopback is spoken to so without being asked
    #[arg(long)]
    pub(crate) plain_http: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// What to fetch: HOST/REPOSITORY, with :TAG, @sha256:DIGEST or both
    #[arg(value_name = "REF")]
    pub(crate) reference: Reference,
    /// Name of the plugin; the last part of the repository when absent
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Plugin directory to keep it in
    #[arg(long, value_name = "DIR", default_value = "./stepwell-data/plugins")]
    pub(crate) plugins: PathBuf,
    /// Replace a plugin of that name that came from elsewhere; the new one asks for nothing, and what plugin.toml said is kept
    /// as plugin.toml.before
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}
