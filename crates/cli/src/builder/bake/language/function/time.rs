//! Moments: read, moved and written in patterns of letters.

use hako_base::{clock, duration};
use jiff::{
    SignedDuration, Timestamp,
    civil::{DateTime, Weekday},
    fmt::temporal::Pieces,
    tz::Offset,
};

use super::{Arguments, Row};
use crate::builder::bake::language::value::Value;

pub(super) const FUNCTIONS: &[Row] = &[
    ("formatdate", 2, 2, |it| written(&it.text(0)?, Moment::read(&it.text(1)?)?)),
    ("formattimestamp", 2, 2, format),
    ("homedir", 0, 0, |_| Ok(Value::text(std::env::var("HOME").unwrap_or_else(|_| "/".to_owned())))),
    ("timeadd", 2, 2, add),
    ("timestamp", 0, 0, |_| Ok(Value::text(Moment { at: clock::now(), offset: Offset::UTC }.rfc3339()))),
    ("unixtimestampparse", 1, 1, parse),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

#[derive(Clone, Copy)]
struct Moment {
    at: Timestamp,
    offset: Offset,
}

impl Moment {
    fn read(text: &str) -> Result<Self, String> {
        let invalid = || format!("not a valid RFC3339 timestamp: {text:?}");
        let at = text.parse().map_err(|_| invalid())?;
        let offset = Pieces::parse(text).map_err(|_| invalid())?.to_numeric_offset().unwrap_or(Offset::UTC);
        Ok(Self { at, offset })
    }

    fn of_seconds(it: &Arguments, at: usize) -> Result<Self, String> {
        let seconds = it.number(at)?.as_whole().ok_or("unix timestamp must be an integer")?;
        let at = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        Ok(Self { at: at.ok_or("the timestamp is too far away")?, offset: Offset::UTC })
    }

    fn civil(self) -> DateTime {
        self.offset.to_datetime(self.at)
    }

    fn zone(self, between: &str, utc: &str) -> String {
        let minutes = self.offset.seconds() / 60;
        if minutes == 0 && !utc.is_empty() {
            return utc.to_owned();
        }
        let sign = if minutes < 0 { '-' } else { '+' };
        format!("{sign}{:02}{between}{:02}", minutes.abs() / 60, minutes.abs() % 60)
    }

    fn rfc3339(self) -> String {
        format!("{}{}", self.civil().strftime("%Y-%m-%dT%H:%M:%S"), self.zone(":", "Z"))
    }
}

fn format(it: &Arguments) -> Result<Value, String> {
    let moment = match it.one(1) {
        Value::Text(text) => Moment::read(text)?,
        Value::Number(_) => Moment::of_seconds(it, 1)?,
        _ => return Err("must be a string timestamp or a unix timestamp number".to_owned()),
    };
    match it.text(0)?.as_str() {
        "X" => Ok(Value::text(moment.at.as_second().to_string())),
        pattern => written(pattern, moment),
    }
}

// Runs of one letter are parts of the moment; what is between single quotes is itself.
fn written(pattern: &str, moment: Moment) -> Result<Value, String> {
    let mut made = String::new();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\'' {
            loop {
                match letters.next() {
                    Some('\'') if letters.peek() == Some(&'\'') => {
                        letters.next();
                        made.push('\'');
                    }
                    Some('\'') => break,
                    Some(other) => made.push(other),
                    None => return Err("unterminated literal '".to_owned()),
                }
            }
        } else if letter.is_ascii_alphabetic() {
            let mut count = 1;
            while letters.peek() == Some(&letter) {
                letters.next();
                count += 1;
            }
            made += &part(letter, count, moment)
                .ok_or_else(|| format!("invalid date format verb {:?}", letter.to_string().repeat(count.min(8))))?;
        } else {
            made.push(letter);
        }
    }
    Ok(Value::Text(made))
}

fn part(letter: char, count: usize, moment: Moment) -> Option<String> {
    let civil = moment.civil();
    let month = MONTHS[usize::from(civil.month().unsigned_abs()) - 1];
    let day = weekday(civil.weekday());
    let hour = if civil.hour() % 12 == 0 { 12 } else { civil.hour() % 12 };
    Some(match (letter, count) {
        ('Y', 4) => format!("{:04}", civil.year()),
        ('Y', 2) => format!("{:02}", civil.year() % 100),
        ('M', 4) => month.to_owned(),
        ('M', 3) => month[..3].to_owned(),
        ('M', 1 | 2) => two(count, civil.month()),
        ('D', 1 | 2) => two(count, civil.day()),
        ('E', 4) => day.to_owned(),
        ('E', 3) => day[..3].to_owned(),
        ('h', 1 | 2) => two(count, civil.hour()),
        ('H', 1 | 2) => two(count, hour),
        ('A', 2) => if civil.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        ('a', 2) => if civil.hour() < 12 { "am" } else { "pm" }.to_owned(),
        ('m', 1 | 2) => two(count, civil.minute()),
        ('s', 1 | 2) => two(count, civil.second()),
        ('Z', 1) => moment.zone(":", "Z"),
        ('Z', 3) => moment.zone("", "UTC"),
        ('Z', 4) => moment.zone("", ""),
        ('Z', 5) => moment.zone(":", ""),
        _ => return None,
    })
}

fn two(count: usize, number: i8) -> String {
    if count == 2 { format!("{number:02}") } else { number.to_string() }
}

fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Sunday => "Sunday",
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
    }
}

fn add(it: &Arguments) -> Result<Value, String> {
    let moment = Moment::read(&it.text(0)?)?;
    let nanoseconds = duration::parse_go(&it.text(1)?).map_err(|error| error.to_string())?;
    let at = moment.at.checked_add(SignedDuration::from_nanos(nanoseconds));
    let at = at.map_err(|_| "the result is too far away".to_owned())?;
    Ok(Value::text(Moment { at, ..moment }.rfc3339()))
}

fn parse(it: &Arguments) -> Result<Value, String> {
    let moment = Moment::of_seconds(it, 0)?;
    let civil = moment.civil();
    let week = civil.date().iso_week_date();
    Ok(Value::object([
        ("year", Value::whole(civil.year())),
        ("year_day", Value::whole(civil.day_of_year())),
        ("day", Value::whole(civil.day())),
        ("month", Value::whole(civil.month())),
        ("month_name", Value::text(MONTHS[usize::from(civil.month().unsigned_abs()) - 1])),
        ("weekday", Value::whole(civil.weekday().to_sunday_zero_offset())),
        ("weekday_name", Value::text(weekday(civil.weekday()))),
        ("hour", Value::whole(civil.hour())),
        ("minute", Value::whole(civil.minute())),
        ("second", Value::whole(civil.second())),
        ("rfc3339", Value::text(moment.rfc3339())),
        ("iso_year", Value::whole(week.year())),
        ("iso_week", Value::whole(week.week())),
    ]))
}
