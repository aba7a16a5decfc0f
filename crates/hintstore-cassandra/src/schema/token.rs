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
/// out, and told, and so are quotes and comments without an end. A table that stands in a comment since
/// CQL cannot make it again is read.
pub(crate) fn statements(text: &str) -> (Vec<Placed>, Vec<Stray>) {
    take_apart(text, true)
}

/// Where a statement begins in a line, past the prompt of a shell; `None` where none does.
fn begins_in(line: &str) -> Option<usize> {
    let prompt = line
        .trim_start()
        .starts_with("cqlsh")
        .then(|| line.find('>'))
        .flatten();
    let from = prompt.map_or(0, |at| at + 1);
    let rest = line.get(from..)?.trim();
    let is_comment = ["--", "//", "/*", "*/"]
        .iter()
        .any(|mark| rest.starts_with(mark));
    let mut words = rest
        .split(';')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let verb = words.next().unwrap_or_default().to_lowercase();
    // A shell greets with «Use HELP for help.»
    let greets = verb == "use" && words.count() > 1;
    let begins = rest.is_empty() || is_comment || (VERBS.contains(&verb.as_str()) && !greets);
    begins.then_some(from)
}

fn take_apart(text: &str, of_statements: bool) -> (Vec<Placed>, Vec<Stray>) {
    let (mut found, mut stray) = (Vec::new(), Vec::new());
    let mut line = 1;
    let text = text.trim_start_matches('\u{feff}');
    let mut chars = text.chars().peekable();
    // Where the next character is: at the start of a line or behind a semicolon, and between two
    // statements.
    let (mut starts_piece, mut between) = (true, of_statements);
    let mut in_omitted = false;
    loop {
        if std::mem::take(&mut starts_piece) && between {
            let rest: String = chars.clone().take_while(|c| *c != '\n').collect();
            let skip = begins_in(&rest).unwrap_or_else(|| {
                stray.push((line, format!("no statement: {}", rest.trim())));
                rest.len()
            });
            let mut bytes = 0;
            while bytes < skip {
                bytes += chars.next().map_or(skip, char::len_utf8);
            }
        }
        let Some(c) = chars.next() else { break };
        let began = line;
        let next = chars.peek().copied();
        let token = match (c, next) {
            ('\n', _) => {
                line += 1;
                starts_piece = true;
                continue;
            }
            ('*', Some('/')) if in_omitted => {
                chars.next();
                in_omitted = false;
                continue;
            }
            ('-', Some('-')) | ('/', Some('/')) => {
                while chars.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            ('/', Some('*')) => {
                chars.next();
                if of_statements && let Some(before) = omitted(chars.clone()) {
                    for c in chars.by_ref().take(before) {
                        line += usize::from(c == '\n');
                    }
                    (in_omitted, between) = (true, true);
                    continue;
                }
                match up_to(&mut chars, "*/") {
                    Some(text) => line += lines(&text),
                    None => stray.push((began, "a comment has no end".to_owned())),
                }
                continue;
            }
            ('$', Some('$')) => {
                chars.next();
                if let Some(text) = up_to(&mut chars, "$$") {
                    line += lines(&text);
                    Token::Text(text)
                } else {
                    stray.push((began, "a string has no end".to_owned()));
                    Token::Mark(c)
                }
            }
            ('"' | '\'', _) => {
                let text = quoted(&mut chars, c);
                line += text.as_deref().map_or(0, lines);
                match text {
                    Some(text) if c == '"' => Token::Quoted(text),
                    Some(text) => Token::Text(text),
                    None => {
                        let text = "a name or string in quotes has no end";
                        stray.push((began, text.to_owned()));
                        Token::Mark(c)
                    }
                }
            }
            (c, _) if c.is_alphabetic() || c == '_' => {
                let mut word = c.to_string();
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                // A UUID may begin with a letter.
                if chars.peek() == Some(&'-') && is_hex(&word, 8) {
                    literal(&mut word, &mut chars);
                    Token::Literal(word)
                } else {
                    Token::Word(word.to_lowercase())
                }
            }
            (c, next) if c.is_ascii_digit() || (c == '-' && next.is_some_and(is_digit)) => {
                let mut word = c.to_string();
                literal(&mut word, &mut chars);
                Token::Literal(word)
            }
            (c, _) if c.is_whitespace() || c == '\u{feff}' => continue,
            (c, _) => Token::Mark(c),
        };
        // A statement ends with a semicolon; whatever it is, what is in front of one belongs to it.
        between = of_statements && token == Token::Mark(';');
        starts_piece = between;
        found.push((token, began));
    }
    (found, stray)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn lines(text: &str) -> usize {
    text.matches('\n').count()
}

/// Takes what comes before `end`, and `end` itself; nothing where there is none.
fn up_to(chars: &mut Chars<'_>, end: &str) -> Option<String> {
    let (mut ahead, mut text) = (chars.clone(), String::new());
    while !text.ends_with(end) {
        text.push(ahead.next()?);
    }
    text.truncate(text.len() - end.len());
    *chars = ahead;
    Some(text)
}

/// Takes what is in quotes, behind the first. Nothing where they have no end, or where a definition
/// begins on a line within: then the first is an apostrophe in some text.
fn quoted(chars: &mut Chars<'_>, quote: char) -> Option<String> {
    let (mut ahead, mut text) = (chars.clone(), String::new());
    loop {
        let c = ahead.next()?;
        if c != quote || ahead.next_if_eq(&quote).is_some() {
            text.push(c);
            let begins = |word: &str| {
                let words = word.chars().chain([' ']);
                words.eq(ahead
                    .clone()
                    .take(word.len() + 1)
                    .map(|c| c.to_ascii_lowercase()))
            };
            if c == '\n' && (begins("create") || begins("alter")) {
                return None;
            }
        } else {
            *chars = ahead;
            return Some(text);
        }
    }
}

/// How many characters of a comment come before the table in it, where it is one that `DESCRIBE` put
/// there.
fn omitted(comment: Chars<'_>) -> Option<usize> {
    let mut text = String::new();
    for c in comment {
        text.push(c);
        if text.ends_with("*/") {
            break;
        }
    }
    let at = text
        .contains(OMITTED)
        .then(|| text.find("CREATE TABLE"))??;
    Some(text.get(..at)?.chars().count())
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn is_hex(word: &str, length: usize) -> bool {
    word.len() == length && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn literal(word: &mut String, chars: &mut Chars<'_>) {
    let part = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    while let Some(c) = chars.next_if(part) {
        word.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_names_strings_and_comments_are_told_apart() {
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
