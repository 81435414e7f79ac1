//! Files that change all at once: nobody ever sees half of one.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

/// Replaces the content of a file with what `write` writes. If the machine stops meanwhile, the file
/// has the whole old or the whole new content. Only the owner can read a new file. If anything fails,
/// nothing is left of the new content.
pub(crate) fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    write(&mut file)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // This makes the rename durable.
    fs::File::open(folder)?.sync_all()
}
