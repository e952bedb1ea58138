//! What the test suites share: cases as folders, scripted tasks, histories as text, the recorded corpus, the
//! simulation's workload. Hides how they are read and compared; suites bring the system that they judge.

pub mod aws;
pub mod case;
pub mod command;
pub mod corpus;
pub mod crashing;
pub mod driver;
pub mod judge;
mod map_runs;
pub mod moto;
pub mod node;
pub mod otlp;
pub mod place;
pub mod print;
pub mod python;
pub mod receiver;
pub mod script;
pub mod server;
pub mod terminal;
pub mod torture;
