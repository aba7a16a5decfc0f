//! Bars as SVG, readable in the dark and on a phone, with nothing from elsewhere.

use std::fmt::Write as _;

/// A bar, and beside it what it is measured by.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    /// The value for people.
    pub(crate) text: String,
    pub(crate) limit: Option<f64>,
}

/// Colours by what the reader's screen is set to.
pub(crate) const STYLE: &str = "\
:root{--ink:#1b1f24;--paper:#fff;--bar:#2f6fb0;--limit:#c9d3de;--bad:#c0392b}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--paper:#15181c;--bar:#6fa8dc;--limit:#3a424c;--bad:#ff7961}}\
text{fill:var(--ink);font:13px system-ui,sans-serif}.bar{fill:var(--bar)}.limit{fill:var(--limit)}.bad{fill:var(--bad)}";

/// How wide bars are with what stands beside them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) width: f64,
    label: f64,
    value: f64,
}

/// For a page, also on a phone.
pub(crate) const NARROW: Room = Room {
    width: 440.0,
    label: 170.0,
    value: 120.0,
};

/// For a picture of its own.
pub(crate) const WIDE: Room = Room {
    width: 640.0,
    label: 300.0,
    value: 60.0,
};

const ROW: f64 = 24.0;

/// Text that is no mark-up.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Bars one below the other, the longest of them as long as there is room.
pub(crate) fn bars(bars: &[Bar], room: Room) -> String {
    let Room {
        width,
        label,
        value,
    } = room;
    let longest = bars
        .iter()
        .map(|bar| bar.value.max(bar.limit.unwrap_or(0.0)))
        .fold(0.0_f64, f64::max);
    let room = width - label - value;
    let long = |value: f64| {
        if longest > 0.0 {
            value / longest * room
        } else {
            0.0
        }
    };
    let height = ROW * bars.len() as f64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">"
    );
    for (number, bar) in bars.iter().enumerate() {
        let top = ROW * number as f64;
        let mut add = |text: std::fmt::Arguments<'_>| {
            let _infallible = svg.write_fmt(text);
        };
        add(format_args!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            label - 8.0,
            top + 16.0,
            escape(&short(&bar.label, label))
        ));
        if let Some(limit) = bar.limit {
            add(format_args!(
                "<rect class=\"limit\" x=\"{label}\" y=\"{}\" width=\"{:.1}\" height=\"18\"/>",
                top + 3.0,
                long(limit)
            ));
        }
        add(format_args!(
            "<rect class=\"bar\" x=\"{label}\" y=\"{}\" width=\"{:.1}\" height=\"10\"><title>{}</title></rect>",
            top + 7.0,
            long(bar.value),
            escape(&bar.label)
        ));
        add(format_args!(
            "<text x=\"{width}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            top + 16.0,
            escape(&bar.text)
        ));
    }
    svg.push_str("</svg>");
    svg
}

/// A strip as long as a file, and where in it something is damaged.
pub(crate) fn strip(length: u64, damaged: &[(u64, u64)]) -> String {
    let width = NARROW.width;
    let at = |byte: u64| byte as f64 / length.max(1) as f64 * width;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} 14\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">\
         <rect class=\"limit\" width=\"{width}\" height=\"14\"/>"
    );
    for (from, bytes) in damaged {
        let text = format!("{bytes} bytes at {from}");
        let _infallible = write!(
            svg,
            "<rect class=\"bad\" x=\"{:.1}\" width=\"{:.1}\" height=\"14\"><title>{text}</title></rect>",
            at(*from),
            at(*bytes).max(2.0)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// A label that fits before its bar: without its middle.
fn short(label: &str, room: f64) -> String {
    // A letter takes less.
    let most = (1..200)
        .take_while(|count| f64::from(*count) * 8.6 < room)
        .count();
    let count = label.chars().count();
    if count <= most {
        return label.to_owned();
    }
    let half = most / 2;
    let begin: String = label.chars().take(half).collect();
    let end: String = label.chars().skip(count - half + 1).collect();
    format!("{begin}…{end}")
}

#[cfg(test)]
mod tests {
    use super::{Bar, NARROW, bars, escape};

    #[test]
    fn the_longest_bar_fills_the_room_and_names_are_no_mark_up() {
        let bar = |label: &str, value: f64, limit| Bar {
            label: label.to_owned(),
            value,
            text: value.to_string(),
            limit,
        };
        let svg = bars(
            &[bar("<script>", 5.0, Some(10.0)), bar("b", 2.5, None)],
            NARROW,
        );
        assert!(
            svg.contains("&lt;script&gt;") && !svg.contains("<script>"),
            "{svg}"
        );
        assert!(
            svg.contains("width=\"150.0\"") && svg.contains("width=\"75.0\""),
            "{svg}"
        );
        assert!(svg.contains("width=\"37.5\""), "{svg}");
        assert_eq!(escape("a\u{1b}&\""), "a\u{fffd}&amp;&quot;");
        assert!(!bars(&[], NARROW).contains("NaN"));
    }
}
