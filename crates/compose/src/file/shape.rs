//! What a Compose file may say: for every key what may stand below it, and in which order `config` prints it.
//!
//! One table serves checking, canonical form, merging, printing and the configuration's hash. Its order is that of the
//! reference implementation's structures, because a hash over the printed form is how two tools agree on whether a
//! container is still the one that its file describes.

mod service; // everything below `services.NAME`
mod top; // the file as a whole, networks, volumes, secrets, configs

pub use service::SERVICE;
pub use top::PROJECT;

/// What may stand below a key.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Anything: extensions.
    Any,
    Text,
    Bool,
    Int,
    Float,
    /// `64m`; kept as a number of bytes in text, as Compose prints it.
    Bytes,
    /// `1m30s`; kept in Go's spelling.
    Duration,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A number, or `all`, which is kept as -1.
    Count,
    /// Texts or numbers, each once.
    Texts,
    /// The same, where a single one needs no list.
    OneOrMany,
    /// `command: echo hi` is split as a shell would; a list is taken as it is; merging replaces.
    Command,
    /// A healthcheck's test: a text is for the shell.
    Test,
    /// `name: value` or a list of `name=value`; a missing value is an empty one.
    Mapping,
    /// The same, but a missing value is taken from the surroundings.
    Variables,
    /// Names of SSH agents, with paths of sockets or keys; printed as a list.
    Keys,
    /// When an image is pulled.
    PullPolicy,
    /// Host names with addresses.
    Hosts,
    Struct(&'static [Field]),
    /// Freely chosen names.
    Names(&'static Shape),
    /// The same, or a list of names, each of which then stands for the given short form.
    NamesOrList(&'static Shape, Short),
    List(&'static List),
    /// A text that stands for a structure.
    Short(Short, &'static Shape),
    /// What hako does not do, and why.
    Refused(&'static str),
}

/// A list of structures.
#[derive(Debug)]
pub struct List {
    pub item: Shape,
    /// Entries that agree in these keys are one, and the later one wins.
    pub unique: &'static [&'static str],
}

/// The short forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Short {
    Port,
    Mount,
    Device,
    /// `secrets: [a]`, `configs: [a]`
    Source,
    /// `build: ./dir`
    Build,
    /// `extends: base`
    Extends,
    /// `include: other.yaml`
    Include,
    /// `env_file: a.env`
    EnvFile,
    /// `ulimits: {nofile: 5}` stays a number.
    Ulimit,
    /// `depends_on: [a]`
    Dependency,
    /// `networks: [a]`, and `volumes: {a: }` at the top
    Nothing,
    /// `external: true`, or version 2's `external: {name: x}`
    External,
    /// `gpus: all`
    Gpus,
}

/// One key of a structure.
#[derive(Debug)]
pub struct Field {
    pub key: &'static str,
    pub shape: Shape,
    /// What is zero or empty is printed all the same.
    pub keep: bool,
    /// What JSON says where the key is missing.
    pub json_zero: Option<Zero>,
    /// The reference reads some keys that it then forgets.
    pub printed: bool,
    /// What JSON calls it, where that differs.
    pub json_key: Option<&'static str>,
}

/// What stands for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zero {
    Null,
    Object,
    /// `{"command": null}`
    Exec,
}

const fn field(key: &'static str, shape: Shape) -> Field {
    Field { key, shape, keep: false, json_zero: None, printed: true, json_key: None }
}

const fn kept(key: &'static str, shape: Shape) -> Field {
    Field { key, shape, keep: true, json_zero: None, printed: true, json_key: None }
}

const fn called(key: &'static str, json_key: &'static str, shape: Shape) -> Field {
    Field { key, shape, keep: false, json_zero: None, printed: true, json_key: Some(json_key) }
}

const fn unprinted(key: &'static str, shape: Shape) -> Field {
    Field { key, shape, keep: false, json_zero: None, printed: false, json_key: None }
}

const fn always(key: &'static str, shape: Shape, zero: Zero) -> Field {
    Field { key, shape, keep: true, json_zero: Some(zero), printed: true, json_key: None }
}

/// The structure below a shape, through short forms.
pub fn fields(shape: &Shape) -> Option<&'static [Field]> {
    match shape {
        Shape::Struct(fields) => Some(fields),
        Shape::Short(_, inner) => fields_of(inner),
        _ => None,
    }
}

fn fields_of(shape: &'static Shape) -> Option<&'static [Field]> {
    fields(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(shape: &Shape, path: &str, seen: &mut Vec<String>) {
        match shape {
            Shape::Struct(fields) => {
                for field in *fields {
                    let path = format!("{path}.{}", field.key);
                    assert!(!seen.contains(&path), "{path} is there twice");
                    visit(&field.shape, &path, seen);
                    seen.push(path);
                }
            }
            Shape::Names(inner) | Shape::NamesOrList(inner, _) => visit(inner, &format!("{path}.*"), seen),
            Shape::Short(_, inner) => visit(inner, path, seen),
            Shape::List(list) => visit(&list.item, &format!("{path}[]"), seen),
            _ => {}
        }
    }

    #[test]
    fn the_attributes_of_the_specification_are_all_there() {
        let mut seen = Vec::new();
        visit(&PROJECT, "", &mut seen);
        for key in ["ports", "develop", "blkio_config", "gpus", "post_start", "credential_spec", "pull_policy"] {
            assert!(seen.contains(&format!(".services.*.{key}")), "{key}");
        }
        assert!(
            seen.iter().filter(|path| path.matches('.').count() == 3 && path.starts_with(".services.*.")).count() >= 90
        );
    }
}
