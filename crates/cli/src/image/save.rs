//! `image save`: images as a tar archive that `load` takes; and how archives are written.

use std::{fs, io::Write, path::Path};

use hako_api::query::ImageSaveQuery;
use hako_client::BodyReader;
use hako_model::Platform;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    terminal,
};

#[derive(Default)]
pub(crate) struct Save {
    output: String,
    platform: Vec<String>,
}

impl Command for Save {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image save", "save"],
        usage: "[OPTIONS] IMAGE [IMAGE...]",
        about: "Write images as a tar archive",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.output, "-o, --output", "File to write to, instead of standard output");
        set.add(&mut self.platform, "--platform", "Write these platforms alone").kind("strings");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        refuse_terminal(&self.output, "failed to save image")?;
        let query = ImageSaveQuery { names, platform: platforms(&self.platform)?, without: Vec::new() };
        let archive = cx.client()?.image_save(&query).await?;
        write_archive(archive, &self.output).await
    }
}

/// Platforms, with commas between them or each with a flag of its own, as the API has them.
///
/// # Errors
/// A word that is none.
pub(super) fn platforms<'w>(words: impl IntoIterator<Item = &'w String>) -> Result<Vec<String>, CommandError> {
    words.into_iter().flat_map(|word| word.split(',')).map(platform).collect()
}

// Where an image is asked for, the API has a platform as JSON.
fn platform(word: &str) -> Result<String, CommandError> {
    let read = word.parse::<Platform>().map_err(|error| CommandError::Said(format!("invalid platform: {error}")))?;
    serde_json::to_string(&read).map_err(|error| CommandError::Said(error.to_string()))
}

/// An archive on a terminal is never meant.
///
/// # Errors
/// When standard output is a terminal and no file was named, or the file's directory is missing.
pub(crate) fn refuse_terminal(output: &str, failed: &str) -> Result<(), CommandError> {
    if output.is_empty() && terminal::stdout_is_terminal() {
        return Err(CommandError::Usage {
            message: "cowardly refusing to save to a terminal. Use the -o flag or redirect".to_owned(),
            hint: None,
            code: 1,
        });
    }
    let directory = Path::new(output).parent().filter(|parent| !parent.as_os_str().is_empty());
    match directory {
        Some(directory) if !directory.is_dir() => Err(CommandError::Said(format!(
            "{failed}: invalid output path: directory \"{}\" does not exist",
            directory.display()
        ))),
        _ => Ok(()),
    }
}

/// Writes an archive to a file, complete or not at all, or to standard output.
///
/// # Errors
/// When the archive breaks off or cannot be written.
pub(crate) async fn write_archive(mut archive: BodyReader, output: &str) -> Result<(), CommandError> {
    if output.is_empty() {
        let mut out = std::io::stdout().lock();
        while let Some(chunk) = archive.chunk().await? {
            out.write_all(&chunk).map_err(CommandError::Output)?;
        }
        return out.flush().map_err(CommandError::Output);
    }
    let failed = || format!("write {output}");
    if fs::metadata(output).is_ok_and(|metadata| !metadata.is_file()) {
        // A pipe or device is written as it is.
        let mut file = fs::OpenOptions::new().write(true).open(output).map_err(CommandError::local(failed()))?;
        while let Some(chunk) = archive.chunk().await? {
            file.write_all(&chunk).map_err(CommandError::local(failed()))?;
        }
        return Ok(());
    }
    let partial = Partial(format!("{output}.{}.part", hako_base::random::hex(4)));
    let mut file = fs::File::create_new(&partial.0).map_err(CommandError::local(failed()))?;
    while let Some(chunk) = archive.chunk().await? {
        file.write_all(&chunk).map_err(CommandError::local(failed()))?;
    }
    fs::rename(&partial.0, output).map_err(CommandError::local(failed()))
}

/// A file that is not complete; gone again unless it was renamed.
struct Partial(String);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
