//! What is shown, and what a key does to it.

use hintstore_admin::message::{Reply, Request, Status, Target};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::args::{Rate, rate};

/// In which order targets are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// What expires first is first.
    Expiry,
    /// The most hints first.
    Hints,
    /// By state, then by hints.
    State,
    /// By id.
    Target,
}

impl Sort {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Expiry => "what expires first",
            Self::Hints => "hints",
            Self::State => "state",
            Self::Target => "id",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Expiry => Self::Hints,
            Self::Hints => Self::State,
            Self::State => Self::Target,
            Self::Target => Self::Expiry,
        }
    }
}

/// What a key leads to, outside.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    End,
    Ask(Request),
}

/// A rate that is being typed, and for which target; nothing for all together.
#[derive(Debug)]
pub(super) struct Typing {
    pub(super) text: String,
    pub(super) target: Option<String>,
}

/// What is shown.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) status: Status,
    /// The target that is chosen, by its id: it stays so wherever it is sorted to.
    pub(super) chosen: Option<String>,
    pub(super) sort: Sort,
    pub(super) typing: Option<Typing>,
    /// What came of the last request, or why the node does not answer.
    pub(super) words: String,
    /// What is shown is old: the node does not answer.
    pub(super) is_lost: bool,
    /// Hints ended and accepted in a second, since the look before.
    pub(super) speed: Option<(f64, f64)>,
}

impl Model {
    pub(super) fn new(status: Status) -> Self {
        let mut model = Self {
            status,
            chosen: None,
            sort: Sort::Expiry,
            typing: None,
            words: String::new(),
            is_lost: false,
            speed: None,
        };
        model.order();
        model
    }

    /// What the node says now.
    pub(super) fn update(&mut self, status: Status) {
        let before = std::mem::replace(&mut self.status, status);
        if self.is_lost {
            self.words = "the node answers again".to_owned();
        }
        self.is_lost = false;
        let seconds = self.status.at_ms.saturating_sub(before.at_ms) as f64 / 1000.0;
        let ended = |status: &Status| status.ended.values().sum::<u64>();
        let grown = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        self.speed = (seconds > 0.0).then(|| {
            let ended = grown(ended(&self.status), ended(&before));
            (ended, grown(self.status.accepted, before.accepted))
        });
        self.order();
    }

    /// The node does not answer.
    pub(super) fn lost(&mut self, why: &str) {
        self.is_lost = true;
        why.clone_into(&mut self.words);
    }

    /// What came of a request.
    pub(super) fn say(&mut self, answer: Result<Reply, String>) {
        self.words = match answer {
            Ok(Reply::Done(done)) => done,
            Ok(_) => String::new(),
            Err(why) => why,
        };
    }

    fn order(&mut self) {
        let sort = self.sort;
        let most = |of: &Target| std::cmp::Reverse(of.pending);
        self.status.targets.sort_by(|one, other| {
            let by = match sort {
                Sort::Expiry => {
                    let at = |of: &Target| of.next_expiry_ms.unwrap_or(i64::MAX);
                    (at(one), most(one)).cmp(&(at(other), most(other)))
                }
                Sort::Hints => most(one).cmp(&most(other)),
                Sort::State => (&one.state, most(one)).cmp(&(&other.state, most(other))),
                Sort::Target => std::cmp::Ordering::Equal,
            };
            by.then_with(|| one.target.cmp(&other.target))
        });
        if self.place().is_none() {
            let first = self.status.targets.first();
            self.chosen = first.map(|target| target.target.clone());
        }
    }

    /// Where the chosen target is.
    pub(super) fn place(&self) -> Option<usize> {
        let is_chosen = |of: &Target| Some(&of.target) == self.chosen.as_ref();
        self.status.targets.iter().position(is_chosen)
    }

    fn go(&mut self, by: isize) {
        let last = self.status.targets.len().saturating_sub(1);
        let place = self.place().unwrap_or(0).saturating_add_signed(by);
        let target = self.status.targets.get(place.min(last));
        self.chosen = target.map(|target| target.target.clone());
    }

    /// Does what a key says.
    pub(super) fn press(&mut self, key: KeyEvent) -> Option<Effect> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            return Some(Effect::End);
        }
        if key
            .modifiers
            .intersects(KeyModifiers::CONTROL | KeyModifiers::ALT)
        {
            // What a shell does with it is not meant here.
            return None;
        }
        if self.typing.is_some() {
            return self.type_on(key.code);
        }
        if !self.is_lost {
            self.words.clear();
        }
        let chosen = self.chosen.clone();
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Effect::End),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::PageDown => self.go(20),
            KeyCode::PageUp => self.go(-20),
            KeyCode::Home => self.go(isize::MIN),
            KeyCode::End => self.go(isize::MAX),
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.order();
            }
            KeyCode::Char('p') => {
                return chosen.map(|target| Effect::Ask(Request::Pause { target }));
            }
            KeyCode::Char('r') => {
                return chosen.map(|target| Effect::Ask(Request::Resume { target }));
            }
            KeyCode::Char('l') if chosen.is_some() => self.begin(chosen),
            KeyCode::Char('L') => self.begin(None),
            KeyCode::Char('R') => return Some(Effect::Ask(Request::Reload)),
            _ => {}
        }
        None
    }

    fn begin(&mut self, target: Option<String>) {
        let text = String::new();
        self.typing = Some(Typing { text, target });
    }

    fn type_on(&mut self, key: KeyCode) -> Option<Effect> {
        let typing = self.typing.as_mut()?;
        match key {
            KeyCode::Esc => self.typing = None,
            KeyCode::Backspace => drop(typing.text.pop()),
            KeyCode::Char(c) if typing.text.len() < 32 => typing.text.push(c),
            KeyCode::Enter => {
                let Typing { text, target } = self.typing.take()?;
                match rate(text.trim()) {
                    Ok(Rate(bytes_per_second)) => {
                        return Some(Effect::Ask(Request::Limit {
                            target,
                            bytes_per_second,
                        }));
                    }
                    Err(why) => self.words = why,
                }
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(targets: &[(&str, u64, Option<i64>)]) -> Status {
        let target = |(id, pending, next_expiry_ms): &(&str, u64, Option<i64>)| Target {
            target: (*id).to_owned(),
            pending: *pending,
            next_expiry_ms: *next_expiry_ms,
            ..Target::default()
        };
        Status {
            targets: targets.iter().map(target).collect(),
            ..Status::default()
        }
    }

    fn press(model: &mut Model, keys: &str) -> Option<Effect> {
        let mut effect = None;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\x08' => KeyCode::Backspace,
                key => KeyCode::Char(key),
            };
            effect = model.press(KeyEvent::new(code, KeyModifiers::NONE));
        }
        effect
    }

    #[test]
    fn what_expires_first_is_first_and_the_choice_stays_with_its_target() {
        let all = [("a", 5, None), ("b", 1, Some(9)), ("c", 9, Some(3))];
        let mut model = Model::new(status(&all));
        let order = |model: &Model| -> String {
            let ids = model.status.targets.iter().map(|of| of.target.as_str());
            ids.collect()
        };
        assert_eq!(
            (order(&model).as_str(), model.chosen.as_deref()),
            ("cba", Some("c"))
        );
        press(&mut model, "j");
        assert_eq!(model.chosen.as_deref(), Some("b"));
        press(&mut model, "s");
        assert_eq!((order(&model).as_str(), model.place()), ("cab", Some(2)));
        press(&mut model, "jjjj");
        assert_eq!(model.place(), Some(2));
        // The target went: the first is chosen.
        model.update(status(&all[..1]));
        assert_eq!(model.chosen.as_deref(), Some("a"));
        model.update(status(&[]));
        assert_eq!((model.chosen.clone(), press(&mut model, "p")), (None, None));
    }

    #[test]
    fn keys_ask_for_what_they_say() {
        let mut model = Model::new(status(&[("a", 5, None)]));
        let target = || "a".to_owned();
        let asks = |request| Some(Effect::Ask(request));
        assert_eq!(
            press(&mut model, "p"),
            asks(Request::Pause { target: target() })
        );
        assert_eq!(
            press(&mut model, "r"),
            asks(Request::Resume { target: target() })
        );
        let limit = |target, bytes_per_second| {
            asks(Request::Limit {
                target,
                bytes_per_second,
            })
        };
        assert_eq!(
            press(&mut model, "l5MiX\x08B\n"),
            limit(Some(target()), Some(5 << 20))
        );
        assert_eq!(press(&mut model, "Lnone\n"), limit(None, None));
        assert_eq!(press(&mut model, "L5 parsecs\n"), None);
        assert!(model.words.contains("20MiB"), "{}", model.words);
        assert_eq!(press(&mut model, "q"), Some(Effect::End));
    }

    #[test]
    fn speed_is_what_changed_between_two_looks() {
        let mut model = Model::new(status(&[]));
        let mut later = status(&[]);
        later.at_ms = 2000;
        later.accepted = 10;
        later.ended.insert("delivered".to_owned(), 4);
        model.update(later);
        assert_eq!(model.speed, Some((2.0, 5.0)));
        model.lost("gone");
        assert!(model.is_lost);
        model.update(status(&[]));
        assert_eq!((model.speed, model.is_lost), (None, false));
    }
}
