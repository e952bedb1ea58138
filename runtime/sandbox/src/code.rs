//! A plugin's program, ready to be instantiated. Hides the binary formats and how each contract is recognised.

use crate::bindings::TaskPre;
use crate::cache::Cache;
use crate::compiler::{Compiler, Fault};
use crate::guest::Guest;
use crate::limits;
use crate::machine::Machine;
use crate::manifest::Contract;
use crate::needs::Known;
use crate::precompiled::Precompiled;
use crate::queue::Leave;
use wasmtime::component::{Component, types::ComponentItem};
use wasmtime::{Engine, Module};
use wasmtime_wasi::p2::bindings::CommandPre;

/// A checked and linked program.
pub(crate) enum Code {
    Task(TaskPre<Guest>),
    Command(CommandPre<Guest>),
    Module(wasmtime::InstancePre<Guest>),
}

/// The two binary formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A component.
    Component,
    /// A core module.
    Module,
}

/// An import of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its name, as `package/interface@version` or `module.name`.
    pub name: String,
    /// Whether this host has it.
    pub offered: bool,
    /// The key of `[grants]` that it needs to be of use.
    pub grant: Option<&'static str>,
}

/// The interfaces that guests may import, and the version prefix they come in. All are linked; without a grant they
/// deny.
const OFFERED: [(&str, &str, Option<&str>); 34] = [
    ("stepwell:task/types", "0.1.", None),
    ("stepwell:task/log", "0.1.", None),
    ("stepwell:task/config", "0.1.", Some("config")),
    ("stepwell:task/secrets", "0.1.", Some("secrets")),
    ("stepwell:task/heartbeat", "0.1.", None),
    ("wasi:http/types", "0.2.", Some("http")),
    ("wasi:http/outgoing-handler", "0.2.", Some("http")),
    ("wasi:io/error", "0.2.", None),
    ("wasi:io/poll", "0.2.", None),
    ("wasi:io/streams", "0.2.", None),
    ("wasi:clocks/wall-clock", "0.2.", None),
    ("wasi:clocks/monotonic-clock", "0.2.", None),
    ("wasi:random/random", "0.2.", None),
    ("wasi:random/insecure", "0.2.", None),
    ("wasi:random/insecure-seed", "0.2.", None),
    ("wasi:filesystem/types", "0.2.", Some("fs")),
    ("wasi:filesystem/preopens", "0.2.", Some("fs")),
    ("wasi:cli/environment", "0.2.", Some("env")),
    ("wasi:cli/exit", "0.2.", None),
    ("wasi:cli/stdin", "0.2.", None),
    ("wasi:cli/stdout", "0.2.", None),
    ("wasi:cli/stderr", "0.2.", None),
    ("wasi:cli/terminal-input", "0.2.", None),
    ("wasi:cli/terminal-output", "0.2.", None),
    ("wasi:cli/terminal-stdin", "0.2.", None),
    ("wasi:cli/terminal-stdout", "0.2.", None),
    ("wasi:cli/terminal-stderr", "0.2.", None),
    ("wasi:sockets/network", "0.2.", None),
    ("wasi:sockets/instance-network", "0.2.", None),
    ("wasi:sockets/ip-name-lookup", "0.2.", Some("dns")),
    ("wasi:sockets/tcp", "0.2.", Some("tcp")),
    ("wasi:sockets/tcp-create-socket", "0.2.", None),
    ("wasi:sockets/udp", "0.2.", None),
    ("wasi:sockets/udp-create-socket", "0.2.", None),
];

const PREVIEW_1: &str = "wasi_snapshot_preview1";

impl Format {
    /// Told by the first eight bytes.
    ///
    /// # Errors
    /// What the file is instead, and how to make a right one.
    pub(crate) fn of(wasm: &[u8]) -> Result<Self, String> {
        match wasm.get(..8) {
            Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok(Self::Component),
            Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Ok(Self::Module),
            Some([0, b'a', b's', b'm', ..]) => {
                Err("the file is WebAssembly of an unknown version".into())
            }
            // The seventh byte names the system: this one, the Wasm runtime.
            Some([0x7f, b'E', b'L', b'F', _, _, _, 200]) => Err(
                "the file is a plugin that was compiled ahead of time, not WebAssembly; such code is taken from the operator's plugin \
                 directory alone, under a name that ends in .cwasm: give the .wasm that it was made of"
                    .into(),
            ),
            Some([0x7f, b'E', b'L', b'F', ..]) => Err(
                "the file is compiled for a machine, not WebAssembly; compile for wasm32-wasip2"
                    .into(),
            ),
            Some(_) | None => Err(
                "the file is not WebAssembly, or is not written yet; it does not begin with \\0asm"
                    .into(),
            ),
        }
    }
}

/// What is known of a program before it is linked.
pub(crate) struct Program {
    pub(crate) contract: Result<Contract, String>,
    pub(crate) imports: Vec<Import>,
    /// What it takes at the start, as far as its code says.
    pub(crate) known: Known,
    kind: Kind,
}

enum Kind {
    Component(Component),
    Module(Module),
}

impl Program {
    /// Takes the file from the cache, or compiles it as far as there is leave to. Blocks.
    pub(crate) fn compile(
        machine: &Machine,
        cache: &Cache,
        compiler: &Compiler,
        sha256: &str,
        wasm: &[u8],
        leave: &mut Leave<'_>,
    ) -> Result<Self, Fault> {
        match Format::of(wasm)? {
            Format::Component => cache
                .get(machine, compiler, sha256, wasm, leave)
                .map(|component| Self::component(&machine.engine, component)),
            Format::Module => cache
                .get(machine, compiler, sha256, wasm, leave)
                .map(Self::module),
        }
    }

    /// What was compiled before, here or ahead of time.
    pub(crate) fn precompiled(machine: &Machine, code: Precompiled) -> Self {
        match code {
            Precompiled::Component(component) => Self::component(&machine.engine, component),
            Precompiled::Module(module) => Self::module(module),
        }
    }

    fn component(engine: &Engine, component: Component) -> Self {
        let ty = component.component_type();
        let imports = ty.imports(engine).map(|(name, _)| offered(name)).collect();
        let mut contract = Err("the component exports neither `stepwell:task/handler` nor `wasi:cli/run`; \
                                build it against guest-sdk/wit/task.wit, or as a command with a main function"
            .to_owned());
        for (name, item) in ty.exports(engine) {
            let is_instance = matches!(item.ty, ComponentItem::ComponentInstance(_));
            if is_instance && name.starts_with("stepwell:task/handler@0.1.") {
                contract = Ok(Contract::Component);
                break;
            }
            if is_instance && name.starts_with("wasi:cli/run@0.2.") {
                contract = Ok(Contract::Command);
            }
        }
        Self {
            contract,
            imports,
            known: Known::told(component.resources_required()),
            kind: Kind::Component(component),
        }
    }

    fn module(module: Module) -> Self {
        let imports = module
            .imports()
            .map(|import| Import {
                name: format!("{}.{}", import.module(), import.name()),
                offered: import.module() == PREVIEW_1,
                grant: None,
            })
            .collect();
        let contract = match module.get_export("_start") {
            Some(wasmtime::ExternType::Func(_)) => Ok(Contract::Command),
            Some(_) | None => Err(
                "the module exports no `_start`; build it as a command (a program with a main \
                                   function) for wasm32-wasip1"
                    .to_owned(),
            ),
        };
        Self {
            contract,
            imports,
            known: Known::told(Some(module.resources_required())),
            kind: Kind::Module(module),
        }
    }

    /// Links the program.
    ///
    /// # Errors
    /// Imports that this host does not have, or a missing export.
    pub(crate) fn link(self, machine: &Machine) -> Result<(Code, Contract), String> {
        let contract = self.contract?;
        if let Some(why) = not_offered(&self.imports) {
            return Err(why);
        }
        let code =
            match self.kind {
                Kind::Component(component) => machine
                    .components
                    .instantiate_pre(&component)
                    .and_then(|pre| match contract {
                        Contract::Component => TaskPre::new(pre).map(Code::Task),
                        Contract::Command => CommandPre::new(pre).map(Code::Command),
                    }),
                Kind::Module(module) => machine.modules.instantiate_pre(&module).map(Code::Module),
            };
        code.map(|code| (code, contract))
            .map_err(|error| format!("it cannot be linked: {}", chain(&error)))
    }
}

/// What of the imports this host does not have; there may be a million of them.
fn not_offered(imports: &[Import]) -> Option<String> {
    let unknown = || imports.iter().filter(|import| !import.offered);
    let told = unknown().take(limits::IMPORTS_TOLD_MAX);
    let told: Vec<String> = told
        .map(|import| format!("`{}`", shown(&import.name)))
        .collect();
    let more = match unknown().count() - told.len() {
        _ if told.is_empty() => return None,
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let told = told.join(", ");
    Some(format!(
        "it imports what this host does not have: {told}{more}; WASI 0.2, preview 1 and stepwell:task@0.1 are offered: build it \
         without the others"
    ))
}

/// A name of the file's own, short and without what moves a cursor or begins a line.
pub(crate) fn shown(name: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let name = name.chars().take(limits::SHOWN_NAME_CHARS_MAX);
    name.map(plain).collect()
}

fn offered(name: &str) -> Import {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    let known = OFFERED
        .iter()
        .find(|(offered, prefix, _)| *offered == interface && version.starts_with(prefix));
    Import {
        name: name.to_owned(),
        offered: known.is_some(),
        grant: known.and_then(|(_, _, grant)| *grant),
    }
}

/// The messages of an error and its causes, without any backtrace of the host.
pub(crate) fn chain(error: &wasmtime::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in error.chain() {
        let text = part.to_string();
        if !parts.iter().any(|earlier| earlier.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_match_by_minor() {
        for (name, is_offered) in [
            ("wasi:cli/stdin@0.2.6", true),
            ("wasi:cli/stdin@0.3.0", false),
            ("wasi:nn/graph@0.2.0", false),
            ("stepwell:task/log@0.1.7", true),
            ("stepwell:task/log@0.10.0", false),
            ("env", false),
        ] {
            assert_eq!(offered(name).offered, is_offered, "{name}");
        }
    }

    #[test]
    fn formats_are_told_by_their_header() {
        assert_eq!(Format::of(b"\0asm\x0d\0\x01\0rest"), Ok(Format::Component));
        assert_eq!(Format::of(b"\0asm\x01\0\0\0"), Ok(Format::Module));
        assert!(Format::of(b"\x7fELF0000").unwrap_err().contains("wasm32"));
        let ahead = Format::of(b"\x7fELF\x02\x01\x01\xc8").unwrap_err();
        assert!(ahead.contains("give the .wasm"), "{ahead}");
        assert!(Format::of(b"\0as").is_err());
    }
}
