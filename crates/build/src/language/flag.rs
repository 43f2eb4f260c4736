//! Flags of instructions: `RUN --mount …`, `COPY --from …`, `FROM --platform …`.
//!
//! Names and forms are judged here; values with variables in them are replaced by the solver before they are used,
//! so a mount is kept as its options until then ([`Mount::parse`]).

/// A flag that says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FlagError {
    pub(crate) text: String,
    /// As it stands in the file.
    pub(crate) words: String,
    pub(crate) name: String,
    pub(crate) known: &'static [&'static str],
}

impl FlagError {
    fn new(flag: &str, text: String) -> Self {
        Self { text, words: flag.to_owned(), name: String::new(), known: &[] }
    }
}

const COPY: &[&str] = &["chmod", "chown", "exclude", "from", "link", "parents"];
const ADD: &[&str] = &["checksum", "chmod", "chown", "exclude", "keep-git-dir", "link", "unpack"];
const RUN: &[&str] = &["device", "mount", "network", "security"];
const FROM: &[&str] = &["platform"];

fn split(flag: &str) -> (&str, Option<&str>) {
    let flag = flag.trim_start_matches("--");
    flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)))
}

fn unknown(flag: &str, name: &str, keyword: &str, known: &'static [&'static str]) -> FlagError {
    FlagError { text: format!("unknown flag: {keyword}: {name}"), words: flag.to_owned(), name: name.to_owned(), known }
}

fn value(flag: &str, value: Option<&str>) -> Result<String, FlagError> {
    value.map(str::to_owned).ok_or_else(|| FlagError::new(flag, format!("Missing a value on flag: {}", split(flag).0)))
}

fn boolean(flag: &str, value: Option<&str>) -> Result<bool, FlagError> {
    match value.map(str::to_lowercase).as_deref() {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => {
            let text = format!("expecting boolean value for flag {}, not: {other}", split(flag).0);
            Err(FlagError::new(flag, text))
        }
    }
}

/// `FROM --platform`.
pub(crate) fn platform(flags: &[String]) -> Result<Option<String>, FlagError> {
    let mut found = None;
    for flag in flags {
        match split(flag) {
            ("platform", given) => found = Some(value(flag, given)?),
            (name, _) => return Err(unknown(flag, name, "FROM", FROM)),
        }
    }
    Ok(found)
}

/// Flags of `COPY` and `ADD`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyFlags {
    pub from: Option<String>,
    pub chown: Option<String>,
    pub chmod: Option<String>,
    pub link: bool,
    pub parents: bool,
    pub exclude: Vec<String>,
    pub checksum: Option<String>,
    pub keep_git_dir: bool,
    /// `None`: archives of the context are unpacked, downloads are not.
    pub unpack: Option<bool>,
}

pub(crate) fn copy(flags: &[String], is_add: bool) -> Result<CopyFlags, FlagError> {
    let (keyword, known) = if is_add { ("ADD", ADD) } else { ("COPY", COPY) };
    let mut found = CopyFlags::default();
    for flag in flags {
        let (name, given) = split(flag);
        if !known.contains(&name) {
            return Err(unknown(flag, name, keyword, known));
        }
        match name {
            "from" => found.from = Some(value(flag, given)?),
            "chown" => found.chown = Some(value(flag, given)?),
            "chmod" => found.chmod = Some(value(flag, given)?),
            "link" => found.link = boolean(flag, given)?,
            "parents" => found.parents = boolean(flag, given)?,
            "exclude" => found.exclude.push(value(flag, given)?),
            "checksum" => found.checksum = Some(value(flag, given)?),
            "keep-git-dir" => found.keep_git_dir = boolean(flag, given)?,
            _ => found.unpack = Some(boolean(flag, given)?),
        }
    }
    Ok(found)
}

/// Flags of `RUN`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFlags {
    /// Each as it was typed: `type=bind,source=…`.
    pub mounts: Vec<String>,
    pub network: Network,
    /// `--security=insecure`
    pub insecure: bool,
    pub devices: Vec<String>,
}

/// What a `RUN` step reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// What the build says, else the default bridge.
    #[default]
    Default,
    None,
    Host,
}

pub(crate) fn run(flags: &[String]) -> Result<RunFlags, FlagError> {
    let mut found = RunFlags::default();
    for flag in flags {
        let (name, given) = split(flag);
        match name {
            "mount" => {
                let mount = value(flag, given)?;
                Mount::parse(&mount).map_err(|text| FlagError::new(flag, text))?;
                found.mounts.push(mount);
            }
            "network" => {
                found.network = match value(flag, given)?.as_str() {
                    "default" => Network::Default,
                    "none" => Network::None,
                    "host" => Network::Host,
                    other => {
                        return Err(FlagError::new(flag, format!("security network mode is not known: {other}")));
                    }
                };
            }
            "security" => {
                found.insecure = match value(flag, given)?.as_str() {
                    "insecure" => true,
                    "sandbox" => false,
                    other => return Err(FlagError::new(flag, format!("security {other:?} is not valid"))),
                };
            }
            "device" => {
                let device = value(flag, given)?;
                Device::parse(&device).map_err(|text| FlagError::new(flag, text))?;
                found.devices.push(device);
            }
            _ => return Err(unknown(flag, name, "RUN", RUN)),
        }
    }
    Ok(found)
}

/// One `RUN --device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Of a device, a kind or a class, as the Container Device Interface has them.
    pub name: String,
    /// There is no step without it.
    pub required: bool,
}

impl Device {
    /// Reads `NAME[,required]` or `name=NAME,…`.
    ///
    /// # Errors
    /// An option that is none, or no name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut device = Self { name: String::new(), required: false };
        for (place, field) in fields(text).iter().enumerate() {
            match field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value))) {
                ("required", None | Some("true" | "1")) => device.required = true,
                ("required", Some("false" | "0")) => device.required = false,
                ("required", Some(other)) => return Err(format!("invalid value for required: {other}")),
                ("name", Some(name)) if device.name.is_empty() => name.clone_into(&mut device.name),
                // `vendor.com/class=name` is a name too.
                _ if place == 0 && !field.is_empty() => field.clone_into(&mut device.name),
                _ => return Err(format!("unexpected device option {field:?}")),
            }
        }
        if device.name.is_empty() { Err("device name is required".to_owned()) } else { Ok(device) }
    }
}

/// One `RUN --mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub kind: MountKind,
    pub target: String,
    pub source: String,
    pub from: Option<String>,
    pub id: Option<String>,
    /// `None`: bind mounts are read-only, caches are not.
    pub read_only: Option<bool>,
    pub sharing: Sharing,
    pub required: bool,
    pub mode: Option<u32>,
    pub uid: u32,
    pub gid: u32,
    pub size: Option<u64>,
    /// A secret as this variable.
    pub env: Option<String>,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sharing {
    #[default]
    Shared,
    Private,
    Locked,
}

impl Mount {
    /// One of which nothing more is said.
    pub fn new(kind: MountKind, target: &str) -> Self {
        Self {
            kind,
            target: target.to_owned(),
            source: String::new(),
            from: None,
            id: None,
            read_only: None,
            sharing: Sharing::Shared,
            required: false,
            mode: None,
            uid: 0,
            gid: 0,
            size: None,
            env: None,
        }
    }

    /// Reads `type=…,target=…`.
    ///
    /// # Errors
    /// An unknown option or a value that is none; variables in them are fine until they are replaced.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut mount = Self::new(MountKind::Bind, "");
        for field in fields(text) {
            let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
            mount.set(&key.to_lowercase(), value, &field)?;
        }
        mount.check()?;
        Ok(mount)
    }

    fn set(&mut self, key: &str, value: Option<&str>, field: &str) -> Result<(), String> {
        let truth = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("invalid value for {key}: {other}")),
        };
        match (key, value) {
            ("readonly" | "ro", _) => self.read_only = Some(truth()?),
            ("readwrite" | "rw", _) => self.read_only = Some(!truth()?),
            ("required", _) => self.required = truth()?,
            (_, None) => return Err(format!("invalid field '{field}' must be a key=value pair")),
            ("type", Some(value)) => {
                self.kind = match value {
                    "bind" => MountKind::Bind,
                    "cache" => MountKind::Cache,
                    "tmpfs" => MountKind::Tmpfs,
                    "secret" => MountKind::Secret,
                    "ssh" => MountKind::Ssh,
                    other => return Err(format!("unsupported mount type {other:?}")),
                }
            }
            ("target" | "dst" | "destination", Some(value)) => self.target = value.to_owned(),
            ("source" | "src", Some(value)) => self.source = value.to_owned(),
            ("from", Some(value)) => self.from = Some(value.to_owned()),
            ("id", Some(value)) => self.id = Some(value.to_owned()),
            ("env", Some(value)) => self.env = Some(value.to_owned()),
            // A variable is a number once it is replaced.
            ("uid" | "gid" | "mode" | "size" | "sharing", Some(value)) if value.contains('$') => {}
            ("sharing", Some(value)) => {
                self.sharing = match value {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    other => return Err(format!("unsupported sharing value {other:?}")),
                }
            }
            ("mode", Some(value)) => {
                let mode = u32::from_str_radix(value, 8).map_err(|_| format!("invalid value {value} for mode"))?;
                self.mode = Some(mode);
            }
            ("uid", Some(value)) => self.uid = value.parse().map_err(|_| format!("invalid value {value} for uid"))?,
            ("gid", Some(value)) => self.gid = value.parse().map_err(|_| format!("invalid value {value} for gid"))?,
            ("size", Some(value)) => self.size = Some(bytes(value).ok_or_else(|| format!("invalid size: {value:?}"))?),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        match self.kind {
            MountKind::Bind | MountKind::Cache | MountKind::Tmpfs if self.target.is_empty() => {
                Err("target is required".to_owned())
            }
            MountKind::Secret if self.id.is_none() && self.source.is_empty() && self.target.is_empty() => {
                Err("one of source, target, or id is required for secret mounts".to_owned())
            }
            _ if self.size.is_some() && self.kind != MountKind::Tmpfs => {
                Err("unexpected size for a mount that is no tmpfs".to_owned())
            }
            _ => Ok(()),
        }
    }
}

// Comma-separated, with quotes around fields that hold a comma.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => {
                if let Some(last) = fields.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    fields
}

/// A number of bytes with Docker's units (`k`, `m`, `g`, …).
fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let number: u64 = lower[..digits].parse().ok()?;
    let unit = match lower[digits..].trim() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts() {
        let mount = Mount::parse("type=cache,target=/var/cache/pip,id=pip,sharing=locked,mode=0700").unwrap();
        assert_eq!((mount.kind, mount.sharing, mount.mode), (MountKind::Cache, Sharing::Locked, Some(0o700)));
        let mount = Mount::parse("target=/a,rw").unwrap();
        assert_eq!((mount.kind, mount.read_only), (MountKind::Bind, Some(false)));
        for (text, expected) in [
            ("type=bind", "target is required"),
            ("type=what,target=/", "unsupported mount type \"what\""),
            ("target=/,color=red", "unexpected key 'color' in 'color=red'"),
            ("target", "invalid field 'target' must be a key=value pair"),
            ("type=cache,target=/,mode=9", "invalid value 9 for mode"),
        ] {
            assert_eq!(Mount::parse(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn devices() {
        let shown = |text: &str| match Device::parse(text) {
            Ok(device) => format!("{} {}", device.name, device.required),
            Err(error) => error,
        };
        assert_eq!(shown("vendor.com/class=one"), "vendor.com/class=one false");
        assert_eq!(shown("vendor.com/class=*,required"), "vendor.com/class=* true");
        assert_eq!(shown("name=class1,required=false"), "class1 false");
        assert_eq!(shown("x,color=red"), "unexpected device option \"color=red\"");
        assert_eq!(shown("required"), "device name is required");
        assert_eq!(shown(""), "unexpected device option \"\"");
    }

    #[test]
    fn sizes() {
        assert_eq!((bytes("64m"), bytes("1kb"), bytes("7"), bytes("x")), (Some(64 << 20), Some(1024), Some(7), None));
    }
}
