//! `plugin.toml` as it is written: keys, types and every slip in it, with its line. Hides TOML.

use crate::grants::{FsGrant, FsMode, Grants};
use crate::manifest::{
    Contract, Limits, Manifest, OnCrash, parse_bytes, parse_duration, valid_name,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Component, Path};
use std::time::Duration;
use stepwell_egress::HttpRule;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const KEYS: [&str; 8] = [
    "name", "version", "contract", "module", "sha256", "on_crash", "limits", "grants",
];
const LIMITS: [&str; 11] = [
    "memory",
    "table-elements",
    "wall",
    "timeout",
    "cpu",
    "cpu-time",
    "fuel",
    "input",
    "output",
    "log",
    "concurrency",
];
const GRANTS: [&str; 5] = ["env", "config", "secrets", "http", "fs"];

/// Reads the text; fails with all that is wrong, each with its place.
pub(crate) fn read(text: &str) -> Result<Manifest, Vec<String>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { slips: Vec::new() };
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        reader.slips.push((at, error.message().to_owned()));
    }
    let line = |at: usize| {
        let before = text.get(..at).unwrap_or(text);
        before.matches('\n').count() + 1
    };
    let broken: BTreeSet<usize> = reader.slips.iter().map(|(at, _)| line(*at)).collect();
    let syntax = reader.slips.len();
    let manifest = reader.manifest(table.get_ref());
    if reader.slips.is_empty() {
        return Ok(manifest);
    }
    // What stands on a line that is no TOML is a guess, and what is wrong with it too.
    let meant = reader.slips.split_off(syntax);
    let meant = meant
        .into_iter()
        .filter(|(at, _)| !broken.contains(&line(*at)));
    reader.slips.extend(meant);
    reader.slips.sort_by_key(|(at, _)| *at);
    let placed = reader.slips.iter();
    Err(placed
        .map(|(at, what)| format!("plugin.toml:{}: {what}", line(*at)))
        .collect())
}

/// A value and the dotted key that leads to it.
struct Field<'t> {
    key: String,
    at: usize,
    value: &'t DeValue<'t>,
}

struct Reader {
    /// Where in the text, and what is wrong there.
    slips: Vec<(usize, String)>,
}

impl<'t> Field<'t> {
    fn new(key: String, value: &'t Spanned<DeValue<'t>>) -> Self {
        Self {
            key,
            at: value.span().start,
            value: value.get_ref(),
        }
    }
}

fn at_key<'t>(table: &'t DeTable<'t>, prefix: &str, key: &str) -> Option<Field<'t>> {
    table
        .get(key)
        .map(|value| Field::new(format!("{prefix}{key}"), value))
}

impl<'t> Reader {
    fn slip(&mut self, field: &Field<'_>, what: impl Display) {
        self.slips
            .push((field.at, format!("{}: {what}", field.key)));
    }

    fn manifest(&mut self, table: &'t DeTable<'t>) -> Manifest {
        self.only(table, "", "plugin.toml", &KEYS);
        let name = self.checked(table, "name", |name| {
            let hint = "is not 1 to 64 of A-Z a-z 0-9 - _";
            if valid_name(name) { Ok(()) } else { Err(hint) }
        });
        let module = self.checked(table, "module", |module| {
            let beside = module.ends_with(".wasm") && !module.contains(['/', '\\', '\0']);
            let hint = "is not a .wasm file beside plugin.toml";
            if beside { Ok(()) } else { Err(hint) }
        });
        let sha256 = self.checked(table, "sha256", |pin| {
            let digits = pin.len() == 64 && pin.bytes().all(|b| b.is_ascii_hexdigit());
            let hint = "is not 64 hexadecimal digits";
            if digits { Ok(()) } else { Err(hint) }
        });
        let contract = self.word(
            table,
            "contract",
            &[
                ("auto", None),
                ("component", Some(Contract::Component)),
                ("command", Some(Contract::Command)),
            ],
        );
        let on_crash = self.word(
            table,
            "on_crash",
            &[("retry", OnCrash::Retry), ("fail", OnCrash::Fail)],
        );
        Manifest {
            name,
            version: self.checked(table, "version", |_| Ok(())),
            contract: contract.flatten(),
            module,
            sha256: sha256.map(|pin| pin.to_ascii_lowercase()),
            on_crash: on_crash.unwrap_or_default(),
            limits: self.limits(table),
            grants: self.grants(table),
        }
    }

    /// Refuses the keys that nobody reads.
    fn only(&mut self, table: &DeTable<'_>, prefix: &str, place: &str, known: &[&str]) {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let known = known.join(", ");
                let what =
                    format!("{prefix}{name}: there is no such key; those of {place} are {known}");
                self.slips.push((key.span().start, what));
            }
        }
    }

    fn text(&mut self, field: &Field<'t>) -> Option<&'t str> {
        if let DeValue::String(text) = field.value {
            return Some(text);
        }
        self.slip(field, "it is a text in quotes");
        None
    }

    /// A text of the top level that has to have a form.
    fn checked(
        &mut self,
        table: &'t DeTable<'t>,
        key: &str,
        check: impl Fn(&str) -> Result<(), &'static str>,
    ) -> Option<String> {
        let field = at_key(table, "", key)?;
        let text = self.text(&field)?;
        if let Err(hint) = check(text) {
            self.slip(&field, format!("`{text}` {hint}"));
        }
        Some(text.to_owned())
    }

    /// One of several words.
    fn word<T: Copy>(
        &mut self,
        table: &'t DeTable<'t>,
        key: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let field = at_key(table, "", key)?;
        self.word_of(&field, words)
    }

    fn word_of<T: Copy>(&mut self, field: &Field<'t>, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(field)?;
        let known = words.iter().find(|(word, _)| *word == text);
        if known.is_none() {
            let all: Vec<String> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            self.slip(field, format!("`{text}` is none of {}", all.join(", ")));
        }
        known.map(|(_, value)| *value)
    }

    fn table(&mut self, field: &Field<'t>) -> Option<&'t DeTable<'t>> {
        if let DeValue::Table(table) = field.value {
            return Some(table);
        }
        self.slip(field, "it is a table");
        None
    }

    fn array(&mut self, field: &Field<'t>) -> Vec<Field<'t>> {
        let DeValue::Array(items) = field.value else {
            self.slip(field, "it is an array, in brackets");
            return Vec::new();
        };
        let indexed = items.iter().enumerate();
        indexed
            .map(|(index, item)| Field::new(format!("{}[{index}]", field.key), item))
            .collect()
    }

    fn limits(&mut self, table: &'t DeTable<'t>) -> Limits {
        let mut limits = Limits::default();
        let Some(table) = at_key(table, "", "limits").and_then(|field| self.table(&field)) else {
            return limits;
        };
        self.only(table, "limits.", "[limits]", &LIMITS);
        let find = |key: &str| at_key(table, "limits.", key);
        let twice = "it is another name of a key above or below; keep one";
        for (one, other) in [("wall", "timeout"), ("cpu", "cpu-time")] {
            if let (Some(_), Some(field)) = (find(one), find(other)) {
                self.slip(&field, twice);
            }
        }
        self.size(find("memory"), 1, &mut limits.memory_bytes);
        self.size(find("input"), 1, &mut limits.input_bytes);
        self.size(find("output"), 1, &mut limits.output_bytes);
        self.size(find("log"), 0, &mut limits.log_bytes);
        self.time(find("wall").or_else(|| find("timeout")), &mut limits.wall);
        self.time(find("cpu").or_else(|| find("cpu-time")), &mut limits.cpu);
        if let Some(elements) = find("table-elements").and_then(|field| self.count(&field, 0)) {
            limits.table_elements = elements;
        }
        limits.fuel = find("fuel").and_then(|field| self.count(&field, 1));
        let field = find("concurrency");
        limits.concurrency = field.and_then(|field| {
            let count = self.count(&field, 1)?;
            // More attempts than this cannot run anyway.
            Some(u32::try_from(count).unwrap_or(u32::MAX))
        });
        limits
    }

    fn size(&mut self, field: Option<Field<'t>>, min: u64, bytes: &mut u64) {
        let Some(field) = field else { return };
        let Some(text) = self.text(&field) else {
            return;
        };
        match parse_bytes(text) {
            Some(size) if size >= min => *bytes = size,
            Some(_) => self.slip(
                &field,
                format!("`{text}` lets nothing run; leave the key out for the usual bound"),
            ),
            None => self.slip(
                &field,
                format!("`{text}` is no size; write it like \"64MiB\" or \"256KiB\""),
            ),
        }
    }

    fn time(&mut self, field: Option<Field<'t>>, time: &mut Duration) {
        let Some(field) = field else { return };
        let Some(text) = self.text(&field) else {
            return;
        };
        match parse_duration(text) {
            Some(duration) if !duration.is_zero() => *time = duration,
            Some(_) => self.slip(
                &field,
                format!("`{text}` lets nothing run; leave the key out for the usual bound"),
            ),
            None => self.slip(
                &field,
                format!("`{text}` is no duration; write it like \"30s\" or \"500ms\""),
            ),
        }
    }

    fn count(&mut self, field: &Field<'t>, min: u64) -> Option<u64> {
        let DeValue::Integer(number) = field.value else {
            self.slip(field, "it is an integer, without quotes");
            return None;
        };
        let parsed = u64::from_str_radix(number.as_str(), number.radix());
        match parsed {
            Ok(0) if min > 0 => {
                self.slip(field, "0 lets nothing run; leave the key out for no bound");
                None
            }
            Ok(count) => Some(count),
            Err(_) => {
                self.slip(field, format!("{number} is not {min} to {}", u64::MAX));
                None
            }
        }
    }

    fn grants(&mut self, table: &'t DeTable<'t>) -> Grants {
        let mut grants = Grants::default();
        let Some(table) = at_key(table, "", "grants").and_then(|field| self.table(&field)) else {
            return grants;
        };
        self.only(table, "grants.", "[grants]", &GRANTS);
        let find = |key: &str| at_key(table, "grants.", key);
        grants.env = self.pairs(find("env"), variable);
        grants.config = self.pairs(find("config"), |_, _| Ok(()));
        grants.secrets = self.secrets(find("secrets"));
        for field in find("http").map_or_else(Vec::new, |field| self.array(&field)) {
            grants.http.extend(self.http(&field));
        }
        for field in find("fs").map_or_else(Vec::new, |field| self.array(&field)) {
            if let Some(grant) = self.fs(&field) {
                if grants.fs.iter().any(|other| other.guest == grant.guest) {
                    self.slip(
                        &field,
                        format!("another folder is `{}` for the guest already", grant.guest),
                    );
                }
                grants.fs.push(grant);
            }
        }
        grants
    }

    /// A table of texts.
    fn pairs(
        &mut self,
        field: Option<Field<'t>>,
        check: impl Fn(&str, &str) -> Result<(), String>,
    ) -> BTreeMap<String, String> {
        let mut pairs = BTreeMap::new();
        let Some(field) = field else { return pairs };
        let Some(table) = self.table(&field) else {
            return pairs;
        };
        for (name, value) in table {
            let name: &str = name.get_ref();
            let pair = Field::new(format!("{}.{name}", field.key), value);
            let Some(text) = self.text(&pair) else {
                continue;
            };
            if let Err(why) = check(name, text) {
                self.slip(&pair, why);
            }
            pairs.insert(name.to_owned(), text.to_owned());
        }
        pairs
    }

    fn secrets(&mut self, field: Option<Field<'t>>) -> BTreeSet<String> {
        let items = field.map_or_else(Vec::new, |field| self.array(&field));
        let mut names = BTreeSet::new();
        for item in items {
            match self.text(&item) {
                Some("") => self.slip(&item, "a secret has a name"),
                Some(name) => drop(names.insert(name.to_owned())),
                None => {}
            }
        }
        names
    }

    fn http(&mut self, field: &Field<'t>) -> Option<HttpRule> {
        let parsed = match field.value {
            DeValue::String(host) => HttpRule::parse(host, &[], None),
            DeValue::Table(table) => {
                self.only(
                    table,
                    &format!("{}.", field.key),
                    "a rule",
                    &["host", "methods", "path"],
                );
                let own = |key: &str| at_key(table, &format!("{}.", field.key), key);
                let Some(host) = own("host") else {
                    self.slip(field, "a rule has a `host`");
                    return None;
                };
                let host = self.text(&host)?;
                let mut methods = Vec::new();
                for item in own("methods").map_or_else(Vec::new, |field| self.array(&field)) {
                    methods.push(self.text(&item)?.to_owned());
                }
                let path = match own("path") {
                    Some(field) => Some(self.text(&field)?),
                    None => None,
                };
                HttpRule::parse(host, &methods, path)
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => Err(
                "a rule is a host in quotes, or a table { host = …, methods = …, path = … }"
                    .to_owned(),
            ),
        };
        parsed.map_err(|why| self.slip(field, why)).ok()
    }

    fn fs(&mut self, field: &Field<'t>) -> Option<FsGrant> {
        let table = self.table(field)?;
        let prefix = format!("{}.", field.key);
        self.only(table, &prefix, "a folder", &["host", "guest", "mode"]);
        let host = self.folder(table, field, "host");
        let guest = self.folder(table, field, "guest");
        let modes = [("ro", FsMode::ReadOnly), ("rw", FsMode::ReadWrite)];
        let mode = at_key(table, &prefix, "mode").and_then(|mode| self.word_of(&mode, &modes));
        Some(FsGrant {
            host: host?.into(),
            guest: guest?.to_owned(),
            mode: mode.unwrap_or_default(),
        })
    }

    /// One side of a folder grant.
    fn folder(&mut self, table: &'t DeTable<'t>, grant: &Field<'t>, key: &str) -> Option<&'t str> {
        let Some(field) = at_key(table, &format!("{}.", grant.key), key) else {
            self.slip(grant, format!("a folder has a `{key}`"));
            return None;
        };
        let path = self.text(&field)?;
        let leads_up = Path::new(path)
            .components()
            .any(|part| part == Component::ParentDir);
        if path.is_empty() || path.contains('\0') {
            self.slip(&field, "it is a folder's path");
        } else if leads_up {
            self.slip(
                &field,
                format!("`{path}` leads up by `..`; name the folder itself"),
            );
        }
        Some(path)
    }
}

/// Whether a guest may be given this variable.
pub(crate) fn variable(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("a variable's name is not empty and has no `=` and no NUL".to_owned());
    }
    if name.starts_with("STEPWELL_") || name == "TRACEPARENT" {
        return Err(
            "this name belongs to the host, which tells the task of its call by it; choose another"
                .to_owned(),
        );
    }
    if value.contains('\0') {
        return Err("a variable's value has no NUL".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_manifest() {
        let manifest = Manifest::parse(
            r#"
            name = "resize"
            version = "1.2.0"
            contract = "auto"
            module = "task.wasm"
            on_crash = "fail"
            [limits]
            memory = "128MiB"
            wall = "90s"
            cpu-time = "500ms"
            log = "0B"
            fuel = 0x10_00
            concurrency = 3
            [grants]
            config = { region = "eu" }
            env = { TZ = "UTC" }
            secrets = ["KEY"]
            http = ["https://a.example", { host = "https://*.example.com:8443", methods = ["post"], path = "/v1" }]
            [[grants.fs]]
            host = "data"
            guest = "/data"
            [[grants.fs]]
            host = "/srv/out"
            guest = "/out"
            mode = "rw"
            "#,
        )
        .unwrap();
        assert_eq!(manifest.limits.memory_bytes, 128 << 20);
        assert_eq!(manifest.limits.wall, Duration::from_secs(90));
        assert_eq!(manifest.limits.cpu, Duration::from_millis(500));
        assert_eq!(manifest.limits.log_bytes, 0);
        assert_eq!(manifest.limits.fuel, Some(0x1000));
        assert_eq!(manifest.limits.concurrency, Some(3));
        assert_eq!(manifest.on_crash, OnCrash::Fail);
        assert_eq!(manifest.grants.http.len(), 2);
        let modes: Vec<FsMode> = manifest.grants.fs.iter().map(|grant| grant.mode).collect();
        assert_eq!(modes, [FsMode::ReadOnly, FsMode::ReadWrite]);
    }

    #[test]
    fn all_slips_at_once() {
        let text = r#"name = "a b"
nmae = "x"
module = "../x.wasm"
sha256 = "12"
on_crash = "explode"
version = 3
[limits]
memory = "lots"
wall = "soon"
cpu = "0s"
timeout = "1s"
fuel = 0
concurrency = 0
table-elements = -1
input = "0"
[grants]
env = { STEPWELL_ATTEMPT = "7", "A=B" = "1", "" = "1", NUL = "a\u0000", N = 1 }
config = ["x"]
secrets = ["", 3]
http = ["ftp://x", { host = "h", methods = ["FETCH"] }, { methods = ["GET"] }, 4]
fs = [
    { host = "../up", guest = "/a", mode = "rx" },
    { host = "a", guest = "/x/../y" },
    { host = "a", guest = "/z" },
    { host = "b", guest = "/z" },
    { host = "" },
]
"#;
        let slips = Manifest::parse(text).unwrap_err();
        let expected = "\
plugin.toml:1: name: `a b` is not 1 to 64 of A-Z a-z 0-9 - _
plugin.toml:2: nmae: there is no such key; those of plugin.toml are name, version, contract, module, sha256, on_crash, limits, grants
plugin.toml:3: module: `../x.wasm` is not a .wasm file beside plugin.toml
plugin.toml:4: sha256: `12` is not 64 hexadecimal digits
plugin.toml:5: on_crash: `explode` is none of \"retry\", \"fail\"
plugin.toml:6: version: it is a text in quotes
plugin.toml:8: limits.memory: `lots` is no size; write it like \"64MiB\" or \"256KiB\"
plugin.toml:9: limits.wall: `soon` is no duration; write it like \"30s\" or \"500ms\"
plugin.toml:10: limits.cpu: `0s` lets nothing run; leave the key out for the usual bound
plugin.toml:11: limits.timeout: it is another name of a key above or below; keep one
plugin.toml:12: limits.fuel: 0 lets nothing run; leave the key out for no bound
plugin.toml:13: limits.concurrency: 0 lets nothing run; leave the key out for no bound
plugin.toml:14: limits.table-elements: -1 is not 0 to 18446744073709551615
plugin.toml:15: limits.input: `0` lets nothing run; leave the key out for the usual bound
";
        assert!(slips.starts_with(expected), "{slips}");
        for part in [
            "17: grants.env.STEPWELL_ATTEMPT: this name belongs to the host",
            "17: grants.env.A=B: a variable's name",
            "17: grants.env.: a variable's name",
            "17: grants.env.NUL: a variable's value has no NUL",
            "17: grants.env.N: it is a text in quotes",
            "18: grants.config: it is a table",
            "19: grants.secrets[0]: a secret has a name",
            "19: grants.secrets[1]: it is a text in quotes",
            "20: grants.http[0]: `ftp://x`",
            "20: grants.http[1]: `FETCH` is no method of HTTP",
            "20: grants.http[2]: a rule has a `host`",
            "20: grants.http[3]: a rule is a host in quotes",
            "22: grants.fs[0].host: `../up` leads up by `..`",
            "22: grants.fs[0].mode: `rx` is none of \"ro\", \"rw\"",
            "23: grants.fs[1].guest: `/x/../y` leads up",
            "25: grants.fs[3]: another folder is `/z` for the guest already",
            "26: grants.fs[4].host: it is a folder's path",
            "26: grants.fs[4]: a folder has a `guest`",
        ] {
            assert!(slips.contains(part), "{part} in\n{slips}");
        }
    }

    #[test]
    fn broken_toml_has_its_place() {
        let slips = Manifest::parse("name = \"a\"\n[limits\nfuel = x\n").unwrap_err();
        assert!(slips.starts_with("plugin.toml:2: "), "{slips}");
    }
}
