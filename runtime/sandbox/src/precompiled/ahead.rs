//! Compiling ahead of time. Hides how a file is put together.

use super::{Ahead, CodeRecord, MAGIC, Made, Profile, architecture, this_target};
use crate::cache::hex;
use crate::code::{Format, chain};
use crate::compiler::{Compiler, Fault, Job, engine_hash};
use crate::error::Error;
use crate::inspect::examined;
use crate::machine::{Metering, RUNTIME, engine_for};
use crate::manifest::Limits;
use crate::needs::Needs;
use crate::origin::{Kept, Origins};
use crate::queue::Leave;
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// How a plugin is compiled ahead of time.
#[derive(Debug, Clone)]
pub struct AheadOfTime {
    /// What the code is made for.
    pub profile: Profile,
    /// The machine, as `aarch64-unknown-linux-musl`; this one when absent.
    pub target: Option<String>,
    /// Where it is compiled.
    pub compiler: Compiler,
    /// The ceiling of the host that will run it: a plugin for which either sets a limit of fuel counts it.
    pub limits: Limits,
}

/// Compiles a `.wasm` file, or a folder with `plugin.toml`: the bytes of a file `NAME.cwasm`, and what they say of
/// themselves. Whether the plugin fits the contract is not looked at; whether it can begin within its limits is. Blocks, for as
/// long as the compiler takes.
///
/// # Errors
/// The plugin cannot be read or compiled, or this build has no back end for the target.
pub fn compile_ahead(path: &Path, how: &AheadOfTime) -> Result<(CodeRecord, Vec<u8>), Error> {
    let broken = |why: String| Error::Plugin {
        name: path.display().to_string(),
        why,
    };
    let (manifest, wasm) = examined(path)?;
    let format = Format::of(&wasm).map_err(broken)?;
    let limits = manifest.limits.within(&how.limits);
    // The manifest of a lone file may come later, and ask for anything.
    let anything = Limits::unlimited();
    let (asked, most) = match path.is_dir() {
        true => (&manifest.limits, &limits),
        false => (&anything, &how.limits),
    };
    let needs = Needs::of(&wasm).unwrap_or_default();
    let origins = Origins::uncalled(Kept::Manifest, asked, most);
    needs.fit(&origins).map_err(broken)?;
    let metering = match limits.fuel {
        Some(_) => Metering::Fuel,
        None => Metering::Off,
    };
    let ahead = Ahead {
        profile: how.profile,
        target: how.target.clone().unwrap_or_else(this_target),
    };
    let job = Job {
        metering,
        format,
        wasm: &wasm,
    };
    sealed(&how.compiler, ahead, &job).map_err(|fault| broken(fault.why))
}

fn sealed(
    compiler: &Compiler,
    ahead: Ahead,
    job: &Job<'_>,
) -> Result<(CodeRecord, Vec<u8>), Fault> {
    let Ahead { profile, target } = ahead.clone();
    let made = Made::Ahead(ahead);
    let engine = engine_for(job.metering, &made, true)
        .map_err(|error| Fault::from(no_engine(&target, &chain(&error))))?;
    let code = compiler.compile_for(&engine, &made, job, &mut Leave::Alone)?;
    let record = CodeRecord {
        stepwell: env!("CARGO_PKG_VERSION").to_owned(),
        runtime: RUNTIME.to_owned(),
        profile,
        target,
        engine: format!("{:016x}", engine_hash(&engine)),
        format: job.format,
        metered: job.metering == Metering::Fuel,
        wasm_sha256: hex(&Sha256::digest(job.wasm)),
        wasm_bytes: job.wasm.len() as u64,
        code_sha256: hex(&Sha256::digest(&code)),
        code_bytes: code.len() as u64,
    };
    let text = serde_json::to_vec(&record)
        .map_err(|error| Fault::from(format!("its record cannot be written: {error}")))?;
    let length = u32::try_from(text.len())
        .map_err(|_| Fault::from("its record is too long".to_owned()))?
        .to_le_bytes();
    let file = [&code, text.as_slice(), &length, MAGIC].concat();
    Ok((record, file))
}

/// Why there is no compiler for a target.
fn no_engine(target: &str, why: &str) -> String {
    let own = std::env::consts::ARCH;
    if architecture(target) != own && cfg!(not(feature = "cross")) {
        return format!(
            "this build compiles for {own} alone, and the target is {target}; a program that was built with the feature \
             `cross` compiles for x86_64 and aarch64: cargo build --release -p stepwell --features cross"
        );
    }
    format!(
        "there is no compiler for the target `{target}` ({why}); targets are named as Rust names them, such as {}",
        this_target()
    )
}
