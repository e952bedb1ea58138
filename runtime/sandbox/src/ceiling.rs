//! What the operator allows to the plugins of each account, and the file that says so. Hides TOML.

use crate::grants::{Ceiling, Source};
use crate::manifest::Limits;
use crate::toml_text::{Field, Reader, at_key, read_as};
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// What is allowed to the plugins of an account.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// What they may be granted.
    pub grants: Ceiling,
    /// What an attempt may use; larger wishes are cut to it.
    pub limits: Limits,
    /// Whether instances may serve more than one attempt.
    pub reuse: bool,
}

/// What is allowed to the plugins of all accounts.
#[derive(Debug, Clone)]
pub struct Ceilings {
    /// The default account's. By default whatever its manifests ask for, since the operator wrote them.
    pub own: Allowance,
    /// That of accounts which are not named. By default no grants at all.
    pub others: Allowance,
    /// That of accounts by their digits.
    pub accounts: BTreeMap<String, Allowance>,
    /// Whether `own` was written, and `others`: where the operator wrote nothing of an account, a ceiling of the account's own
    /// takes the place of what is usual.
    pub written: Written,
}

/// What of the usual ceilings was replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// That of the default account.
    pub own: bool,
    /// That of accounts which are not named.
    pub others: bool,
}

impl Default for Ceilings {
    fn default() -> Self {
        Self {
            own: Allowance {
                grants: Ceiling::AsAsked,
                ..Allowance::default()
            },
            others: Allowance::default(),
            accounts: BTreeMap::new(),
            written: Written::default(),
        }
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            grants: Ceiling::Nothing,
            limits: Limits::ceiling(),
            reuse: true,
        }
    }
}

impl Allowance {
    /// Reads the ceiling of one account: what a file of ceilings has in the account's section.
    ///
    /// # Errors
    /// As [`Ceilings::parse`].
    pub fn parse(name: &str, text: &str, usual: &Allowance) -> Result<Self, String> {
        let read = read_as(name, text, |reader, table| {
            reader.allows = true;
            reader.allowance_of(table, "", usual)
        });
        read.map_err(|slips| slips.join("\n"))
    }
}

const KEYS: [&str; 3] = ["default", "others", "account"];
const ALLOWANCE: [&str; 3] = ["grants", "limits", "reuse"];

impl Ceilings {
    /// Reads a file of ceilings: `[default]`, `[others]` and `[account.111111111111]`, each with `grants` (`"as asked"`,
    /// `"nothing"` or a table as in a manifest), `limits` (as in a manifest) and `reuse`. An account that is named has of
    /// `others` what its table does not say. `name` is the file's, for messages.
    ///
    /// # Errors
    /// All that is wrong with it, each on a line with its place and what would be right.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let read = read_as(name, text, |reader, table| reader.ceilings(table));
        read.map_err(|slips| slips.join("\n"))
    }

    /// Whether the operator wrote what is allowed to an account.
    pub(crate) fn is_written(&self, account: &str, default_account: &str) -> bool {
        match account == default_account {
            true => self.written.own,
            false => self.written.others || self.accounts.contains_key(account),
        }
    }

    /// What is allowed to an account.
    pub(crate) fn of(&self, account: &str, default_account: &str) -> &Allowance {
        if account == default_account {
            return &self.own;
        }
        self.accounts.get(account).unwrap_or(&self.others)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Allowance> {
        [&self.own, &self.others]
            .into_iter()
            .chain(self.accounts.values())
    }
}

impl<'t> Reader<'_> {
    fn ceilings(&mut self, table: &'t DeTable<'t>) -> Ceilings {
        self.allows = true;
        self.only(table, "", "a file of ceilings", &KEYS);
        let mut ceilings = Ceilings::default();
        if let Some(field) = at_key(table, "", "default") {
            ceilings.own = self.allowance(&field, &ceilings.own);
            ceilings.written.own = true;
        }
        if let Some(field) = at_key(table, "", "others") {
            ceilings.others = self.allowance(&field, &ceilings.others);
            ceilings.written.others = true;
        }
        let accounts = at_key(table, "", "account").and_then(|field| self.table(&field));
        for (account, value) in accounts.into_iter().flatten() {
            let account: &str = account.get_ref();
            let field = Field::new(format!("account.{account}"), value);
            let digits = account.len() == crate::limits::ACCOUNT_DIGITS;
            if !digits || !account.bytes().all(|b| b.is_ascii_digit()) {
                let hint = "an account has 12 digits; the default one is [default]";
                self.slip(&field, hint);
            }
            let allowed = self.allowance(&field, &ceilings.others);
            ceilings.accounts.insert(account.to_owned(), allowed);
        }
        ceilings
    }

    fn allowance(&mut self, field: &Field<'t>, usual: &Allowance) -> Allowance {
        let Some(table) = self.table(field) else {
            return usual.clone();
        };
        self.allowance_of(table, &format!("{}.", field.key), usual)
    }

    /// The same of a table whose keys are behind a prefix.
    fn allowance_of(
        &mut self,
        table: &'t DeTable<'t>,
        prefix: &str,
        usual: &Allowance,
    ) -> Allowance {
        let mut allowed = usual.clone();
        self.only(table, prefix, "a ceiling", &ALLOWANCE);
        allowed.limits = self.limits(table, prefix, allowed.limits);
        if let Some(field) = at_key(table, prefix, "reuse") {
            allowed.reuse =
                self.word_of(&field, &[("never", false), ("tenant", true)]) != Some(false);
        }
        let Some(field) = at_key(table, prefix, "grants") else {
            return allowed;
        };
        if let DeValue::String(_) = field.value {
            let words = [("as asked", true), ("nothing", false)];
            allowed.grants = match self.word_of(&field, &words) {
                Some(true) => Ceiling::AsAsked,
                Some(false) | None => Ceiling::Nothing,
            };
            return allowed;
        }
        let grants = self.grants(&field);
        if grants.clock != Source::Real || grants.random != Source::Real {
            self.slip(
                &field,
                "clock and random take nothing away from a plugin; leave them out",
            );
        }
        for (index, grant) in grants.fs.iter().enumerate() {
            if !grant.host.is_absolute() {
                let what = format!(
                    "fs[{index}]: `{}` is no absolute path",
                    grant.host.display()
                );
                self.slip(&field, what);
            }
        }
        allowed.grants = Ceiling::Only(Box::new(grants));
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_account_has_its_ceiling() {
        let text = r#"
            [default]
            limits = { wall = "1m" }
            [others]
            limits = { memory = "128MiB", log = "1KiB", concurrency = 4 }
            reuse = "never"
            [account.111111111111]
            grants = { secrets = ["KEY"], http = ["https://*.example.com"], fs = [{ host = "/srv/a" }] }
            limits = { memory = "256MiB" }
            [account.222222222222]
            grants = "as asked"
            reuse = "tenant"
        "#;
        let ceilings = Ceilings::parse("c.toml", text).unwrap();
        let of = |account| ceilings.of(account, "000000000000");
        let own = of("000000000000");
        assert!(matches!(own.grants, Ceiling::AsAsked));
        assert_eq!(own.limits.wall, Duration::from_secs(60));
        assert_eq!(own.limits.memory_bytes, Limits::ceiling().memory_bytes);
        let stranger = of("333333333333");
        assert!(matches!(stranger.grants, Ceiling::Nothing) && !stranger.reuse);
        let limits = &stranger.limits;
        assert_eq!(
            (limits.memory_bytes, limits.stderr_bytes),
            (128 << 20, 1024)
        );
        let named = of("111111111111");
        assert!(matches!(&named.grants, Ceiling::Only(only) if only.secrets.contains("KEY")));
        assert_eq!(named.limits.memory_bytes, 256 << 20);
        assert_eq!(named.limits.concurrency, Some(4));
        let free = of("222222222222");
        assert!(matches!(free.grants, Ceiling::AsAsked) && free.reuse);
        assert!(Ceilings::parse("c.toml", "").is_ok());
    }

    #[test]
    fn slips_have_their_place() {
        let text = r#"[other]
[account.12]
grants = "all"
limits = { memory = "much" }
[account.111111111111]
grants = { clock = "fixed", fs = [{ host = "a", guest = "b" }] }
reuse = "always"
"#;
        let slips = Ceilings::parse("c.toml", text).unwrap_err();
        for part in [
            "c.toml:1:2: other: there is no such key; those of a file of ceilings are default, others, account",
            "c.toml:2:1: account.12: an account has 12 digits",
            "c.toml:3:10: account.12.grants: `all` is none of \"as asked\", \"nothing\"",
            "c.toml:4:21: account.12.limits.memory: `much` is no size",
            "c.toml:6:10: account.111111111111.grants: clock and random take nothing away",
            "c.toml:6:10: account.111111111111.grants: fs[0]: `a` is no absolute path",
            "c.toml:7:9: account.111111111111.reuse: `always` is none of",
        ] {
            assert!(slips.contains(part), "{part} in\n{slips}");
        }
    }
}
