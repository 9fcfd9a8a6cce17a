//! Where the ledger's items are kept: in DynamoDB, or in memory. One item per table, and one for the slot.

use std::collections::{BTreeMap, HashMap};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::{Error, ErrorType, shortened, with_causes};
use crate::job::Call;
use crate::ledger::{Claim, Record, Waiters};

/// The attributes of an item. The partition key is the table's ARN.
const KEY: &str = "idMappingTableArn";
const REVISION: &str = "revision";
const RECORD: &str = "record";

/// The partition key of the item for the job slot: no ARN.
const SLOT: &str = "slot";

/// How often a transition is applied to an item that others change meanwhile.
const ATTEMPTS: usize = 8;

/// The tables that a ledger in memory knows; of more, the one that was written longest ago is forgotten.
const MAX_IN_MEMORY: usize = 1_000;

/// The ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    tables: Store<Record>,
    slot: Store<Waiters>,
}

/// Items that hold one kind of record.
#[derive(Clone, Debug)]
enum Store<R> {
    DynamoDb { client: Client, table: String },
    Memory(Arc<Mutex<Memory<R>>>),
}

#[derive(Debug)]
struct Memory<R> {
    entries: BTreeMap<Arc<str>, Entry<R>>,
    /// Their keys by their revisions, which count the writes.
    ages: BTreeMap<Uuid, Arc<str>>,
    writes: u128,
}

/// An item as it was read.
#[derive(Debug)]
pub struct Entry<R = Record> {
    key: Arc<str>,
    /// What is remembered.
    pub record: Arc<R>,
    /// The name of its last write, which no other has; none: nothing was written yet.
    revision: Option<Uuid>,
}

impl<R> Clone for Entry<R> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            record: self.record.clone(),
            revision: self.revision,
        }
    }
}

impl Ledger {
    /// In this DynamoDB table.
    pub fn in_dynamodb(config: &aws_config::SdkConfig, table: &str) -> Self {
        let client = Client::new(config);
        Self {
            tables: Store::DynamoDb {
                client: client.clone(),
                table: table.to_owned(),
            },
            slot: Store::DynamoDb {
                client,
                table: table.to_owned(),
            },
        }
    }

    /// In memory, as long as the execution environment lasts.
    pub fn in_memory() -> Self {
        Self {
            tables: Store::in_memory(),
            slot: Store::in_memory(),
        }
    }

    /// Reads a table's record, consistently.
    pub async fn read(&self, arn: &str, within: Duration) -> Result<Entry, Error> {
        self.tables.read(arn, within).await
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
        let key = entry.key.clone();
        let work = pin!(self.tables.replace(entry, record));
        in_time("PutItem", &key, within, work).await
    }

    /// Applies a transition to a table's record, to what others have written meanwhile if need be.
    pub async fn update(
        &self,
        entry: &mut Entry,
        within: Duration,
        transition: impl Fn(&Record) -> Record,
    ) -> Result<(), Error> {
        self.tables.update(entry, within, transition).await
    }

    /// Reads who waits for the slot, consistently.
    pub async fn read_waiters(&self, within: Duration) -> Result<Entry<Waiters>, Error> {
        self.slot.read(SLOT, within).await
    }

    /// Applies a transition to the requests that wait for the slot.
    pub async fn update_waiters(
        &self,
        entry: &mut Entry<Waiters>,
        within: Duration,
        transition: impl Fn(&Waiters) -> Waiters,
    ) -> Result<(), Error> {
        self.slot.update(entry, within, transition).await
    }
}

impl<R: Default + PartialEq + Serialize + DeserializeOwned> Store<R> {
    fn in_memory() -> Self {
        Self::Memory(Arc::new(Mutex::new(Memory {
            entries: BTreeMap::new(),
            ages: BTreeMap::new(),
            writes: 0,
        })))
    }

    async fn read(&self, key: &str, within: Duration) -> Result<Entry<R>, Error> {
        in_time("GetItem", key, within, pin!(self.fetch(key))).await
    }

    async fn update(
        &self,
        entry: &mut Entry<R>,
        within: Duration,
        transition: impl Fn(&R) -> R,
    ) -> Result<(), Error> {
        let key = entry.key.clone();
        let work = pin!(async {
            for _ in 0..ATTEMPTS {
                let record = transition(&entry.record);
                if record == *entry.record || self.replace(entry, record).await? {
                    return Ok(());
                }
            }
            Err(format!(
                "others changed the item {ATTEMPTS} times meanwhile"
            ))
        });
        in_time("PutItem", &key, within, work).await
    }

    // What DynamoDB needs is boxed: it is large, and part of whatever waits for it.

    async fn fetch(&self, key: &str) -> Result<Entry<R>, String> {
        match self {
            Self::Memory(memory) => {
                let kept = lock(memory).entries.get(key).cloned();
                Ok(kept.unwrap_or_else(|| Entry::none(key)))
            }
            Self::DynamoDb { client, table } => Box::pin(get_item(client, table, key)).await,
        }
    }

    /// Writes a record in place of the entry's, if nobody changed it. Where somebody did, the entry
    /// becomes what stands there now.
    async fn replace(&self, entry: &mut Entry<R>, record: R) -> Result<bool, String> {
        match self {
            Self::Memory(memory) => Ok(lock(memory).replace(entry, record)),
            Self::DynamoDb { client, table } => {
                Box::pin(put_item(client, table, entry, record)).await
            }
        }
    }
}

impl<R: Default> Entry<R> {
    fn none(key: &str) -> Self {
        Self {
            key: key.into(),
            record: Arc::default(),
            revision: None,
        }
    }
}

async fn get_item<R: Default + DeserializeOwned>(
    client: &Client,
    table: &str,
    key: &str,
) -> Result<Entry<R>, String> {
    let answer = client
        .get_item()
        .table_name(table)
        .key(KEY, AttributeValue::S(key.to_owned()))
        .consistent_read(true)
        .send()
        .await
        .map_err(|error| said(table, &error))?;
    match answer.item {
        Some(item) => understood(key, table, &item),
        None => Ok(Entry::none(key)),
    }
}

async fn put_item<R: Default + Serialize + DeserializeOwned>(
    client: &Client,
    table: &str,
    entry: &mut Entry<R>,
    record: R,
) -> Result<bool, String> {
    let revision = Uuid::new_v4();
    let json = serde_json::to_string(&record).map_err(|fault| fault.to_string())?;
    let put = client
        .put_item()
        .table_name(table)
        .item(KEY, AttributeValue::S(entry.key.to_string()))
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
                Some(item) => Some(understood(&entry.key, table, item)?),
                // An item that was there and is not any more, or a store that does not tell.
                None => Some(get_item(client, table, &entry.key).await?),
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

impl<R> Memory<R> {
    fn replace(&mut self, entry: &mut Entry<R>, record: R) -> bool {
        if let Some(there) = self.entries.get(&entry.key)
            && there.revision != entry.revision
        {
            *entry = there.clone();
            return false;
        }
        self.writes += 1;
        let revision = Uuid::from_u128(self.writes);
        entry.record = Arc::new(record);
        entry.revision = Some(revision);
        let before = self.entries.insert(entry.key.clone(), entry.clone());
        if let Some(before) = before.and_then(|before| before.revision) {
            self.ages.remove(&before);
        }
        self.ages.insert(revision, entry.key.clone());
        if self.entries.len() > MAX_IN_MEMORY
            && let Some((_, oldest)) = self.ages.pop_first()
        {
            self.entries.remove(&oldest);
        }
        true
    }
}

fn lock<R>(memory: &Mutex<Memory<R>>) -> MutexGuard<'_, Memory<R>> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

fn understood<R: DeserializeOwned>(
    key: &str,
    table: &str,
    item: &HashMap<String, AttributeValue>,
) -> Result<Entry<R>, String> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    let record = text(RECORD).and_then(|json| serde_json::from_str(json).ok());
    let revision = text(REVISION).and_then(|text| Uuid::parse_str(text).ok());
    match (record, revision) {
        (Some(record), Some(revision)) => Ok(Entry {
            key: key.into(),
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
    key: &str,
    within: Duration,
    work: Pin<&mut impl Future<Output = Result<T, String>>>,
) -> Result<T, Error> {
    tokio::time::timeout(within, work)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} ms", within.as_millis())))
        .map_err(|cause| {
            Error::new(
                ErrorType::LedgerUnavailable,
                format!("{operation} of the ledger's item for {key} failed: {cause}"),
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
