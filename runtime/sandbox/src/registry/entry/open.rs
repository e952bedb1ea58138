//! How a plugin becomes one that can be called: read, checked, compiled as far as there is leave to, linked. Hides what its file
//! holds, and where an upload's is.

use super::{Entry, Source};
use crate::cache::hex;
use crate::claims;
use crate::code::{Format, Program};
use crate::compiler::{Compiler, Fault};
use crate::grants::Ceiling;
use crate::machine::Machine;
use crate::manifest::Manifest;
use crate::needs::{Known, Needs};
use crate::origin::{Kept, Origins};
use crate::outcome::PluginStamp;
use crate::precompiled;
use crate::queue::Leave;
use crate::registry::UploadCode;
use crate::registry::loaded::Loaded;
use crate::registry::loader::Loader;
use crate::scan::ProgramFile;
use crate::turns::Habit;
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

impl Entry {
    pub(in crate::registry) fn needs_compiling(&self, loader: &Loader) -> Result<bool, String> {
        if self.kept().is_some() {
            return Ok(false);
        }
        let (manifest, wasm) = match &self.source {
            Source::Folder { found } => {
                let files = found.read()?;
                match files.program {
                    ProgramFile::Wasm(wasm) => (files.manifest, wasm),
                    ProgramFile::Compiled(_) => return Ok(false),
                }
            }
            // An upload is compiled before it is one.
            Source::Upload(_) => return Ok(false),
        };
        if matches!(loader.compiler, Compiler::Absent) {
            return Ok(false);
        }
        Format::of(&wasm)?;
        let manifest = read_manifest(manifest.as_deref())?;
        let allowed = loader.allowed(&self.tenant);
        let limits = manifest.limits.within(&allowed.limits());
        let machine = loader.machine(Loader::kind(&limits))?;
        let sha256 = hex(&Sha256::digest(&wasm));
        Ok(!loader.cache.has(&machine.engine, &sha256))
    }

    /// Reads, checks, compiles as far as there is leave to, and links. Blocks.
    pub(super) fn open(
        &self,
        loader: &Loader,
        leave: &mut Leave<'_>,
    ) -> Result<Arc<Loaded>, Fault> {
        let Files {
            manifest,
            manifest_sha256,
            binary,
            folder,
        } = self.files()?;
        let kept = match (&self.source, &folder) {
            (Source::Upload(_), _) => Kept::Function,
            (Source::Folder { .. }, Some(_)) => Kept::Manifest,
            (Source::Folder { .. }, None) => Kept::Nowhere,
        };
        let allowed = loader.allowed(&self.tenant);
        let most = allowed.limits();
        let limits = manifest.limits.within(&most);
        let machine = loader.machine(Loader::kind(&limits))?;
        let origins = Origins::uncalled(kept, &manifest.limits, &limits);
        let (sha256, program) =
            self.program(loader, &machine, &manifest, &origins, binary, leave)?;
        let (code, contract) = program.link(&machine)?;
        claims::check_contract(&manifest, contract)?;
        let ceilings = match &self.source {
            Source::Folder { .. } => allowed.grants(),
            // Its variables are all that it can ask for, and its own.
            Source::Upload(_) => vec![&Ceiling::AsAsked],
        };
        let guarded = &loader.settings.guarded;
        let granted = claims::granted(&manifest, &ceilings, folder.as_deref(), guarded)?;
        let stamp = Arc::new(PluginStamp {
            name: self.name.clone(),
            version: manifest.version,
            sha256,
            on_crash: manifest.on_crash,
        });
        Ok(Arc::new(Loaded {
            code,
            machine,
            limits,
            asked: manifest.limits,
            kept,
            wall_max: most.wall,
            instance: allowed.instance(manifest.instance),
            granted,
            stamp,
            contract,
            manifest: manifest_sha256,
            running: AtomicU32::new(0),
            habit: Habit::default(),
        }))
    }

    /// The SHA-256 of the plugin's WebAssembly, and its code, which can begin under these limits.
    fn program(
        &self,
        loader: &Loader,
        machine: &Machine,
        manifest: &Manifest,
        origins: &Origins<'_>,
        binary: Binary,
        leave: &mut Leave<'_>,
    ) -> Result<(String, Program), Fault> {
        let wasm = match binary {
            Binary::Wasm(wasm) => wasm,
            Binary::Compiled(_) if !loader.settings.precompiled => {
                let why = "it was compiled ahead of time, and such code is run unchecked: allow it with \
                           `--precompiled also`, or put its .wasm into the plugin directory";
                return Err(why.to_owned().into());
            }
            Binary::Kept { sha256, fetch } => {
                claims::check_file(manifest, &self.name, &sha256)?;
                if let Some(code) = loader.cache.stored_code(&machine.engine, &sha256) {
                    let program = Program::precompiled(machine, code);
                    self.begins_within(origins, program.known, &*fetch)?;
                    return Ok((sha256, program));
                }
                fetched(&*fetch)?
            }
            Binary::Compiled(file) => {
                let (record, code) = precompiled::load(machine, &file)?;
                claims::check_file(manifest, &self.name, &record.wasm_sha256)?;
                let program = Program::precompiled(machine, code);
                program.known.least.fit(origins)?;
                return Ok((record.wasm_sha256, program));
            }
        };
        let wasm: &[u8] = (*wasm).as_ref();
        let sha256 = hex(&Sha256::digest(wasm));
        claims::check_file(manifest, &self.name, &sha256)?;
        // Before it is compiled, which may take minutes.
        let needs = Needs::of(wasm).unwrap_or_default();
        needs.fit(origins)?;
        let (cache, compiler) = (&loader.cache, &loader.compiler);
        let program = Program::compile(machine, cache, compiler, &sha256, wasm, leave)?;
        program.known.least.fit(origins)?;
        Ok((sha256, program))
    }

    fn files(&self) -> Result<Files, Fault> {
        Ok(match &self.source {
            Source::Folder { found } => {
                let files = found.read()?;
                Files {
                    manifest: read_manifest(files.manifest.as_deref())?,
                    manifest_sha256: digest(files.manifest.as_deref()),
                    binary: match files.program {
                        ProgramFile::Wasm(wasm) => Binary::Wasm(Box::new(wasm)),
                        ProgramFile::Compiled(file) => Binary::Compiled(file),
                    },
                    folder: files.folder,
                }
            }
            Source::Upload(upload) => {
                Files {
                    manifest: upload.manifest()?,
                    manifest_sha256: None,
                    // Of a tenant nothing but WebAssembly is taken, whatever its bytes are.
                    binary: match upload.code.sha256() {
                        Some(sha256) => Binary::Kept {
                            sha256,
                            fetch: upload.code.clone(),
                        },
                        None => Binary::Wasm(fetched(&*upload.code)?),
                    },
                    folder: None,
                }
            }
        })
    }

    /// Checks what code that is kept begins with. Its file is looked at only where the number of its memories and tables, and the
    /// size of the largest, leave it open.
    fn begins_within(
        &self,
        origins: &Origins<'_>,
        known: Known,
        file: &dyn UploadCode,
    ) -> Result<(), Fault> {
        known.least.fit(origins)?;
        if known.most.beyond(origins.in_force).is_empty() {
            return Ok(());
        }
        let wasm = fetched(file)?;
        let needs = Needs::of((*wasm).as_ref()).unwrap_or_default();
        needs.fit(origins).map_err(Fault::from)
    }
}

/// What a plugin is made of.
struct Files {
    manifest: Manifest,
    manifest_sha256: Option<[u8; 32]>,
    binary: Binary,
    /// The plugin's own folder.
    folder: Option<PathBuf>,
}

/// A plugin's program as it was found.
enum Binary {
    Wasm(Box<dyn AsRef<[u8]>>),
    /// WebAssembly that is kept elsewhere under its hash: it may be compiled already.
    Kept {
        sha256: String,
        fetch: Arc<dyn UploadCode>,
    },
    /// A file of the plugin folder that was compiled ahead of time.
    Compiled(PathBuf),
}

/// Fetches the WebAssembly of an upload, on a thread that may block.
fn fetched(code: &dyn UploadCode) -> Result<Box<dyn AsRef<[u8]>>, Fault> {
    let wasm = tokio::runtime::Handle::current().block_on(code.wasm());
    let wasm = wasm.map_err(Fault::passing)?;
    Ok(Box::new(wasm))
}

pub(super) fn read_manifest(text: Option<&str>) -> Result<Manifest, String> {
    text.map_or_else(|| Ok(Manifest::default()), Manifest::parse)
}
/// SHA-256 of a text.
pub(super) fn digest(text: Option<&str>) -> Option<[u8; 32]> {
    text.map(|text| Sha256::digest(text).into())
}
