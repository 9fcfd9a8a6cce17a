//! Where the records are kept: DynamoDB, one item per table, or memory.

use std::collections::{BTreeMap, HashMap};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Call, Claim, Job, Record, Started};
use crate::clients::Unsigned;
use crate::error::{Error, ErrorType, shortened, with_causes};

/// The attributes of an item. The partition key is the table's ARN.
const KEY: &str = "idMappingTableArn";
const REVISION: &str = "revision";
const RECORD: &str = "record";

/// How often a change is applied to a record that others change meanwhile.
const ATTEMPTS: usize = 8;

/// The tables that a ledger in memory knows; whoever names more than this is forgotten by age.
const MAX_IN_MEMORY: usize = 1_000;

/// The ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    store: Store,
}

#[derive(Clone, Debug)]
enum Store {
    DynamoDb { client: Client, table: String },
    Memory(Arc<Mutex<Memory>>),
}

#[derive(Debug, Default)]
struct Memory {
    entries: BTreeMap<Arc<str>, Entry>,
    /// Their keys by their revisions, which count the writes.
    ages: BTreeMap<Uuid, Arc<str>>,
    writes: u128,
}

/// A table's record as it was read.
#[derive(Clone, Debug)]
pub struct Entry {
    arn: Arc<str>,
    /// What is remembered.
    pub record: Arc<Record>,
    /// The name of its last write, which no other has; none: nothing was written yet.
    revision: Option<Uuid>,
}

impl Ledger {
    /// In this DynamoDB table.
    pub fn in_dynamodb(config: &aws_config::SdkConfig, table: &str) -> Self {
        Self {
            store: Store::DynamoDb {
                client: Client::new(config),
                table: table.to_owned(),
            },
        }
    }

    /// In memory, as long as the execution environment lasts.
    pub fn in_memory() -> Self {
        Self {
            store: Store::Memory(Arc::default()),
        }
    }

    /// Opens a connection, with a request that is refused (see [`Unsigned`]).
    pub async fn connect(&self) {
        if let Store::DynamoDb { client, table } = &self.store {
            let nobodys = AttributeValue::S("-".to_owned());
            let get = client.get_item().table_name(table).key(KEY, nobodys);
            let _ = get.customize().interceptor(Unsigned).send().await;
        }
    }

    /// Reads a table's record, consistently.
    pub async fn read(&self, arn: &str, within: Duration) -> Result<Entry, Error> {
        in_time("GetItem", arn, within, pin!(self.fetch(arn))).await
    }

    /// Claims the right to start a job. False: somebody was faster, and the entry shows what they
    /// did.
    pub async fn begin(
        &self,
        entry: &mut Entry,
        call: &Call,
        until: OffsetDateTime,
        within: Duration,
    ) -> Result<bool, Error> {
        let claim = Claim {
            until,
            call: call.clone(),
        };
        let record = entry.record.claimed(claim);
        let arn = entry.arn.clone();
        let work = pin!(self.replace(entry, record));
        in_time("PutItem", &arn, within, work).await
    }

    /// Records the job that a call started, and gives the claim back if it is still this call's.
    pub async fn finish(
        &self,
        entry: &mut Entry,
        call: &Call,
        job: &Job,
        to_be_announced: bool,
        within: Duration,
    ) -> Result<(), Error> {
        let change = |record: &Record| Some(record.with(call, job, to_be_announced));
        self.change(entry, within, change).await
    }

    /// Records the job that was found for a call that somebody left behind, unless it is settled
    /// already.
    pub async fn settle(
        &self,
        entry: &mut Entry,
        call: &Call,
        job: &Job,
        to_be_announced: bool,
        within: Duration,
    ) -> Result<(), Error> {
        let change = |record: &Record| {
            record
                .is_open(call.attempt)
                .then(|| record.with(call, job, to_be_announced))
        };
        self.change(entry, within, change).await
    }

    /// Gives a claim back: no job was started.
    pub async fn release(
        &self,
        entry: &mut Entry,
        call: &Call,
        within: Duration,
    ) -> Result<(), Error> {
        let change = |record: &Record| Some(record.without(call.attempt));
        self.change(entry, within, change).await
    }

    /// Records that a call's outcome is unknown and no job was found for it, unless it is settled
    /// already.
    pub async fn doubt(
        &self,
        entry: &mut Entry,
        call: &Call,
        within: Duration,
    ) -> Result<(), Error> {
        let change = |record: &Record| record.is_open(call.attempt).then(|| record.doubting(call));
        self.change(entry, within, change).await
    }

    /// Records that a job's start is announced.
    pub async fn announced(
        &self,
        entry: &mut Entry,
        started: &Started,
        within: Duration,
    ) -> Result<(), Error> {
        let change = |record: &Record| Some(record.announced(started));
        self.change(entry, within, change).await
    }

    /// Records that a job stands in the waiting line, to be followed.
    pub async fn followed(
        &self,
        entry: &mut Entry,
        started: &Started,
        within: Duration,
    ) -> Result<(), Error> {
        let change = |record: &Record| Some(record.followed(&started.job.id));
        self.change(entry, within, change).await
    }

    /// Records that a job's end is announced, under its id at Entity Resolution.
    pub async fn ended(
        &self,
        entry: &mut Entry,
        job: &Job,
        job_id: &str,
        failed: bool,
        within: Duration,
    ) -> Result<(), Error> {
        let change = |record: &Record| Some(record.ended(job, job_id, failed));
        self.change(entry, within, change).await
    }

    /// Applies a change, to what others have written meanwhile if need be. None: there is nothing
    /// to be changed any more.
    async fn change(
        &self,
        entry: &mut Entry,
        within: Duration,
        change: impl Fn(&Record) -> Option<Record>,
    ) -> Result<(), Error> {
        let arn = entry.arn.clone();
        let work = pin!(async {
            for _ in 0..ATTEMPTS {
                let Some(record) = change(&entry.record) else {
                    return Ok(());
                };
                if record == *entry.record || self.replace(entry, record).await? {
                    return Ok(());
                }
            }
            Err(format!(
                "others changed the item {ATTEMPTS} times meanwhile"
            ))
        });
        in_time("PutItem", &arn, within, work).await
    }

    // What DynamoDB needs is boxed: it is large, and part of whatever waits for it.

    async fn fetch(&self, arn: &str) -> Result<Entry, String> {
        match &self.store {
            Store::Memory(memory) => {
                let kept = lock(memory).entries.get(arn).cloned();
                Ok(kept.unwrap_or_else(|| Entry::none(arn)))
            }
            Store::DynamoDb { client, table } => Box::pin(get_item(client, table, arn)).await,
        }
    }

    /// Writes a record in place of the entry's, if nobody changed it. Where somebody did, the entry
    /// becomes what stands there now.
    async fn replace(&self, entry: &mut Entry, record: Record) -> Result<bool, String> {
        match &self.store {
            Store::Memory(memory) => Ok(lock(memory).replace(entry, record)),
            Store::DynamoDb { client, table } => {
                Box::pin(put_item(client, table, entry, record)).await
            }
        }
    }
}

impl Entry {
    fn none(arn: &str) -> Self {
        Self {
            arn: arn.into(),
            record: Arc::default(),
            revision: None,
        }
    }
}

async fn get_item(client: &Client, table: &str, arn: &str) -> Result<Entry, String> {
    let answer = client
        .get_item()
        .table_name(table)
        .key(KEY, AttributeValue::S(arn.to_owned()))
        .consistent_read(true)
        .send()
        .await
        .map_err(|error| said(table, &error))?;
    match answer.item {
        Some(item) => understood(arn, table, &item),
        None => Ok(Entry::none(arn)),
    }
}

async fn put_item(
    client: &Client,
    table: &str,
    entry: &mut Entry,
    record: Record,
) -> Result<bool, String> {
    let revision = Uuid::new_v4();
    let json = serde_json::to_string(&record).map_err(|fault| fault.to_string())?;
    let put = client
        .put_item()
        .table_name(table)
        .item(KEY, AttributeValue::S(entry.arn.to_string()))
        .item(REVISION, AttributeValue::S(revision.to_string()))
        .item(RECORD, AttributeValue::S(json))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let put = match entry.revision {
        None => put
            .condition_expression("attribute_not_exists(#key)")
            .expression_attribute_names("#key", KEY),
        Some(read) => put
            .condition_expression("#revision = :read")
            .expression_attribute_names("#revision", REVISION)
            .expression_attribute_values(":read", AttributeValue::S(read.to_string())),
    };
    let there = match put.send().await {
        Ok(_) => None,
        Err(error) => match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => match &failed.item {
                Some(item) => Some(understood(&entry.arn, table, item)?),
                // An item that was there and is not any more, or a store that does not tell.
                None => Some(get_item(client, table, &entry.arn).await?),
            },
            _ => return Err(said(table, &error)),
        },
    };
    match there {
        // The SDK repeats a write whose answer was lost: the one that stands there is ours.
        Some(there) if there.revision != Some(revision) => {
            *entry = there;
            Ok(false)
        }
        _ => {
            entry.record = Arc::new(record);
            entry.revision = Some(revision);
            Ok(true)
        }
    }
}

impl Memory {
    fn replace(&mut self, entry: &mut Entry, record: Record) -> bool {
        if let Some(there) = self.entries.get(&entry.arn)
            && there.revision != entry.revision
        {
            *entry = there.clone();
            return false;
        }
        self.writes += 1;
        let revision = Uuid::from_u128(self.writes);
        entry.record = Arc::new(record);
        entry.revision = Some(revision);
        let before = self.entries.insert(entry.arn.clone(), entry.clone());
        if let Some(before) = before.and_then(|before| before.revision) {
            self.ages.remove(&before);
        }
        self.ages.insert(revision, entry.arn.clone());
        if self.entries.len() > MAX_IN_MEMORY
            && let Some((_, oldest)) = self.ages.pop_first()
        {
            self.entries.remove(&oldest);
        }
        true
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

fn understood(
    arn: &str,
    table: &str,
    item: &HashMap<String, AttributeValue>,
) -> Result<Entry, String> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    let record = text(RECORD).and_then(|json| serde_json::from_str(json).ok());
    let revision = text(REVISION).and_then(|text| Uuid::parse_str(text).ok());
    match (record, revision) {
        (Some(record), Some(revision)) => Ok(Entry {
            arn: arn.into(),
            record: Arc::new(record),
            revision: Some(revision),
        }),
        _ => Err(format!(
            "the item in table {table} is none that this version of the function wrote; look at it, and delete it to \
             begin anew"
        )),
    }
}

async fn in_time<T>(
    operation: &str,
    arn: &str,
    within: Duration,
    work: Pin<&mut impl Future<Output = Result<T, String>>>,
) -> Result<T, Error> {
    tokio::time::timeout(within, work)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} ms", within.as_millis())))
        .map_err(|cause| {
            Error::new(
                ErrorType::LedgerUnavailable,
                format!("{operation} of the ledger's item for {arn} failed: {cause}"),
            )
        })
}

fn said<E, R>(table: &str, error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let cause = match error.as_service_error() {
        Some(refusal) => format!(
            "{}: {}",
            refusal.code().unwrap_or("DynamoDB refused it"),
            shortened(refusal.message().unwrap_or("no message"))
        ),
        None => with_causes(error),
    };
    format!(
        "{cause}; check dynamodb:GetItem and dynamodb:PutItem on table {table}, and LEDGER_TABLE_NAME"
    )
}
