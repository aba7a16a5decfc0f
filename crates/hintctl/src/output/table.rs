//! Tables for people: they fit the terminal, numbers stand to the right, and a column of nothing is left out.

use comfy_table::{Attribute, Cell, CellAlignment, Table, presets};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::human::printable;

/// What lies between two columns.
const GAP: usize = 2;

/// No column of names is narrower than this.
const NARROWEST: usize = 9;

struct Column {
    head: String,
    cells: Vec<String>,
    width: usize,
    /// Numbers, sizes and ages: to the right, and never cut.
    is_number: bool,
}

/// A table in lines, each with its end. With a width, names that are too long for it lose their middle, and
/// texts their end.
pub(super) fn render(
    head: &[&str],
    rows: Vec<Vec<String>>,
    width: Option<usize>,
    colours: bool,
) -> String {
    let mut columns: Vec<Column> = head
        .iter()
        .map(|head| Column {
            head: (*head).to_owned(),
            cells: Vec::new(),
            width: 0,
            is_number: true,
        })
        .collect();
    for row in rows {
        for (column, cell) in columns.iter_mut().zip(row) {
            column.cells.push(printable(&cell).replace('\n', "\\n"));
        }
    }
    columns.retain(|column| column.cells.iter().any(|cell| !cell.is_empty()));
    for column in &mut columns {
        let cells = column.cells.iter().chain([&column.head]);
        column.width = cells.map(|cell| cell.width()).max().unwrap_or(0);
        column.is_number = column.cells.iter().all(|cell| is_number(cell));
    }
    if let Some(width) = width {
        fit(&mut columns, width);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let bold = |column: &Column| {
        let cell = Cell::new(&column.head);
        if colours {
            cell.add_attribute(Attribute::Bold)
        } else {
            cell
        }
    };
    table.set_header(columns.iter().map(bold));
    let lines = columns.first().map_or(0, |column| column.cells.len());
    for line in 0..lines {
        let cells = columns.iter().filter_map(|column| column.cells.get(line));
        table.add_row(cells);
    }
    for (number, of) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(number) {
            column.set_padding((
                0,
                if number + 1 < columns.len() {
                    GAP as u16
                } else {
                    0
                },
            ));
            if of.is_number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A line of words, which fits: names lose their middle, and nothing else is cut.
pub(super) fn line(words: &[String], width: Option<usize>) -> String {
    let column = |word: &String| {
        let word = printable(word).into_owned();
        Column {
            head: String::new(),
            width: word.width(),
            is_number: is_number(&word) || word.contains(' '),
            cells: vec![word],
        }
    };
    let mut columns: Vec<Column> = words.iter().map(column).collect();
    if let Some(width) = width {
        fit(&mut columns, width);
    }
    let cells: Vec<&str> = columns
        .iter()
        .flat_map(|of| &of.cells)
        .map(String::as_str)
        .collect();
    cells.join("  ")
}

/// Whether a cell is a number, a size, an age or a time.
fn is_number(cell: &str) -> bool {
    let is_date = cell.get(4..5) == Some("-") && cell.get(7..8) == Some("-");
    if is_date && cell.contains(':') && cell.len() <= 24 {
        return true;
    }
    let cell = cell.strip_prefix("in ").unwrap_or(cell);
    cell.is_empty()
        || ["now", "never", "-"].contains(&cell)
        || cell.starts_with(|c: char| c.is_ascii_digit()) && cell.len() <= 24 && !cell.contains('-')
}

/// Narrows columns of names, the widest first, until all fit.
fn fit(columns: &mut [Column], width: usize) {
    let gaps = GAP * columns.len().saturating_sub(1);
    let mut excess =
        (columns.iter().map(|column| column.width).sum::<usize>() + gaps).saturating_sub(width);
    while excess > 0 {
        let narrowest = |column: &Column| NARROWEST.max(column.head.width());
        let names = columns
            .iter_mut()
            .filter(|column| !column.is_number && column.width > narrowest(column));
        let Some(widest) = names.max_by_key(|column| column.width) else {
            // It does not fit, and is as narrow as it can be.
            break;
        };
        widest.width -= 1;
        excess -= 1;
    }
    for column in columns.iter_mut().filter(|column| !column.is_number) {
        for cell in &mut column.cells {
            if cell.width() > column.width {
                *cell = cut(cell, column.width);
            }
        }
    }
}

/// Cuts the middle of a name, or the end of a text.
fn cut(text: &str, width: usize) -> String {
    if text.contains(' ') {
        return cut_end(text, width);
    }
    let keep = width.saturating_sub(1);
    let behind = keep / 2;
    let before = take(text.chars(), keep - behind);
    let end: String = take(text.chars().rev(), behind).chars().rev().collect();
    format!("{before}…{end}")
}

/// Cuts the end of a text.
pub(super) fn cut_end(text: &str, width: usize) -> String {
    format!("{}…", take(text.chars(), width.saturating_sub(1)))
}

fn take(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut left = width;
    chars
        .take_while(|c| {
            let wide = c.width().unwrap_or(0);
            let fits = wide <= left;
            left = left.saturating_sub(wide);
            fits
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::render;

    const ID: &str = "9a355670-9212-4932-96bd-55417aa90974";

    fn rows() -> Vec<Vec<String>> {
        let row = |name: &str, hints: &str, text: &str| {
            vec![
                name.to_owned(),
                hints.to_owned(),
                String::new(),
                text.to_owned(),
            ]
        };
        vec![
            row(ID, "7", ""),
            row("b", "1234", "a remark that is too long to be shown here"),
        ]
    }

    #[test]
    fn a_table_fits_and_keeps_its_numbers() {
        let head = ["TARGET", "HINTS", "NOTHING", "REMARK"];
        let wide = render(&head, rows(), None, false);
        let narrow = render(&head, rows(), Some(40), false);
        assert!(wide.contains(ID) && !wide.contains("NOTHING"), "{wide}");
        assert!(
            narrow.lines().all(|line| line.chars().count() <= 40),
            "{narrow}"
        );
        assert!(
            narrow.contains("9a355") && narrow.contains("0974"),
            "{narrow}"
        );
        assert!(
            narrow.contains(" 1234") && narrow.contains("    7"),
            "{narrow}"
        );
        // One line a row, each as long as its columns.
        assert_eq!(narrow.lines().count(), 3);
    }

    #[test]
    fn wide_characters_count_twice() {
        let head = ["NAME", "N"];
        let rows = vec![vec!["漢字漢字漢字漢字漢字".to_owned(), "1".to_owned()]];
        let table = render(&head, rows, Some(14), false);
        assert!(
            table
                .lines()
                .all(|line| unicode_width::UnicodeWidthStr::width(line) <= 14),
            "{table}"
        );
    }
}
