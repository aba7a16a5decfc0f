//! The words of CQL, as far as definitions need them.

/// A piece of CQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A word without quotes, in lower case: a keyword or a name.
    Word(String),
    /// A name in double quotes.
    Quoted(String),
    /// A string in single quotes or between `$$`.
    Text(String),
    /// A number, a UUID or a blob: what begins with a digit or a sign.
    Literal(String),
    /// Anything else is one character.
    Mark(char),
}

/// A token, and the line it is on.
pub(crate) type Placed = (Token, usize);

/// A line, from 1, and what on it is no part of a statement.
pub(crate) type Stray = (usize, String);

/// What statements begin with. Another line between two of them was printed by some program.
const VERBS: [&str; 20] = [
    "add",
    "alter",
    "apply",
    "batch",
    "begin",
    "consistency",
    "create",
    "delete",
    "desc",
    "describe",
    "drop",
    "grant",
    "insert",
    "list",
    "revoke",
    "select",
    "source",
    "truncate",
    "update",
    "use",
];

/// What stands in a comment that `DESCRIBE` puts a table into which CQL alone cannot make again.
const OMITTED: &str = "not compatible with CQL";

/// Takes a text apart. Comments are left out.
pub(crate) fn tokens(text: &str) -> Result<Vec<Placed>, Stray> {
    let (tokens, stray) = take_apart(text, false);
    stray.into_iter().next().map_or(Ok(tokens), Err)
}

/// Takes statements apart, as people have them: what a shell printed before or between them is left
/// out and reported, and so are quotes and comments without an end. A table that stands in a comment since
/// CQL cannot make it again is read.
pub(crate) fn statements(text: &str) -> (Vec<Placed>, Vec<Stray>) {
    take_apart(text, true)
}

fn take_apart(text: &str, of_statements: bool) -> (Vec<Placed>, Vec<Stray>) {
    // Of the three ends of a line that there are, one is enough.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut scanner = Scanner {
        text: &text,
        at: 0,
        line: 1,
        of_statements,
        between: of_statements,
        starts_piece: true,
        in_omitted: false,
        endless: Vec::new(),
        found: Vec::new(),
        stray: Vec::new(),
    };
    while scanner.step() {}
    (scanner.found, scanner.stray)
}

/// Takes a text apart from front to back.
#[expect(
    clippy::struct_excessive_bools,
    reason = "where it stands is several facts at once"
)]
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    of_statements: bool,
    /// Between two statements.
    between: bool,
    /// At the start of a line, or behind a semicolon.
    starts_piece: bool,
    /// In a comment that is read.
    in_omitted: bool,
    /// What opens something and has no end from here on: it is not looked for again.
    endless: Vec<&'static str>,
    found: Vec<Placed>,
    stray: Vec<Stray>,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Goes on by this number of bytes.
    fn pass(&mut self, bytes: usize) -> &'a str {
        let passed = self.rest().get(..bytes).unwrap_or_default();
        self.line += passed.matches('\n').count();
        self.at += bytes;
        passed
    }

    /// Takes the next token, or what is none; false at the end.
    fn step(&mut self) -> bool {
        if std::mem::take(&mut self.starts_piece) && self.of_statements {
            self.begin_piece();
        }
        let began = self.line;
        let rest = self.rest();
        let Some(c) = rest.chars().next() else {
            return false;
        };
        let token = if c == '\n' {
            self.pass(1);
            self.starts_piece = true;
            return true;
        } else if c.is_whitespace() || INVISIBLE.contains(&c) {
            self.pass(c.len_utf8());
            return true;
        } else if self.in_omitted && rest.starts_with("*/") {
            self.pass(2);
            self.in_omitted = false;
            return true;
        } else if rest.starts_with("--") || rest.starts_with("//") {
            self.pass(rest.find('\n').unwrap_or(rest.len()));
            return true;
        } else if rest.starts_with("/*") {
            self.comment();
            return true;
        } else if rest.starts_with("$$") {
            match self.up_to("$$", "$$", "a string has no end") {
                Some(text) => Token::Text(text.to_owned()),
                None => Token::Mark(c),
            }
        } else if c == '"' || c == '\'' {
            self.quoted(c)
        } else if c.is_alphabetic() || c == '_' {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            let word = rest.split(|c| !is_part(c)).next().unwrap_or_default();
            // A UUID may begin with a letter.
            let is_uuid =
                is_hex(word, 8) && rest.get(word.len()..).is_some_and(|r| r.starts_with('-'));
            if is_uuid {
                self.literal()
            } else {
                self.pass(word.len());
                Token::Word(word.to_lowercase())
            }
        } else if c.is_ascii_digit() || (c == '-' && rest.chars().nth(1).is_some_and(is_digit)) {
            self.literal()
        } else {
            self.pass(c.len_utf8());
            Token::Mark(c)
        };
        // A statement ends with a semicolon; whatever it is, what is in front of one belongs to it.
        self.between = self.of_statements && token == Token::Mark(';');
        self.starts_piece = self.between;
        self.found.push((token, began));
        true
    }

    /// Passes over prompts, and between two statements over what is none, up to its semicolon or the end
    /// of its line.
    fn begin_piece(&mut self) {
        let rest = self.rest();
        let blank = rest.len() - rest.trim_start_matches(is_blank).len();
        let piece = rest.get(blank..).unwrap_or_default();
        let prompt = prompt(piece, self.between);
        let piece = piece.get(prompt..).unwrap_or_default();
        self.pass(blank + prompt);
        if self.between && !begins_statement(piece) {
            let end = piece.find(['\n', ';']).unwrap_or(piece.len());
            let words = piece.get(..end).unwrap_or_default();
            self.stray
                .push((self.line, format!("no statement: {}", words.trim())));
            self.pass(end);
            if self.rest().starts_with(';') {
                self.pass(1);
            }
            self.starts_piece = true;
        }
    }

    fn comment(&mut self) {
        let looks = self.of_statements && !self.endless.contains(&"/*");
        let end = looks.then(|| self.rest().find("*/")).flatten();
        let inside = end.and_then(|end| self.rest().get(..end));
        if let Some(inside) = inside.filter(|inside| inside.contains(OMITTED))
            && let Some(table) = inside.find("CREATE TABLE")
        {
            self.pass(table);
            (self.in_omitted, self.between) = (true, true);
            return;
        }
        self.up_to("/*", "*/", "a comment has no end");
    }

    /// Takes what is between `begin`, which comes next, and `end`. Where there is no end, `begin` alone is
    /// passed over, and that is reported.
    fn up_to(&mut self, begin: &'static str, end: &str, none: &str) -> Option<&'a str> {
        let inside = self.rest().get(begin.len()..).unwrap_or_default();
        let found = (!self.endless.contains(&begin)).then(|| inside.find(end));
        let Some(found) = found.flatten() else {
            self.tell_endless(begin, none);
            return None;
        };
        self.pass(begin.len() + found + end.len());
        inside.get(..found)
    }

    fn tell_endless(&mut self, begin: &'static str, none: &str) {
        if !self.endless.contains(&begin) {
            self.endless.push(begin);
            self.stray.push((self.line, none.to_owned()));
        }
        self.pass(begin.len());
    }

    /// A name or a string in quotes, where they come next. Without an end they are a mark, and where a
    /// definition begins on a line within: then the first is an apostrophe in some text, unless a value
    /// is due in its place.
    fn quoted(&mut self, quote: char) -> Token {
        let begin = if quote == '"' { "\"" } else { "'" };
        let inside = self.rest().get(1..).unwrap_or_default();
        let mut end = (!self.endless.contains(&begin)).then_some(0);
        while let Some(from) = end {
            end = inside.get(from..).and_then(|rest| rest.find(quote));
            end = end.map(|at| from + at);
            match end {
                // Two are one within.
                Some(at) if inside.get(at + 1..).is_some_and(|r| r.starts_with(quote)) => {
                    end = Some(at + 2);
                }
                _ => break,
            }
        }
        let text = end.and_then(|end| inside.get(..end));
        let whole = text.filter(|text| self.is_value_due() || !holds_definition(text));
        if let Some(text) = whole {
            self.pass(text.len() + 2);
            let text = text.replace(&[quote, quote].iter().collect::<String>(), begin);
            return if quote == '"' {
                Token::Quoted(text)
            } else {
                Token::Text(text)
            };
        }
        let none = "a name or string in quotes has no end";
        if text.is_some() {
            self.stray.push((self.line, none.to_owned()));
            self.pass(1);
        } else {
            self.tell_endless(begin, none);
        }
        Token::Mark(quote)
    }

    /// Whether what was found last is followed by a value.
    fn is_value_due(&self) -> bool {
        match self.found.last() {
            Some((Token::Mark(mark), _)) => "=:,{([".contains(*mark),
            Some((Token::Word(word), _)) => ["as", "is"].contains(&word.as_str()),
            _ => false,
        }
    }

    fn literal(&mut self) -> Token {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
        let rest = self.rest();
        let behind = rest.get(1..).unwrap_or_default();
        let length = 1 + behind.find(|c| !is_part(c)).unwrap_or(behind.len());
        Token::Literal(self.pass(length).to_owned())
    }
}

/// Characters that are not seen, and are not white space: marks of files that were put one behind the
/// other.
const INVISIBLE: [char; 2] = ['\u{feff}', '\u{200b}'];

fn is_blank(c: char) -> bool {
    c != '\n' && (c.is_whitespace() || INVISIBLE.contains(&c))
}

/// How long the prompt of a shell is, where one comes next: `user@cqlsh:keyspace> ` before a statement,
/// `   ... ` within one.
fn prompt(piece: &str, between: bool) -> usize {
    if !between {
        let dots = piece.strip_prefix("...");
        return dots.map_or(0, |rest| if rest.starts_with(['.', ';']) { 0 } else { 3 });
    }
    let is_part = |c: char| !c.is_whitespace() && c != '>' && c != ';';
    let end = piece.find(|c| !is_part(c)).unwrap_or(piece.len());
    let word = piece.get(..end).unwrap_or_default();
    let shell = word.rsplit_once('@').map_or(word, |(_, shell)| shell);
    let is_shell = shell == "cqlsh" || shell.starts_with("cqlsh:");
    let ends = piece.get(end..).is_some_and(|rest| rest.starts_with('>'));
    if is_shell && ends { end + 1 } else { 0 }
}

/// Whether a statement begins here, or nothing does.
fn begins_statement(piece: &str) -> bool {
    let piece = piece.trim_start_matches(is_blank);
    let marks = ["--", "//", "/*", "*/", "\n", ";"];
    if piece.is_empty() || marks.iter().any(|mark| piece.starts_with(mark)) {
        return true;
    }
    let word = |text: &str| -> String {
        let word = text.split(|c: char| !c.is_alphanumeric()).next();
        word.unwrap_or_default().to_lowercase()
    };
    let verb = word(piece);
    let next = piece.get(verb.len()..).unwrap_or_default();
    // A shell greets with «Use HELP for help.»
    let greets = verb == "use" && word(next.trim_start_matches(is_blank)) == "help";
    VERBS.contains(&verb.as_str()) && !greets
}

/// Whether a line of a text begins a definition.
fn holds_definition(text: &str) -> bool {
    let begins = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_lowercase);
        let verb = words.next().unwrap_or_default();
        let what = words.next().unwrap_or_default();
        (verb == "create" || verb == "alter") && DEFINED.contains(&what.as_str())
    };
    text.split('\n').skip(1).any(begins)
}

/// What is defined.
pub(super) const DEFINED: [&str; 5] = ["table", "columnfamily", "type", "materialized", "keyspace"];

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn is_hex(word: &str, length: usize) -> bool {
    word.len() == length && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_names_strings_and_comments_are_distinguished() {
        let text = "CREATE -- a; b\nTABLE \"q\"\"uote\" 'it''s' /* ; \n */ $$a'b$$ d7261e10-e6b3-11f1-bda0-935e785412f1 -1.5 (";
        let found: Vec<Token> = tokens(text).unwrap().into_iter().map(|t| t.0).collect();
        assert_eq!(
            found,
            [
                Token::Word("create".to_owned()),
                Token::Word("table".to_owned()),
                Token::Quoted("q\"uote".to_owned()),
                Token::Text("it's".to_owned()),
                Token::Text("a'b".to_owned()),
                Token::Literal("d7261e10-e6b3-11f1-bda0-935e785412f1".to_owned()),
                Token::Literal("-1.5".to_owned()),
                Token::Mark('('),
            ]
        );
        for open in ["\"a", "'a", "/* a", "$$ a $"] {
            assert!(tokens(open).is_err(), "{open}");
        }
    }
}
