//! `cron(...)` of schedules: AWS's six fields, and the local minutes that they name. Pure; time zones are `timing`'s. What it
//! hides: sets as bits, and what `L`, `W` and `#` come to in a month.
//!
//! Source: EventBridge Scheduler, user guide, "Schedule types", cron-based schedules. A range may pass the end of its field
//! (`SAT-MON`, `22-3`), which the guide does not say; days of the month and of the week are never both asked for.

use jiff::civil::{Date, DateTime, Weekday};

/// Years that can be asked for (user guide).
const YEARS: std::ops::RangeInclusive<u32> = 1970..=2199;
const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
/// From Sunday, which is 1.
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
/// Days of a week, and the most weeks that a month has one weekday in.
const WEEK: u32 = 7;
const WEEKS_MAX: u32 = 5;

/// Local minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: u64,
    hours: u64,
    days: Days,
    months: u64,
    /// Bits from 1970 on.
    years: [u64; 4],
}

/// Days of a month.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Days {
    OfMonth {
        plain: u64,
        last: bool,
        /// `LW`.
        last_weekday: bool,
        /// `15W`: the weekday nearest to it, in the same month.
        nearest: u64,
    },
    OfWeek {
        plain: u64,
        /// `6L`: the last Friday.
        last: u64,
        /// `6#3`: the third Friday.
        nth: Vec<(u32, u32)>,
    },
}

/// A field: its name, its numbers, and the words for them.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    words: &'static [&'static str],
    /// Whether a range may pass its end.
    turns: bool,
}

const MINUTES: Field = Field::of("minutes", 0, 59, &[], true);
const HOURS: Field = Field::of("hours", 0, 23, &[], true);
const DAYS_OF_MONTH: Field = Field::of("day-of-month", 1, 31, &[], true);
const MONTH: Field = Field::of("month", 1, 12, &MONTHS, true);
const DAYS_OF_WEEK: Field = Field::of("day-of-week", 1, WEEK, &WEEKDAYS, true);
const YEAR: Field = Field::of("year", *YEARS.start(), *YEARS.end(), &[], false);

impl Cron {
    /// Reads what stands in the parentheses.
    ///
    /// # Errors
    /// Says which field is wrong, and what it may be.
    pub(super) fn parse(text: &str) -> Result<Cron, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, of_month, months, of_week, years] = fields[..] else {
            return Err(format!(
                "it has {} fields and not six: minutes hours day-of-month month day-of-week year",
                fields.len()
            ));
        };
        let days = match (of_month, of_week) {
            ("?", "?") => {
                return Err("day-of-month and day-of-week are both `?`; one says a day".to_owned());
            }
            (of_month, "?") => Days::of_month(of_month)?,
            ("?", of_week) => Days::of_week(of_week)?,
            _ => {
                return Err(
                    "day-of-month and day-of-week cannot both be asked for; write `?` for the one that does not matter"
                        .to_owned(),
                );
            }
        };
        let mut year_bits = [0; 4];
        for number in YEAR.numbers(years)? {
            let at = number - YEARS.start();
            year_bits[(at / 64) as usize] |= 1 << (at % 64);
        }
        Ok(Cron {
            minutes: bits(&MINUTES.numbers(minutes)?),
            hours: bits(&HOURS.numbers(hours)?),
            days,
            months: bits(&MONTH.numbers(months)?),
            years: year_bits,
        })
    }

    /// The first of its minutes that is not before `from`; `None` when there is none any more.
    pub(super) fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        // Seconds are never asked for: a minute that has begun is past.
        let from = match from.second() == 0 && from.subsec_nanosecond() == 0 {
            true => from,
            false => from
                .checked_add(jiff::Span::new().minutes(1))
                .ok()?
                .with()
                .second(0)
                .subsec_nanosecond(0)
                .build()
                .ok()?,
        };
        let date = from.date();
        if self.has_day(date)
            && let Some((hour, minute)) = self.time_from(from.hour(), from.minute())
        {
            return Some(date.at(hour, minute, 0, 0));
        }
        let (hour, minute) = self.time_from(0, 0)?;
        self.day_after(date).map(|date| date.at(hour, minute, 0, 0))
    }

    /// The first time of a day that is not before that one.
    fn time_from(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        let first_minute = i8::try_from(self.minutes.trailing_zeros()).ok()?;
        if self.hours >> hour & 1 == 1 {
            let later = self.minutes >> minute;
            if later != 0 {
                let minute = minute + i8::try_from(later.trailing_zeros()).ok()?;
                return Some((hour, minute));
            }
        }
        let later = self.hours >> hour >> 1;
        (later != 0).then_some(())?;
        let hour = hour + 1 + i8::try_from(later.trailing_zeros()).ok()?;
        Some((hour, first_minute))
    }

    fn has_day(&self, date: Date) -> bool {
        self.has_month(date.year(), date.month())
            && self.days.of(date.first_of_month()) >> date.day() & 1 == 1
    }

    fn has_month(&self, year: i16, month: i8) -> bool {
        self.has_year(year) && self.months >> month & 1 == 1
    }

    fn has_year(&self, year: i16) -> bool {
        let number = u32::try_from(year).unwrap_or(0);
        if !YEARS.contains(&number) {
            return false;
        }
        let at = number - YEARS.start();
        self.years[(at / 64) as usize] >> (at % 64) & 1 == 1
    }

    fn day_after(&self, date: Date) -> Option<Date> {
        let last = i16::try_from(*YEARS.end()).ok()?;
        let first = i16::try_from(*YEARS.start()).ok()?;
        for year in date.year().max(first)..=last {
            if !self.has_year(year) {
                continue;
            }
            let this = year == date.year();
            let from = if this { date.month() } else { 1 };
            for month in (from..=12).filter(|month| self.has_month(year, *month)) {
                let begin = Date::new(year, month, 1).ok()?;
                let mut days = self.days.of(begin);
                if this && month == date.month() {
                    days = days >> date.day() >> 1 << 1 << date.day();
                }
                if days != 0 {
                    return Date::new(year, month, i8::try_from(days.trailing_zeros()).ok()?).ok();
                }
            }
        }
        None
    }
}

impl Days {
    fn of_month(text: &str) -> Result<Days, String> {
        let (mut plain, mut nearest) = (0, 0);
        let (mut last, mut last_weekday) = (false, false);
        for item in text.split(',') {
            match item.to_ascii_uppercase().as_str() {
                "L" => last = true,
                "LW" | "WL" => last_weekday = true,
                other => match other.strip_suffix('W') {
                    Some(day) => nearest |= 1 << DAYS_OF_MONTH.number(day, item)?,
                    None => plain |= bits(&DAYS_OF_MONTH.numbers(item)?),
                },
            }
        }
        Ok(Days::OfMonth {
            plain,
            last,
            last_weekday,
            nearest,
        })
    }

    fn of_week(text: &str) -> Result<Days, String> {
        let (mut plain, mut last, mut nth) = (0, 0, Vec::new());
        for item in text.split(',') {
            let upper = item.to_ascii_uppercase();
            if upper == "L" {
                // Saturday, the last day of the week.
                plain |= 1 << WEEK;
            } else if let Some((day, which)) = upper.split_once('#') {
                let which = which.parse::<u32>().ok();
                let which = which.filter(|which| (1..=WEEKS_MAX).contains(which));
                let which = which.ok_or_else(|| {
                    format!(
                        "`{item}` of day-of-week: behind `#` stands a number from 1 to {WEEKS_MAX}"
                    )
                })?;
                nth.push((DAYS_OF_WEEK.number(day, item)?, which));
            } else if let Some(day) = upper
                .strip_suffix('L')
                .filter(|day| DAYS_OF_WEEK.number(day, item).is_ok())
            {
                last |= 1 << DAYS_OF_WEEK.number(day, item)?;
            } else {
                plain |= bits(&DAYS_OF_WEEK.numbers(item)?);
            }
        }
        Ok(Days::OfWeek { plain, last, nth })
    }

    /// Bits of the days of the month that begins on that date.
    fn of(&self, first: Date) -> u64 {
        let length = u32::try_from(first.days_in_month()).unwrap_or(0);
        let begins = number_of(first.weekday());
        let weekday = |day: u32| (begins + day - 2) % WEEK + 1;
        match self {
            Days::OfMonth {
                plain,
                last,
                last_weekday,
                nearest,
            } => {
                let mut days = *plain;
                if *last {
                    days |= 1 << length;
                }
                if *last_weekday {
                    days |= 1 << nearest_weekday(length, length, weekday);
                }
                for day in (1..=length).filter(|day| nearest >> day & 1 == 1) {
                    days |= 1 << nearest_weekday(day, length, weekday);
                }
                days & ((1 << (length + 1)) - 1)
            }
            Days::OfWeek { plain, last, nth } => {
                let is = |day: u32| {
                    let of = weekday(day);
                    plain >> of & 1 == 1
                        || (last >> of & 1 == 1 && day + WEEK > length)
                        || nth.contains(&(of, day.div_ceil(WEEK)))
                };
                (1..=length)
                    .filter(|day| is(*day))
                    .fold(0, |days, day| days | 1 << day)
            }
        }
    }
}

/// The weekday nearest to a day, without leaving its month.
fn nearest_weekday(day: u32, length: u32, weekday: impl Fn(u32) -> u32) -> u32 {
    const SUNDAY: u32 = 1;
    match weekday(day) {
        WEEK if day > 1 => day - 1,
        WEEK => day + 2,
        SUNDAY if day < length => day + 1,
        SUNDAY => day - 2,
        _ => day,
    }
}

fn number_of(weekday: Weekday) -> u32 {
    u32::try_from(weekday.to_sunday_one_offset()).unwrap_or(1)
}

fn bits(numbers: &[u32]) -> u64 {
    numbers.iter().fold(0, |bits, number| bits | 1 << number)
}

impl Field {
    const fn of(
        name: &'static str,
        first: u32,
        last: u32,
        words: &'static [&'static str],
        turns: bool,
    ) -> Field {
        Field {
            name,
            first,
            last,
            words,
            turns,
        }
    }

    /// All numbers that a list of values, ranges and steps has.
    fn numbers(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut numbers = Vec::new();
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(self.step(step, item)?)),
                None => (item, None),
            };
            let (first, last) = self.range(range, item, step.is_some())?;
            let span = self.last - self.first + 1;
            let steps = (last + span - first) % span;
            let numbered = (0..=steps).step_by(step.unwrap_or(1) as usize);
            numbers.extend(numbered.map(|at| self.first + (first - self.first + at) % span));
        }
        Ok(numbers)
    }

    fn range(&self, text: &str, item: &str, stepped: bool) -> Result<(u32, u32), String> {
        if text == "*" {
            return Ok((self.first, self.last));
        }
        let Some((first, last)) = text.split_once('-') else {
            let number = self.number(text, item)?;
            // `5/15` is every 15 from 5 on.
            return Ok((number, if stepped { self.last } else { number }));
        };
        let range = (self.number(first, item)?, self.number(last, item)?);
        if range.0 > range.1 && !self.turns {
            return Err(format!(
                "`{item}` of {}: it ends before it begins",
                self.name
            ));
        }
        Ok(range)
    }

    fn step(&self, text: &str, item: &str) -> Result<u32, String> {
        let step = text.parse::<u32>().ok().filter(|step| *step > 0);
        step.filter(|step| *step <= self.last).ok_or_else(|| {
            format!(
                "`{item}` of {}: behind `/` stands a number from 1 to {}",
                self.name, self.last
            )
        })
    }

    fn number(&self, text: &str, item: &str) -> Result<u32, String> {
        let named = self
            .words
            .iter()
            .position(|word| word.eq_ignore_ascii_case(text));
        let named = named.and_then(|at| Some(self.first + u32::try_from(at).ok()?));
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = named.or_else(|| text.parse().ok().filter(|_| plain));
        let number = number.filter(|number| (self.first..=self.last).contains(number));
        number.ok_or_else(|| {
            let words = match self.words {
                [] => String::new(),
                words => format!(" or {}-{}", words[0], words[words.len() - 1]),
            };
            format!(
                "`{item}` of {}: a value is {}-{}{words}",
                self.name, self.first, self.last
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `from` and the minutes that follow, written by hand from a calendar.
    const CASES: &[(&str, &str, &[&str])] = &[
        (
            "0 10 * * ? *",
            "2026-01-01T10:00:00",
            &["2026-01-01T10:00", "2026-01-02T10:00"],
        ),
        ("0 10 * * ? *", "2026-01-01T10:00:01", &["2026-01-02T10:00"]),
        (
            "15 12 * * ? *",
            "2026-12-31T12:16:00",
            &["2027-01-01T12:15"],
        ),
        (
            "0 18 ? * MON-FRI *",
            "2026-01-02T18:01:00",
            &["2026-01-05T18:00", "2026-01-06T18:00"],
        ),
        (
            "0 8 1 * ? *",
            "2026-01-31T00:00:00",
            &["2026-02-01T08:00", "2026-03-01T08:00"],
        ),
        (
            "0/10 * ? * MON-FRI *",
            "2026-01-02T23:55:00",
            &["2026-01-05T00:00", "2026-01-05T00:10"],
        ),
        (
            "0/5 8-17 ? * 2-6 *",
            "2026-01-05T17:55:30",
            &["2026-01-06T08:00", "2026-01-06T08:05"],
        ),
        (
            "5/20 * * * ? *",
            "2026-01-01T00:00:00",
            &[
                "2026-01-01T00:05",
                "2026-01-01T00:25",
                "2026-01-01T00:45",
                "2026-01-01T01:05",
            ],
        ),
        (
            "0 0 31 * ? *",
            "2026-01-31T00:01:00",
            &["2026-03-31T00:00", "2026-05-31T00:00"],
        ),
        (
            "0 0 29 2 ? *",
            "2026-01-01T00:00:00",
            &["2028-02-29T00:00", "2032-02-29T00:00"],
        ),
        (
            "0 0 L * ? *",
            "2026-01-31T00:01:00",
            &["2026-02-28T00:00", "2026-03-31T00:00"],
        ),
        (
            "0 0 L 2 ? *",
            "2027-03-01T00:00:00",
            &["2028-02-29T00:00", "2029-02-28T00:00"],
        ),
        // 2026-08-15 is a Saturday, 2026-11-15 a Sunday.
        (
            "0 0 15W 8,11 ? *",
            "2026-01-01T00:00:00",
            &["2026-08-14T00:00", "2026-11-16T00:00"],
        ),
        // 2026-08-01 is a Saturday, 2026-11-01 a Sunday: never into the month before.
        (
            "0 0 1W 8,11 ? *",
            "2026-01-01T00:00:00",
            &["2026-08-03T00:00", "2026-11-02T00:00"],
        ),
        // 2026-05-31 is a Sunday, 2026-10-31 a Saturday: never into the month after.
        (
            "0 0 31W 5,10 ? *",
            "2026-01-01T00:00:00",
            &["2026-05-29T00:00", "2026-10-30T00:00"],
        ),
        (
            "0 0 LW * ? *",
            "2026-05-01T00:00:00",
            &["2026-05-29T00:00", "2026-06-30T00:00"],
        ),
        (
            "0 0 ? * 6L *",
            "2026-01-01T00:00:00",
            &["2026-01-30T00:00", "2026-02-27T00:00"],
        ),
        (
            "0 0 ? * FRIL *",
            "2026-01-01T00:00:00",
            &["2026-01-30T00:00"],
        ),
        (
            "0 0 ? * L *",
            "2026-01-01T00:00:00",
            &["2026-01-03T00:00", "2026-01-10T00:00"],
        ),
        (
            "0 0 ? * 3#2 *",
            "2026-01-01T00:00:00",
            &["2026-01-13T00:00", "2026-02-10T00:00"],
        ),
        (
            "0 0 ? * MON#5 *",
            "2026-01-01T00:00:00",
            &["2026-03-30T00:00", "2026-06-29T00:00"],
        ),
        (
            "0 0 ? * SAT-MON *",
            "2026-01-02T00:00:00",
            &[
                "2026-01-03T00:00",
                "2026-01-04T00:00",
                "2026-01-05T00:00",
                "2026-01-10T00:00",
            ],
        ),
        (
            "0 22-1 * * ? *",
            "2026-01-01T00:30:00",
            &[
                "2026-01-01T01:00",
                "2026-01-01T22:00",
                "2026-01-01T23:00",
                "2026-01-02T00:00",
            ],
        ),
        (
            "30 9 1,15 jan,JUL ? 2026/2",
            "2026-01-15T09:31:00",
            &["2026-07-01T09:30", "2026-07-15T09:30", "2028-01-01T09:30"],
        ),
        (
            "0 0 1 1 ? 2026-2027",
            "2026-06-01T00:00:00",
            &["2027-01-01T00:00", "none"],
        ),
        ("0 0 1 1 ? 2020", "2026-06-01T00:00:00", &["none"]),
        ("0 0 31 2 ? *", "2026-06-01T00:00:00", &["none"]),
    ];

    #[test]
    fn minutes_follow_as_a_calendar_has_them() {
        for (text, from, wanted) in CASES {
            let cron = Cron::parse(text).unwrap();
            let mut from: DateTime = from.parse().unwrap();
            for wanted in *wanted {
                let Some(found) = cron.at_or_after(from) else {
                    assert_eq!(*wanted, "none", "{text}");
                    break;
                };
                assert_eq!(
                    found.strftime("%Y-%m-%dT%H:%M").to_string(),
                    *wanted,
                    "{text}"
                );
                from = found.checked_add(jiff::Span::new().seconds(1)).unwrap();
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        for (text, told) in [
            ("* * * *", "4 fields"),
            ("0 10 * * * *", "both"),
            ("0 10 ? * ? *", "both"),
            ("60 10 * * ? *", "minutes: a value is 0-59"),
            ("0 24 * * ? *", "hours"),
            ("0 0 0 * ? *", "day-of-month"),
            ("0 0 32W * ? *", "day-of-month"),
            ("0 0 1 13 ? *", "month: a value is 1-12 or JAN-DEC"),
            ("0 0 ? * 8 *", "day-of-week: a value is 1-7 or SUN-SAT"),
            ("0 0 ? * 2#6 *", "`#`"),
            ("0 0 1 1 ? 1969", "year"),
            ("0 0 1 1 ? 2030-2029", "ends before"),
            ("0/0 0 1 1 ? *", "`/`"),
            ("+5 0 1 1 ? *", "minutes"),
            ("0, 0 1 1 ? *", "minutes"),
        ] {
            let wrong = Cron::parse(text).unwrap_err();
            assert!(wrong.contains(told), "{text}: {wrong}");
        }
    }
}
