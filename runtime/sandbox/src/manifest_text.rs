//! `plugin.toml` as it is written: its keys and what each of them may be. Hides TOML.

use crate::grants::{Grants, Source};
use crate::limits;
use crate::manifest::{
    Contract, Instance, Limits, Manifest, OnCrash, Reuse, parse_bytes, valid_name,
};
use crate::toml_text::{Field, Reader, at_key, read_as};
use toml::de::DeTable;

const KEYS: [&str; 9] = [
    "name", "version", "contract", "module", "sha256", "on_crash", "limits", "instance", "grants",
];
const LIMITS: [&str; 14] = [
    "memory",
    "table-elements",
    "stack",
    "wall",
    "timeout",
    "cpu",
    "cpu-time",
    "fuel",
    "input",
    "output",
    "log",
    "stdout",
    "stderr",
    "concurrency",
];
const INSTANCE: [&str; 5] = ["reuse", "calls", "idle", "age", "kept"];

/// Reads the text; fails with all that is wrong, each with its place.
pub(crate) fn read(text: &str) -> Result<Manifest, Vec<String>> {
    read_as("plugin.toml", text, |reader, table| reader.manifest(table))
}

impl<'t> Reader<'_> {
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
        let grants = at_key(table, "", "grants").map(|field| self.grants(&field));
        let grants: Grants = grants.unwrap_or_default();
        let instance = self.instance(table);
        if let Some(field) = at_key(table, "", "instance")
            && instance.reuse != Reuse::Never
            && (grants.random == Source::Fixed || grants.clock == Source::Fixed)
        {
            let why = "an instance that was called before does not begin anew; with reuse, clock and random are \"real\"";
            self.slip(&field, why);
        }
        Manifest {
            name,
            version: self.checked(table, "version", |_| Ok(())),
            contract: contract.flatten(),
            module,
            sha256: sha256.map(|pin| pin.to_ascii_lowercase()),
            on_crash: on_crash.unwrap_or_default(),
            limits: self.limits(table, "", Limits::default()),
            instance,
            grants,
        }
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

    /// The table `limits` of a table; what it does not name is as in `limits`.
    pub(crate) fn limits(
        &mut self,
        table: &'t DeTable<'t>,
        prefix: &str,
        mut limits: Limits,
    ) -> Limits {
        let Some(field) = at_key(table, prefix, "limits") else {
            return limits;
        };
        let Some(table) = self.table(&field) else {
            return limits;
        };
        let prefix = format!("{}.", field.key);
        self.only(table, &prefix, "[limits]", &LIMITS);
        let find = |key: &str| at_key(table, &prefix, key);
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
        if find("log").is_some() {
            // What it says of all three holds where nothing is said of one.
            (limits.stdout_bytes, limits.stderr_bytes) = (limits.log_bytes, limits.log_bytes);
        }
        self.size(find("stdout"), 0, &mut limits.stdout_bytes);
        self.size(find("stderr"), 0, &mut limits.stderr_bytes);
        self.stack(find("stack"), &mut limits.stack_bytes);
        self.time(find("wall").or_else(|| find("timeout")), &mut limits.wall);
        self.time(find("cpu").or_else(|| find("cpu-time")), &mut limits.cpu);
        if let Some(elements) = find("table-elements").and_then(|field| self.count(&field, 0)) {
            limits.table_elements = elements;
        }
        if let Some(field) = find("fuel") {
            limits.fuel = self.count(&field, 1);
        }
        if let Some(field) = find("concurrency") {
            // More attempts than this cannot run anyway.
            let count = self.count(&field, 1);
            limits.concurrency = count.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        }
        limits
    }

    fn instance(&mut self, table: &'t DeTable<'t>) -> Instance {
        let mut instance = Instance::default();
        let Some(field) = at_key(table, "", "instance") else {
            return instance;
        };
        let Some(table) = self.table(&field) else {
            return instance;
        };
        self.only(table, "instance.", "[instance]", &INSTANCE);
        let find = |key: &str| at_key(table, "instance.", key);
        let words = [("never", Reuse::Never), ("tenant", Reuse::Tenant)];
        if let Some(field) = find("reuse") {
            instance.reuse = self.word_of(&field, &words).unwrap_or_default();
        }
        self.time(find("idle"), &mut instance.idle);
        self.time(find("age"), &mut instance.age);
        if let Some(field) = find("calls") {
            instance.calls = self.count(&field, 1).unwrap_or(instance.calls);
        }
        if let Some(field) = find("kept") {
            let kept = self.count(&field, 1).unwrap_or_default();
            if kept > u64::from(limits::KEPT_INSTANCES_MAX) {
                let most = limits::KEPT_INSTANCES_MAX;
                self.slip(&field, format!("all plugins together keep {most} at most"));
            }
            instance.kept = usize::try_from(kept).unwrap_or(usize::MAX);
        }
        instance
    }

    fn stack(&mut self, field: Option<Field<'t>>, bytes: &mut u64) {
        let Some(field) = field else { return };
        let Some(text) = self.text(&field) else {
            return;
        };
        match parse_bytes(text).filter(|size| Limits::STACKS.contains(size)) {
            Some(size) => *bytes = size,
            None => {
                let sizes = Limits::STACKS.map(|size| format!("\"{}KiB\"", size >> 10));
                self.slip(&field, format!("`{text}` is none of {}", sizes.join(", ")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::FsMode;
    use std::time::Duration;

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
            stderr = "1KiB"
            stack = "256KiB"
            fuel = 0x10_00
            concurrency = 3
            [instance]
            reuse = "tenant"
            calls = 10
            idle = "5s"
            [grants]
            tcp = ["db.example:5432", { host = "10.0.0.1:*", private = true }]
            dns = ["*.example"]
            config = { region = "eu" }
            env = { TZ = "UTC" }
            secrets = ["KEY"]
            http = ["https://a.example", { host = "https://*.example.com:8443", methods = ["post"], path = "/v1", secrets = ["KEY"], idempotency-key = true }]
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
        assert_eq!(manifest.limits.stdout_bytes, 0);
        assert_eq!(manifest.limits.stderr_bytes, 1024);
        assert_eq!(manifest.limits.stack_bytes, 256 << 10);
        assert_eq!(manifest.limits.fuel, Some(0x1000));
        assert_eq!(manifest.limits.concurrency, Some(3));
        assert_eq!(manifest.on_crash, OnCrash::Fail);
        assert_eq!(manifest.instance.reuse, Reuse::Tenant);
        assert_eq!(manifest.instance.calls, 10);
        assert_eq!(manifest.instance.idle, Duration::from_secs(5));
        let http = &manifest.grants.http;
        assert_eq!(http.len(), 2);
        assert!(http[0].secrets.is_empty() && !http[0].idempotency_key);
        assert!(http[1].secrets.contains("KEY") && http[1].idempotency_key);
        assert_eq!(
            (manifest.grants.tcp.len(), manifest.grants.dns.len()),
            (2, 1)
        );
        let modes: Vec<FsMode> = manifest.grants.fs.iter().map(|grant| grant.mode).collect();
        assert_eq!(modes, [FsMode::ReadOnly, FsMode::ReadWrite]);
    }

    #[test]
    fn each_limit_has_its_key() {
        let all = r#"[limits]
memory = "1MiB"
table-elements = 2
stack = "64KiB"
timeout = "3s"
cpu = "4s"
fuel = 5
input = "6B"
output = "7B"
log = "8B"
stdout = "9B"
stderr = "10B"
concurrency = 11
"#;
        let expected = Limits {
            memory_bytes: 1 << 20,
            table_elements: 2,
            stack_bytes: 64 << 10,
            wall: Duration::from_secs(3),
            cpu: Duration::from_secs(4),
            fuel: Some(5),
            input_bytes: 6,
            output_bytes: 7,
            log_bytes: 8,
            stdout_bytes: 9,
            stderr_bytes: 10,
            concurrency: Some(11),
        };
        assert_eq!(Manifest::parse(all).unwrap().limits, expected);
        // Two have two names.
        let named = all.replace("timeout", "wall").replace("cpu", "cpu-time");
        assert_eq!(Manifest::parse(&named).unwrap().limits, expected);
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
stack = "300KiB"
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
plugin.toml:2: nmae: there is no such key; those of plugin.toml are name, version, contract, module, sha256, on_crash, limits, instance, grants
plugin.toml:3: module: `../x.wasm` is not a .wasm file beside plugin.toml
plugin.toml:4: sha256: `12` is not 64 hexadecimal digits
plugin.toml:5: on_crash: `explode` is none of \"retry\", \"fail\"
plugin.toml:6: version: it is a text in quotes
plugin.toml:8: limits.memory: `lots` is no size; write it like \"64MiB\" or \"256KiB\", in B, kB, KiB, MB, MiB, GB or GiB
plugin.toml:9: limits.wall: `soon` is no duration; write it like \"30s\" or \"500ms\", in ms, s, m or h
plugin.toml:10: limits.cpu: `0s` lets nothing run; leave the key out for the usual bound
plugin.toml:11: limits.timeout: it is another name of a key above or below; keep one
plugin.toml:12: limits.fuel: 0 lets nothing run; leave the key out for no bound
plugin.toml:13: limits.concurrency: 0 lets nothing run; leave the key out for no bound
plugin.toml:14: limits.table-elements: -1 is not 0 to 18446744073709551615
plugin.toml:15: limits.input: `0` lets nothing run; leave the key out for the usual bound
plugin.toml:16: limits.stack: `300KiB` is none of \"64KiB\", \"128KiB\", \"256KiB\", \"512KiB\", \"1024KiB\"
";
        let slips = by_lines(&slips);
        assert!(slips.starts_with(expected), "{slips}");
        for part in [
            "18: grants.env.STEPWELL_ATTEMPT: this name belongs to the host",
            "18: grants.env.A=B: a variable's name",
            "18: grants.env.: a variable's name",
            "18: grants.env.NUL: a variable's value has no NUL",
            "18: grants.env.N: it is a text in quotes",
            "19: grants.config: it is a table",
            "20: grants.secrets[0]: `` is no name of a secret",
            "20: grants.secrets[1]: it is a text in quotes",
            "21: grants.http[0]: `ftp://x`",
            "21: grants.http[1]: `FETCH` is no method of HTTP",
            "21: grants.http[2]: a rule has a `host`",
            "21: grants.http[3]: a rule is a host in quotes",
            "23: grants.fs[0].host: `../up` leads up by `..`",
            "23: grants.fs[0].mode: `rx` is none of \"ro\", \"rw\"",
            "24: grants.fs[1].guest: `/x/../y` leads up",
            "26: grants.fs[3]: another folder is `/z` for the guest already",
            "27: grants.fs[4].host: it is a folder's path",
            "27: grants.fs[4]: a folder has a `guest`",
        ] {
            assert!(slips.contains(part), "{part} in\n{slips}");
        }
    }

    #[test]
    fn slips_of_instances_and_of_the_newer_grants() {
        let text = r#"[instance]
reuse = "always"
calls = 0
kept = 1000
[grants]
tcp = ["db", { host = "a:1", open = 1 }, { private = true }, { host = "a:1", private = "yes" }]
dns = ["a/b"]
clock = "mine"
http = [{ host = "a", secrets = ["a b"], idempotency-key = 1 }, { host = "b", secrets = [""] }]
"#;
        let slips = by_lines(&Manifest::parse(text).unwrap_err());
        for part in [
            "2: instance.reuse: `always` is none of \"never\", \"tenant\"",
            "3: instance.calls: 0 lets nothing run",
            "4: instance.kept: all plugins together keep 100 at most",
            "6: grants.tcp[0]: `db` is no `host:port`",
            "6: grants.tcp[1].open: there is no such key",
            "6: grants.tcp[2]: a rule has a `host`",
            "6: grants.tcp[3].private: it is true or false",
            "7: grants.dns[0]: `a/b` is no name",
            "8: grants.clock: `mine` is none of \"real\", \"fixed\"",
            "9: grants.http[0].idempotency-key: it is true or false",
            "9: grants.http[0].secrets[0]: `a b` is no name of a secret",
            "9: grants.http[1].secrets[0]: `` is no name of a secret",
        ] {
            assert!(slips.contains(part), "{part} in\n{slips}");
        }
        let both = "[instance]\nreuse = \"tenant\"\n[grants]\nrandom = \"fixed\"";
        let slip = Manifest::parse(both).unwrap_err();
        assert!(
            slip.starts_with("plugin.toml:1:1: instance: an instance that was called"),
            "{slip}"
        );
    }

    #[test]
    fn broken_toml_has_its_place() {
        let slips = Manifest::parse("name = \"a\"\n[limits\nfuel = x\n").unwrap_err();
        assert!(slips.starts_with("plugin.toml:2:"), "{slips}");
    }

    #[test]
    fn slips_have_lines_and_columns() {
        let text = "nmae = 1\n[limits]\nwall = \"soon\"\n[grants]\nconfig = { a = \"\u{e4}\", b = 3 }\nhttp = [\n  \"ftp://x\",\n]\n";
        let slips = Manifest::parse(text).unwrap_err();
        let places: Vec<&str> = slips
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(
            places,
            [
                "plugin.toml:1:1:",
                "plugin.toml:3:8:",
                "plugin.toml:5:25:",
                "plugin.toml:7:3:"
            ],
            "{slips}"
        );
    }

    /// The same without columns.
    fn by_lines(slips: &str) -> String {
        let cut = |line: &str| {
            let mut parts = line.splitn(4, ':');
            let (file, line) = (parts.next()?, parts.next()?);
            parts.next()?.parse::<usize>().ok()?;
            Some(format!("{file}:{line}:{}\n", parts.next()?))
        };
        slips.lines().map(|line| cut(line).unwrap()).collect()
    }
}
