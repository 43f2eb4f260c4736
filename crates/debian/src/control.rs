//! Stanzas of `Field: value` lines, which all of Debian's indexes are made of.

/// One stanza. Fields are looked for as they are spelled by Debian's own programs; a repeated field counts once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stanza<'t>(&'t str);

impl<'t> Stanza<'t> {
    /// The value of a field: its first line, and with `lines` also those that continue it.
    pub(crate) fn field(self, name: &str) -> Option<&'t str> {
        let rest = self.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        rest.map(str::trim)
    }

    /// The lines that continue a field.
    pub(crate) fn list(self, name: &str) -> impl Iterator<Item = &'t str> {
        let mut lines = self.lines();
        let is_there = lines.any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
        lines.take_while(move |line| is_there && line.starts_with([' ', '\t'])).map(str::trim)
    }

    fn lines(self) -> std::str::Lines<'t> {
        self.0.lines()
    }
}

/// The stanzas of a text, which empty lines part.
pub(crate) fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    text.split("\n\n").map(|stanza| stanza.trim_matches('\n')).filter(|stanza| !stanza.is_empty()).map(Stanza)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_has_fields_and_lists() {
        let text = "Package: a\nDepends: b,\n c\nSize: 3\n\n\nPackage: d\nSHA256:\n 12 3 x\n 45 6 y\nOrigin: z\n";
        let all: Vec<Stanza<'_>> = stanzas(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].field("Package"), all[0].field("Size"), all[0].field("Pack")), (Some("a"), Some("3"), None));
        assert_eq!(all[1].list("SHA256").collect::<Vec<_>>(), ["12 3 x", "45 6 y"]);
        assert_eq!(all[1].list("MD5Sum").count(), 0);
    }
}
