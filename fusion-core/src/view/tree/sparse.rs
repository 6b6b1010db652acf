//! What only some rows of a page have: blocks of directories, versions that differ.
//!
//! Owns values by row number, sorted. Used by `page` only, which tells it of every row that comes or
//! goes. Must never: hold a row that its page does not have. Tested with the pages.

/// Values of some rows, by row.
#[derive(Debug, Clone)]
pub(super) struct Sparse<T> {
    cells: Vec<(u16, T)>,
}

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Self { cells: Vec::new() }
    }
}

impl<T: Copy> Sparse<T> {
    /// All rows with their values, as they are kept.
    pub(super) fn cells(&self) -> &[(u16, T)] {
        &self.cells
    }

    /// Takes cells that are sorted by row.
    pub(super) fn from_cells(cells: Vec<(u16, T)>) -> Self {
        Self { cells }
    }

    fn position(&self, row: usize) -> usize {
        self.cells.partition_point(|cell| usize::from(cell.0) < row)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    pub(super) fn get(&self, row: usize) -> Option<T> {
        let cell = self.cells.get(self.position(row))?;
        (usize::from(cell.0) == row).then_some(cell.1)
    }

    /// The first row from `row` on that has a value.
    pub(super) fn next_from(&self, row: usize) -> Option<(usize, T)> {
        self.cells.get(self.position(row)).map(|cell| (usize::from(cell.0), cell.1))
    }

    /// All rows with their values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, T)> + '_ {
        self.cells.iter().map(|cell| (usize::from(cell.0), cell.1))
    }

    pub(super) fn set(&mut self, row: usize, value: Option<T>) {
        let at = self.position(row);
        let there = self.cells.get(at).is_some_and(|cell| usize::from(cell.0) == row);
        match (value, there) {
            (Some(value), true) => self.cells[at].1 = value,
            (Some(value), false) => {
                if self.cells.len() == self.cells.capacity() {
                    self.cells.reserve_exact(self.cells.len() / 4 + 1);
                }
                self.cells.insert(at, (narrow(row), value));
            }
            (None, true) => {
                self.cells.remove(at);
            }
            (None, false) => {}
        }
    }

    /// Adds a row behind all others.
    pub(super) fn push(&mut self, row: usize, value: T) {
        debug_assert!(self.cells.last().is_none_or(|cell| usize::from(cell.0) < row));
        self.cells.push((narrow(row), value));
    }

    /// A row was put in before `row`.
    pub(super) fn row_came(&mut self, row: usize) {
        let at = self.position(row);
        for cell in &mut self.cells[at..] {
            cell.0 += 1;
        }
    }

    /// This row went.
    pub(super) fn row_went(&mut self, row: usize) {
        let at = self.position(row);
        if self.cells.get(at).is_some_and(|cell| usize::from(cell.0) == row) {
            self.cells.remove(at);
        }
        for cell in &mut self.cells[at..] {
            cell.0 -= 1;
        }
    }

    /// Rows from `row` on, numbered from 0; they are no longer here.
    pub(super) fn split_off(&mut self, row: usize) -> Self {
        let mut cells = self.cells.split_off(self.position(row));
        for cell in &mut cells {
            cell.0 -= narrow(row);
        }
        cells.shrink_to_fit();
        Self { cells }
    }

    pub(super) fn shrink(&mut self) {
        self.cells.shrink_to_fit();
    }

    pub(super) fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<(u16, T)>()
    }
}

/// A page has few rows (`page::ROWS_MAX`), so a row number always fits.
fn narrow(row: usize) -> u16 {
    debug_assert!(row <= usize::from(u16::MAX));
    row as u16
}
