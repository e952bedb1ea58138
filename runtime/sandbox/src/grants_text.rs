//! `[grants]` as it is written, in a manifest and in an operator's ceilings. Hides TOML.

use crate::grants::{FsGrant, FsMode, Grants, HttpGrant, Source};
use crate::limits;
use crate::toml_text::{Field, Reader, at_key};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};
use stepwell_egress::{HttpRule, NameRule, TcpRule};
use toml::de::{DeTable, DeValue};

const GRANTS: [&str; 9] = [
    "env", "config", "secrets", "http", "tcp", "dns", "fs", "clock", "random",
];
const HTTP: [&str; 5] = ["host", "methods", "path", "secrets", "idempotency-key"];

impl<'t> Reader<'_> {
    /// The grants of a field.
    pub(crate) fn grants(&mut self, field: &Field<'t>) -> Grants {
        let mut grants = Grants::default();
        let Some(table) = self.table(field) else {
            return grants;
        };
        let prefix = format!("{}.", field.key);
        self.only(table, &prefix, "[grants]", &GRANTS);
        let find = |key: &str| at_key(table, &prefix, key);
        grants.env = self.pairs(find("env"), variable);
        grants.config = self.pairs(find("config"), |_, _| Ok(()));
        grants.secrets = self.secrets(find("secrets"));
        for field in find("http").map_or_else(Vec::new, |field| self.array(&field)) {
            grants.http.extend(self.http(&field));
        }
        for field in find("tcp").map_or_else(Vec::new, |field| self.array(&field)) {
            grants.tcp.extend(self.tcp(&field));
        }
        for field in find("dns").map_or_else(Vec::new, |field| self.array(&field)) {
            let text = self.text(&field).map(NameRule::parse);
            match text.transpose() {
                Ok(rule) => grants.dns.extend(rule),
                Err(why) => self.slip(&field, why),
            }
        }
        let sources = [("real", Source::Real), ("fixed", Source::Fixed)];
        if let Some(field) = find("clock") {
            grants.clock = self.word_of(&field, &sources).unwrap_or_default();
        }
        if let Some(field) = find("random") {
            grants.random = self.word_of(&field, &sources).unwrap_or_default();
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
                Some(name) if secret_name(name) => drop(names.insert(name.to_owned())),
                Some(name) => {
                    let form = "1 to 64 letters, digits, `.`, `-` and `_`";
                    self.slip(&item, format!("`{name}` is no name of a secret: {form}"));
                }
                None => {}
            }
        }
        names
    }

    fn http(&mut self, field: &Field<'t>) -> Option<HttpGrant> {
        let table = match field.value {
            DeValue::String(host) => {
                let rule = HttpRule::parse(host, &[], None);
                return rule
                    .map(HttpGrant::from)
                    .map_err(|why| self.slip(field, why))
                    .ok();
            }
            DeValue::Table(table) => table,
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                let form =
                    "a rule is a host in quotes, or a table { host = …, methods = …, path = … }";
                self.slip(field, form);
                return None;
            }
        };
        let prefix = format!("{}.", field.key);
        self.only(table, &prefix, "a rule", &HTTP);
        let own = |key: &str| at_key(table, &prefix, key);
        let secrets = self.secrets(own("secrets"));
        let idempotency_key = own("idempotency-key").is_some_and(|field| self.truth(&field));
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
        let rule = HttpRule::parse(host, &methods, path);
        let rule = rule.map_err(|why| self.slip(field, why)).ok()?;
        Some(HttpGrant {
            rule,
            secrets,
            idempotency_key,
        })
    }

    fn tcp(&mut self, field: &Field<'t>) -> Option<TcpRule> {
        let rule = if let DeValue::Table(table) = field.value {
            let prefix = format!("{}.", field.key);
            self.only(table, &prefix, "a rule", &["host", "private"]);
            let own = |key: &str| at_key(table, &prefix, key);
            let private = own("private").is_some_and(|field| self.truth(&field));
            let Some(host) = own("host") else {
                self.slip(field, "a rule has a `host`");
                return None;
            };
            TcpRule::parse(self.text(&host)?, private)
        } else {
            TcpRule::parse(self.text(field)?, false)
        };
        rule.map_err(|why| self.slip(field, why)).ok()
    }

    fn truth(&mut self, field: &Field<'t>) -> bool {
        if let DeValue::Boolean(truth) = field.value {
            return *truth;
        }
        self.slip(field, "it is true or false, without quotes");
        false
    }

    fn fs(&mut self, field: &Field<'t>) -> Option<FsGrant> {
        let table = self.table(field)?;
        let prefix = format!("{}.", field.key);
        self.only(table, &prefix, "a folder", &["host", "guest", "mode"]);
        let host = self.folder(table, field, "host");
        let guest = match self.allows && !table.contains_key("guest") {
            true => host,
            false => self.folder(table, field, "guest"),
        };
        let modes = [("ro", FsMode::ReadOnly), ("rw", FsMode::ReadWrite)];
        let mode = at_key(table, &prefix, "mode").and_then(|mode| self.word_of(&mode, &modes));
        Some(FsGrant {
            host: host?.into(),
            guest: guest?.to_owned(),
            mode: mode.unwrap_or_default(),
            at: Some(self.place(field)),
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

/// Whether a text can be a secret's name, so that it can stand in a placeholder.
pub(crate) fn secret_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=limits::NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(plain)
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
