//! Lines of git's protocol: each with its length before it in four hexadecimal digits. Pure.

use super::pack::ObjectId;

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    /// `0000`: the end of a part.
    Flush,
    Data(Vec<u8>),
}

/// Bytes that become packets.
#[derive(Default)]
pub(super) struct Packets {
    bytes: Vec<u8>,
    at: usize,
}

/// The longest packet there is.
const PACKET_BYTES_MAX: usize = 65520;

impl Packets {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next packet, if all of it is there.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, String> {
        let rest = &self.bytes[self.at..];
        let Some(head) = rest.get(..4) else { return Ok(None) };
        let digits = std::str::from_utf8(head).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let length = digits.and_then(|text| usize::from_str_radix(text, 16).ok());
        let length = length.filter(|length| *length == 0 || (4..=PACKET_BYTES_MAX).contains(length));
        let length = length.ok_or_else(|| format!("{:?} is no length of a packet", String::from_utf8_lossy(head)))?;
        if length == 0 {
            self.at += 4;
            return Ok(Some(Packet::Flush));
        }
        let Some(data) = rest.get(4..length) else { return Ok(None) };
        let data = data.to_vec();
        self.at += length;
        Ok(Some(Packet::Data(data)))
    }

    /// What is no packet any more.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.at);
        *self = Self::default();
        rest
    }
}

/// A line as a packet.
pub(super) fn line(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

/// What a repository says it has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Advertised {
    pub(super) references: Vec<(String, ObjectId)>,
    pub(super) capabilities: Vec<String>,
}

impl Advertised {
    /// Takes one line of it.
    pub(super) fn line(&mut self, data: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(data);
        let text = text.trim_end_matches('\n');
        if text.starts_with("# service=") || text.starts_with("version ") {
            return Ok(());
        }
        if let Some(why) = text.strip_prefix("ERR ") {
            return Err(why.to_owned());
        }
        let (reference, capabilities) = text.split_once('\0').unwrap_or((text, ""));
        if !capabilities.is_empty() {
            self.capabilities = capabilities.split_whitespace().map(str::to_owned).collect();
        }
        let (id, name) = reference.split_once(' ').ok_or_else(|| format!("{reference:?} is no reference"))?;
        let id = ObjectId::parse(id).ok_or_else(|| format!("{id:?} is no id of an object (SHA-1)"))?;
        // An empty repository has capabilities and nothing else.
        if name != "capabilities^{}" {
            self.references.push((name.to_owned(), id));
        }
        Ok(())
    }

    pub(super) fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|one| one == capability)
    }

    /// What a name stands for, as git looks for it; an id stands for itself.
    pub(super) fn find(&self, name: &str) -> Option<ObjectId> {
        let named = |full: &str| self.references.iter().find(|(name, _)| name == full).map(|(_, id)| *id);
        if name.is_empty() {
            return named("HEAD").or_else(|| self.references.first().map(|(_, id)| *id));
        }
        let places = ["", "refs/", "refs/tags/", "refs/heads/"];
        places.iter().find_map(|above| named(&format!("{above}{name}"))).or_else(|| ObjectId::parse(name))
    }

    /// Every branch and tag.
    pub(super) fn tips(&self) -> Vec<ObjectId> {
        let wanted =
            |name: &str| (name.starts_with("refs/heads/") || name.starts_with("refs/tags/")) && !name.ends_with("^{}");
        let mut tips: Vec<ObjectId> =
            self.references.iter().filter(|(name, _)| wanted(name)).map(|(_, id)| *id).collect();
        tips.sort_unstable();
        tips.dedup();
        tips
    }
}

/// What is asked for: these commits, with or without what came before them.
pub(super) fn request(wanted: &[ObjectId], advertised: &Advertised, one_deep: bool) -> Vec<u8> {
    let known = ["side-band-64k", "ofs-delta", "no-progress"].into_iter().filter(|name| advertised.can(name));
    let capabilities: Vec<String> = known.map(str::to_owned).chain(["agent=hako".to_owned()]).collect();
    let mut text = String::new();
    for (number, id) in wanted.iter().enumerate() {
        let more = if number == 0 { format!(" {}", capabilities.join(" ")) } else { String::new() };
        text += &line(&format!("want {id}{more}\n"));
    }
    if one_deep {
        text += &line("deepen 1");
    }
    text += "0000";
    text += &line("done\n");
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_in_pieces() {
        let mut packets = Packets::default();
        packets.feed(b"0006a");
        assert_eq!(packets.next(), Ok(None));
        packets.feed(b"b0000zzzz");
        assert_eq!(packets.next(), Ok(Some(Packet::Data(b"ab".to_vec()))));
        assert_eq!(packets.next(), Ok(Some(Packet::Flush)));
        assert!(packets.next().is_err());
    }

    #[test]
    fn names_are_found_where_git_looks_for_them() {
        let mut advertised = Advertised::default();
        let id = |digit: &str| digit.repeat(40);
        advertised.line(format!("{} HEAD\0shallow agent=x", id("1")).as_bytes()).unwrap();
        advertised.line(format!("{} refs/heads/v1\n", id("2")).as_bytes()).unwrap();
        advertised.line(format!("{} refs/tags/v1\n", id("3")).as_bytes()).unwrap();
        let found = |name: &str| advertised.find(name).map(|id| id.to_string());
        assert_eq!(found(""), Some(id("1")));
        assert_eq!(found("v1"), Some(id("3")));
        assert_eq!(found("heads/v1"), Some(id("2")));
        assert_eq!(found(&id("4")), Some(id("4")));
        assert_eq!(found("nosuch"), None);
        assert!(advertised.can("shallow") && advertised.tips().len() == 2);
        let asked = request(&advertised.tips(), &advertised, true);
        let expected = format!("003dwant {} agent=hako\n0032want {}\n000cdeepen 100000009done\n", id("2"), id("3"));
        assert_eq!(String::from_utf8(asked).unwrap(), expected);
    }
}
