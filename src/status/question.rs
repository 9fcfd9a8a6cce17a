//! What a report is about.

use crate::aws::ReadError;
use crate::config::Settings;
use crate::target::AwsLocation;

/// What a report is about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The settings.
    pub settings: &'q Settings,
    /// Why the tables of `ID_MAPPING_TABLES_PATH` could not be read.
    pub unread: Option<&'q ReadError>,
    /// Where the function runs.
    pub location: &'q AwsLocation,
}
