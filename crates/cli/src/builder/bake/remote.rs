//! Definitions that are elsewhere: `bake https://host/project.git TARGET`.
//!
//! The builder fetches them, as it fetches contexts: this machine needs neither git nor a way to that address. Directories
//! that such files name are in the repository, unless they begin with `cwd://`.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
};

use super::{flags::here, said};
use crate::{
    build::{self, BuildFlags, Mode, is_remote},
    builder::site::Site,
    context::Context,
    error::CommandError,
    parse::path,
};

/// `compose.yaml`, `docker-bake.hcl` and so on: a list of patterns fails at the first that matches nothing.
const LOOKED_FOR: &str = "[cd]o[cm]*[.][hjy]*";

/// Where the definitions are.
pub(super) struct Remote {
    address: String,
    /// What files know as `BAKE_CMD_CONTEXT`: a second address, else the working directory.
    pub command: String,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// Files that were fetched; they go with this.
pub(super) struct Fetched {
    pub directory: PathBuf,
    /// Their names, and where they are now.
    pub files: Vec<(String, PathBuf)>,
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // What cannot be removed is a few files in the directory for such.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Remote {
    /// Takes the addresses from what stands before the targets.
    pub(super) fn take(names: &mut Vec<String>) -> Option<Self> {
        let mut next = || names.first().is_some_and(|name| is_remote(name)).then(|| names.remove(0));
        let address = next()?;
        Some(Self { address, command: next().unwrap_or_else(|| "cwd://".to_owned()) })
    }

    /// Fetches the files that are named, else those of the names that are looked for.
    ///
    /// # Errors
    /// Where the address cannot be read, or has no such file.
    pub(super) async fn fetch(
        &self,
        cx: &Context,
        builder: Option<&str>,
        named: &[String],
        looked_for: &[&str],
    ) -> Result<Fetched, CommandError> {
        let directory = env::temp_dir().join(format!("hako-bake-{}", hako_base::random::hex(8)));
        let mut fetched = Fetched { directory, files: Vec::new() };
        let (empty, files) = (fetched.directory.join("empty"), fetched.directory.join("files"));
        fs::create_dir_all(&empty).map_err(CommandError::local("make a directory for what is fetched"))?;
        if !self.is_repository() {
            // One file, or an archive of several: what it is is known when it is here.
            let dockerfile = format!("FROM scratch\nADD [{:?}, \"/definition\"]\n", self.address);
            self.run(cx, builder, &empty.display().to_string(), dockerfile, &files).await?;
            let at = files.join("definition");
            if !is_archive(&at)? {
                let path = self.address.split(['?', '#']).next().unwrap_or_default();
                let name = path.rsplit('/').next().unwrap_or_default().to_owned();
                fetched.files.push((name, at));
                return Ok(fetched);
            }
        }
        let mut dockerfile = "FROM scratch\n".to_owned();
        if named.is_empty() {
            dockerfile += &format!("COPY [{LOOKED_FOR:?}, \"/\"]\n");
        }
        for name in named {
            dockerfile += &format!("COPY [{name:?}, {:?}]\n", format!("/{}", path::clean(name)));
        }
        self.run(cx, builder, &self.address, dockerfile, &files).await?;
        let names =
            if named.is_empty() { looked_for.iter().map(|name| (*name).to_owned()).collect() } else { named.to_vec() };
        let all = names.into_iter().map(|name| (files.join(path::clean(&name)), name)).map(|(at, name)| (name, at));
        // A link would lead to files of this machine.
        fetched.files.extend(all.filter(|(_, at)| fs::symlink_metadata(at).is_ok_and(|found| found.is_file())));
        Ok(fetched)
    }

    async fn run(
        &self,
        cx: &Context,
        builder: Option<&str>,
        context: &str,
        dockerfile: String,
        to: &Path,
    ) -> Result<(), CommandError> {
        let flags = BuildFlags {
            inline: Some(dockerfile),
            outputs: vec![format!("type=local,\"dest={}\"", to.display())],
            ..BuildFlags::default()
        };
        let named = |error: CommandError| said(format!("{}: {error}", self.address));
        let site = Site::find(cx, builder, &[]).await.map_err(named)?;
        let wanted = build::wanted(cx, &site, &flags, context).map_err(named)?;
        build::build(cx, &site, wanted, Mode::Quiet).await.map_err(named)?;
        Ok(())
    }

    // By git, or by fetching one file.
    fn is_repository(&self) -> bool {
        let path = self.address.split(['#', '?']).next().unwrap_or_default();
        ["git@", "git://", "ssh://", "github.com/"].iter().any(|start| path.starts_with(start))
            || path.ends_with(".git")
    }

    /// Where a directory is that such a file names.
    ///
    /// # Errors
    /// Where it is within what cannot be taken in part.
    pub(super) fn place(&self, named: &str) -> Result<String, String> {
        let is_elsewhere = ["target:", "docker-image:", "oci-layout:"].iter().any(|start| named.starts_with(start));
        if named.starts_with("cwd://") {
            return Ok(path::clean(here(named)));
        }
        if is_elsewhere || is_remote(named) {
            return Ok(named.to_owned());
        }
        let directory = path::clean(named);
        if directory == "." {
            return Ok(self.address.clone());
        }
        if !self.is_repository() {
            return Err(format!(
                "{named}: a part of what is at {} cannot be a context, a part of a repository can",
                self.address
            ));
        }
        if directory.starts_with("..") || directory.starts_with('/') {
            return Err(format!("{named} is not in the repository; cwd:// is the working directory"));
        }
        let (base, fragment) = self.address.split_once('#').unwrap_or((&self.address, ""));
        let (reference, below) = fragment.split_once(':').unwrap_or((fragment, ""));
        let below = path::clean(&Path::new(below).join(directory).to_string_lossy());
        Ok(format!("{base}#{reference}:{below}"))
    }
}

// Archives that builders take contexts from.
fn is_archive(file: &Path) -> Result<bool, CommandError> {
    const STARTS: [&[u8]; 4] = [b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"];
    let mut head = [0; 512];
    let opened = fs::File::open(file).map_err(CommandError::local(format!("open {}", file.display())))?;
    let read = std::io::Read::read(&mut std::io::Read::take(opened, 512), &mut head);
    let read = read.map_err(CommandError::local(format!("read {}", file.display())))?;
    let head = &head[..read];
    Ok(STARTS.iter().any(|start| head.starts_with(start)) || head.get(257..262) == Some(b"ustar"))
}
