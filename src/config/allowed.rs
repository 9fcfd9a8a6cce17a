//! What a payload may name. Whoever may publish, send or invoke could otherwise start any job that the role allows.

use super::variable::{invalid, items};
use crate::error::Error;
use crate::job_type::RequestedType;
use crate::target::{TableArn, Target, is_account};

/// What payloads may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Whether payloads may name tables that are not configured.
    other_tables: bool,
    /// The configured tables. If there are none, any is allowed.
    tables: Vec<Target>,
    /// The job types. `None` if any is allowed.
    job_types: Option<Vec<RequestedType>>,
    accounts: Accounts,
}

/// The accounts, besides the function's own, whose events are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Accounts {
    Any,
    These(Vec<String>),
}

impl Allowed {
    /// Reads `ALLOW_OTHER_TABLES`, `ALLOWED_JOB_TYPES` and `ALLOWED_ACCOUNTS`. `configured` is `ID_MAPPING_TABLE_ARNS`.
    pub(super) fn read(
        configured: &[TableArn],
        other_tables: bool,
        job_types: Option<String>,
        accounts: Option<String>,
    ) -> Result<Self, Error> {
        Ok(Self {
            other_tables,
            tables: targets(configured),
            job_types: job_types.map(|list| read_job_types(&list)).transpose()?,
            accounts: accounts
                .map_or(Ok(Accounts::These(Vec::new())), |list| read_accounts(&list))?,
        })
    }

    /// Returns the same with other configured tables.
    pub(super) fn with_tables(&self, configured: &[TableArn]) -> Self {
        Self {
            tables: targets(configured),
            ..self.clone()
        }
    }

    /// Checks a table. The error is the predicate of a sentence.
    pub fn check_table(&self, target: &Target) -> Result<(), String> {
        if self.other_tables || self.tables.is_empty() || self.tables.contains(target) {
            return Ok(());
        }
        Err(
            "is not allowed: name a table of ID_MAPPING_TABLE_ARNS or ID_MAPPING_TABLES_PATH, or set ALLOW_OTHER_TABLES to true"
                .to_owned(),
        )
    }

    /// Checks a job type that a payload asks for. The error is the predicate of a sentence.
    pub fn check_job_type(&self, requested: RequestedType) -> Result<(), String> {
        match &self.job_types {
            Some(allowed) if !allowed.contains(&requested) => {
                let names: Vec<&str> = allowed.iter().map(|allowed| allowed.as_str()).collect();
                Err(format!(
                    "is not allowed: write {}, or add it to ALLOWED_JOB_TYPES",
                    names.join(", ")
                ))
            }
            _ => Ok(()),
        }
    }

    /// Checks the account of an event. The error is the predicate of a sentence.
    pub fn check_account(&self, account: &str, own: &str) -> Result<(), String> {
        let is_allowed = match &self.accounts {
            Accounts::Any => true,
            Accounts::These(others) => {
                account == own || others.iter().any(|other| other == account)
            }
        };
        match is_allowed {
            true => Ok(()),
            false => Err("is not allowed: add the account to ALLOWED_ACCOUNTS".to_owned()),
        }
    }
}

fn targets(arns: &[TableArn]) -> Vec<Target> {
    arns.iter().map(|arn| arn.target.clone()).collect()
}

fn read_job_types(list: &str) -> Result<Vec<RequestedType>, Error> {
    const NAME: &str = "ALLOWED_JOB_TYPES";
    let read = |item: (usize, &str)| {
        let (number, text) = item;
        RequestedType::parse(text)
            .map_err(|reason| invalid(NAME, &format!("item {number} {reason}")))
    };
    items(NAME, list)?.into_iter().map(read).collect()
}

fn read_accounts(list: &str) -> Result<Accounts, Error> {
    const NAME: &str = "ALLOWED_ACCOUNTS";
    if list.trim() == "*" {
        return Ok(Accounts::Any);
    }
    let read = |(number, text): (usize, &str)| match is_account(text) {
        true => Ok(text.to_owned()),
        false => Err(invalid(
            NAME,
            &format!("item {number} is not an account: write 12 digits, or * alone"),
        )),
    };
    let accounts: Result<_, _> = items(NAME, list)?.into_iter().map(read).collect();
    accounts.map(Accounts::These)
}
