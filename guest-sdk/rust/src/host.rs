//! The host's side of each capability: the component's imports in a guest, [`crate::testing`] in a native test.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::{
    host_config as config, host_heartbeat as heartbeat, host_log as log, host_secret as secret,
};
#[cfg(target_arch = "wasm32")]
pub(crate) use guest::{config, heartbeat, log, secret};

#[cfg(target_arch = "wasm32")]
mod guest {
    use crate::__export::bindings::stepwell::task as host;
    use crate::Cancelled;
    use crate::log::Level;
    use crate::secrets::SecretError;

    pub(crate) fn config(key: &str) -> Option<String> {
        host::config::get(key)
    }

    pub(crate) fn secret(name: &str) -> Result<String, SecretError> {
        host::secrets::get(name).map_err(|error| match error {
            host::secrets::SecretError::NotGranted => SecretError::NotGranted(name.to_owned()),
            host::secrets::SecretError::NotFound => SecretError::NotFound(name.to_owned()),
        })
    }

    pub(crate) fn heartbeat(progress: &str) -> Result<(), Cancelled> {
        host::heartbeat::beat(Some(progress)).map_err(|cancelled| match cancelled {
            host::heartbeat::Cancelled::Stopped => Cancelled::Stopped,
            host::heartbeat::Cancelled::TimedOut => Cancelled::TimedOut,
        })
    }

    pub(crate) fn log(level: Level, message: &str, fields: &[(String, String)]) {
        let level = match level {
            Level::Trace => host::log::Level::Trace,
            Level::Debug => host::log::Level::Debug,
            Level::Info => host::log::Level::Info,
            Level::Warn => host::log::Level::Warn,
            Level::Error => host::log::Level::Error,
        };
        host::log::emit(level, message, fields);
    }
}
