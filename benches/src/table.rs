//! One table per figure, as text that also reads as Markdown.

use std::path::Path;

use crate::disk;
use crate::stats::show;

pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    pub fn new(title: &str, head: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()],
            notes: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// What was wanted, and whether it was reached.
    pub fn target(&mut self, reached: bool, text: &str) {
        let word = if reached { "reached" } else { "MISSED" };
        self.notes.push(format!("target {word}: {text}"));
    }

    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Print it, with what an fsync costs in this folder right now.
    pub fn print(mut self, folder: &Path) {
        let fsync = disk::fsync_time(folder);
        self.notes
            .push(format!("fsync of 4 KiB here, now: {}", show(fsync)));
        println!("\n### {}\n", self.title);
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let cells = widths.iter().enumerate().map(|(column, width)| {
                let cell = row.get(column).map_or("", String::as_str);
                let padding = " ".repeat(width - cell.chars().count());
                format!(" {cell}{padding} ")
            });
            println!("|{}|", cells.collect::<Vec<_>>().join("|"));
            if index == 0 {
                let lines = widths.iter().map(|width| "-".repeat(width + 2));
                println!("|{}|", lines.collect::<Vec<_>>().join("|"));
            }
        }
        println!();
        for note in &self.notes {
            println!("- {note}");
        }
    }
}
