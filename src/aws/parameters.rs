//! AWS Systems Manager: the parameters that list ID mapping tables. A hundred ARNs do not fit into Lambda's environment
//! variables, which have 4 KB.

use std::time::Duration;

use aws_sdk_ssm::Client;

use super::call::{ReadError, within};

/// The parameters under a path.
#[derive(Clone, Debug)]
pub struct Parameters {
    client: Client,
    path: String,
}

/// A parameter.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name, which begins with the path.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Parameters {
    /// The parameters directly under this path.
    pub fn new(config: &aws_config::SdkConfig, path: &str) -> Self {
        Self {
            client: Client::new(config),
            path: path.to_owned(),
        }
    }

    /// Reads all of them, in the order of their names.
    pub async fn read(&self, timeout: Duration) -> Result<Vec<Parameter>, ReadError> {
        within(timeout, self.read_pages()).await
    }

    async fn read_pages(&self) -> Result<Vec<Parameter>, ReadError> {
        let pages = self.client.get_parameters_by_path().path(&self.path);
        let mut pages = pages.into_paginator().send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                ReadError::of("GetParametersByPath", "ssm:GetParametersByPath", &error)
            })?;
            let parameters = page.parameters.into_iter().flatten();
            all.extend(parameters.filter_map(|parameter| {
                Some(Parameter {
                    name: parameter.name?,
                    value: parameter.value?,
                })
            }));
        }
        all.sort_by(|one: &Parameter, other| one.name.cmp(&other.name));
        Ok(all)
    }
}
