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

/// Takes a text apart. Comments are left out.
pub(crate) fn tokens(text: &str) -> Result<Vec<Placed>, (usize, String)> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let began = line;
        let next = chars.peek().copied();
        let token = match (c, next) {
            ('\n', _) => {
                line += 1;
                continue;
            }
            ('-', Some('-')) | ('/', Some('/')) => {
                while chars.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            ('/', Some('*')) => {
                chars.next();
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
        found.push((token, began));
    }
    Ok(found)
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
