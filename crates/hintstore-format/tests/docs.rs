//! `docs/format.md` shows the tables of `layout.rs`, field by field.

use hintstore_format::layout::{STRUCTURES, Structure};

/// The rows of the table under a structure's heading: offset, size, field.
fn documented(text: &str, structure: &Structure) -> Option<Vec<(usize, usize, String)>> {
    let heading = format!("### {}: {} bytes\n", structure.name, structure.size);
    let (_, after) = text.split_once(&heading)?;
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (offset, size) = (cells.get(1)?.parse().ok()?, cells.get(2)?.parse().ok()?);
        Some((offset, size, cells.get(3)?.trim_matches('`').to_owned()))
    };
    let table = after.lines().skip_while(|line| !line.starts_with('|'));
    Some(
        table
            .take_while(|line| line.starts_with('|'))
            .filter_map(row)
            .collect(),
    )
}

#[test]
fn the_documented_tables_are_those_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/format.md");
    let text = std::fs::read_to_string(path).unwrap();
    for structure in STRUCTURES {
        let found = documented(&text, structure);
        let fields = structure.fields.iter();
        let expected: Vec<_> = fields
            .map(|f| (f.offset, f.size, f.name.to_owned()))
            .collect();
        assert_eq!(found, Some(expected), "{}", structure.name);
        let sum: usize = structure.fields.iter().map(|field| field.size).sum();
        assert_eq!(sum, structure.size, "{}", structure.name);
    }
    let documented = text.lines().filter(|line| line.starts_with("### ")).count();
    assert_eq!(documented, STRUCTURES.len());
}
