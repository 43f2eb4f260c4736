//! `completion`: scripts that complete commands, flags and names in a shell.
//!
//! The scripts ask this program again (`completion words …`), so that they never grow old.

use hako_api::query::{ContainerListQuery, ImageListQuery, NetworkListQuery, VolumeListQuery};

use crate::{
    command::{Arguments, Command, Shape},
    commands::{self, GROUPS},
    context::Context,
    error::CommandError,
};

#[derive(Default)]
pub(crate) struct Completion;

impl Command for Completion {
    const SHAPE: &'static Shape = &Shape {
        paths: &["completion"],
        usage: "bash|zsh|fish",
        about: "Print a script that completes command lines in a shell",
        arguments: Arguments::AtLeast(1),
        interspersed: false,
    };

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let script = match words[0].as_str() {
            "bash" => BASH,
            "zsh" => ZSH,
            "fish" => FISH,
            "words" => {
                let mut text = offers(cx, &words[1..]).await.join("\n");
                text.push('\n');
                return cx.print(&text);
            }
            other => return Err(CommandError::Said(format!("no completion for {other}: use bash, zsh or fish"))),
        };
        cx.print(&script.replace("PROGRAM", cx.program))
    }
}

const BASH: &str = r#"_PROGRAM_complete() {
    local IFS=$'\n' current="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=($(compgen -W "$(PROGRAM completion words "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$current" 2>/dev/null)" -- "$current"))
}
complete -o default -F _PROGRAM_complete PROGRAM
"#;
const ZSH: &str = r#"#compdef PROGRAM
_PROGRAM() {
    local -a offers
    offers=("${(@f)$(PROGRAM completion words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -a offers || _files
}
compdef _PROGRAM PROGRAM
"#;
const FISH: &str = r#"complete -c PROGRAM -f -a '(PROGRAM completion words (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
"#;

/// What could stand as the last of `words`.
async fn offers(cx: &mut Context, words: &[String]) -> Vec<String> {
    let Some((last, before)) = words.split_last() else { return Vec::new() };
    let Some((entry, path, _)) = commands::resolve(before) else {
        let group = before.first().and_then(|word| GROUPS.iter().find(|(name, _)| name == word));
        return match group {
            Some((name, _)) => commands::paths()
                .filter_map(|path| path.strip_prefix(name)?.strip_prefix(' '))
                .map(str::to_owned)
                .collect(),
            None => commands::paths()
                .filter(|path| !path.contains(' '))
                .chain(GROUPS.iter().map(|(name, _)| *name))
                .map(str::to_owned)
                .collect(),
        };
    };
    if last.starts_with('-') {
        let mut flags = vec!["--help".to_owned()];
        (entry.show_flags)(&mut |set| {
            flags.extend(set.flags().iter().filter(|flag| !flag.hidden).map(|flag| format!("--{}", flag.name())));
        });
        return flags;
    }
    names(cx, entry.shape.usage, &path).await.unwrap_or_default()
}

// The names of objects that the command's usage line asks for; none where the daemon is not there.
async fn names(cx: &mut Context, usage: &str, path: &str) -> Result<Vec<String>, CommandError> {
    let client = cx.client()?;
    if usage.contains("CONTAINER") {
        let all = !matches!(path.rsplit(' ').next(), Some("exec" | "attach" | "stop" | "kill" | "pause" | "top"));
        let containers = client.container_list(&ContainerListQuery { all, ..ContainerListQuery::default() }).await?;
        let names = containers.into_iter().flat_map(|container| container.names);
        return Ok(names.map(|name| name.trim_start_matches('/').to_owned()).collect());
    }
    if usage.contains("IMAGE") {
        let images = client.image_list(&ImageListQuery::default()).await?;
        return Ok(images.into_iter().flat_map(|image| image.repo_tags).collect());
    }
    if usage.contains("NETWORK") {
        let networks = client.network_list(&NetworkListQuery::default()).await?;
        return Ok(networks.into_iter().map(|network| network.name).collect());
    }
    if usage.contains("VOLUME") {
        let volumes = client.volume_list(&VolumeListQuery::default()).await?;
        return Ok(volumes.volumes.into_iter().map(|volume| volume.name).collect());
    }
    Ok(Vec::new())
}
