//! A person or a script at a command line whose daemon dies now and then: asks again until there is an answer.

use std::time::Instant;

use hako_testkit::{Host, Shown, wait};

const LOST_KEEPER: &str = "the keeper has ended while";

/// What a command says whose connection broke, or whose keeper died under it.
const LOST: [&str; 12] = [
    "Cannot connect to the Docker daemon",
    "failed to connect to the docker API",
    "error during connect",
    "cannot read the answer",
    "broke off",
    "EOF",
    "connection reset",
    "broken pipe",
    "connection closed",
    LOST_KEEPER,
    "no keeper is there",
    "the connection to the keeper is lost",
];

pub(crate) struct Client<'a> {
    host: &'a Host,
    deadline: Instant,
}

impl<'a> Client<'a> {
    pub(crate) fn new(host: &'a Host, deadline: Instant) -> Self {
        Self { host, deadline }
    }

    /// Whether there is time for more.
    pub(crate) fn goes_on(&self) -> bool {
        Instant::now() < self.deadline
    }

    /// Types a line once; `None` if the connection was lost, and it may or may not have been done.
    pub(crate) fn once(&self, line: &str) -> Option<Shown> {
        let shown = self.host.run(line);
        // Why an exec could not begin is said where its output would have been, as Docker does it.
        let lost = LOST.iter().any(|words| shown.stderr().contains(words)) || shown.stdout().contains(LOST_KEEPER);
        (!lost).then_some(shown)
    }

    /// Types a line that may be typed twice until it is answered.
    pub(crate) fn ask(&self, line: &str) -> Shown {
        let answer = wait::until(&format!("an answer to `{line}`"), || self.once(line), Option::is_some);
        answer.expect("the wait was for it")
    }

    /// The same, and what it prints must come to be this: an answer may break off in the middle.
    pub(crate) fn comes_to(&self, line: &str, expected: &str) {
        wait::until(
            &format!("the whole answer to `{line}`"),
            || self.ask(line).text().to_owned(),
            |text| text == expected,
        );
    }

    /// One field of a container, by a template.
    pub(crate) fn inspect(&self, name: &str, template: &str) -> String {
        self.ask(&format!("docker inspect --format '{template}' {name}")).text().to_owned()
    }
}
