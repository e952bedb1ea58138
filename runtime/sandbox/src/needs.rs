//! What a program takes before it does anything: the memory and the table elements that it declares. Hides where that is written,
//! and what is known of it without the program's file.

#[cfg(feature = "compiler")]
mod parts;

use crate::limits;
use crate::manifest::Limits;
use crate::origin::{Kept, Limit, Origins};
use wasmtime::ResourcesRequired;

/// Of all parts of a program together, as they are counted when an instance of it is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) memory_bytes: u64,
    pub(crate) table_elements: u64,
}

/// What compiled code tells of its needs: how many memories and tables there are, and how large the largest is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) least: Needs,
    pub(crate) most: Needs,
}

/// A need that no attempt is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Excess {
    of: Of,
    needed: u64,
    allowed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Memory,
    Tables,
}

impl Needs {
    /// Those of a file. None when it does not say: it is broken, which the compiler tells better, or made of parts that are
    /// handed to it. Runs and validates nothing.
    pub(crate) fn of(wasm: &[u8]) -> Option<Self> {
        #[cfg(feature = "compiler")]
        {
            parts::needs(wasm)
        }
        // Without a compiler no file is served.
        #[cfg(not(feature = "compiler"))]
        {
            let _ = wasm;
            None
        }
    }

    /// What of it an attempt under these limits may not have.
    pub(crate) fn beyond(&self, limits: &Limits) -> Vec<Excess> {
        let sizes = [
            (Of::Memory, self.memory_bytes, limits.memory_bytes),
            (Of::Tables, self.table_elements, limits.table_elements),
        ];
        let too_large = sizes.into_iter().filter(|(_, needed, most)| needed > most);
        too_large
            .map(|(of, needed, allowed)| Excess {
                of,
                needed,
                allowed,
            })
            .collect()
    }

    /// Whether it may begin under the limits in force.
    ///
    /// # Errors
    /// What is too large, what it may be, and how to mend it.
    pub(crate) fn fit(&self, origins: &Origins<'_>) -> Result<(), String> {
        let beyond = self.beyond(origins.in_force);
        let told: Vec<String> = beyond
            .iter()
            .map(|excess| format!("{excess}; {}", excess.mend(origins)))
            .collect();
        match told.is_empty() {
            true => Ok(()),
            false => Err(told.join("; and ")),
        }
    }

    #[cfg(feature = "compiler")]
    fn plus(self, other: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            table_elements: self.table_elements.saturating_add(other.table_elements),
        }
    }
}

impl Known {
    /// What the Wasm runtime tells of code; nothing where its parts are handed to it.
    pub(crate) fn told(resources: Option<ResourcesRequired>) -> Self {
        let Some(resources) = resources else {
            return Self {
                least: Needs::default(),
                most: Needs {
                    memory_bytes: u64::MAX,
                    table_elements: u64::MAX,
                },
            };
        };
        let pages = resources.max_initial_memory_size.unwrap_or_default();
        let least = Needs {
            memory_bytes: pages.saturating_mul(limits::WASM_PAGE_BYTES),
            table_elements: resources.max_initial_table_size.unwrap_or_default(),
        };
        let (memories, tables) = (resources.num_memories, resources.num_tables);
        Self {
            least,
            most: Needs {
                memory_bytes: least.memory_bytes.saturating_mul(memories.into()),
                table_elements: least.table_elements.saturating_mul(tables.into()),
            },
        }
    }
}

impl Excess {
    /// What to do about it.
    pub(crate) fn mend(&self, origins: &Origins<'_>) -> String {
        match (self.of, origins.kept) {
            (Of::Memory, _) => format!("raise {}", origins.setting(Limit::Memory)),
            (Of::Tables, Kept::Manifest | Kept::Nowhere) => {
                let setting = origins.setting(Limit::TableElements);
                format!("raise {setting}, or build it with smaller tables")
            }
            (Of::Tables, Kept::Function) => {
                "build it with smaller tables: a function has no setting for them".to_owned()
            }
        }
    }
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            of,
            needed,
            allowed,
        } = self;
        match of {
            Of::Memory => write!(
                f,
                "it begins with {needed} bytes of memory and may have {allowed}"
            ),
            Of::Tables => write!(
                f,
                "it begins with {needed} elements of tables, all tables together, and may have {allowed}"
            ),
        }
    }
}
