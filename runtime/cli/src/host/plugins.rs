//! The plugins of the plugin directory, as the server lists them. Hides what a tenant is not told of the host.

use stepwell_sandbox::{Contract, PluginInfo, Sandbox};
use stepwell_server::{DirectoryPlugin, DirectoryPlugins};

use super::TENANT;

/// How the sandbox tells a grant of a folder, whose path on the host follows.
const FOLDER_GRANT: &str = "fs `";

/// What the sandbox has in memory; nothing is compiled for it.
pub(super) fn directory_plugins(sandbox: Sandbox) -> DirectoryPlugins {
    DirectoryPlugins::new(move |account| of_account(account, sandbox.list()))
}

/// How a plugin is called, for people.
pub(crate) fn contract_name(contract: Contract) -> &'static str {
    match contract {
        Contract::Component => "task component",
        Contract::Command => "command",
    }
}

fn of_account(account: &str, all: Vec<PluginInfo>) -> Vec<DirectoryPlugin> {
    let own = all.into_iter().filter(|plugin| plugin.tenant == account);
    own.map(|plugin| DirectoryPlugin {
        missing_grants: plugin
            .missing_grants
            .into_iter()
            .map(|grant| told(account, grant))
            .collect(),
        name: plugin.name,
        version: plugin.version,
        source: plugin.source,
        contract: plugin.contract.map(contract_name),
        sha256: plugin.sha256,
        problem: plugin.problem,
    })
    .collect()
}

/// A grant that is missing. Which folders of the host the operator wrote into a manifest is no tenant's business.
fn told(account: &str, grant: String) -> String {
    match account != TENANT && grant.starts_with(FOLDER_GRANT) {
        true => "a folder of the host: not allowed by the operator".to_owned(),
        false => grant,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "111111111111";

    fn plugin(tenant: &str, name: &str) -> PluginInfo {
        let missing = ["fs `/srv/books`: not allowed by the operator", "secret `K`"];
        PluginInfo {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            version: Some("1.0.0".to_owned()),
            source: format!("{tenant}/{name}.wasm"),
            contract: Some(Contract::Command),
            sha256: None,
            limits: None,
            missing_grants: missing.map(str::to_owned).to_vec(),
            problem: None,
        }
    }

    #[test]
    fn an_account_is_told_its_own_plugins_and_a_tenant_no_folder_of_the_host() {
        let all = || vec![plugin(TENANT, "pay"), plugin(A, "pay"), plugin(A, "send")];
        for (account, expected, folder) in [
            (
                TENANT,
                &["pay"][..],
                "fs `/srv/books`: not allowed by the operator",
            ),
            (
                A,
                &["pay", "send"],
                "a folder of the host: not allowed by the operator",
            ),
            ("222222222222", &[], ""),
        ] {
            let found = of_account(account, all());
            let names: Vec<&str> = found.iter().map(|plugin| &*plugin.name).collect();
            assert_eq!(names, expected, "{account}");
            for plugin in found {
                assert_eq!(plugin.source, format!("{account}/{}.wasm", plugin.name));
                assert_eq!(plugin.missing_grants, [folder, "secret `K`"]);
                assert_eq!(plugin.contract, Some("command"));
            }
        }
    }
}
