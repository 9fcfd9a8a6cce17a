//! Where the ledger's items are kept: in a DynamoDB table, or in memory. There is one item per ID mapping table,
//! and one for the job slot.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::get_item::{GetItemError, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use uuid::Uuid;

use super::call::{ReadError, describe_with, within};
use crate::error::{Error, ErrorType};
use crate::job::Call;
use crate::ledger::{Record, Waiters};

/// The attributes of an item. The partition key is the ID mapping table's ARN.
const KEY: &str = "idMappingTableArn";
const REVISION: &str = "revision";
const RECORD: &str = "record";

/// The partition key of the item for the job slot. It is not an ARN.
const SLOT: &str = "slot";

/// How often a transition is applied to an item that other invocations change meanwhile.
const MAX_ATTEMPTS: usize = 8;

/// The most items of a ledger in memory. Of more, the one that was written longest ago is forgotten.
const MAX_IN_MEMORY: usize = 1_000;

/// The ledger.
#[derive(Clone, Debug)]
pub struct Ledger(Store);

#[derive(Clone, Debug)]
enum Store {
    DynamoDb { client: Client, table: String },
    Memory(Arc<Mutex<Memory>>),
}

#[derive(Debug, Default)]
struct Memory {
    items: BTreeMap<String, Kept>,
    writes: u128,
}

/// What an item in memory holds: a record, which is not written as JSON.
#[derive(Clone, Debug)]
struct Kept {
    record: Arc<dyn Any + Send + Sync>,
    revision: Uuid,
}

/// What an item in DynamoDB holds.
#[derive(Clone, Debug)]
struct Stored {
    /// In JSON.
    record: String,
    revision: Uuid,
}

/// An item as it was read.
#[derive(Clone, Debug)]
pub struct Item<R = Record> {
    key: String,
    /// What is remembered.
    pub record: R,
    /// Identifies the item's last write. `None` if nothing was written yet.
    revision: Option<Uuid>,
}

/// What an item can hold: a table's [`Record`], or the [`Waiters`] for the slot.
pub trait Remembered: Any + Clone + Default + Send + Sync + Serialize + DeserializeOwned {}

impl Remembered for Record {}

impl Remembered for Waiters {}

impl<R: Remembered> Item<R> {
    /// An item in memory.
    fn of(key: &str, kept: Option<&Kept>) -> Self {
        let record = kept.and_then(|kept| kept.record.downcast_ref::<R>());
        Self {
            key: key.to_owned(),
            record: record.cloned().unwrap_or_default(),
            revision: kept.map(|kept| kept.revision),
        }
    }
}

impl Ledger {
    /// A ledger in this DynamoDB table.
    pub fn in_dynamodb(config: &aws_config::SdkConfig, table: &str) -> Self {
        Self(Store::DynamoDb {
            client: Client::new(config),
            table: table.to_owned(),
        })
    }

    /// A ledger in memory, which is kept as long as the execution environment.
    pub fn in_memory() -> Self {
        Self(Store::Memory(Arc::default()))
    }

    /// Reads a table's item, consistently.
    pub async fn read(&self, arn: &str, timeout: Duration) -> Result<Item, Error> {
        self.get(arn, timeout).await
    }

    /// Reads the item of the requests that wait for the slot, consistently.
    pub async fn read_waiters(&self, timeout: Duration) -> Result<Item<Waiters>, Error> {
        self.get(SLOT, timeout).await
    }

    /// Reads a table's record for a status report. The error says which permission is missing.
    pub async fn look_at(&self, arn: &str) -> Result<Record, ReadError> {
        self.0.look_at(arn).await
    }

    /// Reads the requests that wait for the slot, for a status report.
    pub async fn look_at_waiters(&self) -> Result<Waiters, ReadError> {
        self.0.look_at(SLOT).await
    }

    /// Claims the right to start a job. Returns whether it is claimed. If it is not, another invocation changed
    /// the item, and it is as that one wrote it.
    pub async fn claim(
        &self,
        item: &mut Item,
        call: &Call,
        until: OffsetDateTime,
        timeout: Duration,
    ) -> Result<bool, Error> {
        let record = item.record.claimed(call, until);
        let key = item.key.clone();
        within(timeout, self.0.replace(item, record))
            .await
            .map_err(|cause| unavailable("PutItem", &key, cause))
    }

    /// Applies a transition to an item. Where other invocations changed the item since it was read, it is applied
    /// to what they wrote.
    pub async fn update<R>(
        &self,
        item: &mut Item<R>,
        timeout: Duration,
        transition: impl Fn(&R) -> R,
    ) -> Result<(), Error>
    where
        R: Remembered + PartialEq,
    {
        let key = item.key.clone();
        let work = async {
            for _ in 0..MAX_ATTEMPTS {
                let record = transition(&item.record);
                if record == item.record || self.0.replace(item, record).await? {
                    return Ok(());
                }
            }
            Err(format!(
                "other invocations changed the item {MAX_ATTEMPTS} times meanwhile"
            ))
        };
        within(timeout, work)
            .await
            .map_err(|cause| unavailable("PutItem", &key, cause))
    }

    async fn get<R: Remembered>(&self, key: &str, timeout: Duration) -> Result<Item<R>, Error> {
        within(timeout, self.0.get(key))
            .await
            .map_err(|cause| unavailable("GetItem", key, cause))
    }
}

impl Store {
    async fn get<R: Remembered>(&self, key: &str) -> Result<Item<R>, String> {
        match self {
            Self::Memory(memory) => {
                let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(Item::of(key, memory.items.get(key)))
            }
            Self::DynamoDb { client, table } => decode(key, get_item(client, table, key).await?),
        }
    }

    async fn look_at<R: Remembered>(&self, key: &str) -> Result<R, ReadError> {
        let item = match self {
            Self::Memory(_) => self.get(key).await,
            Self::DynamoDb { client, table } => {
                let answer = ask_for_item(client, table, key).await;
                let answer =
                    answer.map_err(|error| ReadError::of("GetItem", "dynamodb:GetItem", &error))?;
                let stored = answer.item.map(|item| stored(table, &item)).transpose();
                stored.and_then(|stored| decode(key, stored))
            }
        };
        item.map(|item| item.record).map_err(ReadError::unclear)
    }

    /// Writes a record if the item did not change since it was read. If it did, the item becomes what is stored
    /// now. Returns whether the record was written.
    async fn replace<R: Remembered>(&self, item: &mut Item<R>, record: R) -> Result<bool, String> {
        match self {
            Self::Memory(memory) => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(memory.replace(item, record))
            }
            Self::DynamoDb { client, table } => {
                let json = serde_json::to_string(&record).map_err(|fault| fault.to_string())?;
                match put_item(client, table, &item.key, json, item.revision).await? {
                    Written::Yes(revision) => {
                        item.record = record;
                        item.revision = Some(revision);
                        Ok(true)
                    }
                    Written::No(current) => {
                        *item = decode(&item.key, current)?;
                        Ok(false)
                    }
                }
            }
        }
    }
}

/// Whether a conditional write was done.
enum Written {
    /// It was, under this revision.
    Yes(Uuid),
    /// It was not: the item changed, and this is stored now.
    No(Option<Stored>),
}

impl Memory {
    fn replace<R: Remembered>(&mut self, item: &mut Item<R>, record: R) -> bool {
        let current = self.items.get(&item.key);
        if current.map(|current| current.revision) != item.revision {
            *item = Item::of(&item.key, current);
            return false;
        }
        // The number of a write is its revision.
        self.writes += 1;
        let revision = Uuid::from_u128(self.writes);
        let kept = Kept {
            record: Arc::new(record.clone()),
            revision,
        };
        self.items.insert(item.key.clone(), kept);
        item.record = record;
        item.revision = Some(revision);
        if self.items.len() > MAX_IN_MEMORY {
            let oldest = self.items.iter().min_by_key(|(_, stored)| stored.revision);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.items.remove(&key);
            }
        }
        true
    }
}

async fn get_item(client: &Client, table: &str, key: &str) -> Result<Option<Stored>, String> {
    let answer = ask_for_item(client, table, key).await;
    let answer = answer.map_err(|error| refused(table, &error))?;
    answer.item.map(|item| stored(table, &item)).transpose()
}

async fn ask_for_item(
    client: &Client,
    table: &str,
    key: &str,
) -> Result<GetItemOutput, SdkError<GetItemError, HttpResponse>> {
    client
        .get_item()
        .table_name(table)
        .key(KEY, AttributeValue::S(key.to_owned()))
        .consistent_read(true)
        .send()
        .await
}

async fn put_item(
    client: &Client,
    table: &str,
    key: &str,
    record: String,
    read: Option<Uuid>,
) -> Result<Written, String> {
    let revision = Uuid::new_v4();
    let put = client
        .put_item()
        .table_name(table)
        .item(KEY, AttributeValue::S(key.to_owned()))
        .item(REVISION, AttributeValue::S(revision.to_string()))
        .item(RECORD, AttributeValue::S(record))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let put = match read {
        None => put
            .condition_expression("attribute_not_exists(#key)")
            .expression_attribute_names("#key", KEY),
        Some(read) => put
            .condition_expression("#revision = :read")
            .expression_attribute_names("#revision", REVISION)
            .expression_attribute_values(":read", AttributeValue::S(read.to_string())),
    };
    let Err(error) = put.send().await else {
        return Ok(Written::Yes(revision));
    };
    let current = match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(failed)) => match &failed.item {
            Some(item) => Some(stored(table, item)?),
            // The item was deleted, or the store does not tell what is stored.
            None => get_item(client, table, key).await?,
        },
        _ => return Err(refused(table, &error)),
    };
    // The SDK repeats a write whose answer was lost. Then our own write is stored.
    if current
        .as_ref()
        .is_some_and(|current| current.revision == revision)
    {
        return Ok(Written::Yes(revision));
    }
    Ok(Written::No(current))
}

fn stored(table: &str, item: &HashMap<String, AttributeValue>) -> Result<Stored, String> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    let record = text(RECORD).cloned();
    let revision = text(REVISION).and_then(|text| Uuid::parse_str(text).ok());
    record
        .zip(revision)
        .map(|(record, revision)| Stored { record, revision })
        .ok_or_else(|| unreadable(&format!("table {table}")))
}

fn decode<R: Default + DeserializeOwned>(
    key: &str,
    stored: Option<Stored>,
) -> Result<Item<R>, String> {
    let (record, revision) = match stored {
        None => (R::default(), None),
        Some(Stored { record, revision }) => (
            serde_json::from_str(&record).map_err(|_| unreadable("the ledger"))?,
            Some(revision),
        ),
    };
    Ok(Item {
        key: key.to_owned(),
        record,
        revision,
    })
}

fn unreadable(place: &str) -> String {
    format!(
        "the item in {place} was not written by a version of this function; look at it, and delete it to begin without it"
    )
}

fn refused<E, R>(table: &str, error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let remedy = format!(
        "check dynamodb:GetItem and dynamodb:PutItem on table {table}, and LEDGER_TABLE_NAME"
    );
    describe_with(error, &remedy)
}

fn unavailable(operation: &str, key: &str, cause: String) -> Error {
    Error::new(
        ErrorType::LedgerUnavailable,
        format!("{operation} of the ledger's item for {key} failed: {cause}"),
    )
}
