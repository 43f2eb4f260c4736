//! Dates and times that stand in a file without quotes: YAML takes them for moments, and Compose passes them on in Go's
//! spelling (`BUILT: 2024-01-31` is `2024-01-31 00:00:00 +0000 UTC` in the container).

/// A moment in Go's spelling; nothing for a text that is none.
pub fn go_spelling(text: &str) -> Option<String> {
    if !text.is_ascii() || text.len() < 8 || !text[..4].bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year: u32 = text[..4].parse().ok()?;
    let (date, clock) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some((&text[at..=at], &text[at + 1..]))),
        None => (text, None),
    };
    let (month, day) = date[4..].strip_prefix('-')?.split_once('-')?;
    let (month, day) = (number(month)?, number(day)?);
    if !(1..=12).contains(&month) || !(1..=days(year, month)).contains(&day) {
        return None;
    }
    let (clock, zone) = match clock {
        None => ("00:00:00".to_owned(), "+0000 UTC".to_owned()),
        // Only what has a `T` may have a zone, and must have one.
        Some((" ", clock)) => (time(clock)?, "+0000 UTC".to_owned()),
        Some((_, clock)) => {
            let at = clock.find(['Z', '+', '-'])?;
            (time(&clock[..at])?, zone(&clock[at..])?)
        }
    };
    Some(format!("{year:04}-{month:02}-{day:02} {clock} {zone}"))
}

fn number(digits: &str) -> Option<u32> {
    let fits = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| digits.parse().ok()).flatten()
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn time(clock: &str) -> Option<String> {
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, fraction)| (clock, Some(fraction)));
    let mut parts = clock.split(':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = match fraction {
        None => String::new(),
        Some(digits) if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) => return None,
        Some(digits) => match digits[..digits.len().min(9)].trim_end_matches('0') {
            "" => String::new(),
            digits => format!(".{digits}"),
        },
    };
    Some(format!("{hour:02}:{minute:02}:{second:02}{fraction}"))
}

fn zone(text: &str) -> Option<String> {
    if text == "Z" {
        return Some("+0000 UTC".to_owned());
    }
    let (hours, minutes) = text[1..].split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 || number(hours)? > 24 || number(minutes)? > 59 {
        return None;
    }
    let offset = format!("{}{hours}{minutes}", &text[..1]);
    Some(if hours == "00" && minutes == "00" { "+0000 UTC".to_owned() } else { format!("{offset} {offset}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_gos_spelling() {
        for (text, expected) in [
            ("2001-12-14", Some("2001-12-14 00:00:00 +0000 UTC")),
            ("2001-1-2", Some("2001-01-02 00:00:00 +0000 UTC")),
            ("2001-12-14T21:59:43.10-05:00", Some("2001-12-14 21:59:43.1 -0500 -0500")),
            ("2001-12-14 21:59:43.5", Some("2001-12-14 21:59:43.5 +0000 UTC")),
            ("2001-12-14t21:59:43Z", Some("2001-12-14 21:59:43 +0000 UTC")),
            ("2001-12-14T21:59", None),
            ("2001-13-14", None),
            ("2001-02-29", None),
            ("20010101", None),
            ("2001-01-01 x", None),
            ("2001-é-01", None),
        ] {
            assert_eq!(go_spelling(text).as_deref(), expected, "{text}");
        }
    }
}
