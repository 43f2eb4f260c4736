//! Profiles: rules with conditions, and the JSON that Docker writes them in.
//!
//! Conditions (capabilities, architecture, kernel) are about the container and the host and are settled before
//! anything is compiled; what remains are names, arguments and actions.

use serde::Deserialize;

use super::table::Abi;
use crate::capability::CapSet;

/// Bytes of a profile's text. Docker's own has 12 KiB.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    #[error("seccomp profile of {bytes} bytes is larger than {TEXT_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("decoding seccomp profile failed: {reason}")]
    Malformed { reason: String },
    #[error("seccomp profile has an unknown action {name}")]
    Action { name: String },
    #[error("seccomp profile gives an errno to {name}, which answers with none")]
    Errno { name: String },
    #[error("seccomp profile has an unknown architecture {name}")]
    ArchitectureName { name: String },
    #[error("seccomp profile has an unknown operator {name}")]
    Operator { name: String },
    #[error("seccomp profile compares argument {index}; a system call has 6")]
    Argument { index: u32 },
    #[error("seccomp profile has an unknown flag {name}")]
    Flag { name: String },
    #[error("seccomp profile asks for {what}, which hako does not have")]
    Unsupported { what: &'static str },
    #[error("seccomp profile becomes {instructions} instructions; the kernel takes 4096")]
    TooComplex { instructions: usize },
    #[error("this machine's architecture has no seccomp tables")]
    Architecture,
}

impl ProfileError {
    /// A profile comes from a person.
    pub fn kind(&self) -> hako_base::ErrorKind {
        hako_base::ErrorKind::InvalidInput
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    KillProcess,
    KillThread,
    Trap,
    Errno(u16),
    Trace(u16),
    /// Somebody outside answers.
    Notify,
    Log,
    Allow,
}

impl Action {
    /// `SECCOMP_RET_…` with its data.
    pub(super) fn value(self) -> u32 {
        match self {
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0,
            Self::Trap => 0x0003_0000,
            Self::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Self::Trace(data) => 0x7ff0_0000 | u32::from(data),
            Self::Notify => 0x7fc0_0000,
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    fn parse(name: &str, errno: Option<u16>) -> Result<Self, ProfileError> {
        const EPERM: u16 = 1;
        let action = match name {
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self::KillThread,
            "SCMP_ACT_KILL_PROCESS" => Self::KillProcess,
            "SCMP_ACT_TRAP" => Self::Trap,
            "SCMP_ACT_ERRNO" => Self::Errno(errno.unwrap_or(EPERM)),
            "SCMP_ACT_TRACE" => Self::Trace(errno.unwrap_or(EPERM)),
            "SCMP_ACT_NOTIFY" => Self::Notify,
            "SCMP_ACT_LOG" => Self::Log,
            "SCMP_ACT_ALLOW" => Self::Allow,
            _ => return Err(ProfileError::Action { name: name.to_owned() }),
        };
        match (action, errno) {
            (Self::Errno(_) | Self::Trace(_), _) | (_, None) => Ok(action),
            (_, Some(_)) => Err(ProfileError::Errno { name: name.to_owned() }),
        }
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// `argument & value == value_two`
    MaskedEqual,
}

impl Operator {
    fn parse(name: &str) -> Result<Self, ProfileError> {
        Ok(match name {
            "SCMP_CMP_EQ" => Self::Equal,
            "SCMP_CMP_NE" => Self::NotEqual,
            "SCMP_CMP_LT" => Self::Less,
            "SCMP_CMP_LE" => Self::LessOrEqual,
            "SCMP_CMP_GT" => Self::Greater,
            "SCMP_CMP_GE" => Self::GreaterOrEqual,
            "SCMP_CMP_MASKED_EQ" => Self::MaskedEqual,
            _ => return Err(ProfileError::Operator { name: name.to_owned() }),
        })
    }
}

/// One comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Comparison {
    /// 0 to 5.
    pub(super) index: u32,
    pub(super) operator: Operator,
    pub(super) value: u64,
    pub(super) value_two: u64,
}

/// When a rule counts; empty means always.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Condition<'a> {
    pub(super) capabilities: &'a [&'a str],
    /// In Go's words.
    pub(super) architectures: &'a [&'a str],
    pub(super) kernel_at_least: Option<(u32, u32)>,
}

/// Some calls and what happens to them.
#[derive(Debug, Clone)]
pub(super) struct Rule<'a> {
    pub(super) names: &'a [&'a str],
    pub(super) action: Action,
    /// All of them must hold.
    pub(super) comparisons: &'a [Comparison],
    pub(super) includes: Condition<'a>,
    pub(super) excludes: Condition<'a>,
}

/// A whole profile.
#[derive(Debug, Clone)]
pub(super) struct Profile<'a> {
    pub(super) default: Action,
    pub(super) abis: Vec<Abi>,
    pub(super) flags: u32,
    pub(super) rules: Vec<Rule<'a>>,
}

/// What conditions are about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    pub(super) capabilities: CapSet,
    /// In Go's words.
    pub(super) architecture: &'static str,
    pub(super) kernel: (u32, u32),
}

impl Machine {
    pub(super) fn of_host(capabilities: CapSet) -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let release = rustix::system::uname();
        Self { capabilities, architecture, kernel: kernel_version(&release.release().to_string_lossy()) }
    }

    /// The ABIs that the machine's kernel runs, the first being its own.
    pub(super) fn abis(&self) -> Vec<Abi> {
        match self.architecture {
            "amd64" => vec![Abi::X86_64, Abi::X86, Abi::X32],
            "arm64" => vec![Abi::Aarch64, Abi::Arm],
            _ => Vec::new(),
        }
    }

    pub(super) fn applies(&self, rule: &Rule<'_>) -> bool {
        self.included(&rule.includes) && !self.excluded(&rule.excludes)
    }

    // Every capability, one of the architectures, the kernel.
    fn included(&self, condition: &Condition<'_>) -> bool {
        condition.capabilities.iter().all(|name| self.capabilities.has(name))
            && (condition.architectures.is_empty() || condition.architectures.contains(&self.architecture))
            && condition.kernel_at_least.is_none_or(|version| self.kernel >= version)
    }

    // Any of them suffices.
    fn excluded(&self, condition: &Condition<'_>) -> bool {
        condition.capabilities.iter().any(|name| self.capabilities.has(name))
            || condition.architectures.contains(&self.architecture)
            || condition.kernel_at_least.is_some_and(|version| self.kernel >= version)
    }
}

fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Docker's JSON. Keys that are not known are left alone, as Docker leaves them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u16>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchitectureEntry>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<DocumentRule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureEntry {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentRule {
    /// The older form, one name.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<DocumentArgument>>,
    #[serde(default)]
    includes: Option<DocumentCondition>,
    #[serde(default)]
    excludes: Option<DocumentCondition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentArgument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DocumentCondition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, ProfileError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(ProfileError::TooLarge { bytes: text.len() });
        }
        serde_json::from_str(text).map_err(|error| ProfileError::Malformed { reason: error.to_string() })
    }

    /// Lends the document as a profile (rules borrow their names from it).
    pub(super) fn with_profile<T>(
        &self,
        machine: &Machine,
        work: impl FnOnce(&Profile<'_>) -> Result<T, ProfileError>,
    ) -> Result<T, ProfileError> {
        let rules = self.syscalls.as_deref().unwrap_or_default();
        let loans = rules.iter().map(Loan::of).collect::<Result<Vec<_>, _>>()?;
        let profile = Profile {
            default: Action::parse(&self.default_action, self.default_errno_ret)?,
            abis: self.abis(machine),
            flags: self.flag_bits()? | self.listener_bit(),
            rules: loans.iter().map(Loan::rule).collect(),
        };
        work(&profile)
    }

    /// Whether a call is handed to somebody outside, who therefore has to be told.
    pub(super) fn notifies(&self) -> bool {
        let actions = self.syscalls.iter().flatten().map(|rule| rule.action.as_str());
        actions.chain([self.default_action.as_str()]).any(|action| action == "SCMP_ACT_NOTIFY")
    }

    fn listener_bit(&self) -> u32 {
        if self.notifies() { hako_sys::seccomp::FilterFlags::NEW_LISTENER } else { 0 }
    }

    /// Who is told, by the path of their socket, and with which words.
    pub(super) fn listener(&self) -> Option<(&str, &str)> {
        let path = self.listener_path.as_deref().filter(|path| !path.is_empty())?;
        Some((path, self.listener_metadata.as_deref().unwrap_or_default()))
    }

    /// Whether the words for a listener are there and the listener is not.
    pub(super) fn has_lost_metadata(&self) -> bool {
        self.listener().is_none() && self.listener_metadata.as_ref().is_some_and(|text| !text.is_empty())
    }

    /// Whether there is a rule about nothing, which the OCI's specification does not allow and Docker's format does.
    pub(super) fn has_rule_without_names(&self) -> bool {
        let names = |rule: &DocumentRule| rule.name.iter().chain(rule.names.iter().flatten()).count();
        self.syscalls.iter().flatten().any(|rule| names(rule) == 0)
    }

    /// The first name of an architecture that nobody knows.
    pub(super) fn unknown_architecture(&self) -> Option<&String> {
        self.architectures.iter().flatten().find(|name| !super::ARCHITECTURES.contains(&name.as_str()))
    }

    fn abis(&self, machine: &Machine) -> Vec<Abi> {
        let own = machine.abis();
        let entry = |native: Abi| {
            let map = self.arch_map.as_deref().unwrap_or_default();
            map.iter().find(|entry| Abi::by_name(&entry.architecture) == Some(native))
        };
        let named: Vec<&String> = match (own.first().copied().and_then(entry), &self.architectures) {
            (Some(entry), _) => entry.sub_architectures.iter().flatten().collect(),
            (None, Some(list)) => list.iter().collect(),
            (None, None) => Vec::new(),
        };
        let wanted: Vec<Abi> = named.iter().filter_map(|name| Abi::by_name(name)).collect();
        // The machine's own is always filtered, whether it is named or not.
        own.iter().enumerate().filter(|(index, abi)| *index == 0 || wanted.contains(abi)).map(|(_, abi)| *abi).collect()
    }

    fn flag_bits(&self) -> Result<u32, ProfileError> {
        use hako_sys::seccomp::FilterFlags;
        let Some(names) = &self.flags else { return Ok(FilterFlags::ALLOW_SPECULATION) };
        let mut bits = 0;
        for name in names.iter() {
            bits |= match name.as_str() {
                "SECCOMP_FILTER_FLAG_TSYNC" => FilterFlags::THREAD_SYNC,
                "SECCOMP_FILTER_FLAG_LOG" => FilterFlags::LOG,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => FilterFlags::ALLOW_SPECULATION,
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => FilterFlags::WAIT_KILLABLE,
                _ => return Err(ProfileError::Flag { name: name.clone() }),
            };
        }
        // With a listener the kernel takes no thread synchronisation, and the process has one thread.
        if self.notifies() { Ok(bits & !FilterFlags::THREAD_SYNC) } else { Ok(bits) }
    }
}

// One rule of a document in the form that `Rule` borrows from.
struct Loan<'a> {
    names: Vec<&'a str>,
    action: Action,
    comparisons: Vec<Comparison>,
    includes: ConditionLoan<'a>,
    excludes: ConditionLoan<'a>,
}

#[derive(Default)]
struct ConditionLoan<'a> {
    capabilities: Vec<&'a str>,
    architectures: Vec<&'a str>,
    kernel_at_least: Option<(u32, u32)>,
}

impl<'a> Loan<'a> {
    fn of(rule: &'a DocumentRule) -> Result<Self, ProfileError> {
        let comparisons = rule.args.iter().flatten().map(|argument| {
            if argument.index > 5 {
                return Err(ProfileError::Argument { index: argument.index });
            }
            let operator = Operator::parse(&argument.op)?;
            Ok(Comparison { index: argument.index, operator, value: argument.value, value_two: argument.value_two })
        });
        Ok(Self {
            names: rule.name.iter().chain(rule.names.iter().flatten()).map(String::as_str).collect(),
            action: Action::parse(&rule.action, rule.errno_ret)?,
            comparisons: comparisons.collect::<Result<_, _>>()?,
            includes: ConditionLoan::of(rule.includes.as_ref()),
            excludes: ConditionLoan::of(rule.excludes.as_ref()),
        })
    }

    fn rule(&self) -> Rule<'_> {
        Rule {
            names: &self.names,
            action: self.action,
            comparisons: &self.comparisons,
            includes: self.includes.condition(),
            excludes: self.excludes.condition(),
        }
    }
}

impl<'a> ConditionLoan<'a> {
    fn of(condition: Option<&'a DocumentCondition>) -> Self {
        let Some(condition) = condition else { return Self::default() };
        Self {
            capabilities: condition.caps.iter().flatten().map(String::as_str).collect(),
            architectures: condition.arches.iter().flatten().map(String::as_str).collect(),
            kernel_at_least: condition.min_kernel.as_deref().map(kernel_version),
        }
    }

    fn condition(&self) -> Condition<'_> {
        Condition {
            capabilities: &self.capabilities,
            architectures: &self.architectures,
            kernel_at_least: self.kernel_at_least,
        }
    }
}
