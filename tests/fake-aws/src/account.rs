//! What lists show of an account: AWS Clean Rooms' `GET /memberships` and `GET /memberships/M/idmappingtables` (API
//! model `cleanrooms-2022-02-17`).

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::clean_rooms::{
    self, COLLABORATION, invalid, invalid_identifier, is_identifier, unsigned,
};
use crate::http::{Reply, Request};
use crate::{ACCOUNT, Exception, Operation, State};

/// The size of a page for which no `maxResults` asks. AWS does not document its own.
const PAGE: usize = 3;

/// What an account has, and what its caller may not call. Its JSON has the names of Clean Rooms' API.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Account {
    /// The memberships.
    pub memberships: Vec<Membership>,
    /// The paths that are refused with `AccessDeniedException`, of any service.
    pub denied: BTreeSet<String>,
}

/// A membership and its ID mapping tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Membership {
    /// Its id.
    pub id: String,
    /// The name of its collaboration.
    pub collaboration_name: String,
    /// Its status: `ACTIVE`, `REMOVED` or `COLLABORATION_DELETED`.
    pub status: String,
    /// Its tables.
    pub id_mapping_tables: Vec<Listed>,
}

/// A table of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its name, if it is not its id with `table-` before it.
    pub name: Option<String>,
    /// Its workflow, if it is not the one of this account that is named after it.
    pub workflow_arn: Option<String>,
}

impl Account {
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Listed> {
        self.memberships
            .iter()
            .flat_map(|membership| &membership.id_mapping_tables)
    }
}

pub(crate) fn operation(request: &Request) -> Option<Operation> {
    if request.method != "GET" {
        return None;
    }
    match request.path.as_str() {
        "/memberships" => Some(Operation::ListMemberships),
        path => membership(path).map(|_| Operation::ListIdMappingTables),
    }
}

fn membership(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/memberships/")?;
    rest.strip_suffix("/idmappingtables")
}

/// Lists the memberships.
pub(crate) fn list_memberships(request: &Request, state: &State) -> Reply {
    if let Some(refusal) = unsigned(request, "cleanrooms") {
        return refusal;
    }
    let status = request.query_value("status");
    if status
        .is_some_and(|status| !["ACTIVE", "REMOVED", "COLLABORATION_DELETED"].contains(&status))
    {
        return invalid("status is not one of ACTIVE, REMOVED, COLLABORATION_DELETED");
    }
    let all = state.account.memberships.iter();
    let all = all.filter(|membership| status.is_none_or(|status| membership.status == status));
    page(
        request,
        "membershipSummaries",
        all.map(membership_summary).collect(),
    )
}

fn membership_summary(membership: &Membership) -> Value {
    json!({
        "id": membership.id,
        "arn": clean_rooms::membership_arn(&membership.id),
        "collaborationArn": clean_rooms::collaboration_arn(),
        "collaborationId": COLLABORATION,
        "collaborationCreatorAccountId": ACCOUNT,
        "collaborationCreatorDisplayName": "creator",
        "collaborationName": membership.collaboration_name,
        "createTime": 1_700_000_000.0,
        "updateTime": 1_700_000_000.0,
        "status": membership.status,
        "memberAbilities": [],
        "paymentConfiguration": { "queryCompute": { "isResponsible": false } },
    })
}

/// Lists the tables of a membership.
pub(crate) fn list_tables(request: &Request, state: &State) -> Reply {
    if let Some(refusal) = unsigned(request, "cleanrooms") {
        return refusal;
    }
    let id = membership(&request.path).unwrap_or_default();
    if !is_identifier(id) {
        return invalid_identifier();
    }
    let mut memberships = state.account.memberships.iter();
    let Some(membership) = memberships.find(|membership| membership.id == id) else {
        return Exception::not_found().reply();
    };
    let tables = membership.id_mapping_tables.iter().enumerate();
    let summary = |(index, table): (usize, &Listed)| {
        let mut summary = clean_rooms::table_summary(id, &table.id, state);
        // Each was created a day after the one before it.
        summary["createTime"] = json!(1_700_000_000 + 86_400 * index);
        summary
    };
    page(
        request,
        "idMappingTableSummaries",
        tables.map(summary).collect(),
    )
}

/// The page of a list that a request asks for.
fn page(request: &Request, member: &str, all: Vec<Value>) -> Reply {
    let number = |name| request.query_value(name).map(str::parse::<usize>);
    let size = number("maxResults").unwrap_or(Ok(PAGE));
    let Some(size) = size.ok().filter(|size| (1..=100).contains(size)) else {
        return invalid("maxResults is not from 1 to 100");
    };
    let Ok(skip) = number("nextToken").unwrap_or(Ok(0)) else {
        return invalid("nextToken is not one of this list");
    };
    let count = all.len();
    let shown: Vec<Value> = all.into_iter().skip(skip).take(size).collect();
    let mut body = json!({ member: shown });
    if skip + size < count {
        body["nextToken"] = json!((skip + size).to_string());
    }
    Reply::json(200, &body)
}
