//! The page with the tables. Each table is between two comments, and is replaced there.

use std::{fmt, fs, path::PathBuf};

use anyhow::{Context as _, Result};

/// A Markdown page.
pub struct Report {
    path: PathBuf,
    text: String,
}

impl Report {
    /// Opens a page.
    pub fn open(path: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, text })
    }

    /// Replaces the table of this name, and writes the page.
    pub fn replace(&mut self, name: &str, table: &Table) -> Result<()> {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let place = || format!("{} has no place for {name}", self.path.display());
        let (before, rest) = self.text.split_once(&begin).with_context(place)?;
        let (_, after) = rest.split_once(&end).with_context(place)?;
        self.text = format!("{before}{begin}{table}{end}{after}");
        Ok(fs::write(&self.path, &self.text)?)
    }
}

/// A Markdown table.
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// A table with a head and no rows.
    pub fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(ToString::to_string).collect()])
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.push(cells.to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, row) in self.0.iter().enumerate() {
            writeln!(f, "| {} |", row.join(" | "))?;
            if index == 0 {
                writeln!(f, "|---|{}", "--:|".repeat(row.len() - 1))?;
            }
        }
        Ok(())
    }
}
