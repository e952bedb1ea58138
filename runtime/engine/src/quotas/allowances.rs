//! How much of its quotas each tenant has taken, and whether it may have more. Hides how requests are counted against rates, and
//! that a start holds its place until it is durable or refused.
//!
//! All is in memory: quotas are read from their records when the engine is opened, executions and bytes from the usage that is
//! stored. A check comes before the first write of what it refuses.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{CALLS_CLOSED, Quotas, Rates, Taken, rates::Bucket, sized, tasks_full};
use crate::{
    error::{Code, Error},
    journal::{Amounts, Meter},
    limits::{CONCURRENCY_MAX, NESTED_SYNC_MAX, NESTED_SYNC_MAX_RAISED, WEIGHT_USUAL},
    lines::{Reservation, UsualConcurrency},
};

/// See the module. One for an engine.
#[derive(Default)]
pub(crate) struct Allowances(Mutex<State>);

#[derive(Default)]
struct State {
    /// What counts where a tenant's quotas say nothing.
    usual: Usual,
    tenants: HashMap<Arc<str>, Account>,
}

#[derive(Default)]
struct Usual {
    raised_limits: bool,
    rates: Rates,
    quotas: Quotas,
}

/// One of the quotas that are numbers.
type Pick = fn(&Quotas) -> Option<u64>;

#[derive(Default)]
struct Account {
    quotas: Arc<Quotas>,
    taken: Taken,
    /// Executions that nothing durable tells of: their starts are neither durable nor refused, or they are synchronous.
    starting: u64,
    /// Those of them that a task of another execution waits for.
    nested: u64,
    buckets: BTreeMap<&'static str, Bucket>,
}

/// A running attempt's place, given back when it is dropped.
pub(crate) struct TaskPlace {
    allowances: Arc<Allowances>,
    tenant: Arc<str>,
}

impl Drop for TaskPlace {
    fn drop(&mut self) {
        let mut state = self.allowances.lock();
        let taken = &mut state.account(&self.tenant).taken;
        taken.running_tasks = taken.running_tasks.saturating_sub(1);
    }
}

/// The place of an execution that nothing durable tells of, given back when it is dropped.
pub(crate) struct StartPlace {
    allowances: Arc<Allowances>,
    tenant: Arc<str>,
    nested: bool,
    /// It was given to what is durable.
    settled: bool,
    /// Of a synchronous execution: its place under the concurrency limit of its state machine.
    reservation: Option<Reservation>,
}

impl StartPlace {
    /// Has another place given back with this one.
    pub(crate) fn with(mut self, reservation: Option<Reservation>) -> StartPlace {
        self.reservation = reservation;
        self
    }
}

impl Drop for StartPlace {
    fn drop(&mut self) {
        if !self.settled {
            let mut state = self.allowances.lock();
            state.account(&self.tenant).give_back(self.nested);
        }
    }
}

impl State {
    fn account(&mut self, tenant: &Arc<str>) -> &mut Account {
        // Tenants are few: whoever names one has its key.
        self.tenants.entry(tenant.clone()).or_default()
    }

    /// A tenant's quota, or the usual one.
    fn most(&mut self, tenant: &Arc<str>, pick: Pick) -> Option<u64> {
        let usual = pick(&self.usual.quotas);
        pick(&self.account(tenant).quotas).or(usual)
    }

    fn has_room(&mut self, tenant: &Arc<str>, bytes: u64) -> Result<(), Error> {
        let most = self.most(tenant, |quotas| quotas.stored_bytes);
        self.account(tenant).has_room(most, bytes)
    }
}

impl Allowances {
    /// `quotas` are the numbers of those whose own have none.
    pub(crate) fn new(raised_limits: bool, quotas: Quotas) -> Allowances {
        let usual = Usual {
            raised_limits,
            quotas,
            rates: Rates::default(),
        };
        Allowances(Mutex::new(State {
            usual,
            tenants: HashMap::new(),
        }))
    }

    /// The rates of those whose quotas have none.
    pub(crate) fn usual_rates(&self, rates: Rates) {
        self.lock().usual.rates = rates;
    }

    /// What the store says at the start.
    pub(crate) fn load(&self, used: Vec<(Arc<str>, Amounts)>) {
        let mut state = self.lock();
        for (tenant, amounts) in used {
            let taken = &mut state.account(&tenant).taken;
            taken.open_executions = amounts.open();
            taken.stored_bytes = amounts.get(Meter::BytesStored);
        }
    }

    pub(crate) fn set(&self, tenant: &Arc<str>, quotas: Quotas) {
        let mut state = self.lock();
        let account = state.account(tenant);
        // Another rate begins with a full bucket.
        account.buckets.clear();
        account.quotas = Arc::new(quotas);
    }

    pub(crate) fn taken(&self, tenant: &Arc<str>) -> Taken {
        let mut state = self.lock();
        let account = state.account(tenant);
        Taken {
            open_executions: account.open(),
            ..account.taken
        }
    }

    /// Whether a tenant has the raised limits.
    pub(crate) fn raised(&self, tenant: &Arc<str>) -> bool {
        let mut state = self.lock();
        let usual = state.usual.raised_limits;
        state.account(tenant).quotas.raised_limits.unwrap_or(usual)
    }

    /// How many state machines a tenant may have.
    pub(crate) fn state_machines(&self, tenant: &Arc<str>) -> Option<u64> {
        self.lock().most(tenant, |quotas| quotas.state_machines)
    }

    /// How many activities.
    pub(crate) fn activities(&self, tenant: &Arc<str>) -> Option<u64> {
        self.lock().most(tenant, |quotas| quotas.activities)
    }

    /// A tenant's part of what several want.
    pub(crate) fn weight(&self, tenant: &Arc<str>) -> u32 {
        let mut state = self.lock();
        let weight = state.account(tenant).quotas.weight;
        weight.unwrap_or(WEIGHT_USUAL)
    }

    /// The limit of every state machine of a tenant.
    pub(crate) fn machine_concurrency(&self, tenant: &Arc<str>) -> Option<UsualConcurrency> {
        let mut state = self.lock();
        let usual = state.usual.quotas.machine_concurrency_mode;
        let most = state.most(tenant, |quotas| quotas.machine_concurrency)?;
        let own = state.account(tenant).quotas.machine_concurrency_mode;
        Some(UsualConcurrency {
            most: u32::try_from(most).unwrap_or(CONCURRENCY_MAX),
            mode: own.or(usual),
        })
    }

    /// Counts a request, or refuses it.
    pub(crate) fn admit(&self, tenant: &Arc<str>, operation: &'static str) -> Result<(), Error> {
        let mut state = self.lock();
        let usual = state.usual.rates.clone();
        let account = state.account(tenant);
        let rates = account.quotas.rates.as_ref().unwrap_or(&usual);
        let Some((bucket, rate)) = rates.of(operation) else {
            return Ok(());
        };
        let bucket = account.buckets.entry(bucket);
        let bucket = bucket.or_insert_with(|| Bucket::full(rate, Instant::now()));
        if bucket.take(rate, Instant::now()) {
            return Ok(());
        }
        if let Some(refused) = bucket.next_telling(Instant::now()) {
            tracing::warn!(
                tenant = &**tenant,
                operation,
                refused,
                bucket = rate.bucket,
                per_second = rate.per_second,
                "requests are refused: the rate is exceeded"
            );
        }
        Err(Error::rejected(Code::ThrottlingException, "Rate exceeded"))
    }

    /// Takes the place of an execution that is about to start, for as long as nothing durable tells of it.
    pub(crate) fn start(self: &Arc<Self>, tenant: &Arc<str>) -> Result<StartPlace, Error> {
        self.place(tenant, false)
    }

    /// The same for a synchronous execution that a task of another one waits for.
    pub(crate) fn start_nested(self: &Arc<Self>, tenant: &Arc<str>) -> Result<StartPlace, Error> {
        self.place(tenant, true)
    }

    fn place(self: &Arc<Self>, tenant: &Arc<str>, nested: bool) -> Result<StartPlace, Error> {
        let mut state = self.lock();
        let usual = state.usual.raised_limits;
        let open = state.most(tenant, |quotas| quotas.open_executions);
        let room = state.has_room(tenant, 0);
        let account = state.account(tenant);
        let quotas = &account.quotas;
        if let Some(most) = open
            && account.open() >= most
        {
            let text = format!(
                "The maximum number of running executions has been reached. Running executions must end or be stopped before a new execution can be started. (the tenant's quota is {most})"
            );
            return Err(Error::rejected(Code::ExecutionLimitExceeded, text));
        }
        let most = match quotas.raised_limits.unwrap_or(usual) {
            true => NESTED_SYNC_MAX_RAISED,
            false => NESTED_SYNC_MAX,
        };
        if nested && account.nested >= most {
            let text = format!(
                "The maximum number of synchronous executions that run inside tasks of other executions has been reached: {most}. Some must end before another one can be started."
            );
            return Err(Error::rejected(Code::ExecutionLimitExceeded, text));
        }
        room?;
        account.starting += 1;
        account.nested += u64::from(nested);
        Ok(StartPlace {
            allowances: self.clone(),
            tenant: tenant.clone(),
            nested,
            settled: false,
            reservation: None,
        })
    }

    /// An append is durable, with what it adds to its tenant's usage. What it says is open has had that place until now.
    pub(crate) fn landed(&self, tenant: &Arc<str>, amounts: &Amounts, place: Option<StartPlace>) {
        let mut state = self.lock();
        let account = state.account(tenant);
        let begun = amounts.get(Meter::Executions) + amounts.get(Meter::Redrives);
        let open = account.taken.open_executions + begun;
        account.taken.open_executions = open.saturating_sub(amounts.get(Meter::Ended));
        account.taken.stored_bytes += amounts.get(Meter::BytesStored);
        if let Some(mut place) = place {
            account.give_back(place.nested);
            place.settled = true;
        }
    }

    /// Refuses what would store so many bytes more where the tenant has stored its part, or would have by then. 0 stands for what
    /// is not known before.
    pub(crate) fn has_room(&self, tenant: &Arc<str>, bytes: u64) -> Result<(), Error> {
        self.lock().has_room(tenant, bytes)
    }

    /// The place of an attempt that is about to run, or how many may.
    pub(crate) fn begin_task(self: &Arc<Self>, tenant: &Arc<str>) -> Result<TaskPlace, u64> {
        let mut state = self.lock();
        let most = state.most(tenant, |quotas| quotas.running_tasks);
        let account = state.account(tenant);
        if let Some(most) = most
            && account.taken.running_tasks >= most
        {
            return Err(most);
        }
        account.taken.running_tasks += 1;
        Ok(TaskPlace {
            allowances: self.clone(),
            tenant: tenant.clone(),
        })
    }

    /// The place of a function that is called without an execution, or why it has none, for people.
    pub(crate) fn begin_call(self: &Arc<Self>, tenant: &Arc<str>) -> Result<TaskPlace, String> {
        if self.lock().account(tenant).quotas.damaged {
            return Err(CALLS_CLOSED.to_owned());
        }
        self.begin_task(tenant).map_err(tasks_full)
    }

    /// Bytes were stored by what no append carries.
    pub(crate) fn stored(&self, tenant: &Arc<str>, bytes: u64) {
        self.lock().account(tenant).taken.stored_bytes += bytes;
    }

    /// Bytes that were stored are gone, or went before the start.
    pub(crate) fn freed(&self, tenant: &Arc<str>, bytes: u64) {
        let mut state = self.lock();
        let taken = &mut state.account(tenant).taken;
        taken.stored_bytes = taken.stored_bytes.saturating_sub(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// Executions that have not ended.
    fn open(&self) -> u64 {
        self.taken.open_executions + self.starting
    }

    fn give_back(&mut self, nested: bool) {
        self.starting = self.starting.saturating_sub(1);
        self.nested = self.nested.saturating_sub(u64::from(nested));
    }

    fn has_room(&self, most: Option<u64>, bytes: u64) -> Result<(), Error> {
        let Some(most) = most else {
            return Ok(());
        };
        let stored = self.taken.stored_bytes;
        if stored < most && bytes <= most - stored {
            return Ok(());
        }
        let more = match bytes {
            0 => String::new(),
            bytes => format!(", this would be {} more", sized(bytes)),
        };
        let (stored, most) = (sized(stored), sized(most));
        let text = format!(
            "the tenant has stored {stored}{more}, and its quota is {most}; have the quota raised, or delete functions and versions that are not called any more: what executions stored stays"
        );
        Err(Error::rejected(Code::ServiceQuotaExceededException, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lines::Exceeding, quotas::Rate};

    fn allowances(quotas: Quotas) -> (Arc<Allowances>, Arc<str>) {
        let (all, tenant) = (Arc::new(Allowances::default()), Arc::from("a"));
        all.set(&tenant, quotas);
        (all, tenant)
    }

    fn amounts(meter: Meter, count: u64) -> Amounts {
        let mut amounts = Amounts::default();
        amounts.add(meter, count);
        amounts
    }

    #[test]
    fn a_start_holds_its_place_from_the_check_on() {
        let (all, tenant) = allowances(Quotas {
            open_executions: Some(2),
            ..Quotas::default()
        });
        let other: Arc<str> = "b".into();
        let (first, second) = (all.start(&tenant), all.start(&tenant));
        let (first, second) = (first.expect("one"), second.expect("two"));
        let error = all.start(&tenant).err().expect("the third");
        assert!(matches!(
            error,
            Error::Rejected {
                code: Code::ExecutionLimitExceeded,
                ..
            }
        ));
        assert!(all.start(&other).is_ok(), "another tenant's are its own");
        assert_eq!(all.taken(&tenant).open_executions, 2);
        // It was refused, or its caller went away before anyone knew of it.
        drop(first);
        let first = all.start(&tenant).expect("that place is free");
        all.landed(&tenant, &amounts(Meter::Executions, 1), Some(second));
        assert!(all.start(&tenant).is_err(), "one is open, one is starting");
        all.landed(&tenant, &amounts(Meter::Ended, 1), None);
        assert!(all.start(&tenant).is_ok());
        all.landed(&tenant, &amounts(Meter::Redrives, 1), None);
        assert_eq!(all.taken(&tenant).open_executions, 2);
        drop(first);
        assert_eq!(all.taken(&tenant).open_executions, 1);
    }

    #[test]
    fn executions_inside_tasks_are_bounded_without_a_quota() {
        let (all, tenant) = allowances(Quotas::default());
        let nested: Vec<StartPlace> = (0..NESTED_SYNC_MAX)
            .map(|_| all.start_nested(&tenant).expect("a place"))
            .collect();
        let error = all.start_nested(&tenant).err().expect("one too many");
        assert!(error.to_string().contains("1000"), "{error}");
        assert!(all.start(&tenant).is_ok(), "that is another matter");
        assert!(all.start_nested(&"b".into()).is_ok());
        drop(nested);
        assert!(all.start_nested(&tenant).is_ok());
        all.set(
            &tenant,
            Quotas {
                raised_limits: Some(true),
                open_executions: Some(1),
                ..Quotas::default()
            },
        );
        let place = all.start_nested(&tenant);
        assert!(place.is_ok() && all.start_nested(&tenant).is_err());
    }

    #[test]
    fn what_is_stored_is_told_by_the_store() {
        let (all, tenant) = allowances(Quotas {
            stored_bytes: Some(100),
            ..Quotas::default()
        });
        all.load(vec![(tenant.clone(), amounts(Meter::BytesStored, 99))]);
        assert!(all.has_room(&tenant, 0).is_ok());
        assert!(all.has_room(&tenant, 1).is_ok() && all.has_room(&tenant, 2).is_err());
        all.landed(&tenant, &amounts(Meter::BytesStored, 1), None);
        all.freed(&tenant, 1);
        assert!(all.has_room(&tenant, 0).is_ok(), "what is gone makes room");
        all.stored(&tenant, 1);
        let error = all.start(&tenant).err().expect("full");
        let Error::Rejected {
            code: Code::ServiceQuotaExceededException,
            message,
        } = &error
        else {
            panic!("{error:?}");
        };
        assert!(
            message.starts_with("the tenant has stored 100 B, and its quota is 100 B; "),
            "{message}"
        );
        let quota = Quotas {
            stored_bytes: Some(10_u64 << 30),
            ..Quotas::default()
        };
        all.set(&tenant, quota);
        let refused = all.has_room(&tenant, (10_u64 << 30) + 1).expect_err("full");
        let told = "the tenant has stored 100 B, this would be 10.0 GiB (10737418241 B) more, and its quota is 10 GiB; ";
        assert!(format!("{refused:?}").contains(told), "{refused:?}");
    }

    #[test]
    fn the_usual_quotas_count_where_a_tenants_say_nothing() {
        let usual = Quotas {
            open_executions: Some(1),
            running_tasks: Some(1),
            stored_bytes: Some(100),
            state_machines: Some(3),
            activities: Some(4),
            machine_concurrency: Some(5),
            machine_concurrency_mode: Some(Exceeding::Refuse),
            ..Quotas::default()
        };
        let all = Arc::new(Allowances::new(false, usual));
        let (own, other): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let quotas = Quotas {
            open_executions: Some(2),
            activities: Some(7),
            machine_concurrency: Some(9),
            ..Quotas::default()
        };
        all.set(&own, quotas);
        let held = [all.start(&own), all.start(&own), all.start(&other)];
        assert!(held.iter().all(Result::is_ok));
        assert!(all.start(&own).is_err() && all.start(&other).is_err());
        let task = all.begin_task(&own);
        assert!(task.is_ok());
        assert_eq!(all.begin_task(&own).err(), Some(1));
        assert_eq!(all.state_machines(&own), Some(3));
        assert_eq!(
            [&own, &other].map(|tenant| all.activities(tenant)),
            [Some(7), Some(4)]
        );
        let concurrency = |tenant| {
            let found = all.machine_concurrency(tenant);
            found.map(|found| (found.most, found.mode))
        };
        let refuse = Some(Exceeding::Refuse);
        assert_eq!(concurrency(&own), Some((9, refuse)));
        assert_eq!(concurrency(&other), Some((5, refuse)));
        all.stored(&other, 100);
        assert!(all.has_room(&other, 0).is_err() && all.has_room(&own, 0).is_ok());
    }

    #[test]
    fn weights_are_within_their_range_and_the_usual_one_when_none_is_set() {
        let weight = |weight| Quotas {
            weight,
            ..Quotas::default()
        };
        for (number, is_one) in [(0, false), (1, true), (1_000, true), (1_001, false)] {
            assert_eq!(weight(Some(number)).check().is_ok(), is_one, "{number}");
        }
        let (all, own) = allowances(weight(Some(300)));
        let other: Arc<str> = "b".into();
        assert_eq!([&own, &other].map(|of| all.weight(of)), [300, 100]);
        all.set(&own, weight(None));
        assert_eq!(all.weight(&own), 100);
    }

    #[test]
    fn places_of_tasks_come_back() {
        let (all, tenant) = allowances(Quotas {
            running_tasks: Some(1),
            ..Quotas::default()
        });
        let place = all.begin_task(&tenant).expect("a place");
        assert_eq!(all.begin_task(&tenant).err(), Some(1));
        drop(place);
        assert!(all.begin_task(&tenant).is_ok());
    }

    #[test]
    fn who_has_damaged_quotas_begins_nothing_and_what_runs_goes_on() {
        let (all, tenant) = allowances(Quotas::closed());
        assert!(all.start(&tenant).is_err() && all.has_room(&tenant, 0).is_err());
        let refused = all.begin_call(&tenant).err().expect("it is closed");
        assert!(refused.contains("quotas are damaged"), "{refused}");
        assert!(all.begin_task(&tenant).is_ok());
        all.set(&tenant, Quotas::default());
        assert!(all.begin_call(&tenant).is_ok());
    }

    #[test]
    fn rates_are_each_tenants_and_operations_own() {
        let rate = Rate {
            bucket: 2,
            per_second: 0,
        };
        let rates = Rates::Set([("ListStateMachines".to_owned(), rate)].into());
        let (all, tenant) = allowances(Quotas {
            rates: Some(rates.clone()),
            ..Quotas::default()
        });
        let other: Arc<str> = "b".into();
        for _ in 0..2 {
            assert!(all.admit(&tenant, "ListStateMachines").is_ok());
        }
        let error = all
            .admit(&tenant, "ListStateMachines")
            .expect_err("the third");
        assert!(matches!(
            error,
            Error::Rejected {
                code: Code::ThrottlingException,
                ..
            }
        ));
        assert!(all.admit(&tenant, "ListActivities").is_ok());
        assert!(all.admit(&other, "ListStateMachines").is_ok());
        all.usual_rates(rates);
        for served in [true, true, false] {
            assert_eq!(all.admit(&other, "ListStateMachines").is_ok(), served);
        }
        all.set(
            &other,
            Quotas {
                rates: Some(Rates::Off),
                ..Quotas::default()
            },
        );
        assert!(all.admit(&other, "ListStateMachines").is_ok());
    }
}
