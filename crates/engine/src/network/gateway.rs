//! Which of a container's networks has its default routes, one for each family. Pure.
//!
//! Docker's rule: the highest `--gw-priority`, then the name that sorts first; a network without a way out has none.

/// What the choice depends on, of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) network: String,
    pub(crate) priority: i64,
    /// Whether there is a gateway: (IPv4, IPv6).
    pub(crate) gateway: (bool, bool),
}

/// The networks that have the default routes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Gateways {
    pub(crate) ipv4: Option<String>,
    pub(crate) ipv6: Option<String>,
}

impl Gateways {
    /// Where ports are published: at the way out, the one by IPv4 first.
    pub(crate) fn publishing(&self) -> Option<&str> {
        self.ipv4.as_deref().or(self.ipv6.as_deref())
    }
}

/// Chooses.
pub(crate) fn choose(candidates: &[Candidate]) -> Gateways {
    let best = |has: fn(&Candidate) -> bool| {
        let able = candidates.iter().filter(|candidate| has(candidate));
        able.min_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.network.cmp(&b.network)))
            .map(|candidate| candidate.network.clone())
    };
    Gateways { ipv4: best(|candidate| candidate.gateway.0), ipv6: best(|candidate| candidate.gateway.1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(candidates: &[(&str, i64, (bool, bool))], ipv4: &str, ipv6: &str) {
        let candidates: Vec<Candidate> = candidates
            .iter()
            .map(|(network, priority, gateway)| Candidate {
                network: (*network).to_owned(),
                priority: *priority,
                gateway: *gateway,
            })
            .collect();
        let chosen = choose(&candidates);
        let text = |it: Option<String>| it.unwrap_or_else(|| "-".to_owned());
        assert_eq!((text(chosen.ipv4).as_str(), text(chosen.ipv6).as_str()), (ipv4, ipv6), "{candidates:?}");
    }

    #[test]
    fn priority_decides_then_the_name() {
        let both = (true, true);
        check(&[("web", 0, both), ("db", 0, both)], "db", "db");
        check(&[("web", 1, both), ("db", 0, both)], "web", "web");
        check(&[("web", -1, both), ("zoo", 0, both)], "zoo", "zoo");
    }

    #[test]
    fn families_are_chosen_apart_and_internal_networks_never() {
        check(&[("a", 5, (false, false)), ("b", 0, (true, false)), ("c", 0, (true, true))], "b", "c");
        check(&[("a", 5, (false, false))], "-", "-");
        check(&[], "-", "-");
    }
}
