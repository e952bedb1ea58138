//! The sandbox against real guests: every outcome, every hostile program, grants, the plugin folder, leaks.

mod folder;
mod grants;
mod hostile;
mod inspection;
mod outcomes;
mod rig;
mod steady;
