//! Which packages a base system is: those that Debian requires, `apt`, what was asked for, and what all of them need.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    DebianError,
    index::{Index, Package, Priority},
    limits,
};

/// Two packages say that `/bin` and `/usr/bin` are one. In a tree that was made so, nothing has to be moved.
const MERGED: &str = "usr-is-merged";

/// A choice of packages.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    /// In order of their names.
    pub packages: Vec<Package>,
    /// The names of those that a system cannot do without even while packages are installed, and what they need.
    pub first: BTreeSet<String>,
}

/// What a system with these additional packages consists of.
///
/// # Errors
/// When a package, or one that it needs, cannot be had.
pub fn choose(index: &Index, include: &[String]) -> Result<Choice, DebianError> {
    let named = |is_wanted: &dyn Fn(&Package) -> bool| -> Vec<String> {
        let mut names: Vec<String> =
            index.packages.values().filter(|package| is_wanted(package)).map(|package| package.name.clone()).collect();
        names.sort_unstable();
        names
    };
    let essential = named(&|package| package.is_essential);
    if essential.is_empty() {
        return Err(DebianError::malformed("the index of packages", "nothing in it is essential"));
    }
    let mut seeds = essential.clone();
    seeds.extend(named(&|package| package.priority == Priority::Required || package.name == "apt"));
    seeds.extend(include.iter().cloned());
    let all = closure(index, seeds)?;
    // Where these leave a choice, it is made already.
    let packages: Vec<Package> = all.into_values().cloned().collect();
    let chosen = Index { packages: packages.iter().map(|package| (package.name.clone(), package.clone())).collect() };
    let first = closure(&chosen, essential)?.into_keys().map(str::to_owned).collect();
    Ok(Choice { packages, first })
}

/// The packages of these names with all that they need.
fn closure(index: &Index, seeds: Vec<String>) -> Result<BTreeMap<&str, &Package>, DebianError> {
    let mut chosen: BTreeMap<&str, &Package> = BTreeMap::new();
    let mut provided: BTreeSet<&str> = BTreeSet::new();
    let mut wanted: VecDeque<(Vec<String>, &str)> = seeds.into_iter().map(|name| (vec![name], "")).collect();
    // What leaves a choice waits until it is known what comes anyway.
    let mut open: VecDeque<(Vec<String>, &str)> = VecDeque::new();
    while let Some((choice, by)) = wanted.pop_front().or_else(|| open.pop_front()) {
        if choice.iter().any(|name| chosen.contains_key(name.as_str()) || provided.contains(name.as_str())) {
            continue;
        }
        let candidates: Vec<&Package> = choice.iter().filter_map(|name| find(index, name)).collect();
        if candidates.len() > 1 && !wanted.is_empty() {
            open.push_back((choice, by));
            continue;
        }
        let merged = candidates.iter().find(|package| package.name == MERGED);
        let Some(package) = merged.or(candidates.first()).copied() else {
            let because = if by.is_empty() { String::new() } else { format!(", which {by} needs") };
            return Err(DebianError::NoPackage { name: choice.join(" or "), because });
        };
        chosen.insert(&package.name, package);
        provided.extend(package.provides.iter().map(String::as_str));
        wanted.extend(package.depends.iter().map(|choice| (choice.clone(), package.name.as_str())));
        if chosen.len() > limits::PACKAGES_MAX {
            let (found, limit) = (chosen.len() as u64, limits::PACKAGES_MAX as u64);
            return Err(DebianError::Limit { what: "the system".to_owned(), found, limit });
        }
    }
    Ok(chosen)
}

/// The package of a name, else the one that provides it and matters most.
fn find<'i>(index: &'i Index, name: &str) -> Option<&'i Package> {
    index.get(name).or_else(|| {
        let provides = |package: &&Package| package.provides.iter().any(|provided| provided == name);
        index
            .packages
            .values()
            .filter(provides)
            .min_by(|left, right| (left.priority, left.name.as_str()).cmp(&(right.priority, right.name.as_str())))
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(lines: &str, include: &[&str], expected: Expect) {
        let mut text = String::new();
        for (number, line) in lines.lines().enumerate() {
            let (name, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            text.push_str(&format!(
                "Package: {name}\nVersion: 1\nFilename: pool/{name}_{number}.deb\nSize: 1\nSHA256: {:064}\n{}\n\n",
                number,
                rest.replace("; ", "\n")
            ));
        }
        let mut index = Index::default();
        index.add_text(&text, 0, "the index").expect("it is one");
        let include: Vec<String> = include.iter().map(|name| (*name).to_owned()).collect();
        expected.assert_eq(&match choose(&index, &include) {
            Ok(choice) => {
                let names: Vec<&str> = choice.packages.iter().map(|package| package.name.as_str()).collect();
                format!("{} | {}", names.join(" "), choice.first.into_iter().collect::<Vec<_>>().join(" "))
            }
            Err(error) => error.to_string(),
        });
    }

    #[test]
    fn a_system_is_what_is_essential_required_and_asked_for() {
        let index = "base Essential: yes; Pre-Depends: awk; Depends: libc (>= 2.3)\n\
            mawk Provides: awk; Priority: required; Depends: libc:any\n\
            gawk Provides: awk; Priority: optional\n\
            libc Depends: gcc-base\n\
            gcc-base\n\
            debconf Priority: required; Depends: perl | python\n\
            perl\n\
            python\n\
            apt\n\
            editor Depends: libc, nothing-more | perl\n\
            toy";
        check(index, &[], expect!["apt base debconf gcc-base libc mawk perl | base gcc-base libc mawk"]);
        check(index, &["editor"], expect!["apt base debconf editor gcc-base libc mawk perl | base gcc-base libc mawk"]);
        check(index, &["nosuch"], expect![[r#"the archive has no package "nosuch""#]]);
    }

    #[test]
    fn a_choice_falls_on_what_comes_anyway() {
        let index = "base Essential: yes; Depends: one | two, usrmerge | usr-is-merged, three\n\
            one\ntwo\nthree Depends: two\nusrmerge\nusr-is-merged";
        check(index, &[], expect!["base three two usr-is-merged | base three two usr-is-merged"]);
        let broken = "base Essential: yes; Depends: gone | lost";
        check(broken, &[], expect![[r#"the archive has no package "gone or lost", which base needs"#]]);
    }
}
