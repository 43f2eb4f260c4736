//! Names of containers: which are allowed, and those made up for people who give none.

use hako_base::random;

use crate::{EngineError, limits};

/// Checks a name as Docker does: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, a leading slash being dropped.
///
/// # Errors
/// Docker's sentence for names that are none.
pub(crate) fn parse(name: &str) -> Result<&str, EngineError> {
    let plain = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = plain.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !first || !rest || plain.len() < 2 {
        return Err(EngineError::invalid(format!(
            "Invalid container name (/{plain}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )));
    }
    if plain.len() > limits::NAME_BYTES_MAX {
        return Err(EngineError::invalid(format!(
            "Invalid container name: it has {} bytes, {} are allowed",
            plain.len(),
            limits::NAME_BYTES_MAX
        )));
    }
    Ok(plain)
}

/// A name such as `patient_noether`; `attempt` above 0 adds a digit, in case the first was taken.
pub(crate) fn make_up(attempt: u32) -> String {
    let [mood, who, tail, _] = random::bytes::<4>();
    let name = format!("{}_{}", MOODS[usize::from(mood) % MOODS.len()], PEOPLE[usize::from(who) % PEOPLE.len()]);
    if attempt == 0 { name } else { format!("{name}{}", tail % 10) }
}

const MOODS: [&str; 64] = [
    "agile", "amber", "ample", "bold", "brave", "breezy", "bright", "brisk", "calm", "candid", "cheery", "civil",
    "clear", "clever", "cosy", "crisp", "curious", "daring", "deft", "eager", "earnest", "fair", "fleet", "fond",
    "frank", "gentle", "glad", "golden", "grand", "handy", "hardy", "honest", "jolly", "keen", "kind", "lively",
    "loyal", "lucid", "lucky", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "patient", "placid",
    "plucky", "polite", "prompt", "proud", "quick", "quiet", "ready", "silent", "smart", "snug", "steady", "sunny",
    "tidy", "vivid", "warm", "witty",
];

// Mathematicians, scientists and engineers.
const PEOPLE: [&str; 96] = [
    "abel",
    "agnesi",
    "ampere",
    "aryabhata",
    "babbage",
    "banach",
    "bassi",
    "bell",
    "bernoulli",
    "bohr",
    "boltzmann",
    "boole",
    "bose",
    "cantor",
    "cauchy",
    "chandra",
    "church",
    "clarke",
    "cori",
    "curie",
    "dalton",
    "darwin",
    "descartes",
    "dijkstra",
    "dirac",
    "drake",
    "edison",
    "einstein",
    "erdos",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "fourier",
    "franklin",
    "galileo",
    "galois",
    "gauss",
    "germain",
    "goodall",
    "hamilton",
    "hawking",
    "heisenberg",
    "hertz",
    "hilbert",
    "hopper",
    "hubble",
    "hypatia",
    "jacobi",
    "johnson",
    "joule",
    "kepler",
    "knuth",
    "kovalevskaya",
    "lagrange",
    "lamarr",
    "laplace",
    "leavitt",
    "leibniz",
    "lovelace",
    "maxwell",
    "mccarthy",
    "meitner",
    "mendel",
    "minsky",
    "mirzakhani",
    "napier",
    "nash",
    "newton",
    "noether",
    "ohm",
    "pascal",
    "pasteur",
    "pauli",
    "payne",
    "perlman",
    "planck",
    "poincare",
    "ramanujan",
    "riemann",
    "ritchie",
    "rubin",
    "seki",
    "shannon",
    "sinoussi",
    "stallman",
    "takagi",
    "tesla",
    "torvalds",
    "turing",
    "volta",
    "wiles",
    "wu",
    "yukawa",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_docker_checks_them() {
        assert_eq!(parse("/web").unwrap(), "web");
        for bad in ["", "a", "-x", "a b", "ä1", "a/b"] {
            let text = parse(bad).unwrap_err().to_string();
            assert_eq!(text, format!("Invalid container name (/{bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"));
        }
    }

    #[test]
    fn made_up_names_are_names() {
        for attempt in 0..3 {
            assert!(parse(&make_up(attempt)).is_ok());
        }
    }
}
