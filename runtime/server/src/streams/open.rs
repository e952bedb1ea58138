//! How many live streams each account has open. Hides who counts them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::limits::STREAMS_OF_ACCOUNT_MAX;

/// The open streams of a server. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<Arc<str>, usize>>>);

/// The account has as many as it may have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// One stream, counted until it is dropped.
pub(crate) struct OpenStream {
    streams: Streams,
    account: Arc<str>,
}

impl Streams {
    pub(super) fn open(&self, account: &Arc<str>) -> Result<OpenStream, TooMany> {
        let mut counts = self.counts();
        let count = counts.get(account).copied().unwrap_or(0);
        if count >= STREAMS_OF_ACCOUNT_MAX {
            return Err(TooMany);
        }
        counts.insert(account.clone(), count + 1);
        Ok(OpenStream {
            streams: self.clone(),
            account: account.clone(),
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut counts = self.streams.counts();
        if let Some(count) = counts.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_so_many_and_no_other_is_held_up() {
        let (streams, account): (_, Arc<str>) = (Streams::default(), "a".into());
        let mut open: Vec<OpenStream> = (0..STREAMS_OF_ACCOUNT_MAX)
            .map(|_| streams.open(&account).expect("there is room"))
            .collect();
        assert_eq!(streams.open(&account).err(), Some(TooMany));
        assert!(streams.open(&"b".into()).is_ok());
        open.pop();
        let one = streams.open(&account);
        assert!(one.is_ok(), "one was closed");
        assert_eq!(streams.open(&account).err(), Some(TooMany));
        drop((open, one));
        assert!(streams.counts().is_empty());
    }
}
