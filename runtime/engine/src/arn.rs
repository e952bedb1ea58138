//! ARNs of this service: taken apart, put together, and refused with AWS's texts.

use std::{fmt, sync::Arc};

use crate::{
    api::Caller,
    error::{Code, Error},
    limits::NAME_CHARS_MAX,
};

/// A parsed ARN of this service. The account is checked against the caller's by the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arn {
    Machine(MachineArn),
    Execution {
        machine: MachineArn,
        name: String,
    },
    Express {
        machine: MachineArn,
        name: String,
        run: String,
    },
    Activity {
        region: String,
        account: String,
        name: String,
    },
    MapRun,
}

/// `arn:aws:states:<region>:<account>:stateMachine:<name>[:<qualifier>]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MachineArn {
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) name: String,
    /// A version number or an alias.
    pub(crate) qualifier: Option<String>,
}

/// What a state machine's ARN says beside the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qualifier<'a> {
    Nothing,
    Version(u64),
    Alias(&'a str),
}

impl MachineArn {
    pub(crate) fn new(caller: &Caller, name: &str) -> MachineArn {
        MachineArn {
            region: caller.region.to_string(),
            account: caller.tenant.to_string(),
            name: name.to_owned(),
            qualifier: None,
        }
    }

    /// The label of the Map state whose children it stands for: `<state machine>/<label>`.
    pub(crate) fn label(&self) -> Option<&str> {
        self.name.split_once('/').map(|(_, label)| label)
    }

    /// The state machine itself, without a label.
    pub(crate) fn unlabelled(&self) -> MachineArn {
        let name = self.name.split('/').next().unwrap_or_default();
        MachineArn {
            name: name.to_owned(),
            ..self.clone()
        }
    }

    pub(crate) fn execution(&self, name: &str) -> Arc<str> {
        format!(
            "arn:aws:states:{}:{}:execution:{}:{name}",
            self.region, self.account, self.name
        )
        .into()
    }

    pub(crate) fn express(&self, name: &str, run: &str) -> Arc<str> {
        format!(
            "arn:aws:states:{}:{}:express:{}:{name}:{run}",
            self.region, self.account, self.name
        )
        .into()
    }

    /// The machine's own ARN, without version or alias.
    pub(crate) fn unqualified(&self) -> MachineArn {
        MachineArn {
            qualifier: None,
            ..self.clone()
        }
    }

    /// The ARN of a version.
    pub(crate) fn version(&self, number: u64) -> MachineArn {
        MachineArn {
            qualifier: Some(number.to_string()),
            ..self.clone()
        }
    }

    /// The ARN of an alias.
    pub(crate) fn alias(&self, name: &str) -> MachineArn {
        MachineArn {
            qualifier: Some(name.to_owned()),
            ..self.clone()
        }
    }

    /// What the ARN names: names of aliases have something other than digits in them.
    pub(crate) fn qualified(&self) -> Qualifier<'_> {
        let Some(qualifier) = self.qualifier.as_deref() else {
            return Qualifier::Nothing;
        };
        match qualifier.parse::<u64>() {
            Ok(number) if number > 0 && number.to_string() == qualifier => {
                Qualifier::Version(number)
            }
            Ok(_) | Err(_) => Qualifier::Alias(qualifier),
        }
    }

    /// The name under which records of this machine are kept.
    pub(crate) fn record_name(&self) -> Arc<str> {
        format!("{}/{}", self.region, self.name).into()
    }
}

impl fmt::Display for MachineArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "arn:aws:states:{}:{}:stateMachine:{}",
            self.region, self.account, self.name
        )?;
        self.qualifier
            .as_ref()
            .map_or(Ok(()), |qualifier| write!(f, ":{qualifier}"))
    }
}

/// The ARN of an activity.
pub(crate) fn activity(region: &str, account: &str, name: &str) -> Arc<str> {
    format!("arn:aws:states:{region}:{account}:activity:{name}").into()
}

/// Takes an ARN apart. Another account's ARN is refused like one that is malformed: nothing crosses tenants.
pub(crate) fn parse(caller: &Caller, text: &str) -> Result<Arn, Error> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [prefix, partition, service, region, account, resource] = parts[..] else {
        return Err(invalid(format!("Invalid ARN prefix: {text}")));
    };
    if prefix != "arn" || !partition.starts_with("aws") || service != "states" || region.is_empty()
    {
        return Err(invalid(format!("Invalid ARN prefix: {text}")));
    }
    if account != &*caller.tenant {
        return Err(invalid(format!(
            "The account of the ARN is not the caller's: {text}"
        )));
    }
    let machine = |name: &str, qualifier: Option<&str>| MachineArn {
        region: region.to_owned(),
        account: account.to_owned(),
        name: name.to_owned(),
        qualifier: qualifier.map(str::to_owned),
    };
    let fields: Vec<&str> = resource.split(':').collect();
    match fields[..] {
        ["stateMachine", name] => Ok(Arn::Machine(machine(name, None))),
        ["stateMachine", name, qualifier] => Ok(Arn::Machine(machine(name, Some(qualifier)))),
        ["execution", name, execution] => Ok(Arn::Execution {
            machine: machine(name, None),
            name: execution.to_owned(),
        }),
        ["express", name, execution, run] => Ok(Arn::Express {
            machine: machine(name, None),
            name: execution.to_owned(),
            run: run.to_owned(),
        }),
        ["activity", name] => Ok(Arn::Activity {
            region: region.to_owned(),
            account: account.to_owned(),
            name: name.to_owned(),
        }),
        ["mapRun", name, run] if name.contains('/') && !run.is_empty() => Ok(Arn::MapRun),
        _ => Err(invalid(format!("Invalid ARN prefix: {text}"))),
    }
}

impl Arn {
    /// The kind as AWS names it in `Resource type not valid in this context`.
    fn kind(&self) -> &'static str {
        match self {
            Arn::Machine(_) => "stateMachine",
            Arn::Execution { .. } => "execution",
            Arn::Express { .. } => "express",
            Arn::Activity { .. } => "activity",
            Arn::MapRun => "mapRun",
        }
    }

    pub(crate) fn misplaced(&self) -> Error {
        invalid(format!(
            "Resource type not valid in this context: {}",
            self.kind()
        ))
    }
}

/// The ARN of a state machine, or the refusal.
pub(crate) fn machine(caller: &Caller, text: &str) -> Result<MachineArn, Error> {
    match parse(caller, text)? {
        Arn::Machine(machine) => Ok(machine),
        other @ (Arn::Execution { .. }
        | Arn::Express { .. }
        | Arn::Activity { .. }
        | Arn::MapRun) => Err(other.misplaced()),
    }
}

/// The ARN of a STANDARD execution or of any child of a map run, or the refusal.
pub(crate) fn execution(caller: &Caller, text: &str) -> Result<(MachineArn, String), Error> {
    match parse(caller, text)? {
        Arn::Execution { machine, name } => Ok((machine, name)),
        Arn::Express { machine, name, .. } if machine.label().is_some() => Ok((machine, name)),
        other @ (Arn::Machine(_) | Arn::Express { .. } | Arn::Activity { .. } | Arn::MapRun) => {
            Err(other.misplaced())
        }
    }
}

/// Refuses what is no ARN of a map run.
pub(crate) fn check_map_run(caller: &Caller, text: &str) -> Result<(), Error> {
    match parse(caller, text)? {
        Arn::MapRun => Ok(()),
        other @ (Arn::Machine(_)
        | Arn::Execution { .. }
        | Arn::Express { .. }
        | Arn::Activity { .. }) => Err(other.misplaced()),
    }
}

/// The (region, name) of an activity's ARN, or the refusal.
pub(crate) fn activity_parts(caller: &Caller, text: &str) -> Result<(String, String), Error> {
    match parse(caller, text)? {
        Arn::Activity { region, name, .. } => Ok((region, name)),
        other @ (Arn::Machine(_) | Arn::Execution { .. } | Arn::Express { .. } | Arn::MapRun) => {
            Err(other.misplaced())
        }
    }
}

/// The (region, name) of an activity that a definition names, where it is one of this account.
pub(crate) fn own_activity<'a>(account: &str, text: &'a str) -> Option<(&'a str, &'a str)> {
    let parts: Vec<&'a str> = text.split(':').collect();
    match parts[..] {
        ["arn", _, "states", region, owner, "activity", name] if owner == account => {
            Some((region, name))
        }
        _ => None,
    }
}

fn invalid(why: String) -> Error {
    Error::rejected(Code::InvalidArn, format!("Invalid Arn: '{why}'"))
}

/// Checks a name by AWS's rules: 1..80 characters, none of a list, no control characters.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let forbidden = |c: char| {
        c.is_whitespace()
            || "<>{}[]?*\"#%\\^|~$&,;:/`".contains(c)
            || c.is_control()
            || matches!(c, '\u{fffe}' | '\u{ffff}')
    };
    let chars = name.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || name.chars().any(forbidden) {
        return Err(Error::rejected(
            Code::InvalidName,
            format!("Invalid Name: '{name}'"),
        ));
    }
    Ok(())
}

/// Checks the name of an alias by AWS's rules: 1..80 letters, digits, `_`, `-` and `.`, not digits alone.
pub(crate) fn check_alias_name(name: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let digits = name.chars().all(|c| c.is_ascii_digit());
    if digits || name.len() > NAME_CHARS_MAX || !name.chars().all(allowed) {
        return Err(Error::rejected(
            Code::InvalidName,
            format!("Invalid Name: '{name}'"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Arn, Qualifier, check_alias_name, check_name, parse};
    use crate::api::Caller;

    fn caller() -> Caller {
        Caller {
            tenant: "000000000000".into(),
            region: "us-east-1".into(),
        }
    }

    #[test]
    fn arns_come_apart_and_together() {
        let text = "arn:aws:states:eu-west-1:000000000000:stateMachine:orders";
        let Ok(Arn::Machine(machine)) = parse(&caller(), text) else {
            panic!("not a machine")
        };
        assert_eq!(machine.to_string(), text);
        let execution = machine.execution("e1");
        assert!(
            matches!(parse(&caller(), &execution), Ok(Arn::Execution { name, .. }) if name == "e1")
        );
        let express = machine.express("e1", "run");
        assert!(matches!(parse(&caller(), &express), Ok(Arn::Express { run, .. }) if run == "run"));
    }

    #[test]
    fn foreign_and_malformed_arns_are_refused() {
        for text in [
            "",
            "arn",
            "arn:aws:states:r:111111111111:stateMachine:x",
            "arn:aws:sns:r:000000000000:x",
            "arn:aws:states:r:000000000000:stateMachine",
        ] {
            assert!(parse(&caller(), text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_qualifier_is_a_version_or_an_alias() {
        let Ok(Arn::Machine(machine)) = parse(
            &caller(),
            "arn:aws:states:r:000000000000:stateMachine:orders:live",
        ) else {
            panic!("not a machine")
        };
        assert_eq!(machine.qualified(), Qualifier::Alias("live"));
        assert_eq!(machine.unqualified().qualified(), Qualifier::Nothing);
        let version = machine.version(12);
        assert_eq!(version.qualified(), Qualifier::Version(12));
        assert!(version.to_string().ends_with(":orders:12"), "{version}");
        for no_version in ["0", "012", "-1", "18446744073709551616", ""] {
            let alias = machine.alias(no_version);
            assert_eq!(alias.qualified(), Qualifier::Alias(no_version));
        }
    }

    #[test]
    fn names_follow_the_rules() {
        assert!(check_alias_name("2-live_x.y").is_ok());
        for name in ["", "12", "a b", "a:b", "ä", &"x".repeat(81)] {
            assert!(check_alias_name(name).is_err(), "{name}");
        }
        assert!(check_name("Order_1-a.b").is_ok());
        for name in ["", "a b", "a:b", "a\u{7f}", &"x".repeat(81)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
