//! Files that change all at once: nobody ever sees half of one.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use tempfile::NamedTempFile;

/// Replaces the content of a file with what `write` writes. If the machine stops meanwhile, the file
/// has the whole old or the whole new content. Only the owner can read a new file. If anything fails,
/// nothing is left of the new content.
pub(crate) fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let folder = folder(path);
    let mut file = new_file(folder)?;
    write(&mut file)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // This makes the rename durable.
    fs::File::open(folder)?.sync_all()
}

/// Checks whether [`replace`] could begin.
#[cfg(feature = "command")]
pub(crate) fn check(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    new_file(folder(path)).map(drop)
}

fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn new_file(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".new-").tempfile_in(folder)
}
