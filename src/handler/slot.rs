//! What an invocation has learned of the account's one job slot.

use crate::target::Target;

/// Who was told that the slot is busy.
#[derive(Default)]
pub(super) struct Slot {
    /// The answer that told that no table can have it.
    account: Option<String>,
    /// The tables that were told so, each with its answer.
    tables: Vec<(Target, String)>,
}

impl Slot {
    /// A 409 of a second table is the account's slot too.
    pub(super) fn is_busy(&mut self, target: &Target, account: bool, said: &str) {
        if account || self.tables.iter().any(|(other, _)| other != target) {
            self.account = Some(said.to_owned());
        }
        self.tables.push((target.clone(), said.to_owned()));
    }

    /// Why a table need not be tried.
    pub(super) fn busy_for(&self, target: &Target) -> Option<&str> {
        let own = self.tables.iter().find(|(other, _)| other == target);
        own.map(|(_, said)| said)
            .or(self.account.as_ref())
            .map(String::as_str)
    }

    /// Whether a table itself was told that the slot is busy.
    pub(super) fn was_refused(&self, target: &Target) -> bool {
        self.tables.iter().any(|(other, _)| other == target)
    }

    /// The only table that was told so, where that may be its own state.
    pub(super) fn refused_alone(&self) -> Option<&Target> {
        match (&self.account, &self.tables[..]) {
            (None, [(target, _)]) => Some(target),
            _ => None,
        }
    }

    /// Whether a second table's answer is wanted: one alone was told 409, which may be its own state.
    pub(super) fn is_doubtful(&self) -> bool {
        self.refused_alone().is_some()
    }
}
