//! `plugin events`: the calls of a plugin that nobody waits for. Hides that a plugin may be given as a function's ARN, and that the
//! calls are executions of a state machine of its own.

use std::path::Path;

use anyhow::anyhow;
use serde_json::Value;

use super::execution::{list, print_list};
use super::plugin_named::bare_name;
use crate::args::EventsArgs;
use crate::client::{Client, Purpose, events_of};
use crate::exit::{Outcome, Stop};

pub(super) async fn events(args: EventsArgs) -> Outcome {
    let named = Named::read(&args.name)?;
    let client = Client::open(&args.place, Purpose::Look).await?;
    let listed = calls(&client, &named, args.status.as_deref(), args.limit).await;
    client.close().await;
    print_list(&listed?, args.json)
}

/// The calls of a function by its name, as `execution list` is given it.
pub(super) async fn calls_of_named(
    client: &Client,
    function: &str,
    status: Option<&str>,
    limit: usize,
) -> Outcome<Vec<Value>> {
    calls(client, &Named::read(function)?, status, limit).await
}

async fn calls(
    client: &Client,
    named: &Named<'_>,
    status: Option<&str>,
    limit: usize,
) -> Outcome<Vec<Value>> {
    let (region, account) = client.whose().await?;
    named.check(&region, &account)?;
    let machine = events_of(named.name, &region, &account);
    let listed = list(client, Some(&machine), status, limit).await;
    let mut nothing = has_none(&listed);
    if nothing && status.is_some() {
        // There may be others, which the status leaves out.
        nothing = has_none(&list(client, Some(&machine), None, 1).await);
    }
    if nothing {
        client.check_called(named.name).await?;
    }
    listed
}

fn has_none(listed: &Outcome<Vec<Value>>) -> bool {
    listed.as_ref().map_or(true, Vec::is_empty)
}

/// A plugin as it was given.
#[derive(Debug, PartialEq)]
struct Named<'a> {
    name: &'a str,
    /// Region and account of an ARN.
    of: Option<(&'a str, &'a str)>,
}

impl Named<'_> {
    fn read(given: &str) -> Outcome<Named<'_>> {
        let (name, of) = match given.starts_with("arn:") {
            false => (given, None),
            true => {
                let parts: Vec<&str> = given.splitn(7, ':').collect();
                let [_, _, "lambda", region, account, "function", name] = parts[..] else {
                    return Err(Stop::Usage(anyhow!(
                        "`{given}` is no ARN of a function\nhint: it has the form arn:aws:lambda:REGION:ACCOUNT:function:NAME; the name of the plugin does as well"
                    )));
                };
                (name, Some((region, account)))
            }
        };
        if let Some((plugin, qualifier)) = name.split_once(':') {
            return Err(Stop::Usage(anyhow!(
                "`{given}` names the version or alias `{qualifier}`; the calls are those of all versions of a plugin\nhint: leave it away: `stepwell plugin events {plugin}`"
            )));
        }
        if name.is_empty() || bare_name(Path::new(name)).is_none() {
            return Err(Stop::Usage(anyhow!(
                "`{name}` is no name of a plugin\nhint: 1 to 64 of A-Z a-z 0-9 - _"
            )));
        }
        Ok(Named { name, of })
    }

    /// Refuses what another account or region has than the one that is asked.
    fn check(&self, region: &str, account: &str) -> Outcome {
        match self.of {
            Some(of) if of != (region, account) => Err(Stop::Usage(anyhow!(
                "the ARN is one of account {} in {}; asked is account {account} in {region}\nhint: a key of that account, or --region, says where to ask",
                of.1,
                of.0
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(given: &str) -> String {
        match Named::read(given) {
            Err(Stop::Usage(why)) => why.to_string(),
            other => panic!("{given}: {other:?}"),
        }
    }

    #[test]
    fn a_plugin_is_named_by_its_name_or_its_arn() {
        let named = Named::read("pay").unwrap();
        assert_eq!((named.name, named.of), ("pay", None));
        assert!(named.check("eu-west-1", "111111111111").is_ok());
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:pay";
        let named = Named::read(arn).unwrap();
        assert_eq!(named.name, "pay");
        assert!(named.check("us-east-1", "000000000000").is_ok());
        for (region, account) in [("us-east-1", "111111111111"), ("eu-west-1", "000000000000")] {
            let Err(Stop::Usage(why)) = named.check(region, account) else {
                panic!("{region}, {account}");
            };
            assert!(
                why.to_string()
                    .contains("of account 000000000000 in us-east-1")
            );
        }
    }

    #[test]
    fn versions_and_other_arns_are_refused() {
        for given in [
            "pay:live",
            "arn:aws:lambda:us-east-1:000000000000:function:pay:live",
        ] {
            let why = refused(given);
            assert!(why.contains("names the version or alias `live`"), "{why}");
            assert!(why.contains("stepwell plugin events pay`"), "{why}");
        }
        let why = refused("arn:aws:states:us-east-1:000000000000:stateMachine:pay");
        assert!(why.contains("is no ARN of a function"), "{why}");
        for given in ["", "a b", "$lambda-pay"] {
            assert!(refused(given).contains("is no name of a plugin"), "{given}");
        }
    }
}
