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

/// A line that is no part of a statement, from 1, and what it says.
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
pub(crate) fn tokens(text: &str) -> Result<Vec<Placed>, (usize, String)> {
    take_apart(text, false).map(|(tokens, _)| tokens)
}

/// Takes statements apart, as people have them: what a shell printed before or between them is left
/// out, and told. A table that stands in a comment since CQL cannot make it again is read.
pub(crate) fn statements(text: &str) -> Result<(Vec<Placed>, Vec<Stray>), (usize, String)> {
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
    let mut words = rest.split(|c: char| c.is_whitespace() || c == ';');
    let verb = words.next().unwrap_or_default().to_lowercase();
    // A shell greets with «Use HELP for help.»
    let greets = verb == "use" && words.filter(|word| !word.is_empty()).count() > 1;
    let begins = rest.is_empty() || is_comment || (VERBS.contains(&verb.as_str()) && !greets);
    begins.then_some(from)
}

fn take_apart(
    text: &str,
    of_statements: bool,
) -> Result<(Vec<Placed>, Vec<Stray>), (usize, String)> {
    let (mut found, mut stray) = (Vec::new(), Vec::new());
    let mut line = 1;
    let text = text.trim_start_matches('\u{feff}');
    let mut chars = text.chars().peekable();
    // Where the next character is: at the start of a line, and between two statements.
    let (mut starts_line, mut between) = (true, of_statements);
    let mut in_omitted = false;
    loop {
        if std::mem::take(&mut starts_line) && between {
            let rest: String = chars.clone().take_while(|c| *c != '\n').collect();
            let skip = begins_in(&rest).unwrap_or_else(|| {
                stray.push((line, rest.trim().to_owned()));
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
                starts_line = true;
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
                let mut last = ' ';
                loop {
                    let Some(c) = chars.next() else {
                        return Err((began, "a comment has no end".to_owned()));
                    };
                    line += usize::from(c == '\n');
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
                continue;
            }
            ('$', Some('$')) => {
                chars.next();
                let mut text = String::new();
                while !text.ends_with("$$") {
                    let Some(c) = chars.next() else {
                        return Err((began, "a string has no end".to_owned()));
                    };
                    line += usize::from(c == '\n');
                    text.push(c);
                }
                text.truncate(text.len() - 2);
                Token::Text(text)
            }
            ('"' | '\'', _) => {
                let mut text = String::new();
                loop {
                    let Some(inner) = chars.next() else {
                        return Err((began, "a name or string in quotes has no end".to_owned()));
                    };
                    line += usize::from(inner == '\n');
                    if inner != c {
                        text.push(inner);
                    } else if chars.next_if_eq(&c).is_some() {
                        text.push(c);
                    } else {
                        break;
                    }
                }
                if c == '"' {
                    Token::Quoted(text)
                } else {
                    Token::Text(text)
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
        found.push((token, began));
    }
    Ok((found, stray))
}

/// How many characters of a comment come before the table in it, where it is one that `DESCRIBE` put
/// there.
fn omitted(comment: std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
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

fn literal(word: &mut String, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
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
