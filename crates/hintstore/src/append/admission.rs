//! Who may append: switches, fences, what is dead already.
//!
//! In the usual case, nothing switched off and no fence, this is one load and a comparison. (Caps
//! and the hint window are the target's own business: see `TargetWriter`.)

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hintstore_env::sync::{
    AtomicBool, AtomicI64,
    Ordering::{Acquire, Relaxed, SeqCst},
    RwLock,
};
use hintstore_format::{
    Namespace, TargetId, UnixMillis,
    expiry::{Policy, written_deadline},
};
use hintstore_writer::Refusal;

use super::Hint;
use crate::expire::Fences;

/// Which hints: see [`crate::HintStore::disable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope<'a> {
    /// All hints.
    All,
    /// Hints for the targets of a group, such as a datacenter: see [`crate::TargetHandle::set_group`].
    Group(&'a str),
    /// Hints of a namespace.
    Namespace(Namespace),
}

/// What was switched off, and what was fenced.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Something is switched off or fenced, or there is a rule on lifetimes: each hint is looked at.
    each: AtomicBool,
    /// No hint that is dead by this time is taken.
    now: AtomicI64,
    rules: RwLock<Rules>,
    fences: Arc<Fences>,
}

#[derive(Debug, Default)]
struct Rules {
    off: bool,
    groups_off: HashSet<String>,
    namespaces_off: HashSet<Namespace>,
    group_of: HashMap<TargetId, String>,
    /// What expires besides by what each hint says itself.
    policy: Policy,
}

impl Admission {
    pub(crate) fn new(fences: &Arc<Fences>) -> Self {
        Self {
            fences: fences.clone(),
            ..Self::default()
        }
    }

    #[inline]
    pub(crate) fn admit(&self, hint: &Hint<'_>) -> Result<(), Refusal> {
        let deadline = written_deadline(hint.body.created, hint.lifetime);
        if deadline.get() <= self.now.load(Relaxed) {
            return Err(Refusal::Expired);
        }
        if self.each.load(Acquire) {
            return self.look(hint);
        }
        Ok(())
    }

    #[cold]
    fn look(&self, hint: &Hint<'_>) -> Result<(), Refusal> {
        let rules = self.rules.read();
        let group_off = || {
            let group = rules.group_of.get(&hint.target);
            group.is_some_and(|group| rules.groups_off.contains(group))
        };
        if rules.off || rules.namespaces_off.contains(&hint.namespace) || group_off() {
            return Err(Refusal::Disabled);
        }
        let deadline = rules
            .policy
            .deadline(hint.namespace, hint.body.created, hint.lifetime);
        if deadline.get() <= self.now.load(Relaxed) {
            return Err(Refusal::Expired);
        }
        if self.fences.covers(hint.namespace, hint.body.created) {
            return Err(Refusal::Fenced);
        }
        Ok(())
    }

    /// What it is by now, as far as that is confirmed.
    pub(crate) fn set_now(&self, now: UnixMillis) {
        self.now.store(now.get(), Relaxed);
    }

    pub(crate) fn accept(&self, scope: Scope<'_>, on: bool) {
        self.change(|rules| match scope {
            Scope::All => rules.off = !on,
            Scope::Group(group) if on => drop(rules.groups_off.remove(group)),
            Scope::Group(group) => drop(rules.groups_off.insert(group.to_owned())),
            Scope::Namespace(namespace) if on => drop(rules.namespaces_off.remove(&namespace)),
            Scope::Namespace(namespace) => drop(rules.namespaces_off.insert(namespace)),
        });
    }

    pub(crate) fn group(&self, target: TargetId, group: &str) {
        self.change(|rules| drop(rules.group_of.insert(target, group.to_owned())));
    }

    pub(crate) fn set_policy(&self, policy: &Policy) {
        self.change(|rules| rules.policy = policy.clone());
    }

    /// Fences were set.
    pub(crate) fn fences_changed(&self) {
        self.change(|_| ());
    }

    fn change(&self, change: impl FnOnce(&mut Rules)) {
        let mut rules = self.rules.write();
        change(&mut rules);
        let any = rules.off
            || !rules.groups_off.is_empty()
            || !rules.namespaces_off.is_empty()
            || self.fences.is_any()
            || rules.policy != Policy::default();
        self.each.store(any, SeqCst);
    }
}
