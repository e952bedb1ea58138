//! Access keys of tenants, and the key file that seals their secrets: `tenant keys`, `tenant key-file` and `tenant rotate`. Hides when a
//! key file may be made.

use std::path::Path;

use anyhow::anyhow;
use serde_json::json;
use stepwell_engine::{AccessKey, Engine, ListedKey, Resealed, Role, Vault, holds_store};

use super::audit::{noted, noted_of_key};
use super::{time, told};
use crate::args::{KeysCommand, TenantPlace};
use crate::client::held_by_another;
use crate::commands::{at_rest, print, print_json};
use crate::exit::{Outcome, Stop};
use crate::key_file;
use crate::table::Table;
use crate::terminal::{named, shown, shown_lines};

pub(super) async fn keys(command: KeysCommand) -> Outcome {
    match command {
        KeysCommand::Add {
            account,
            role,
            description,
            json,
            place,
        } => {
            let host = at_rest::open(&place).await?;
            let path = key_file::place(place.key_file.as_deref(), &place.data());
            let added = add_key(&host.engine, &path, (&account, &role, &description), json).await;
            host.close().await;
            added
        }
        KeysCommand::List {
            account,
            json,
            place,
        } => {
            let host = at_rest::open(&place).await?;
            let vault = readable_vault(place.key_file.as_deref(), &place.data());
            let found = host
                .engine
                .listed_access_keys(vault.as_ref(), account.as_deref());
            let found = found.await;
            host.close().await;
            list_keys(&found.map_err(told)?, json)
        }
        KeysCommand::Disable { id, place } => disable(&id, true, &place).await,
        KeysCommand::Enable { id, place } => disable(&id, false, &place).await,
        KeysCommand::Remove { id, place } => {
            let host = at_rest::open(&place).await?;
            let removed = remove_key(&host.engine, &id).await;
            host.close().await;
            removed
        }
    }
}

/// The keys that tell which access keys open. Those are listed without them too, and who has a key file that cannot be used is
/// told what is not looked at.
fn readable_vault(given: Option<&Path>, data: &Path) -> Option<Vault> {
    match key_file::named_or_beside(given, data) {
        Ok(vault) => vault,
        Err(Stop::Usage(error) | Stop::Runtime(error)) => {
            let error = shown_lines(&format!("{error:#}"));
            say!("the list does not tell which access keys open: {error}");
            None
        }
        // Told already.
        Err(Stop::Failed | Stop::Refused | Stop::Panicked) => None,
    }
}

async fn add_key(
    engine: &Engine,
    path: &Path,
    (account, role, description): (&str, &str, &str),
    json: bool,
) -> Outcome {
    let role = Role::ALL.into_iter().find(|known| known.name() == role);
    let role = role.ok_or_else(|| Stop::Usage(anyhow!("there is no such role")))?;
    let vault = vault_for(engine, path).await?;
    let change = engine.add_access_key(&vault, account, role, description);
    // Its id is not known before it is made, and the entry is written before.
    let made = noted(engine, account, "stepwell:AddAccessKey", account, change).await?;
    say!("the secret is kept sealed and not shown again");
    if json {
        return print_json(
            &json!({"accessKeyId": made.key.id, "secretAccessKey": made.secret, "account": account, "role": role.name()}),
        );
    }
    print(&format!(
        "export AWS_ACCESS_KEY_ID={}\nexport AWS_SECRET_ACCESS_KEY={}\n",
        made.key.id, made.secret
    ))
}

/// The keys of the key file, which is made when it is missing; not where something is sealed that a new one would not open.
pub(in crate::commands) async fn vault_for(engine: &Engine, path: &Path) -> Outcome<Vault> {
    if !path.exists() && engine.has_sealed().await.map_err(told)? {
        return Err(Stop::Usage(anyhow!(
            "the key file `{}` is missing, and there are access keys, secrets or connections that it sealed\nhint: --key-file names it where it is; if it is lost, remove these first",
            path.display()
        )));
    }
    key_file::read_or_make(path)
}

/// Makes the key file where there is none, and where none is missed. A store that a server holds is not looked at: that
/// server has the key file, or refuses to seal.
pub(super) async fn make_key_file(place: &TenantPlace) -> Outcome {
    let data = place.data();
    let path = key_file::place(place.key_file.as_deref(), &data);
    let has_store = at_rest::store(place)?.is_some() || holds_store(&data);
    let opened = match has_store && !path.exists() {
        true => match at_rest::open(place).await {
            Ok(host) => Some(host),
            Err(Stop::Runtime(error)) if held_by_another(&error) => None,
            // It may hold what a fresh key file would not open.
            Err(stop) => return Err(stop),
        },
        false => None,
    };
    let Some(host) = opened else {
        return key_file::make(&path);
    };
    let made = vault_for(&host.engine, &path).await;
    host.close().await;
    made.map(drop)
}

fn list_keys(keys: &[ListedKey], json: bool) -> Outcome {
    let state = |key: &AccessKey| if key.disabled { "disabled" } else { "enabled" };
    if json {
        let keys: Vec<_> = keys
            .iter()
            .map(|listed| match &listed.key {
                Some(key) => {
                    let mut told = json!({"accessKeyId": key.id, "account": key.account, "role": key.role.name(), "state": state(key), "created": time(key.created_at.0), "description": key.description});
                    if let Some(why) = &listed.closed {
                        told["closed"] = json!(why.to_string());
                    }
                    told
                }
                None => json!({"accessKeyId": listed.id, "state": DAMAGED, "closed": listed.closed.as_ref().map(ToString::to_string)}),
            })
            .collect();
        return print_json(&json!(keys));
    }
    if keys.is_empty() {
        say_no_keys();
        return Ok(());
    }
    let mut table = table();
    for listed in keys {
        let why = listed.closed.as_ref().map(ToString::to_string);
        let Some(key) = &listed.key else {
            table.row(damaged_row(&listed.id, why.as_deref()));
            continue;
        };
        table.row([
            key.id.to_string(),
            key.account.to_string(),
            key.role.name().to_owned(),
            state(key).to_owned(),
            time(key.created_at.0),
            key.description.to_string(),
            closed(why.as_deref()),
        ]);
    }
    print(&table.whole(None))
}

/// State of an access key whose record is damaged.
const DAMAGED: &str = "damaged";

/// A table for access keys.
pub(super) fn table() -> Table {
    Table::new(&[
        "access key",
        "account",
        "role",
        "state",
        "created",
        "description",
        "note",
    ])
}

/// What can be told of an access key whose record is damaged.
pub(super) fn damaged_row(id: &str, why: Option<&str>) -> [String; 7] {
    let (id, state, none) = (named(id), DAMAGED.to_owned(), String::new);
    [id, none(), none(), state, none(), none(), closed(why)]
}

/// What is said of an access key that lets nobody in; `why` says how that is mended.
pub(super) fn closed(why: Option<&str>) -> String {
    why.map_or_else(String::new, |why| format!("nobody is let in by it: {why}"))
}

pub(super) fn say_no_keys() {
    say!("there are no access keys; `stepwell tenant keys add` makes one");
}

async fn disable(id: &str, disabled: bool, place: &TenantPlace) -> Outcome {
    let host = at_rest::open(place).await?;
    let operation = if disabled {
        "stepwell:DisableAccessKey"
    } else {
        "stepwell:EnableAccessKey"
    };
    let change = host.engine.disable_access_key(id, disabled);
    let changed = noted_of_key(&host.engine, operation, id, change).await;
    host.close().await;
    changed
}

pub(super) async fn remove_key(engine: &Engine, id: &str) -> Outcome {
    let change = engine.remove_access_key(id);
    noted_of_key(engine, "stepwell:RemoveAccessKey", id, change).await
}

/// Makes a new key, and seals all that is sealed anew by it.
pub(super) async fn rotate(place: &TenantPlace) -> Outcome {
    let host = at_rest::open(place).await?;
    let path = key_file::place(place.key_file.as_deref(), &place.data());
    let rotated = rotate_in(&host.engine, &path).await;
    host.close().await;
    rotated
}

/// The file has the old keys until no secret needs them: an interruption loses nothing, and the next rotation goes on with the key that
/// this one added. So it is with secrets that cannot be opened, which stay as they are. A new key by which nothing was sealed
/// does not stay; but it stays when the store fails, since some may have been sealed by then.
async fn rotate_in(engine: &Engine, path: &Path) -> Outcome {
    let before = key_file::read(path)?;
    let goes_on = before.is_rotating();
    let vault = match goes_on {
        true => before.clone(),
        false => before.rotated(),
    };
    if goes_on {
        say!("a rotation has not ended: this one goes on with its key, and adds none");
    } else {
        key_file::write(path, &vault)?;
    }
    let resealed = engine.reseal(&vault).await.map_err(told)?;
    let sealed = crate::given::count(resealed.sealed, "record");
    if resealed.left == 0 {
        key_file::write(path, &vault.newest())?;
        say!(
            "sealed {sealed} anew; the old key opens nothing any more: copies of the store from before need the old key file"
        );
        return Ok(());
    }
    if resealed.sealed == 0 && !goes_on {
        key_file::write(path, &before)?;
    }
    if resealed.is_of_other_keys() {
        return Err(other_keys(path, &before, &resealed));
    }
    say!("sealed {sealed} anew; what is left stays as it was:");
    for why in &resealed.told {
        say!("  {}", shown(why));
    }
    let more = resealed.left - resealed.told.len();
    if more > 0 {
        say!("  and {more} more");
    }
    Err(Stop::Runtime(anyhow!(
        "{} could not be sealed anew, so the key file `{}` keeps the old keys too\nhint: put or delete what is named, restore it from a backup, or add the line of the key that sealed it to the key file; then rotate again, which goes on with the new key",
        crate::given::count(resealed.left, "record"),
        path.display()
    )))
}

/// The key file is another store's, or one of before.
fn other_keys(path: &Path, vault: &Vault, resealed: &Resealed) -> Stop {
    let keys: Vec<String> = vault.ids().map(|id| format!("`{}`", shown(id))).collect();
    Stop::Usage(anyhow!(
        "the key file `{}` does not hold the key that sealed what is in the store, and nothing was changed: it has {}, and {}\nhint: --key-file names the one that does; if it is lost, `stepwell secret delete`, `stepwell connection delete` and `stepwell tenant keys remove` take away what only it opens",
        path.display(),
        keys.join(", "),
        shown(resealed.told.first().map_or("", String::as_str))
    ))
}
