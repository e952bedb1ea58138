//! The needs of a file, by its sections: of a module what it declares, of a component what its instances of modules declare, with
//! those of the components in it. Hides the binary format. Files are a stranger's and were not validated: all that is kept of one
//! is bounded.

use super::Needs;
use crate::limits;
use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, Encoding, Instance, Parser, Payload,
};

/// What an instance of a module or component takes; none where that depends on what it is handed.
type Cost = Option<Needs>;

/// A module or component that is being read.
struct Part {
    is_component: bool,
    cost: Cost,
    /// By their index, in the order in which they are defined, imported or named anew.
    modules: Vec<Cost>,
    components: Vec<Cost>,
}

/// None when it is broken, beyond the bounds of this reader, or does not say.
pub(super) fn needs(wasm: &[u8]) -> Option<Needs> {
    let mut open: Vec<Part> = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.ok()? {
            Payload::Version { encoding, .. } => {
                if open.len() >= limits::NESTED_PARTS_MAX {
                    return None;
                }
                open.push(Part::new(encoding == Encoding::Component));
            }
            Payload::End(_) => {
                let part = open.pop()?;
                match open.last_mut() {
                    Some(around) if part.is_component => keep(&mut around.components, part.cost)?,
                    Some(around) => keep(&mut around.modules, part.cost)?,
                    None => return part.cost,
                }
            }
            section => read(&mut open, section)?,
        }
    }
    None
}

/// Takes a section of the innermost part.
fn read(open: &mut [Part], section: Payload<'_>) -> Option<()> {
    let (part, around) = open.split_last_mut()?;
    match section {
        Payload::MemorySection(memories) => {
            for memory in memories {
                part.takes(Some(Needs {
                    memory_bytes: memory.ok()?.initial.saturating_mul(limits::WASM_PAGE_BYTES),
                    table_elements: 0,
                }));
            }
        }
        Payload::TableSection(tables) => {
            for table in tables {
                part.takes(Some(Needs {
                    memory_bytes: 0,
                    table_elements: table.ok()?.ty.initial,
                }));
            }
        }
        Payload::InstanceSection(instances) => {
            for instance in instances {
                if let Instance::Instantiate { module_index, .. } = instance.ok()? {
                    part.takes(at(&part.modules, module_index)?);
                }
            }
        }
        Payload::ComponentInstanceSection(instances) => {
            for instance in instances {
                if let ComponentInstance::Instantiate {
                    component_index, ..
                } = instance.ok()?
                {
                    part.takes(at(&part.components, component_index)?);
                }
            }
        }
        Payload::ComponentAliasSection(aliases) => {
            for alias in aliases {
                part.names(&alias.ok()?, around)?;
            }
        }
        Payload::ComponentImportSection(imports) => {
            for import in imports {
                match import.ok()?.ty {
                    ComponentTypeRef::Module(_) => keep(&mut part.modules, None)?,
                    ComponentTypeRef::Component(_) => keep(&mut part.components, None)?,
                    _ => {}
                }
            }
        }
        Payload::ComponentExportSection(exports) => {
            for export in exports {
                let export = export.ok()?;
                part.exports(export.kind, export.index)?;
            }
        }
        _ => {}
    }
    Some(())
}

impl Part {
    fn new(is_component: bool) -> Self {
        Self {
            is_component,
            cost: Some(Needs::default()),
            modules: Vec::new(),
            components: Vec::new(),
        }
    }

    fn takes(&mut self, cost: Cost) {
        self.cost = self.cost.zip(cost).map(|(all, one)| all.plus(one));
    }

    /// What is exported has a second index from there on.
    fn exports(&mut self, kind: ComponentExternalKind, index: u32) -> Option<()> {
        match kind {
            ComponentExternalKind::Module => {
                let cost = at(&self.modules, index)?;
                keep(&mut self.modules, cost)
            }
            ComponentExternalKind::Component => {
                let cost = at(&self.components, index)?;
                keep(&mut self.components, cost)
            }
            _ => Some(()),
        }
    }

    /// Takes an alias; `around` are the components that this one is in, the outermost first.
    fn names(&mut self, alias: &ComponentAlias<'_>, around: &[Self]) -> Option<()> {
        match *alias {
            ComponentAlias::InstanceExport { kind, .. } => match kind {
                ComponentExternalKind::Module => keep(&mut self.modules, None),
                ComponentExternalKind::Component => keep(&mut self.components, None),
                _ => Some(()),
            },
            ComponentAlias::Outer { kind, count, index } => {
                let of = match usize::try_from(count).ok()?.checked_sub(1) {
                    None => &*self,
                    Some(outward) => around.iter().rev().nth(outward)?,
                };
                match kind {
                    ComponentOuterAliasKind::CoreModule => {
                        let cost = at(&of.modules, index)?;
                        keep(&mut self.modules, cost)
                    }
                    ComponentOuterAliasKind::Component => {
                        let cost = at(&of.components, index)?;
                        keep(&mut self.components, cost)
                    }
                    ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => Some(()),
                }
            }
            ComponentAlias::CoreInstanceExport { .. } => Some(()),
        }
    }
}

/// None when there is no such index.
fn at(costs: &[Cost], index: u32) -> Option<Cost> {
    costs.get(usize::try_from(index).ok()?).copied()
}

fn keep(costs: &mut Vec<Cost>, cost: Cost) -> Option<()> {
    if costs.len() >= limits::PARTS_KNOWN_MAX {
        return None;
    }
    costs.push(cost);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(mut value: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn section(id: u8, body: &[u8]) -> Vec<u8> {
        [&[id][..], &number(body.len()), body].concat()
    }

    fn module(sections: &[u8]) -> Vec<u8> {
        [&b"\0asm\x01\0\0\0"[..], sections].concat()
    }

    fn component(sections: &[Vec<u8>]) -> Vec<u8> {
        [b"\0asm\x0d\0\x01\0".to_vec(), sections.concat()].concat()
    }

    /// One page, and 10 elements.
    fn small() -> Vec<u8> {
        module(&[section(4, b"\x01\x70\0\x0a"), section(5, b"\x01\0\x01")].concat())
    }

    fn told(wasm: &[u8]) -> Option<(u64, u64)> {
        let needs = needs(wasm)?;
        Some((needs.memory_bytes >> 16, needs.table_elements))
    }

    #[test]
    fn each_instance_of_a_module_counts() {
        let has = || section(1, &small());
        // `(instance (instantiate 0))`, of a module and of a component.
        let instances =
            |of: usize, index: u8| section(2, &[number(of), [0, index, 0].repeat(of)].concat());
        let inner = |of: usize| section(5, &[number(of), [0, 0, 0].repeat(of)].concat());
        let twice = component(&[has(), instances(2, 0)]);
        // `(alias outer 1 0 (core module))`, `(export "m" (core module 0))`, `(import "m" (core module))`.
        let outer = section(6, b"\x01\0\x11\x02\x01\0");
        let export = section(11, b"\x01\0\x01m\0\x11\0\0");
        let import = section(10, b"\x01\0\x01m\0\x11\0");
        let borrows = component(&[outer.clone(), instances(3, 0)]);
        for (id, wasm, wanted) in [
            ("a module", small(), Some((1, 10))),
            (
                "a module of two",
                module(&section(5, b"\x02\0\x02\0\x03")),
                Some((5, 0)),
            ),
            ("none", component(&[has()]), Some((0, 0))),
            ("two", twice.clone(), Some((2, 20))),
            (
                "none of a component",
                component(&[section(4, &twice)]),
                Some((0, 0)),
            ),
            (
                "three of it",
                component(&[section(4, &twice), inner(3)]),
                Some((6, 60)),
            ),
            (
                "of another's",
                component(&[has(), section(4, &borrows), inner(2)]),
                Some((6, 60)),
            ),
            (
                "by another name",
                component(&[has(), export, instances(1, 1)]),
                Some((1, 10)),
            ),
            (
                "imported",
                component(std::slice::from_ref(&import)),
                Some((0, 0)),
            ),
            (
                "made of what is imported",
                component(&[import, instances(1, 0)]),
                None,
            ),
            ("of nobody's", component(&[instances(1, 0)]), None),
            ("of nobody around", component(&[outer]), None),
            ("cut off", twice[..twice.len() - 1].to_vec(), None),
            ("nothing", Vec::new(), None),
        ] {
            assert_eq!(told(&wasm), wanted, "{id}");
        }
    }

    #[test]
    fn what_is_kept_of_a_file_is_bounded() {
        let nested = |deep: usize| {
            let innermost = component(&[]);
            (1..deep).fold(innermost, |inner, _| component(&[section(4, &inner)]))
        };
        assert_eq!(told(&nested(limits::NESTED_PARTS_MAX)), Some((0, 0)));
        assert_eq!(told(&nested(limits::NESTED_PARTS_MAX + 1)), None);
        let modules = |of: usize| component(&vec![section(1, &module(b"")); of]);
        assert_eq!(told(&modules(limits::PARTS_KNOWN_MAX)), Some((0, 0)));
        assert_eq!(told(&modules(limits::PARTS_KNOWN_MAX + 1)), None);
        // Sizes beyond all numbers are no small ones.
        let largest = [&[0x04][..], &[0xff; 9], &[1]].concat();
        let memories = section(5, &[&[2][..], &largest.repeat(2)].concat());
        assert_eq!(needs(&module(&memories)).unwrap().memory_bytes, u64::MAX);
    }
}
