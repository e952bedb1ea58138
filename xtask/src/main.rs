//! The project's chores: `cargo xtask CHORE`.

mod guests;

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("guests") => {
            let out = guests::build()?;
            eprintln!("guests are in {}", out.display());
            Ok(())
        }
        Some(other) => anyhow::bail!("there is no chore `{other}`; chores are: guests"),
        None => anyhow::bail!("name a chore: guests"),
    }
}
