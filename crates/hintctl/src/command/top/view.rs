//! Draws what there is: as many columns and rows as the terminal has room for.

use hintstore_admin::message::Status;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table, TableState, Wrap},
};

use super::model::Model;
use crate::command::ctl::{COLUMNS, head, row};

/// In this order columns are given up where the terminal is narrow.
const FIRST_TO_GO: [&str; 6] = ["FAILED", "RATE", "BYTES", "LIMIT", "DONE IN", "OLDEST"];
/// A target's id takes no less: its first and last characters, and what says that it is cut.
const ID_MIN: u16 = 9;
const ID_MAX: u16 = 36;
/// No cell is wider.
const CELL_MAX: usize = 40;
/// Concerns that are shown at once.
const CONCERNS_MAX: usize = 3;

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let concerns = concerns(model);
    let words_now = [last_words(model)];
    let areas = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(3),
        // Each says what to do at its end: in two lines where one is too short.
        Constraint::Length(lines_of(&concerns, frame.area().width)),
        Constraint::Length(lines_of(&words_now, frame.area().width).max(1)),
        Constraint::Length(1),
    ]);
    let [top, middle, below, words, keys] = areas.areas(frame.area());
    frame.render_widget(Paragraph::new(heading(model, top.width)), top);
    targets(frame, model, middle);
    let wrapped = |lines: Vec<Line<'static>>| Paragraph::new(lines).wrap(Wrap { trim: false });
    frame.render_widget(wrapped(concerns), below);
    frame.render_widget(wrapped(words_now.to_vec()), words);
    let help = " ↑↓ choose  p pause  r resume  l limit  L limit all  s sort  R reload  q end";
    frame.render_widget(Paragraph::new(help).style(dim()), keys);
}

/// How many lines these take, two for each at most.
fn lines_of(lines: &[Line<'_>], width: u16) -> u16 {
    let of = |line: &Line<'_>| {
        if line.width() > usize::from(width) {
            2
        } else {
            1
        }
    };
    lines.iter().map(of).sum()
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn heading(model: &Model, width: u16) -> Vec<Line<'static>> {
    let status = &model.status;
    let speed = model.speed.map_or(String::new(), |(ended, accepted)| {
        format!("{accepted:.0} in/s  {ended:.0} out/s  ")
    });
    let ended = status.ended.iter().filter(|(_, count)| **count > 0);
    let ended = ended.map(|(end, count)| format!("{count} {end}"));
    let second = [speed, ended.collect::<Vec<_>>().join(", ")].concat();
    let order = format!("by {}", model.sort.word());
    let room = usize::from(width).saturating_sub(order.len() + 1);
    let second = format!("{:room$} {order}", cut(&second, room));
    vec![
        Line::from(vec![Span::styled(head(status), bold())]),
        Line::from(second),
    ]
}

fn concerns(model: &Model) -> Vec<Line<'static>> {
    let all = &model.status.concerns;
    let mut lines: Vec<Line<'static>> = Vec::new();
    for concern in all.iter().take(CONCERNS_MAX) {
        let urgency = Span::styled(format!("{}: ", concern.urgency), bold());
        lines.push(Line::from(vec![urgency, Span::raw(concern.text.clone())]));
    }
    if all.len() > CONCERNS_MAX {
        let more = all.len() - CONCERNS_MAX;
        lines.push(Line::from(format!(
            "and {more} more: see hintctl ctl status SOCKET"
        )));
    }
    lines
}

fn last_words(model: &Model) -> Line<'static> {
    if let Some(typing) = &model.typing {
        let of = typing.target.as_deref().unwrap_or("all together");
        let ask = format!("limit {} (20MiB, none): ", cut_middle(of, 13));
        return Line::from(vec![
            Span::raw(ask),
            Span::styled(format!("{}_", typing.text), bold()),
        ]);
    }
    let words = if model.is_lost {
        format!("what is shown is old: {}", model.words)
    } else {
        model.words.clone()
    };
    Line::from(Span::styled(words, bold()))
}

fn targets(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let shown = Shown::of(&model.status, area.width);
    let header = Row::new(shown.row(&COLUMNS.map(str::to_owned)));
    let rows = shown
        .rows
        .iter()
        .zip(&model.status.targets)
        .map(|(cells, of)| {
            let is_well = of.failures == 0 && !of.past_window;
            let style = if is_well { Style::new() } else { bold() };
            Row::new(shown.row(cells)).style(style)
        });
    let table = Table::new(rows, shown.widths.iter().copied().map(Constraint::Length))
        .header(header.style(bold()))
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(model.place());
    frame.render_stateful_widget(table, area, &mut state);
}

/// Rows of cells, and which of their columns are shown how wide.
struct Shown {
    rows: Vec<Vec<String>>,
    columns: Vec<usize>,
    widths: Vec<u16>,
}

impl Shown {
    fn of(status: &Status, width: u16) -> Self {
        let rows: Vec<Vec<String>> = status.targets.iter().map(|of| row(of, status)).collect();
        let needs = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widths = cells.map(|cell| cell.chars().count());
            let name = COLUMNS.get(column).map_or(0, |name| name.len());
            let widest = widths.max().unwrap_or(0).max(name).min(CELL_MAX);
            u16::try_from(widest).unwrap_or(u16::MAX)
        };
        let is_empty = |column: usize| {
            let mut cells = rows.iter().filter_map(|row| row.get(column));
            cells.all(String::is_empty)
        };
        let mut columns: Vec<usize> = (0..COLUMNS.len()).collect();
        let total = |columns: &[usize], id: u16| {
            let others = columns.iter().skip(1).map(|column| needs(*column) + 1);
            others.fold(id, u16::saturating_add)
        };
        if total(&columns, ID_MIN) > width {
            columns.retain(|column| !is_empty(*column));
        }
        for name in FIRST_TO_GO {
            if total(&columns, ID_MIN) > width {
                columns.retain(|column| COLUMNS.get(*column) != Some(&name));
            }
        }
        let left = width.saturating_sub(total(&columns, 0));
        let id = left.clamp(ID_MIN, ID_MAX);
        let others = columns.iter().skip(1).map(|column| needs(*column));
        let widths = [id].into_iter().chain(others).collect();
        Self {
            rows,
            columns,
            widths,
        }
    }

    fn row(&self, cells: &[String]) -> Vec<Cell<'static>> {
        let columns = self.columns.iter().zip(&self.widths);
        let cells = columns.map(|(column, width)| {
            let text = cells.get(*column).map_or("", String::as_str);
            let width = usize::from(*width);
            match COLUMNS.get(*column) {
                Some(&"TARGET") => Cell::new(cut_middle(text, width)),
                Some(&"STATE") => Cell::new(text.to_owned()),
                // Numbers stand under each other.
                _ => Cell::new(format!("{text:>width$}")),
            }
        });
        cells.collect()
    }
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// The first and the last characters of an id that is longer than there is room.
fn cut_middle(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (first, last) = (kept.div_ceil(2), kept / 2);
    let end = text.chars().skip(length - last);
    text.chars().take(first).chain(['…']).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use hintstore_admin::message::{Concern, Target};
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    fn status() -> Status {
        let target = |number: u8| Target {
            target: format!("9a355670-9212-4932-96bd-0000000000{number:02}"),
            state: if number == 3 { "paused" } else { "up" }.to_owned(),
            pending: 1_234_567 * u64::from(number),
            bytes: 987_654_321,
            oldest_ms: Some(1_800_000_000_000 - 8_000_000),
            next_expiry_ms: Some(1_800_000_000_000 + 90_000 * i64::from(number)),
            converges_in_ms: Some(3_700_000),
            rate_bytes_per_second: Some(5 << 20),
            limit_bytes_per_second: Some(20 << 20),
            failures: if number == 2 { 7 } else { 0 },
            past_window: number == 5,
            ..Target::default()
        };
        let concern = |text: &str| Concern {
            urgency: "critical".to_owned(),
            text: text.to_owned(),
        };
        Status {
            at_ms: 1_800_000_000_000,
            pending: 12_345_678,
            disk_used_bytes: 9_876_543_210,
            disk_cap_bytes: Some(20 << 30),
            ended: [("delivered".to_owned(), 42)].into(),
            concerns: vec![concern("1 loss receipt: repair what it names")],
            targets: (1..40).map(target).collect(),
            ..Status::default()
        }
    }

    fn drawn(model: &Model, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| {
            let cells = (0..width).map(|x| buffer[(x, y)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        };
        (0..height).map(line).collect()
    }

    #[test]
    fn a_narrow_terminal_cuts_ids_and_no_number() {
        let lines = drawn(&Model::new(status()), 80, 24);
        let all = lines.join("\n");
        assert!(
            lines[0].starts_with("12345678 hints waiting for 39 targets"),
            "{all}"
        );
        assert!(lines[1].ends_with("by what expires first"), "{all}");
        let head: Vec<&str> = lines[2].split_whitespace().collect();
        let shown = [
            "TARGET", "STATE", "HINTS", "OLDEST", "EXPIRES", "DONE", "IN",
        ];
        assert!(shown.iter().all(|column| head.contains(column)), "{all}");
        assert!(
            lines[3].contains('…') && lines[3].contains("1234567"),
            "{all}"
        );
        assert!(
            lines[3].contains("2h13m") && lines[3].contains("1h1m"),
            "{all}"
        );
        assert!(lines[7].contains("up (past window)"), "{all}");
        assert!(lines[21].starts_with("critical: 1 loss receipt"), "{all}");
        assert!(lines[23].contains("q end"), "{all}");
    }

    #[test]
    fn a_wide_terminal_shows_all() {
        let mut model = Model::new(status());
        model.lost("nobody serves it");
        let lines = drawn(&model, 200, 50);
        let all = lines.join("\n");
        assert!(
            COLUMNS.iter().all(|column| lines[2].contains(column)),
            "{all}"
        );
        assert!(
            lines[3].contains("9a355670-9212-4932-96bd-000000000001"),
            "{all}"
        );
        assert!(lines[3].contains("20.0 MiB/s"), "{all}");
        assert!(lines[4].trim_end().ends_with('7'), "{all}");
        assert!(
            lines[48].starts_with("what is shown is old: nobody"),
            "{all}"
        );
    }

    #[test]
    fn any_size_can_be_drawn() {
        let mut model = Model::new(status());
        for (width, height) in [(1, 1), (3, 40), (20, 5), (79, 8), (500, 2)] {
            drawn(&model, width, height);
        }
        model.update(Status::default());
        drawn(&model, 80, 24);
    }
}
