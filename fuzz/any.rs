//! What is done with any bytes: by the fuzz targets, and by the tests that replay their corpora.

use std::{hint::black_box, sync::OnceLock};

use hintstore_cassandra::{
    Bound, Cell, Clustering, Codec, Column, Deletion, Descriptor, FileWriter, Given, HintBody,
    Item, Liveness, Records, Schema, Update, Visit, decode_mutation, judge, key_parts, literal,
    token,
};

/// Any bytes as the header of a file, and as a whole file.
pub fn descriptor(data: &[u8]) {
    if let Ok(descriptor) = Descriptor::decode(data) {
        assert!(descriptor.length <= data.len());
    }
    black_box(judge(data, data.len() as u64, None).ok());
}

/// Any bytes as the records of a plain file.
pub fn records(data: &[u8]) {
    file(None, data);
}

/// Any bytes as the blocks of a file; the first byte says the codec.
pub fn blocks(data: &[u8]) {
    let codecs = [
        Codec::Lz4,
        Codec::Snappy,
        Codec::Deflate,
        Codec::Zstd,
        Codec::Noop,
    ];
    if let Some((first, rest)) = data.split_first() {
        file(Some(codecs[usize::from(*first) % codecs.len()]), rest);
    }
}

fn file(codec: Option<Codec>, data: &[u8]) {
    let writer = FileWriter::new(Vec::new(), 2, 1, [7; 16], codec).expect("memory takes all");
    let (mut bytes, _) = writer.finish().expect("memory takes all");
    let start = bytes.len() as u64;
    bytes.extend_from_slice(data);
    let end = bytes.len() as u64;
    let mut walk = match codec {
        None => Records::plain(&bytes[..], start, end),
        Some(codec) => Records::compressed(&bytes[..], codec, start, end),
    };
    let (mut next, mut last) = (0, 0);
    while let Some(item) = walk.next_item().expect("memory gives all") {
        if let Item::Intact { index, position }
        | Item::BadBody {
            index, position, ..
        } = item
        {
            assert_eq!(index, next);
            assert!(position >= last);
            (next, last) = (index + 1, position);
            let body = HintBody::decode(walk.body());
            black_box(body.map(|body| (body.expires_at_ms(), body.first_update())));
        }
    }
    let verdict = judge(&bytes[..], end, Some(schema())).expect("memory gives all");
    for number in verdict
        .verbatim
        .iter()
        .chain(verdict.decoding.iter().flat_map(Given::iter))
    {
        assert!((-1..next as i64).contains(&number));
    }
}

/// Any bytes as a mutation of version 2 and of version 3.
pub fn mutation(data: &[u8]) {
    for messaging_version in [12, 13] {
        let done = decode_mutation(data, schema(), messaging_version, &mut Literals);
        black_box(done.ok());
    }
}

/// Any text as a schema.
pub fn ddl(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        black_box(
            Schema::parse(text)
                .map(|schema| schema.tables().count())
                .ok(),
        );
    }
}

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    let text = include_str!("../testdata/cassandra/schema.cql");
    SCHEMA.get_or_init(|| Schema::parse(text).expect("the schema of the test data"))
}

/// Prints every value.
struct Literals;

impl<'a> Visit<'a> for Literals {
    fn update(&mut self, update: &Update<'a>) {
        let parts = key_parts(update.table, update.key).unwrap_or_default();
        for (column, part) in update.table.partition_key.iter().zip(parts) {
            black_box(literal(&column.cql_type, part));
        }
        black_box(token(update.key));
    }
    fn static_row(&mut self) {}
    fn row(&mut self, clustering: Clustering<'_, 'a>) {
        for (column, value) in clustering.table.clustering.iter().zip(clustering.values) {
            black_box(value.map(|value| literal(&column.cql_type, value)));
        }
    }
    fn liveness(&mut self, _: &Liveness) {}
    fn row_deletion(&mut self, _: Deletion, _: bool) {}
    fn complex_deletion(&mut self, _: &'a Column, _: Deletion) {}
    fn cell(&mut self, cell: &Cell<'a>) {
        black_box(literal(&cell.column.cql_type, cell.value));
    }
    fn row_end(&mut self) {}
    fn bound(&mut self, bound: &Bound<'_, 'a>) {
        self.row(bound.clustering);
    }
    fn update_end(&mut self) {}
}
