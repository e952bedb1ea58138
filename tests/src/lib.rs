//! What the tests share: cases read from folders, scripted tasks, the corpus, the simulation's workload.

pub mod torture;
