//! The clients of all services that the settings name.

use aws_config::SdkConfig;

use super::clean_rooms::CleanRooms;
use super::entity_resolution::Workflows;
use super::event_bus::EventBus;
use super::ledger_table::Ledger;
use super::parameters::Parameters;
use super::queue::Queue;
use crate::config::Settings;

/// The services of an execution environment.
#[derive(Clone, Debug)]
pub struct Services {
    /// What is remembered of each table.
    pub ledger: Ledger,
    /// Where jobs are started.
    pub clean_rooms: CleanRooms,
    /// What AWS knows of tables, workflows and jobs.
    pub workflows: Workflows,
    /// Where requests wait, and jobs are tracked.
    pub waiting_queue: Option<Queue>,
    /// Where given-up requests and invalid messages go.
    pub dead_letter_queue: Option<Queue>,
    /// Where outcomes are published.
    pub event_bus: Option<EventBus>,
    /// Where further ID mapping tables are listed.
    pub parameters: Option<Parameters>,
}

impl Services {
    /// The services that the settings name, with clients of this configuration (see [`super::clients`]).
    pub fn new(settings: &Settings, config: &SdkConfig) -> Self {
        let queue = |url: &Option<String>, setting| {
            url.as_ref().map(|url| Queue::new(config, url, setting))
        };
        let event_bus = |name: &String| EventBus::new(config, name, &settings.event_source);
        Self {
            ledger: match &settings.ledger_table {
                Some(table) => Ledger::in_dynamodb(config, table),
                None => Ledger::in_memory(),
            },
            clean_rooms: CleanRooms::new(config),
            workflows: Workflows::new(config),
            waiting_queue: queue(&settings.waiting_queue_url, "WAITING_QUEUE_URL"),
            dead_letter_queue: queue(&settings.dead_letter_queue_url, "DEAD_LETTER_QUEUE_URL"),
            event_bus: settings.event_bus.as_ref().map(event_bus),
            parameters: settings
                .id_mapping_tables_path
                .as_ref()
                .map(|path| Parameters::new(config, path)),
        }
    }
}
