//! The task `condense`: a minute of a sensor's readings becomes one record, so that little goes over a thin line.

use serde::{Deserialize, Serialize};
use stepwell_task::{Context, TaskError, task};

/// What a sensor told in a minute.
#[derive(Deserialize)]
pub struct Minute {
    sensor: String,
    minute: String,
    /// In tenths of a degree.
    readings: Vec<i32>,
}

/// What is handed on.
#[derive(Debug, PartialEq, Serialize)]
pub struct Record {
    sensor: String,
    minute: String,
    count: usize,
    least: i32,
    most: i32,
    /// In tenths of a degree, rounded down.
    mean: i64,
}

/// Condenses a minute.
///
/// # Errors
/// `Silent`: the sensor told nothing.
#[task]
pub fn condense(minute: Minute, _: &Context) -> Result<Record, TaskError> {
    let readings = &minute.readings;
    let (Some(least), Some(most)) = (readings.iter().min(), readings.iter().max()) else {
        return Err(TaskError::new(
            "Silent",
            format!("{} told nothing", minute.sensor),
        ));
    };
    let sum: i64 = readings.iter().copied().map(i64::from).sum();
    let count = i64::try_from(readings.len())?;
    Ok(Record {
        count: readings.len(),
        least: *least,
        most: *most,
        mean: sum.div_euclid(count),
        sensor: minute.sensor,
        minute: minute.minute,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_task::testing;

    fn condensed(readings: &[i32]) -> Result<Record, TaskError> {
        let minute = Minute {
            sensor: "cellar".into(),
            minute: "12:00".into(),
            readings: readings.to_vec(),
        };
        condense(minute, &testing::context())
    }

    #[test]
    fn a_minute_is_one_record() {
        let record = condensed(&[-15, 20, -6]).unwrap();
        assert_eq!(
            (record.count, record.least, record.most, record.mean),
            (3, -15, 20, -1)
        );
    }

    #[test]
    fn nothing_is_no_record() {
        assert_eq!(condensed(&[]).unwrap_err().error(), "Silent");
    }
}
