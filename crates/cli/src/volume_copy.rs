//! Commands that docker does not have: snapshots, clones, export and import of volumes.

use hako_api::{
    query::{VolumeCloneQuery, VolumeImportQuery, VolumeSnapshotCreateQuery, VolumeSnapshotQuery},
    volume::VolumeSnapshot,
};

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::listing::{self, Row},
    image::{import, save},
    terminal,
};

#[derive(Default)]
pub(crate) struct Snapshot {
    remove: bool,
}

impl Command for Snapshot {
    const SHAPE: &'static Shape = &Shape {
        paths: &["volume snapshot"],
        usage: "[OPTIONS] VOLUME SNAPSHOT",
        about: "Keep what a volume has now; its containers stand still meanwhile",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.remove, "--rm", "Remove that snapshot instead");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let client = cx.client()?;
        if self.remove {
            client.volume_snapshot_remove(&words[0], &words[1]).await?;
        } else {
            client.volume_snapshot_create(&words[0], &VolumeSnapshotCreateQuery { name: words[1].clone() }).await?;
        }
        cx.print_line(&words[1])
    }
}

#[derive(Default)]
pub(crate) struct Snapshots {
    format: String,
    quiet: bool,
}

const SHAPE: listing::Shape = listing::Shape {
    columns: &[("Name", "SNAPSHOT"), ("CreatedAt", "CREATED AT")],
    table: "{{.Name}}\t{{.CreatedAt}}",
};

impl Command for Snapshots {
    const SHAPE: &'static Shape = &Shape {
        paths: &["volume snapshots"],
        usage: "[OPTIONS] VOLUME",
        about: "List the snapshots of a volume",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each");
        set.add(&mut self.quiet, "-q, --quiet", "Names alone");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let found = cx.client()?.volume_snapshot_list(&words[0]).await?;
        let rows: Vec<SnapshotRow> = found.into_iter().map(SnapshotRow).collect();
        let format = if self.quiet && self.format.is_empty() { "{{.Name}}" } else { &self.format };
        cx.print(&listing::render(&SHAPE, format, &rows)?)
    }
}

struct SnapshotRow(VolumeSnapshot);

impl Row for SnapshotRow {
    fn column(&self, name: &str) -> String {
        match name {
            "Name" => self.0.name.clone(),
            "CreatedAt" => self.0.created_at.clone(),
            _ => String::new(),
        }
    }
}

#[derive(Default)]
pub(crate) struct Restore;

impl Command for Restore {
    const SHAPE: &'static Shape = &Shape {
        paths: &["volume restore"],
        usage: "VOLUME SNAPSHOT",
        about: "Take a volume that nobody uses back to what a snapshot has",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let query = VolumeSnapshotQuery { snapshot: Some(words[1].clone()) };
        let restored = cx.client()?.volume_restore(&words[0], &query).await?;
        cx.print_line(&restored.name)
    }
}

#[derive(Default)]
pub(crate) struct Clone {
    snapshot: Option<String>,
}

impl Command for Clone {
    const SHAPE: &'static Shape = &Shape {
        paths: &["volume clone"],
        usage: "[OPTIONS] VOLUME NEW_VOLUME",
        about: "Make a volume with what another has; its containers stand still meanwhile",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.snapshot, "--snapshot", "What a snapshot of it has");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let query = VolumeCloneQuery { to: words[1].clone(), snapshot: self.snapshot };
        let made = cx.client()?.volume_clone(&words[0], &query).await?;
        cx.print_line(&made.name)
    }
}

#[derive(Default)]
pub(crate) struct Export {
    output: String,
    snapshot: Option<String>,
}

impl Command for Export {
    const SHAPE: &'static Shape = &Shape {
        paths: &["volume export"],
        usage: "[OPTIONS] VOLUME",
        about: "Write a volume as a tar archive",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.output, "-o, --output", "File to write to, instead of standard output");
        set.add(&mut self.snapshot, "--snapshot", "What a snapshot of it has");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        save::refuse_terminal(&self.output, "failed to export volume")?;
        let query = VolumeSnapshotQuery { snapshot: self.snapshot };
        let archive = cx.client()?.volume_export(&words[0], &query).await?;
        save::write_archive(archive, &self.output).await
    }
}

#[derive(Default)]
pub(crate) struct Import {
    replace: bool,
}

impl Command for Import {
    const SHAPE: &'static Shape = &Shape {
        paths: &["volume import"],
        usage: "[OPTIONS] VOLUME file|-",
        about: "Fill a volume, made if it is not there, from a tar archive",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.replace, "--replace", "Instead of what is in it now");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let archive = match words[1].as_str() {
            "-" if terminal::stdin_is_terminal() => {
                return Err(CommandError::Said("requested import from stdin, but stdin is a terminal".to_owned()));
            }
            "-" => import::from_stdin(),
            file => import::from_file(file)?,
        };
        let query = VolumeImportQuery { replace: self.replace };
        let volume = cx.client()?.volume_import(&words[0], &query, archive).await?;
        cx.print_line(&volume.name)
    }
}
