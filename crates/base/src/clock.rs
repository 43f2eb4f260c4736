//! The time, in one place: everything that stores or prints an instant asks here.

use jiff::Timestamp;

/// Now, by the wall clock, to the nanosecond.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Go's RFC 3339 with nanoseconds, as Docker prints times: `2026-11-27T03:28:25.123456789Z`,
/// trailing zeros of the fraction dropped.
pub fn rfc3339_nano(at: Timestamp) -> String {
    let whole = at.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let nanos = at.subsec_nanosecond();
    if nanos == 0 {
        return format!("{whole}Z");
    }
    let fraction = format!("{nanos:09}");
    format!("{whole}.{}Z", fraction.trim_end_matches('0'))
}

/// The same with all nine digits, as `logs --timestamps` prints it: columns then line up.
pub fn rfc3339_nano_fixed(at: Timestamp) -> String {
    format!("{}.{:09}Z", at.strftime("%Y-%m-%dT%H:%M:%S"), at.subsec_nanosecond())
}

/// What Docker prints for "never": year one.
pub const ZERO: &str = "0001-01-01T00:00:00Z";

/// [`rfc3339_nano`], or [`ZERO`] for "never".
pub fn rfc3339_or_zero(at: Option<Timestamp>) -> String {
    at.map_or_else(|| ZERO.to_owned(), rfc3339_nano)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_lose_their_trailing_zeros() {
        let at = Timestamp::new(1_700_000_000, 120_000_000).unwrap();
        assert_eq!(rfc3339_nano(at), "2023-11-14T22:13:20.12Z");
        assert_eq!(rfc3339_nano(Timestamp::new(1_700_000_000, 0).unwrap()), "2023-11-14T22:13:20Z");
    }
}
