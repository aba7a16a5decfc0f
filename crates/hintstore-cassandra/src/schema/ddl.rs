//! Definitions in CQL: what `DESCRIBE … WITH INTERNALS` prints, or a schema file.
//!
//! Types, tables and materialized views are understood, with ids, dropped columns and
//! `gc_grace_seconds`; every other statement is passed over up to its semicolon.

use std::collections::HashMap;

use super::{
    Kind, SchemaError,
    build::{ColumnDef, Defs, TableDef, uuid},
    cql_type::{Native, Written},
    token::{DEFINED, Placed, Token, statements, tokens},
};

/// Reads definitions.
pub(crate) fn parse(text: &str) -> Defs {
    let (tokens, stray) = statements(text);
    let passed_over = stray
        .into_iter()
        .map(|(line, text)| SchemaError { line, text });
    let mut parser = Parser {
        tokens,
        at: 0,
        keyspace: None,
        defs: Defs {
            passed_over: passed_over.collect(),
            ..Defs::default()
        },
    };
    parser.statements();
    parser.defs
}

/// Reads one type, as a row of `system_schema` has it.
pub(crate) fn parse_type(text: &str) -> Result<Written, SchemaError> {
    let tokens = tokens(text).map_err(|(line, text)| SchemaError { line, text })?;
    let mut parser = Parser {
        tokens,
        at: 0,
        keyspace: None,
        defs: Defs::default(),
    };
    let read = parser.cql_type(0)?;
    if parser.at == parser.tokens.len() {
        Ok(read)
    } else {
        Err(parser.wrong("the end of the type"))
    }
}

struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    keyspace: Option<String>,
    defs: Defs,
}

/// Types do not nest deeper than this: a node could not make a table of one.
const DEPTH_MAX: usize = 64;

type Parsed<T> = Result<T, SchemaError>;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn wrong(&self, expected: &str) -> SchemaError {
        let place = self.at.min(self.tokens.len().saturating_sub(1));
        let line = self.tokens.get(place).map_or(1, |(_, line)| *line);
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(Token::Mark(c)) => format!("`{c}`"),
            Some(Token::Word(text) | Token::Literal(text)) => format!("`{text}`"),
            Some(Token::Quoted(text)) => format!("\"{text}\""),
            Some(Token::Text(text)) => format!("'{text}'"),
        };
        SchemaError {
            line,
            text: format!("expected {expected}, found {found}"),
        }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(found)) if found == word)
    }

    fn is_mark(&self, mark: char) -> bool {
        self.peek() == Some(&Token::Mark(mark))
    }

    fn word_if(&mut self, word: &str) -> bool {
        let is = self.is_word(word);
        self.at += usize::from(is);
        is
    }

    fn mark_if(&mut self, mark: char) -> bool {
        let is = self.is_mark(mark);
        self.at += usize::from(is);
        is
    }

    fn word(&mut self, word: &str) -> Parsed<()> {
        if self.word_if(word) {
            Ok(())
        } else {
            Err(self.wrong(&word.to_uppercase()))
        }
    }

    fn mark(&mut self, mark: char) -> Parsed<()> {
        if self.mark_if(mark) {
            Ok(())
        } else {
            Err(self.wrong(&format!("`{mark}`")))
        }
    }

    fn name(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(Token::Word(name) | Token::Quoted(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.wrong("a name")),
        }
    }

    /// `keyspace.name`, or a name in the keyspace in use.
    fn qualified(&mut self) -> Parsed<(String, String)> {
        let first = self.name()?;
        if self.mark_if('.') {
            return Ok((first, self.name()?));
        }
        match &self.keyspace {
            Some(keyspace) => Ok((keyspace.clone(), first)),
            None => Err(self.wrong("a keyspace before the name, or USE before the statement")),
        }
    }

    /// Reads one statement behind the other. One that is not understood costs itself.
    fn statements(&mut self) {
        while self.peek().is_some() {
            let begins_at = self.at;
            if let Err(error) = self.statement() {
                self.defs.passed_over.push(SchemaError {
                    text: format!("a statement is not understood: {}", error.text),
                    ..error
                });
                self.at = begins_at + 1;
            }
            self.rest();
        }
    }

    fn statement(&mut self) -> Parsed<()> {
        if self.word_if("use") {
            // Whatever comes: names behind it are not of the keyspace before.
            self.keyspace = None;
            let name = self.name()?;
            if !self.ends_statement() {
                return Err(self.wrong("`;`"));
            }
            self.keyspace = Some(name);
            Ok(())
        } else if self.word_if("create") {
            self.create()
        } else if self.word_if("alter") {
            self.alter()
        } else {
            Ok(())
        }
    }

    /// Passes over what is left of a statement: to its semicolon, or to a line on which another begins.
    fn rest(&mut self) {
        while !self.begins_definition() {
            match self.next() {
                None | Some(Token::Mark(';')) => return,
                Some(_) => {}
            }
        }
    }

    fn ends_statement(&self) -> bool {
        self.peek().is_none() || self.is_mark(';') || self.begins_definition()
    }

    /// Whether a definition begins here, first on its line: text without a semicolon is before it.
    fn begins_definition(&self) -> bool {
        let line = |at: usize| self.tokens.get(at).map(|(_, line)| *line);
        let is_first = self.at.checked_sub(1).and_then(line) != line(self.at);
        let verb = self.is_word("create") || self.is_word("alter");
        let of = |token: &Token| match token {
            Token::Word(word) => DEFINED.contains(&word.as_str()),
            _ => false,
        };
        let what = self.tokens.get(self.at + 1);
        is_first && verb && what.is_some_and(|(token, _)| of(token))
    }

    fn if_not_exists(&mut self) -> Parsed<()> {
        if self.word_if("if") {
            self.word("not")?;
            self.word("exists")?;
        }
        Ok(())
    }

    fn create(&mut self) -> Parsed<()> {
        if self.word_if("table") || self.word_if("columnfamily") {
            self.if_not_exists()?;
            self.table()
        } else if self.word_if("type") {
            self.if_not_exists()?;
            self.user_type()
        } else if self.word_if("materialized") {
            self.word("view")?;
            self.if_not_exists()?;
            self.view()
        } else {
            Ok(())
        }
    }

    fn user_type(&mut self) -> Parsed<()> {
        let name = self.qualified()?;
        let mut fields = Vec::new();
        self.mark('(')?;
        while !self.mark_if(')') {
            fields.push((self.name()?, self.cql_type(0)?));
            self.mark_if(',');
        }
        self.defs.types.insert(name, fields);
        Ok(())
    }

    fn table(&mut self) -> Parsed<()> {
        let line = self.tokens.get(self.at).map_or(1, |(_, line)| *line);
        let (keyspace, name) = self.qualified()?;
        let mut table = TableDef::new(keyspace, name, line);
        let (mut keys, mut clustering) = (Vec::new(), Vec::new());
        self.mark('(')?;
        while !self.mark_if(')') {
            if self.is_word("primary")
                && matches!(self.tokens.get(self.at + 1), Some((Token::Word(w), _)) if w == "key")
            {
                self.at += 2;
                (keys, clustering) = self.primary_key()?;
            } else {
                let name = self.name()?;
                let written = self.cql_type(0)?;
                let mut kind = Kind::Regular;
                loop {
                    if self.word_if("static") {
                        kind = Kind::Static;
                    } else if self.word_if("primary") {
                        self.word("key")?;
                        keys.push(name.clone());
                    } else if self.word_if("masked") {
                        self.mask()?;
                    } else if self.is_mark(',') || self.is_mark(')') {
                        break;
                    } else {
                        self.pass_constraint(&name)?;
                    }
                }
                table.columns.push(ColumnDef {
                    name,
                    kind,
                    position: 0,
                    written,
                });
            }
            if !self.is_mark(')') {
                self.mark(',')?;
            }
        }
        table.set_keys(&keys, &clustering)?;
        self.options(&mut table)?;
        self.defs.tables.push(table);
        Ok(())
    }

    /// Passes over what later versions say of a column behind its type, and tells so.
    fn pass_constraint(&mut self, column: &str) -> Parsed<()> {
        let error = self.wrong("`,`");
        while !(self.is_mark(',') || self.is_mark(')')) {
            if self.ends_statement() {
                return Err(error);
            }
            self.pass_one()?;
        }
        self.defs.passed_over.push(SchemaError {
            text: format!(
                "what is said of column {column} is passed over: {}",
                error.text
            ),
            ..error
        });
        Ok(())
    }

    /// `MASKED WITH DEFAULT` or `MASKED WITH function(…)`.
    fn mask(&mut self) -> Parsed<()> {
        self.word("with")?;
        self.name()?;
        if self.mark_if('.') {
            self.name()?;
        }
        if self.is_mark('(') {
            self.balanced()?;
        }
        Ok(())
    }

    /// Passes over what is in brackets.
    fn balanced(&mut self) -> Parsed<()> {
        let mut depth = 0;
        loop {
            if self.begins_definition() {
                return Err(self.wrong("the end of the brackets"));
            }
            match self.next() {
                Some(Token::Mark('(' | '{' | '[')) => depth += 1,
                Some(Token::Mark(')' | '}' | ']')) => depth -= 1,
                None => return Err(self.wrong("the end of the brackets")),
                Some(_) => {}
            }
            if depth <= 0 {
                return Ok(());
            }
        }
    }

    /// Passes over a token, or over all that is in brackets.
    fn pass_one(&mut self) -> Parsed<()> {
        if matches!(self.peek(), Some(Token::Mark('(' | '{' | '['))) {
            return self.balanced();
        }
        self.at += 1;
        Ok(())
    }

    /// `((a, b), c)`: the names of the partition key, and those of the clustering.
    fn primary_key(&mut self) -> Parsed<(Vec<String>, Vec<String>)> {
        let (mut keys, mut clustering) = (Vec::new(), Vec::new());
        self.mark('(')?;
        if self.mark_if('(') {
            while !self.mark_if(')') {
                keys.push(self.name()?);
                self.mark_if(',');
            }
        } else {
            keys.push(self.name()?);
        }
        while !self.mark_if(')') {
            self.mark(',')?;
            clustering.push(self.name()?);
        }
        Ok((keys, clustering))
    }

    /// `WITH … AND …`, up to the end of the statement. A clause that is not understood is passed over.
    fn options(&mut self, table: &mut TableDef) -> Parsed<()> {
        if !self.word_if("with") {
            return Ok(());
        }
        loop {
            let from = self.at;
            let ends = |parser: &Self| parser.ends_statement() || parser.is_word("and");
            let understood = self.option(table).and_then(|()| {
                if ends(self) {
                    Ok(())
                } else {
                    Err(self.wrong("'and' or ';'"))
                }
            });
            if let Err(error) = understood {
                // What other stores and later versions write costs the clause, not the table; but a
                // table without its id is none.
                let first = self.tokens.get(from).map(|(token, _)| token);
                let is_id = first == Some(&Token::Word("id".to_owned()));
                if is_id && table.id.is_none() {
                    return Err(error);
                }
                self.at = from;
                self.pass_clause()?;
                self.defs.passed_over.push(SchemaError {
                    line: error.line,
                    text: format!(
                        "a clause of {}.{} is not understood and passed over: {}",
                        table.keyspace, table.name, error.text
                    ),
                });
            }
            if !self.word_if("and") {
                return Ok(());
            }
        }
    }

    /// Passes over one clause.
    fn pass_clause(&mut self) -> Parsed<()> {
        while !(self.ends_statement() || self.is_word("and")) {
            self.pass_one()?;
        }
        Ok(())
    }

    /// One clause.
    fn option(&mut self, table: &mut TableDef) -> Parsed<()> {
        if self.word_if("clustering") {
            self.word("order")?;
            self.word("by")?;
            return self.balanced();
        }
        if self.word_if("compact") {
            self.word("storage")?;
            table.compact = true;
            return Ok(());
        }
        if self.word_if("dropped") {
            return self.dropped_column(table);
        }
        let name = self.name()?;
        self.mark('=')?;
        match (name.as_str(), self.peek().cloned()) {
            ("id", _) if table.id.is_some() => return Err(self.wrong("one id")),
            ("id", Some(Token::Literal(text) | Token::Text(text))) => {
                table.id = Some(uuid(&text).ok_or_else(|| self.wrong("a UUID"))?);
                self.at += 1;
            }
            ("gc_grace_seconds", Some(Token::Literal(text))) => {
                table.gc_grace_s = Some(text.parse().map_err(|_number| self.wrong("a number"))?);
                self.at += 1;
            }
            (_, Some(Token::Mark('{' | '[' | '('))) => self.balanced()?,
            _ => self.at += 1,
        }
        Ok(())
    }

    /// `DROPPED COLUMN RECORD name type [static] USING TIMESTAMP time`: of stores that write dropped
    /// columns into the table.
    fn dropped_column(&mut self, table: &mut TableDef) -> Parsed<()> {
        self.word("column")?;
        self.word("record")?;
        let (name, written) = (self.name()?, self.cql_type(0)?);
        let kind = if self.word_if("static") {
            Kind::Static
        } else {
            Kind::Regular
        };
        self.word("using")?;
        self.word("timestamp")?;
        let Some(Token::Literal(text)) = self.next() else {
            return Err(self.wrong("a timestamp"));
        };
        let time = text.parse().map_err(|_number| self.wrong("a timestamp"))?;
        let column = ColumnDef {
            name,
            kind,
            position: 0,
            written,
        };
        table.dropped.push((column, time));
        Ok(())
    }

    fn view(&mut self) -> Parsed<()> {
        let line = self.tokens.get(self.at).map_or(1, |(_, line)| *line);
        let (keyspace, name) = self.qualified()?;
        self.word("as")?;
        self.word("select")?;
        let mut columns = Vec::new();
        let all = self.mark_if('*');
        while !all && !self.is_word("from") {
            columns.push(self.name()?);
            self.mark_if(',');
        }
        self.word("from")?;
        let base = self.qualified()?;
        while !(self.is_word("primary") || self.is_mark(';')) && self.peek().is_some() {
            self.at += 1;
        }
        self.word("primary")?;
        self.word("key")?;
        let (keys, clustering) = self.primary_key()?;
        let mut table = TableDef::new(keyspace, name, line);
        let of_base = self
            .defs
            .tables
            .iter()
            .find(|table| (&table.keyspace, &table.name) == (&base.0, &base.1));
        let Some(of_base) = of_base else {
            return Err(self.wrong("the table of the view to be defined before it"));
        };
        let taken = |column: &&ColumnDef| all || columns.contains(&column.name);
        table.columns = of_base.columns.iter().filter(taken).cloned().collect();
        for column in &mut table.columns {
            if column.kind != Kind::Static {
                column.kind = Kind::Regular;
            }
        }
        table.set_keys(&keys, &clustering)?;
        self.options(&mut table)?;
        self.defs.tables.push(table);
        Ok(())
    }

    /// `ALTER TABLE`: columns dropped and added again; `ALTER TYPE`: fields added or renamed.
    fn alter(&mut self) -> Parsed<()> {
        if self.word_if("type") {
            return self.alter_type();
        }
        if !(self.word_if("table") || self.word_if("columnfamily")) {
            return Ok(());
        }
        if self.word_if("if") {
            self.word("exists")?;
        }
        let of = self.qualified()?;
        let named = |table: &TableDef| (&table.keyspace, &table.name) == (&of.0, &of.1);
        let Some(index) = self.defs.tables.iter().position(named) else {
            return Ok(());
        };
        if self.word_if("drop") {
            if self.is_word("compact") {
                return Ok(());
            }
            if self.word_if("if") {
                self.word("exists")?;
            }
            let mut names = Vec::new();
            if self.mark_if('(') {
                while !self.mark_if(')') {
                    names.push(self.name()?);
                    self.mark_if(',');
                }
            } else {
                names.push(self.name()?);
                while self.mark_if(',') {
                    names.push(self.name()?);
                }
            }
            let mut time = i64::MAX;
            if self.word_if("using") {
                self.word("timestamp")?;
                match self.next() {
                    Some(Token::Literal(text)) => {
                        time = text.parse().map_err(|_number| self.wrong("a timestamp"))?;
                    }
                    _ => return Err(self.wrong("a timestamp")),
                }
            }
            let table = self.defs.tables.get_mut(index);
            let unknown = table.and_then(|table| table.drop_columns(&names, time));
            if let Some(name) = unknown {
                return Err(self.wrong(&format!("a column {name} to drop, in the table")));
            }
        } else if self.word_if("add") {
            if self.word_if("if") {
                self.word("not")?;
                self.word("exists")?;
            }
            let brackets = self.mark_if('(');
            loop {
                let name = self.name()?;
                let written = self.cql_type(0)?;
                let kind = if self.word_if("static") {
                    Kind::Static
                } else {
                    Kind::Regular
                };
                if let Some(table) = self.defs.tables.get_mut(index) {
                    table.columns.push(ColumnDef {
                        name,
                        kind,
                        position: 0,
                        written,
                    });
                }
                if !self.mark_if(',') {
                    break;
                }
            }
            if brackets {
                self.mark(')')?;
            }
        } else if self.word_if("rename") {
            loop {
                let from = self.name()?;
                self.word("to")?;
                let to = self.name()?;
                let columns = self
                    .defs
                    .tables
                    .get_mut(index)
                    .map(|table| &mut table.columns);
                let mut columns = columns.into_iter().flatten();
                if let Some(column) = columns.find(|column| column.name == from) {
                    column.name = to;
                }
                if !self.word_if("and") {
                    break;
                }
            }
        } else if self.is_word("with") {
            let mut table = std::mem::take(&mut self.defs.tables);
            let done = table.get_mut(index).map(|table| self.options(table));
            self.defs.tables = table;
            done.transpose()?;
        }
        Ok(())
    }

    fn alter_type(&mut self) -> Parsed<()> {
        let name = self.qualified()?;
        if self.word_if("add") {
            let field = (self.name()?, self.cql_type(0)?);
            if let Some(fields) = self.defs.types.get_mut(&name) {
                fields.push(field);
            }
        } else if self.word_if("rename") {
            loop {
                let from = self.name()?;
                self.word("to")?;
                let to = self.name()?;
                for (field, _) in self.defs.types.get_mut(&name).into_iter().flatten() {
                    if *field == from {
                        *field = to.clone();
                    }
                }
                if !self.word_if("and") {
                    break;
                }
            }
        }
        Ok(())
    }

    fn cql_type(&mut self, depth: usize) -> Parsed<Written> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("a type that nests less deep"));
        }
        let (first, quoted) = match self.next() {
            Some(Token::Word(name)) => (name, false),
            Some(Token::Quoted(name)) => (name, true),
            Some(Token::Text(class)) => return Ok(Written::Custom(class)),
            _ => {
                self.at -= 1;
                return Err(self.wrong("a type"));
            }
        };
        if self.mark_if('.') {
            let name = self.name()?;
            return Ok(Written::User(Some(first), name));
        }
        if quoted {
            return Ok(Written::User(None, first));
        }
        if !self.is_mark('<') {
            return Ok(match Native::from_name(&first) {
                Some(native) => Written::Native(native),
                None => Written::User(None, first),
            });
        }
        self.mark('<')?;
        let read = match first.as_str() {
            "list" => Written::List(Box::new(self.cql_type(depth + 1)?)),
            "set" => Written::Set(Box::new(self.cql_type(depth + 1)?)),
            "frozen" => Written::Frozen(Box::new(self.cql_type(depth + 1)?)),
            "map" => {
                let key = self.cql_type(depth + 1)?;
                self.mark(',')?;
                Written::Map(Box::new(key), Box::new(self.cql_type(depth + 1)?))
            }
            "tuple" => {
                let mut parts = vec![self.cql_type(depth + 1)?];
                while self.mark_if(',') {
                    parts.push(self.cql_type(depth + 1)?);
                }
                Written::Tuple(parts)
            }
            "vector" => {
                let element = self.cql_type(depth + 1)?;
                self.mark(',')?;
                match self.next() {
                    Some(Token::Literal(text)) => {
                        let count = text.parse().map_err(|_n| self.wrong("a dimension"))?;
                        Written::Vector(Box::new(element), count)
                    }
                    _ => return Err(self.wrong("a dimension")),
                }
            }
            _ => {
                self.at -= 1;
                return Err(self.wrong("a type with parameters"));
            }
        };
        self.mark('>')?;
        Ok(read)
    }
}

/// The types of a keyspace, by keyspace and name.
pub(crate) type Types = HashMap<(String, String), Vec<(String, Written)>>;
