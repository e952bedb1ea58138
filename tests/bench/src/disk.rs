//! What the disk gives: small appends to one file, each made durable. Hides the file.

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;

/// Bytes of one append: a page of the store.
const APPEND_BYTES: usize = 4_096;

/// Median time of one append with fdatasync in that folder, over so many.
pub(crate) fn append_and_sync(folder: &Path, appends: usize) -> Result<Duration> {
    let path = folder.join("appends");
    let mut file = File::create(&path)?;
    let block = [0x5a_u8; APPEND_BYTES];
    let mut times = Vec::with_capacity(appends);
    for _ in 0..appends {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    std::fs::remove_file(&path)?;
    Ok(times.get(appends / 2).copied().unwrap_or_default())
}
