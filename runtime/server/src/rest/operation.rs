//! The table of an API's operations: names, what a key needs for them, what they are called in rates and metrics.

use crate::auth::Right;

/// An operation of a REST API.
pub(crate) trait Operation: Copy + Send + Sync + 'static {
    /// Its place in the table.
    fn index(self) -> usize;
    /// `CreateSchedule`.
    fn name(self) -> &'static str;
    /// `scheduler:CreateSchedule`: in rates and in the audit log.
    fn action(self) -> &'static str;
    /// What a key needs to carry it out.
    fn right(self) -> Right;
}

/// `operations! { "service" Name RIGHT … }`: the enum `Operation`, its table, and `RATED`, the names with the service.
macro_rules! operations {
    ($service:literal $($name:ident $right:ident)*) => {
        /// What a request asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operation { $($name),* }

        const OPERATIONS: &[(&str, Right)] = &[$((stringify!($name), $right)),*];

        /// Names by which requests are counted against rates, in the order of the operations.
        pub(crate) const RATED: &[&str] = &[$(concat!($service, ":", stringify!($name))),*];

        impl crate::rest::Operation for Operation {
            fn index(self) -> usize {
                self as usize
            }

            fn name(self) -> &'static str {
                OPERATIONS[self.index()].0
            }

            fn action(self) -> &'static str {
                RATED[self.index()]
            }

            fn right(self) -> Right {
                OPERATIONS[self.index()].1
            }
        }
    };
}

pub(crate) use operations;
