//! The settings with the ID mapping tables of `ID_MAPPING_TABLES_PATH`, which are read at the first invocation and then
//! every few minutes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use crate::aws::ReadError;
use crate::aws::parameters::Parameters;
use crate::clock::timestamp;
use crate::config::Settings;
use crate::error::{Error, ErrorType};
use crate::target::AwsLocation;

/// How long tables are used before they are read again. A stack may add some while the function runs.
const MAX_AGE: time::Duration = time::Duration::minutes(5);

/// How long reading may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The settings that were read at the start, and those with the tables.
#[derive(Clone, Debug)]
pub(super) struct Configured {
    at_start: Arc<Settings>,
    with_tables: Arc<Mutex<Option<Kept>>>,
}

#[derive(Clone, Debug)]
struct Kept {
    read_at: OffsetDateTime,
    settings: Arc<Settings>,
}

/// Why the tables cannot be added to the settings.
#[derive(Clone, Debug)]
pub(super) enum NoTables {
    NotRead(ReadError),
    Invalid(Error),
}

impl Configured {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            at_start: Arc::new(settings),
            with_tables: Arc::default(),
        }
    }

    /// The settings that were read at the start.
    pub(super) fn at_start(&self) -> &Arc<Settings> {
        &self.at_start
    }

    /// Returns the settings with all tables. If these cannot be read again, or have a fault, those of the last time are
    /// used.
    pub(super) async fn settings(
        &self,
        parameters: Option<&Parameters>,
        location: &AwsLocation,
        now: OffsetDateTime,
        remaining: Duration,
    ) -> Result<Arc<Settings>, NoTables> {
        let Some(parameters) = parameters else {
            return Ok(Arc::clone(&self.at_start));
        };
        let kept = self.lock().clone();
        if let Some(kept) = &kept
            && (time::Duration::ZERO..MAX_AGE).contains(&(now - kept.read_at))
        {
            return Ok(Arc::clone(&kept.settings));
        }
        let read = self.read(parameters, location, remaining).await;
        match (read, kept) {
            (Ok(settings), _) => {
                let settings = Arc::new(settings);
                *self.lock() = Some(Kept {
                    read_at: now,
                    settings: Arc::clone(&settings),
                });
                Ok(settings)
            }
            (Err(error), Some(kept)) => {
                let error = Error::from(error);
                tracing::error!(
                    errorType = error.error_type.as_str(),
                    "the tables that were read at {} are used: {}",
                    timestamp(kept.read_at),
                    error.message
                );
                Ok(kept.settings)
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn read(
        &self,
        parameters: &Parameters,
        location: &AwsLocation,
        remaining: Duration,
    ) -> Result<Settings, NoTables> {
        let all = parameters.read(TIMEOUT.min(remaining / 2)).await;
        let all = all.map_err(NoTables::NotRead)?;
        let lists = all
            .iter()
            .map(|one| (one.name.as_str(), one.value.as_str()));
        let settings = self.at_start.with_tables(lists, location);
        settings.map_err(NoTables::Invalid)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.with_tables
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<NoTables> for Error {
    fn from(reason: NoTables) -> Self {
        match reason {
            NoTables::Invalid(error) => error,
            NoTables::NotRead(error) => {
                let error_type = match error.permission {
                    Some(_) => ErrorType::InvalidConfiguration,
                    None => ErrorType::ServiceUnavailable,
                };
                let message =
                    format!("the tables of ID_MAPPING_TABLES_PATH cannot be read: {error}");
                Self::new(error_type, message)
            }
        }
    }
}
