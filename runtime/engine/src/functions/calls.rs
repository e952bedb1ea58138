//! Calls of functions that run now, and what is reserved for them. Hides how they are counted: of all versions of a function
//! together, by this process alone, and only of functions that something is reserved for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A tenant and a name.
type Named = (Arc<str>, Arc<str>);

/// See the module.
#[derive(Default)]
pub(crate) struct FunctionCalls(Mutex<HashMap<Named, u32>>);

/// One call; over when it is dropped.
pub(crate) struct FunctionCall {
    /// Where it is counted, if it is.
    counted: Option<(Arc<FunctionCalls>, Named)>,
}

/// A call that may begin if there is a place for it.
pub(crate) struct Entrance {
    pub(super) all: Arc<FunctionCalls>,
    pub(super) tenant: Arc<str>,
    pub(super) name: Arc<str>,
    /// How many calls may run at once.
    pub(super) reserved: Option<u32>,
}

impl Entrance {
    /// Takes a place; an error says to people why there is none.
    pub(crate) fn enter(self) -> Result<FunctionCall, String> {
        // Most functions have none: their calls wait for no lock.
        let Some(reserved) = self.reserved else {
            return Ok(FunctionCall { counted: None });
        };
        let named = (self.tenant, self.name);
        let mut running = self.all.lock();
        let count = running.get(&named).copied().unwrap_or(0);
        if count >= reserved {
            return Err(format!(
                "the reserved concurrency of the function `{}` is {reserved}, and as many of its calls run; call it again later, or reserve more with `aws lambda put-function-concurrency`",
                named.1
            ));
        }
        running.insert(named.clone(), count.saturating_add(1));
        drop(running);
        Ok(FunctionCall {
            counted: Some((self.all, named)),
        })
    }
}

impl FunctionCalls {
    fn lock(&self) -> MutexGuard<'_, HashMap<Named, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FunctionCall {
    fn drop(&mut self) {
        let Some((all, named)) = &self.counted else {
            return;
        };
        let mut running = all.lock();
        if let Some(count) = running.get_mut(named) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                running.remove(named);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_one_function_are_bounded_together_and_leave_nothing() {
        let all = Arc::new(FunctionCalls::default());
        let enter = |tenant: &str, name: &str, reserved| {
            let entrance = Entrance {
                all: all.clone(),
                tenant: tenant.into(),
                name: name.into(),
                reserved,
            };
            entrance.enter()
        };
        let unbounded = enter("1", "pay", None);
        assert!(unbounded.is_ok());
        assert!(all.lock().is_empty(), "nothing is reserved for it");
        let first = enter("1", "pay", Some(1));
        assert!(first.is_ok());
        let why = enter("1", "pay", Some(1)).err().unwrap();
        assert!(why.contains("`pay` is 1"), "{why}");
        let others = [enter("2", "pay", Some(1)), enter("1", "ship", Some(1))];
        assert!(others.iter().all(Result::is_ok));
        drop(unbounded);
        assert!(enter("1", "pay", Some(1)).is_err(), "the first one runs");
        drop(first);
        let second = enter("1", "pay", Some(1));
        assert!(second.is_ok());
        drop((second, others));
        assert!(all.lock().is_empty());
    }
}
