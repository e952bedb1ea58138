//! What each attempt of an execution used, as its history tells. Hides how the record of a use is found to be that of a state.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use stepwell_interp::{Event, Measures, Place, Timestamp, What};

use crate::{
    api::{Caller, Page, PageRequest},
    engine::Engine,
    error::Error,
    pages, reader,
};

/// An attempt that a plugin ended. One that was dispatched again after a crash may be there more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredAttempt {
    /// Name of the state.
    pub state: Arc<str>,
    /// Public id of the event that entered the state.
    pub entered_id: u64,
    /// Counts the attempts of that visit of the state from 1, those after a redrive too.
    pub attempt: u32,
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The plugin with its version, where the attempt's start tells it.
    pub version: Option<Arc<str>>,
    /// When it had ended.
    pub at: Timestamp,
    pub measures: Arc<Measures>,
}

impl Engine {
    /// What the attempts of a STANDARD execution used, in the order in which they ended. Those that a fork begins with are
    /// another execution's. Reads all of its history.
    ///
    /// # Errors
    /// There is no such execution of the caller's, or the page's token is none.
    pub async fn measured_attempts(
        &self,
        caller: &Caller,
        arn: &str,
        page: &PageRequest,
    ) -> Result<Page<MeasuredAttempt>, Error> {
        let (row, _) = self.execution_row(caller, arn).await?;
        let list = self.list(caller, &["attempts", arn]);
        let first = list.number(page).await?.unwrap_or(0);
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let mut found = Found::default();
        let journal = self.node().journal.as_ref();
        let read = reader::each_event(journal, &row, |event| found.take(event)).await;
        read.map_err(|error| reader::named(arn, error))?;
        let size = pages::size(page) as usize;
        let all = found.attempts;
        let more = all.len().saturating_sub(first) > size;
        let next_token = match more {
            true => Some(list.token(&(first + size).to_string()).await?),
            false => None,
        };
        Ok(Page {
            items: all.into_iter().skip(first).take(size).collect(),
            next_token,
        })
    }
}

/// The fold of a history to its attempts.
#[derive(Default)]
struct Found {
    /// Of the last event: in the log, and its public id.
    position: u64,
    public: u64,
    /// States by the position of the event that entered them.
    entered: HashMap<u64, (Arc<str>, u64)>,
    /// Who serves the attempt at a place.
    served: BTreeMap<Place, Arc<str>>,
    attempts: Vec<MeasuredAttempt>,
}

impl Found {
    fn take(&mut self, event: &Event) {
        self.position += 1;
        self.public += u64::from(event.what.is_public());
        if let What::StateEntered { name, .. } = &event.what {
            let entered = (name.clone(), self.public);
            self.entered.insert(self.position, entered);
        } else if let What::Scheduled(_) = &event.what {
            self.served.remove(&event.place);
        } else if let What::Started { by: Some(by), .. } = &event.what {
            self.served.insert(event.place.clone(), by.clone());
        } else if let What::Forked { .. } = &event.what {
            self.attempts.clear();
        } else if let What::Used {
            task,
            plugin,
            measures,
        } = &event.what
        {
            let entered = self.entered.get(&task.entry).cloned();
            let (state, entered_id) = entered.unwrap_or_default();
            self.attempts.push(MeasuredAttempt {
                state,
                entered_id,
                attempt: task.attempt,
                plugin: plugin.clone(),
                version: self.served.get(&event.place).cloned(),
                at: event.at,
                measures: measures.clone(),
            });
        }
    }
}
