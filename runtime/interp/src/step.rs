//! The deciding half: what an input leads to.

use stepwell_asl::Program;

use crate::{
    border::{Effect, Env, Input},
    run::Run,
};

/// Advances one execution. Pure and total.
pub fn step(_program: &Program, _run: &mut Run, _input: Input, _env: Env) -> Vec<Effect> {
    todo!()
}
