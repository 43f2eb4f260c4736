//! Recipes: an archive without the bytes of the files that were unpacked from it. With those files, it gives the archive
//! again, byte for byte.
//!
//! ```text
//!   archive ──► unpack_recorded ──► files
//!                     └──► recipe: headers, padding, order; of each file its path, length and check sum
//!   recipe + files ──► Spliced ──► archive
//! ```
//! A recipe is a row of records: a letter, and what [`Record`] says. What an archive has twice under one name would be
//! lost by its successor: it is moved aside instead, and the recipe says when. Whether the result is the archive, its
//! digest says; the check sums only name the file that has changed.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs::File,
    io::{self, BufRead, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use flate2::Crc;
use rustix::{
    fs::{FileType, OFlags},
    io::Errno,
};

use crate::{
    UnpackError, UnpackOptions, Unpacked, limits,
    tar::TarError,
    unpack::{ASIDE, Watched, Witness, unpack_watched},
    walk,
};

const MAGIC: &[u8; 14] = b"hako recipe 1\n";

/// The name of the unpacked tree in a layer's directory.
const FILES: &[u8] = b"fs";

const LITERAL: u8 = b'L';
const CONTENT: u8 = b'F';
const MOVED: u8 = b'A';
const END: u8 = b'E';

/// Unpacks everything that `input` has into `fs` in the directory `layer`, and writes its recipe. Reads to the end of the
/// stream, behind the archive's own.
///
/// # Errors
/// As [`crate::unpack`]; a recipe that cannot be written is told as a failing input.
pub fn unpack_recorded<R: BufRead, W: Write>(
    input: R,
    layer: BorrowedFd<'_>,
    options: &UnpackOptions,
    output: W,
) -> Result<(Unpacked, W), UnpackError> {
    let broken = |source| UnpackError::Tar(TarError::Read { source });
    let root = walk::open_leaf(layer, FILES, OFlags::RDONLY | OFlags::DIRECTORY).map_err(broken)?;
    let recorder = Recorder::new(output).map_err(broken)?;
    let input = Recorded { input, recorder: &recorder };
    let watched = Watched { witness: &recorder, beside: layer };
    let (done, mut input) = unpack_watched(input, root.as_fd(), options, Some(watched))?;
    loop {
        let count = input.fill_buf().map_err(broken)?.len();
        if count == 0 {
            break;
        }
        input.consume(count);
    }
    Ok((done, recorder.finish().map_err(broken)?))
}

/// Writes a recipe while its archive is taken.
struct Recorder<W>(RefCell<Recording<W>>);

struct Recording<W> {
    output: W,
    /// What belongs to no file and is not written yet.
    literal: Vec<u8>,
    content: Option<Content>,
    moved: u64,
    total: u64,
    failure: Option<io::Error>,
}

struct Content {
    path: Vec<u8>,
    sum: Crc,
    length: u64,
}

impl<W: Write> Recorder<W> {
    fn new(mut output: W) -> io::Result<Self> {
        output.write_all(MAGIC)?;
        let (literal, content) = (Vec::with_capacity(limits::RECIPE_LITERAL_BYTES_MAX), None);
        Ok(Self(RefCell::new(Recording { output, literal, content, moved: 0, total: 0, failure: None })))
    }

    fn finish(self) -> io::Result<W> {
        let mut recording = self.0.into_inner();
        recording.literal_flush();
        let total = recording.total;
        recording.write(&[&[END], &total.to_le_bytes()]);
        recording.failure.map_or(Ok(recording.output), Err)
    }
}

impl<W: Write> Recording<W> {
    fn take(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        if let Some(content) = &mut self.content {
            content.sum.update(bytes);
            content.length += bytes.len() as u64;
            return;
        }
        for piece in bytes.chunks(limits::RECIPE_LITERAL_BYTES_MAX) {
            if self.literal.len() + piece.len() > limits::RECIPE_LITERAL_BYTES_MAX {
                self.literal_flush();
            }
            self.literal.extend_from_slice(piece);
        }
    }

    fn literal_flush(&mut self) {
        if self.literal.is_empty() {
            return;
        }
        let literal = std::mem::take(&mut self.literal);
        self.write(&[&[LITERAL], &length_of(&literal), &literal]);
        self.literal = literal;
        self.literal.clear();
    }

    // The first failure is the one that is told; after it nothing is written.
    fn write(&mut self, parts: &[&[u8]]) {
        if self.failure.is_none() {
            self.failure = parts.iter().try_for_each(|part| self.output.write_all(part)).err();
        }
    }
}

fn length_of(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

impl<W: Write> Witness for Recorder<W> {
    fn begin(&self, path: &[u8]) {
        let mut recording = self.0.borrow_mut();
        recording.literal_flush();
        recording.content = Some(Content { path: path.to_vec(), sum: Crc::new(), length: 0 });
    }

    fn end(&self) {
        let mut recording = self.0.borrow_mut();
        if let Some(Content { path, sum, length }) = recording.content.take() {
            let head = [&[CONTENT], &length_of(&path)[..], &path].concat();
            recording.write(&[&head, &length.to_le_bytes(), &sum.sum().to_le_bytes()]);
        }
    }

    fn moved(&self, path: &[u8]) -> u64 {
        let mut recording = self.0.borrow_mut();
        recording.literal_flush();
        recording.write(&[&[MOVED], &length_of(path), path]);
        recording.moved += 1;
        recording.moved
    }
}

/// An archive whose bytes are written down as they are taken.
struct Recorded<'r, R, W> {
    input: R,
    recorder: &'r Recorder<W>,
}

impl<R: BufRead, W: Write> BufRead for Recorded<'_, R, W> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(failure) = self.recorder.0.borrow_mut().failure.take() {
            return Err(failure);
        }
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What is consumed stands in the buffer: nothing is read, and nothing can fail.
        if let (true, Ok(chunk)) = (count > 0, self.input.fill_buf()) {
            self.recorder.0.borrow_mut().take(&chunk[..count]);
        }
        self.input.consume(count);
    }
}

impl<R: BufRead, W: Write> Read for Recorded<'_, R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let chunk = self.fill_buf()?;
        let count = chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&chunk[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// One record of a recipe.
enum Record {
    /// So many bytes that stand in the recipe itself, next.
    Literal(u64),
    /// So many bytes of a file, and their check sum.
    Content { path: Vec<u8>, length: u64, sum: u32 },
    /// What had this path lies aside from now on, under the next number.
    Moved(Vec<u8>),
    /// The archive had so many bytes.
    End(u64),
}

impl Record {
    fn read(recipe: &mut impl Read) -> io::Result<Self> {
        let [kind] = array(recipe)?;
        Ok(match kind {
            LITERAL => Self::Literal(u32::from_le_bytes(array(recipe)?).into()),
            CONTENT => Self::Content {
                path: path(recipe)?,
                length: u64::from_le_bytes(array(recipe)?),
                sum: u32::from_le_bytes(array(recipe)?),
            },
            MOVED => Self::Moved(path(recipe)?),
            END => Self::End(u64::from_le_bytes(array(recipe)?)),
            _ => return Err(damaged("the recipe is damaged")),
        })
    }
}

fn damaged(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

fn array<const N: usize>(recipe: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    recipe.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn path(recipe: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = u32::from_le_bytes(array(recipe)?) as usize;
    if length > limits::RECIPE_PATH_BYTES_MAX {
        return Err(damaged("the recipe is damaged"));
    }
    let mut path = vec![0; length];
    recipe.read_exact(&mut path)?;
    Ok(path)
}

/// Where what made room lies.
#[derive(Default)]
struct Moves {
    /// By path: behind how many files it was moved, and under which number; in order.
    by_path: HashMap<Vec<u8>, Vec<(u64, u64)>>,
}

impl Moves {
    fn read(recipe: &mut impl BufRead) -> io::Result<Self> {
        let (mut moves, mut files, mut count) = (Self::default(), 0, 0);
        check_magic(recipe)?;
        loop {
            match Record::read(recipe)? {
                Record::Literal(length) => {
                    if io::copy(&mut recipe.by_ref().take(length), &mut io::sink())? != length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Record::Content { .. } => files += 1,
                Record::Moved(path) => {
                    count += 1;
                    moves.by_path.entry(path).or_default().push((files, count));
                }
                Record::End(_) => return Ok(moves),
            }
        }
    }

    /// Where the file with this number, which was unpacked at `path`, is now, in the layer's directory.
    fn place(&self, file: u64, path: &[u8]) -> Vec<u8> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        let first = ends
            .filter_map(|end| {
                let moves = self.by_path.get(&path[..end])?;
                // The first one after the file: what lies aside is never moved again.
                let at = moves.partition_point(|(files, _)| *files <= file);
                moves.get(at).map(|(files, number)| (*files, *number, end))
            })
            .min();
        match first {
            Some((_, number, end)) => [ASIDE.as_bytes(), format!("/{number}").as_bytes(), &path[end..]].concat(),
            None => [FILES, b"/", path].concat(),
        }
    }
}

fn check_magic(recipe: &mut impl Read) -> io::Result<()> {
    if array(recipe)? == *MAGIC { Ok(()) } else { Err(damaged("it is not a recipe")) }
}

/// A file that is not what was unpacked: its path, and what is wrong with it.
pub type DamagedFile = (Vec<u8>, &'static str);

/// An archive that is read from its recipe and its files.
pub struct Spliced<R> {
    layer: OwnedFd,
    recipe: R,
    moves: Moves,
    /// Files of which something was read, so far.
    files: u64,
    total: u64,
    piece: Piece,
    /// `None`: the first file that is not what it was ends the reading.
    damage: Option<Vec<DamagedFile>>,
}

/// What is being read.
enum Piece {
    Nothing,
    Literal(u64),
    File { file: Option<File>, path: Vec<u8>, left: u64, sum: Crc, expected: u32 },
    End,
}

impl<R: BufRead> Spliced<R> {
    /// The archive of the files in `fs` in the directory `layer`. `recipe` opens the recipe, perhaps twice.
    ///
    /// # Errors
    /// Those of the disk; when it is no recipe.
    pub fn open(layer: OwnedFd, mut recipe: impl FnMut() -> io::Result<R>) -> io::Result<Self> {
        let moves = match walk::stat_leaf(layer.as_fd(), ASIDE.as_bytes())? {
            Some(_) => Moves::read(&mut recipe()?)?,
            None => Moves::default(),
        };
        let mut recipe = recipe()?;
        check_magic(&mut recipe)?;
        Ok(Self { layer, recipe, moves, files: 0, total: 0, piece: Piece::Nothing, damage: None })
    }

    /// Goes on when a file is not what it was: what is missing of it becomes zeros.
    #[must_use]
    pub fn in_spite_of_damage(self) -> Self {
        Self { damage: Some(Vec::new()), ..self }
    }

    /// The files that were not what they had been.
    pub fn damage(&mut self) -> Vec<DamagedFile> {
        self.damage.as_mut().map(std::mem::take).unwrap_or_default()
    }

    // Begins with the next record.
    fn next(&mut self) -> io::Result<()> {
        self.piece = match Record::read(&mut self.recipe)? {
            Record::Literal(length) => Piece::Literal(length),
            Record::Content { path, length, sum } => {
                let place = self.moves.place(self.files, &path);
                self.files += 1;
                let file = match open(self.layer.as_fd(), &place, length) {
                    Ok(file) => Some(file),
                    Err(why) => {
                        Self::report(&mut self.damage, &path, why?)?;
                        None
                    }
                };
                Piece::File { file, path, left: length, sum: Crc::new(), expected: sum }
            }
            Record::Moved(_) => Piece::Nothing,
            Record::End(total) if total == self.total => Piece::End,
            Record::End(_) => return Err(damaged("the recipe is damaged")),
        };
        Ok(())
    }

    fn report(damage: &mut Option<Vec<DamagedFile>>, path: &[u8], why: &'static str) -> io::Result<()> {
        let Some(damage) = damage else {
            return Err(damaged(format!("the file /{} {why}", String::from_utf8_lossy(path))));
        };
        if damage.last().is_none_or(|(last, _)| last != path) {
            damage.push((path.to_vec(), why));
        }
        Ok(())
    }

    // Some bytes of the present piece; none at its end.
    fn some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.piece {
            Piece::Nothing | Piece::End => Ok(0),
            Piece::Literal(left) => {
                let count = self.recipe.read(most(buffer, *left))?;
                if count == 0 && *left > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= count as u64;
                Ok(count)
            }
            Piece::File { file, path, left, sum, expected } => {
                let buffer = most(buffer, *left);
                let read = file.as_mut().map_or(Ok(0), |file| file.read(buffer));
                let mut count = read.as_ref().map_or(0, |count| *count);
                if count == 0 && *left > 0 {
                    if file.take().is_some() {
                        let why = if read.is_err() { "cannot be read" } else { "has other content" };
                        Self::report(&mut self.damage, path, why)?;
                    }
                    buffer.fill(0);
                    count = buffer.len();
                }
                sum.update(&buffer[..count]);
                *left -= count as u64;
                if *left == 0 && file.is_some() && sum.sum() != *expected {
                    Self::report(&mut self.damage, path, "has other content")?;
                }
                Ok(count)
            }
        }
    }
}

fn most(buffer: &mut [u8], left: u64) -> &mut [u8] {
    let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    &mut buffer[..length]
}

// The file at a path without links, if it has this length; else what is wrong with it, or why nothing can be said.
fn open(layer: BorrowedFd<'_>, place: &[u8], length: u64) -> Result<File, io::Result<&'static str>> {
    // Nothing but a file may be opened, even for a moment: opening a device does something.
    let there = walk::open_leaf(layer, place, OFlags::PATH).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok("is missing"),
        Some(Errno::IO | Errno::BADMSG) => Ok("cannot be read"),
        _ => Err(error),
    })?;
    let stat = rustix::fs::fstat(&there).map_err(|error| Err(error.into()))?;
    if walk::file_type(&stat) != FileType::RegularFile {
        return Err(Ok("is of another kind"));
    }
    if u64::try_from(stat.st_size).ok() != Some(length) {
        return Err(Ok("has other content"));
    }
    let path = walk::through_proc(there.as_fd(), None);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|error| Err(error.into()))?;
    Ok(file.into())
}

impl<R: BufRead> Read for Spliced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        // Headers are short: whoever reads is not called for each of them.
        while filled < buffer.len() {
            let count = self.some(&mut buffer[filled..])?;
            filled += count;
            self.total += count as u64;
            match (count, &self.piece) {
                (0, Piece::End) => break,
                (0, _) => self.next()?,
                _ => {}
            }
        }
        Ok(filled)
    }
}
