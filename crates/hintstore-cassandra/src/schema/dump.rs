//! A dump of `system_schema` in JSON: `tables`, `columns`, `types`, `dropped_columns`, each a list
//! of rows as `SELECT JSON` gives them.

use std::fmt::Display;

use serde_json::Value;

use super::{
    Kind, SchemaError,
    build::{ColumnDef, Defs, TableDef, uuid},
    ddl::parse_type,
};

/// Reads a dump.
pub(crate) fn parse(text: &str) -> Result<Defs, SchemaError> {
    let dump: Value = serde_json::from_str(text).map_err(|error| SchemaError {
        line: error.line(),
        text: error.to_string(),
    })?;
    let is_list = |name| dump.get(name).is_some_and(Value::is_array);
    if !is_list("tables") || !is_list("columns") {
        return Err(wrong("it is JSON without the lists `tables` and `columns`"));
    }
    let mut defs = Defs::default();
    for row in rows(&dump, "types") {
        let (names, types) = (&row["field_names"], &row["field_types"]);
        let pairs = list(names).iter().zip(list(types));
        let fields: Result<Vec<_>, _> = pairs
            .map(|(name, written)| {
                Ok((
                    string(name, "field_names")?,
                    parse_type(&string(written, "field_types")?)?,
                ))
            })
            .collect();
        let name = (field(row, "keyspace_name")?, field(row, "type_name")?);
        defs.types.insert(name, fields?);
    }
    for (kind, name) in [("tables", "table_name"), ("views", "view_name")] {
        for row in rows(&dump, kind) {
            let mut table = TableDef::new(field(row, "keyspace_name")?, field(row, name)?, 1);
            table.id = uuid(&field(row, "id")?);
            table.gc_grace_s = row["gc_grace_seconds"]
                .as_u64()
                .and_then(|seconds| u32::try_from(seconds).ok());
            defs.tables.push(table);
        }
    }
    for row in rows(&dump, "columns") {
        let column = column(row)?;
        if let Some(table) = table_of(&mut defs, row)? {
            table.columns.push(column);
        }
    }
    for row in rows(&dump, "dropped_columns") {
        let column = column(row)?;
        let time = &row["dropped_time"];
        let time_us = match time {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => micros(text),
            _ => None,
        };
        let time_us = time_us.ok_or_else(|| wrong(format!("{time} is no dropped_time")))?;
        if let Some(table) = table_of(&mut defs, row)? {
            table.dropped.push((column, time_us));
        }
    }
    Ok(defs)
}

fn wrong(text: impl Display) -> SchemaError {
    SchemaError {
        line: 1,
        text: text.to_string(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn rows<'a>(dump: &'a Value, name: &str) -> &'a [Value] {
    dump.get(name).map_or(&[], list)
}

fn string(value: &Value, name: &str) -> Result<String, SchemaError> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| wrong(format!("{name} is no string")))
}

fn field(row: &Value, name: &str) -> Result<String, SchemaError> {
    row.get(name).map_or_else(
        || Err(wrong(format!("a row has no {name}"))),
        |value| string(value, name),
    )
}

fn column(row: &Value) -> Result<ColumnDef, SchemaError> {
    let kind = row["kind"].as_str().unwrap_or("regular");
    Ok(ColumnDef {
        name: field(row, "column_name")?,
        kind: match kind {
            "partition_key" => Kind::PartitionKey,
            "clustering" => Kind::Clustering,
            "static" => Kind::Static,
            _ => Kind::Regular,
        },
        position: row["position"].as_u64().unwrap_or(0) as usize,
        written: parse_type(&field(row, "type")?)?,
    })
}

fn table_of<'a>(defs: &'a mut Defs, row: &Value) -> Result<Option<&'a mut TableDef>, SchemaError> {
    let name = (field(row, "keyspace_name")?, field(row, "table_name")?);
    let mut tables = defs.tables.iter_mut();
    Ok(tables.find(|table| (&table.keyspace, &table.name) == (&name.0, &name.1)))
}

/// A time such as `2026-11-22 20:33:00.168Z`, in µs since 1970.
fn micros(text: &str) -> Option<i64> {
    let text = text.trim_end_matches('Z').trim_end_matches("+0000");
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut date = date.rsplitn(3, '-').map(str::parse::<i64>);
    let (day, month, year) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.split(':');
    let (hours, minutes) = (time.next()?, time.next()?);
    let seconds = time.next().unwrap_or("0");
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let seconds = hours.parse::<i64>().ok()? * 3600
        + minutes.parse::<i64>().ok()? * 60
        + whole.parse::<i64>().ok()?;
    let digits: String = format!("{fraction:0<6}").chars().take(6).collect();
    let days = crate::mutation::days_of(year, month, day)?;
    (days * 86_400 + seconds)
        .checked_mul(1_000_000)?
        .checked_add(digits.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_in_microseconds() {
        assert_eq!(micros("1970-01-01 00:00:00.000Z"), Some(0));
        assert_eq!(
            micros("2026-11-22 20:33:00.168Z"),
            Some(1_795_379_580_168_000)
        );
        assert_eq!(micros("2026-11-22T20:33:00Z"), Some(1_795_379_580_000_000));
        assert_eq!(micros("2026-11-22"), None);
    }
}
