//! `registry`: the image of a registry server, made of this very program, which is one: one static file.
//!
//! It is called, listens, is configured and keeps its content as the reference registry's image, so that what people
//! have written about that one holds for it.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    path::Path,
};

use hako_api::query::{ImageCreateQuery, ImageTagQuery};
use hako_client::RequestBody;

use crate::{
    context::Context,
    error::CommandError,
    progress::{self, Place},
};

/// What the image of the registry says about itself.
const REGISTRY: &[&str] = &[
    "ENTRYPOINT [\"/bin/registry\"]",
    "CMD [\"serve\", \"/etc/docker/registry/config.yml\"]",
    "VOLUME /var/lib/registry",
    "EXPOSE 5000",
    "ENV PATH=/bin",
    "LABEL org.opencontainers.image.description=\"A registry for images, served by hako\"",
];
/// Its names, as people write them.
const REGISTRY_TAGS: [&str; 3] = ["latest", "2", "3"];

/// Where systems keep the authorities that they trust; a registry that is a cache of another one needs them.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

pub(super) async fn make(cx: &Context, quiet: bool) -> Result<(), CommandError> {
    let query = ImageCreateQuery {
        from_src: "-".to_owned(),
        repo: "registry".to_owned(),
        tag: REGISTRY_TAGS[0].to_owned(),
        message: "Made of the hako program by \"hako image bootstrap\"".to_owned(),
        changes: REGISTRY.iter().map(|change| (*change).to_owned()).collect(),
        ..ImageCreateQuery::default()
    };
    let stream = cx.client()?.image_create(&query, None, registry()?).await?;
    progress::show(stream, if quiet { Place::Nowhere } else { Place::Stdout }).await?;
    for tag in &REGISTRY_TAGS[1..] {
        let query = ImageTagQuery { repo: "registry".to_owned(), tag: (*tag).to_owned() };
        cx.client()?.image_tag("registry:latest", &query).await?;
    }
    if quiet { cx.print_line("registry:latest") } else { Ok(()) }
}

// The root file system of the registry's image, as an archive that is written while it is sent.
fn registry() -> Result<RequestBody, CommandError> {
    let said = |error: &io::Error| CommandError::Said(format!("cannot read this program: {error}"));
    let mut program = File::open("/proc/self/exe").map_err(|error| said(&error))?;
    if needs_libraries(&mut program).map_err(|error| said(&error))? {
        return Err(CommandError::Said(
            "this program needs the system's libraries, which the image would not have: use a static build".to_owned(),
        ));
    }
    let authorities = std::fs::read(AUTHORITIES).ok();
    Ok(super::written(move |to| write(to, program, authorities.as_deref())))
}

fn write(to: &mut dyn Write, program: File, authorities: Option<&[u8]>) -> io::Result<()> {
    let mut archive = tar::Builder::new(to);
    for path in [
        "bin",
        "etc",
        "etc/docker",
        "etc/docker/registry",
        "etc/ssl",
        "etc/ssl/certs",
        "var",
        "var/lib",
        "var/lib/registry",
    ] {
        archive.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), path, io::empty())?;
    }
    archive.append_data(&mut header(tar::EntryType::Directory, 0o1777, 0), "tmp", io::empty())?;
    let size = program.metadata()?.len();
    archive.append_data(&mut header(tar::EntryType::Regular, 0o755, size), "bin/registry", program)?;
    if let Some(bytes) = authorities {
        let path = Path::new(AUTHORITIES.trim_start_matches('/'));
        archive.append_data(&mut header(tar::EntryType::Regular, 0o644, bytes.len() as u64), path, bytes)?;
    }
    archive.finish()
}

// Without times and owners: the same program gives the same layer.
fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

// Whether an ELF file names a loader (PT_INTERP), which finds it its libraries.
fn needs_libraries(file: &mut File) -> io::Result<bool> {
    let mut head = [0; 64];
    file.read_exact(&mut head)?;
    let number = |at: usize, count: usize| {
        head[at..at + count].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let mut found = false;
    for index in 0..count {
        file.seek(io::SeekFrom::Start(table + index * size))?;
        let mut kind = [0; 4];
        file.read_exact(&mut kind)?;
        found |= u32::from_le_bytes(kind) == 3;
    }
    file.rewind()?;
    Ok(found)
}
