//! Numbers: whole ones are exact, others are floating point.
//!
//! Buildx reckons with 512 bits; a quotient that does not end has there more digits than here.

use std::cmp::Ordering;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Whole(i128),
    Real(f64),
}

impl Number {
    /// Nothing where it is no number, or infinite.
    pub(crate) fn real(value: f64) -> Option<Self> {
        /// Above it neighbours are further apart than one.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if !value.is_finite() {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the value is whole and smaller than 2^53")]
        let whole = value as i128;
        Some(if value.fract() == 0.0 && value.abs() <= EXACT { Self::Whole(whole) } else { Self::Real(value) })
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_number = text.bytes().all(|c| c.is_ascii_digit() || b"+-.eE".contains(&c));
        if let (true, Ok(whole)) = (is_number, text.parse()) {
            return Some(Self::Whole(whole));
        }
        if is_number { text.parse().ok().and_then(Self::real) } else { None }
    }

    pub(crate) fn as_real(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "asked for where exactness is not to be had")]
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }

    /// The whole number, if it is one.
    pub(crate) fn as_whole(self) -> Option<i128> {
        match self {
            Self::Whole(whole) => Some(whole),
            Self::Real(_) => None,
        }
    }

    pub(crate) fn add(self, other: Self) -> Option<Self> {
        self.exact(other, i128::checked_add, |left, right| left + right)
    }

    pub(crate) fn subtract(self, other: Self) -> Option<Self> {
        self.exact(other, i128::checked_sub, |left, right| left - right)
    }

    pub(crate) fn multiply(self, other: Self) -> Option<Self> {
        self.exact(other, i128::checked_mul, |left, right| left * right)
    }

    pub(crate) fn divide(self, other: Self) -> Option<Self> {
        if let (Self::Whole(left), Self::Whole(right)) = (self, other)
            && left.checked_rem(right) == Some(0)
        {
            return Some(Self::Whole(left / right));
        }
        Self::real(self.as_real() / other.as_real())
    }

    pub(crate) fn modulo(self, other: Self) -> Option<Self> {
        self.exact(other, i128::checked_rem, |left, right| left % right)
    }

    pub(crate) fn is_zero(self) -> bool {
        self.as_real() == 0.0
    }

    fn exact(self, other: Self, whole: fn(i128, i128) -> Option<i128>, real: fn(f64, f64) -> f64) -> Option<Self> {
        if let (Self::Whole(left), Self::Whole(right)) = (self, other)
            && let Some(result) = whole(left, right)
        {
            return Some(Self::Whole(result));
        }
        Self::real(real(self.as_real(), other.as_real()))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => Some(left.cmp(right)),
            _ => self.as_real().partial_cmp(&other.as_real()),
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(whole) => write!(f, "{whole}"),
            Self::Real(real) => write!(f, "{real}"),
        }
    }
}
