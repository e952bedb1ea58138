//! What sets the limits of an attempt, so that whoever meets one is told what to change. Hides that a plugin, its account and the
//! call each have a say.

use crate::call::TaskCall;
use crate::manifest::Limits;
use crate::outcome::Outcome;
use crate::registry::Loaded;

/// A limit that can be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Memory,
    TableElements,
    Stack,
    Wall,
    Cpu,
    Fuel,
    Input,
    Output,
    Concurrency,
}

/// Where the limits of a plugin are kept that it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In the `plugin.toml` of its folder.
    Manifest,
    /// Nowhere: it is a file alone, and has the usual ones.
    Nowhere,
    /// With the function that was uploaded.
    Function,
}

/// Who has a say in the limits of an attempt.
#[derive(Clone, Copy)]
pub(crate) struct Origins<'a> {
    pub(crate) kept: Kept,
    /// What the plugin asks for.
    pub(crate) asked: &'a Limits,
    /// What the account's ceiling leaves of it.
    pub(crate) own: &'a Limits,
    /// What the call leaves of that.
    pub(crate) in_force: &'a Limits,
    /// By what, for people; the limit's key is put behind it.
    pub(crate) lowered_by: &'a str,
}

impl Limit {
    /// Its key in a manifest, a ceiling and a tag.
    fn key(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::TableElements => "table-elements",
            Self::Stack => "stack",
            Self::Wall => "wall",
            Self::Cpu => "cpu",
            Self::Fuel => "fuel",
            Self::Input => "input",
            Self::Output => "output",
            Self::Concurrency => "concurrency",
        }
    }

    /// How much it is, to be compared.
    fn amount(self, limits: &Limits) -> u128 {
        let bound = |bound: Option<u64>| bound.map_or(u128::MAX, u128::from);
        match self {
            Self::Memory => limits.memory_bytes.into(),
            Self::TableElements => limits.table_elements.into(),
            Self::Stack => limits.stack_bytes.into(),
            Self::Wall => limits.wall.as_nanos(),
            Self::Cpu => limits.cpu.as_nanos(),
            Self::Fuel => bound(limits.fuel),
            Self::Input => limits.input_bytes.into(),
            Self::Output => limits.output_bytes.into(),
            Self::Concurrency => bound(limits.concurrency.map(u64::from)),
        }
    }
}

impl<'a> Origins<'a> {
    /// Those of an attempt with these limits.
    pub(crate) fn new(plugin: &'a Loaded, in_force: &'a Limits, call: &TaskCall) -> Self {
        Self {
            kept: plugin.kept,
            asked: &plugin.asked,
            own: &plugin.limits,
            in_force,
            lowered_by: call.lowered_by,
        }
    }

    /// Those of a plugin that nobody has called.
    pub(crate) fn uncalled(kept: Kept, asked: &'a Limits, own: &'a Limits) -> Self {
        Self {
            kept,
            asked,
            own,
            in_force: own,
            lowered_by: "",
        }
    }

    /// What raises a limit, for people.
    pub(crate) fn setting(&self, of: Limit) -> String {
        let key = of.key();
        if of.amount(self.in_force) < of.amount(self.own) {
            return format!("{}{key}", self.lowered_by);
        }
        if of.amount(self.own) < of.amount(self.asked) {
            return format!("the operator's ceiling of the account (limits.{key})");
        }
        match (self.kept, of) {
            (Kept::Manifest, _) => format!("[limits].{key} in plugin.toml"),
            (Kept::Nowhere, _) => {
                format!("[limits].{key} in the plugin.toml of a folder of its own")
            }
            (Kept::Function, Limit::Memory) => {
                "MemorySize of the function (`plugin push --memory`)".to_owned()
            }
            (Kept::Function, Limit::Wall | Limit::Cpu) => {
                "Timeout of the function (`plugin push --timeout`)".to_owned()
            }
            (
                Kept::Function,
                Limit::TableElements
                | Limit::Stack
                | Limit::Fuel
                | Limit::Input
                | Limit::Output
                | Limit::Concurrency,
            ) => "nothing of an uploaded plugin".to_owned(),
        }
    }

    /// What raises the limit that an outcome is about; none where it is about none, or its cause says it.
    pub(crate) fn of_outcome(&self, outcome: &Outcome) -> Option<String> {
        let limit = match outcome {
            // Another one is the call's own.
            Outcome::TimedOut { wall } if *wall == self.in_force.wall => Limit::Wall,
            Outcome::CpuTime { .. } => Limit::Cpu,
            Outcome::OutOfFuel { .. } => Limit::Fuel,
            Outcome::InputTooLarge { .. } => Limit::Input,
            Outcome::OutputTooLarge { .. } => Limit::Output,
            Outcome::TimedOut { .. }
            | Outcome::Ok(_)
            | Outcome::Failed { .. }
            | Outcome::Exited { .. }
            | Outcome::Trapped { .. }
            | Outcome::OutOfMemory { .. }
            | Outcome::InvalidOutput { .. }
            | Outcome::GrantRefused { .. }
            | Outcome::PluginMissing { .. }
            | Outcome::PluginBroken { .. }
            | Outcome::TooManyRunning { .. }
            | Outcome::NotReady { .. }
            | Outcome::Cancelled
            | Outcome::HostFault { .. } => return None,
        };
        Some(self.setting(limit))
    }

    /// What to do about something that was not granted.
    pub(crate) fn grant_hint(&self) -> &'static str {
        match self.kept {
            Kept::Manifest => {
                "ask for it in [grants] of plugin.toml and have the operator allow it"
            }
            Kept::Nowhere => {
                "a file without plugin.toml has nothing: in a folder of its own, ask for it in [grants] of one and have the operator \
                 allow it"
            }
            Kept::Function => {
                "an uploaded plugin has nothing but its variables: have the operator put it into the plugin directory, with [grants] \
                 in its plugin.toml"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Limit; 9] = [
        Limit::Memory,
        Limit::TableElements,
        Limit::Stack,
        Limit::Wall,
        Limit::Cpu,
        Limit::Fuel,
        Limit::Input,
        Limit::Output,
        Limit::Concurrency,
    ];

    #[test]
    fn what_was_uploaded_has_no_manifest_that_would_raise_a_limit() {
        let (usual, unlimited) = (Limits::default(), Limits::unlimited());
        for limit in ALL {
            let of = |kept: Kept| Origins::uncalled(kept, &usual, &usual).setting(limit);
            assert!(!of(Kept::Function).contains("plugin.toml"), "{limit:?}");
            assert!(of(Kept::Manifest).ends_with("in plugin.toml"), "{limit:?}");
            assert!(
                of(Kept::Nowhere).contains("of a folder of its own"),
                "{limit:?}"
            );
            // The operator's ceiling is named whatever was asked for.
            if limit.amount(&usual) < limit.amount(&unlimited) {
                let cut = Origins::uncalled(Kept::Function, &unlimited, &usual);
                assert!(cut.setting(limit).contains("ceiling"), "{limit:?}");
            }
        }
        let usual = Origins::uncalled(Kept::Function, &usual, &usual);
        assert!(
            usual
                .grant_hint()
                .starts_with("an uploaded plugin has nothing")
        );
    }
}
