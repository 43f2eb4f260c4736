//! What is mounted: `--mount type=bind,src=/a,dst=/b,readonly` and `-v /a:/b:ro`.

use std::collections::BTreeMap;

use super::{csv, path};
use crate::flag::FromFlag;

/// One `--mount`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mount {
    pub kind: String,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub consistency: String,
    pub bind: Option<Bind>,
    pub volume: Option<Volume>,
    pub tmpfs: Option<Tmpfs>,
    pub image: Option<Image>,
}

/// The `bind-*` options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bind {
    pub propagation: String,
    pub non_recursive: bool,
    pub create_source: bool,
    /// Source and user.
    pub id_mapping: Option<(String, String)>,
    pub read_only_non_recursive: bool,
    pub read_only_force_recursive: bool,
}

/// The `volume-*` options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    pub no_copy: bool,
    pub labels: BTreeMap<String, String>,
    pub subpath: String,
    pub driver: String,
    pub options: BTreeMap<String, String>,
}

/// The `tmpfs-*` options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tmpfs {
    pub size: i64,
    pub mode: u32,
}

/// The `image-*` options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Image {
    pub subpath: String,
}

impl FromFlag for Mount {
    const KIND: &'static str = "mount";
    const LIST: &'static str = "mount";

    fn from_flag(text: &str) -> Result<Self, String> {
        let mut mount = Self { kind: "volume".to_owned(), ..Self::default() };
        for (at, field) in csv::fields(text)?.into_iter().enumerate() {
            if at > 0 && field.starts_with(' ') {
                return Err(format!("invalid field '{field}': no space may follow a comma"));
            }
            mount.set(&field)?;
        }
        mount.check()?;
        Ok(mount)
    }
}

impl Mount {
    fn set(&mut self, field: &str) -> Result<(), String> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), value),
            None => (field.to_ascii_lowercase(), "true"),
        };
        let may_stand_alone = matches!(
            key.as_str(),
            "readonly" | "ro" | "volume-nocopy" | "bind-nonrecursive" | "bind-create-src" | "bind-idmap"
        );
        if !field.contains('=') && !may_stand_alone {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        }
        let switch = || csv::parse_bool(value).ok_or_else(|| format!("invalid value for {key}: {value}"));
        match key.as_str() {
            "type" => self.kind = value.to_ascii_lowercase(),
            "source" | "src" if path::is_relative_source(value) => self.source = path::absolute(value),
            "source" | "src" => self.source = value.to_owned(),
            "target" | "dst" | "destination" => self.target = value.to_owned(),
            "readonly" | "ro" => self.read_only = switch()?,
            "consistency" => self.consistency = value.to_ascii_lowercase(),
            "bind-propagation" => self.bind().propagation = value.to_ascii_lowercase(),
            "bind-nonrecursive" => self.bind().non_recursive = switch()?,
            "bind-create-src" => self.bind().create_source = switch()?,
            "bind-idmap" => self.set_id_mapping(if field.contains('=') { value } else { "match-user" })?,
            "bind-recursive" => self.set_recursive(value)?,
            "volume-subpath" => self.volume().subpath = value.to_owned(),
            "volume-nocopy" => self.volume().no_copy = switch()?,
            "volume-label" => insert_pair(&mut self.volume().labels, value),
            "volume-driver" => self.volume().driver = value.to_owned(),
            "volume-opt" => insert_pair(&mut self.volume().options, value),
            "image-subpath" => self.image.get_or_insert_default().subpath = value.to_owned(),
            "tmpfs-size" => {
                self.tmpfs().size =
                    crate::format::size::parse_ram(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
            }
            "tmpfs-mode" => {
                // Numbers alone are taken for decimal ones; of other texts there is nothing to explain.
                let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
                let hint = if is_number { " (it is octal: digits 0 to 7, such as 1777)" } else { "" };
                self.tmpfs().mode =
                    u32::from_str_radix(value, 8).map_err(|_| format!("invalid value for {key}: {value}{hint}"))?;
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
        Ok(())
    }

    fn set_id_mapping(&mut self, value: &str) -> Result<(), String> {
        let (source, user) = value.split_once(':').unwrap_or((value, ""));
        let named = value.contains(':');
        if !matches!(
            (source, named, user.is_empty()),
            ("match-user", false, _) | ("match-user", true, false) | ("userns", false, _)
        ) {
            return Err(format!(
                "invalid value for bind-idmap: {value} (must be \"match-user\", \"match-user:USER\" or \"userns\")"
            ));
        }
        self.bind().id_mapping = Some((source.to_owned(), user.to_owned()));
        Ok(())
    }

    fn set_recursive(&mut self, value: &str) -> Result<(), String> {
        match value {
            "enabled" => {}
            "disabled" => self.bind().non_recursive = true,
            "writable" => self.bind().read_only_non_recursive = true,
            "readonly" => self.bind().read_only_force_recursive = true,
            _ => {
                return Err(format!(
                    "invalid value for bind-recursive: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                ));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.kind.is_empty() {
            return Err("type is required".to_owned());
        }
        if self.target.is_empty() {
            return Err("target is required".to_owned());
        }
        for (family, present) in [
            ("volume", self.volume.is_some()),
            ("image", self.image.is_some()),
            ("bind", self.bind.is_some()),
            ("tmpfs", self.tmpfs.is_some()),
        ] {
            if present && self.kind != family {
                return Err(format!("cannot mix '{family}-*' options with mount type '{}'", self.kind));
            }
        }
        let Some(bind) = &self.bind else { return Ok(()) };
        let needs = |value: &str, other: &str| {
            Err(format!("option 'bind-recursive={value}' requires '{other}' to be specified in conjunction"))
        };
        if bind.read_only_non_recursive && !self.read_only {
            return needs("writable", "readonly");
        }
        if bind.read_only_force_recursive {
            if !self.read_only {
                return needs("readonly", "readonly");
            }
            if bind.propagation != "rprivate" {
                return needs("readonly", "bind-propagation=rprivate");
            }
        }
        Ok(())
    }

    fn bind(&mut self) -> &mut Bind {
        self.bind.get_or_insert_default()
    }

    fn volume(&mut self) -> &mut Volume {
        self.volume.get_or_insert_default()
    }

    fn tmpfs(&mut self) -> &mut Tmpfs {
        self.tmpfs.get_or_insert_default()
    }
}

fn insert_pair(map: &mut BTreeMap<String, String>, text: &str) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    map.insert(key.to_owned(), value.to_owned());
}

/// What a `-v` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VolumeFlag {
    /// `/data`: a new volume without a name.
    Anonymous(String),
    /// `source:target[:options]`, the source made absolute where it is a relative path.
    Bind(String),
}

/// Reads one `-v`.
///
/// # Errors
/// In Docker's words.
pub(crate) fn volume(text: &str) -> Result<VolumeFlag, String> {
    if text.is_empty() {
        return Err("invalid empty volume spec".to_owned());
    }
    if text.chars().count() <= 2 && !text.contains(':') {
        return Ok(VolumeFlag::Anonymous(text.to_owned()));
    }
    if text.split(':').any(str::is_empty) {
        return Err(format!("invalid spec: {text}: empty section between colons"));
    }
    let Some((source, rest)) = text.split_once(':') else {
        return Ok(VolumeFlag::Anonymous(text.to_owned()));
    };
    // Docker takes one letter for a drive of Windows; no volume has so short a name.
    if source.len() == 1 && source.bytes().all(|b| b.is_ascii_alphabetic()) && !rest.contains(':') {
        return Ok(VolumeFlag::Anonymous(text.to_owned()));
    }
    if path::is_relative_source(source) {
        return Ok(VolumeFlag::Bind(format!("{}:{rest}", path::absolute(source))));
    }
    Ok(VolumeFlag::Bind(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(text: &str, expected: &str) {
        assert_eq!(Mount::from_flag(text).map(|mount| format!("{mount:?}")), Err(expected.to_owned()), "{text}");
    }

    #[test]
    fn keys_have_short_names_and_any_case() {
        let mount = Mount::from_flag("TYPE=bind,SRC=/a,dst=/b,READONLY,bind-propagation=RSLAVE").unwrap();
        assert_eq!((mount.kind.as_str(), mount.source.as_str(), mount.target.as_str()), ("bind", "/a", "/b"));
        assert!(mount.read_only);
        assert_eq!(mount.bind.unwrap().propagation, "rslave");
        let tmpfs = Mount::from_flag("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap().tmpfs.unwrap();
        assert_eq!((tmpfs.size, tmpfs.mode), (1 << 20, 0o1770));
    }

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        refuse("foo", "invalid field 'foo' must be a key=value pair");
        refuse("type=bind", "target is required");
        refuse("type=,dst=/a", "type is required");
        refuse("type=bind,dst=/b,foo=bar", "unexpected key 'foo' in 'foo=bar'");
        refuse("type=bind,dst=/b,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'");
        refuse("type=tmpfs,dst=/b,tmpfs-size=abc", "invalid value for tmpfs-size: abc");
        refuse(
            "type=tmpfs,dst=/b,tmpfs-mode=800",
            "invalid value for tmpfs-mode: 800 (it is octal: digits 0 to 7, such as 1777)",
        );
        refuse("type=bind,dst=/b,readonly=abc", "invalid value for readonly: abc");
        refuse(
            "type=bind,src=/a,dst=/b,ro,bind-recursive=readonly",
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction",
        );
        refuse("", "EOF");
    }

    #[test]
    fn the_short_form_is_a_bind_or_a_new_volume() {
        let check = |text: &str, expected: Result<VolumeFlag, &str>| {
            assert_eq!(volume(text), expected.map_err(str::to_owned), "{text}");
        };
        check("/data", Ok(VolumeFlag::Anonymous("/data".to_owned())));
        check("/a:/b:ro,z", Ok(VolumeFlag::Bind("/a:/b:ro,z".to_owned())));
        check("a:b:c:d", Ok(VolumeFlag::Bind("a:b:c:d".to_owned())));
        check("./x:/y", Ok(VolumeFlag::Bind(format!("{}:/y", path::absolute("x")))));
        check(":/x", Err("invalid spec: :/x: empty section between colons"));
        check("", Err("invalid empty volume spec"));
    }
}
