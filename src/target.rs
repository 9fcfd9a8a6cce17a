//! The target of a request: one ID mapping table of one membership, and the ARNs that name it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The 36-character identifier of a membership or an ID mapping table, in the form that the
/// Clean Rooms API model gives: lower-case hexadecimal digits, grouped 8-4-4-4-12.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Identifier(Arc<str>);

impl TryFrom<String> for Identifier {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl Identifier {
    /// Parses an identifier. The error is the predicate of a sentence, such as "has 5 characters and must be …".
    pub fn parse(text: &str) -> Result<Self, String> {
        let length = text.chars().count();
        if length != 36 {
            return Err(format!(
                "has {length} characters and must be a UUID of 36 (lower-case, 8-4-4-4-12)"
            ));
        }
        for (position, character) in text.chars().enumerate() {
            let hyphen = matches!(position, 8 | 13 | 18 | 23);
            match character {
                '-' if hyphen => {}
                '0'..='9' | 'a'..='f' if !hyphen => {}
                'A'..='F' if !hyphen => {
                    return Err("has upper-case letters and must be a lower-case UUID".to_owned());
                }
                _ => {
                    let wanted = if hyphen {
                        "a hyphen"
                    } else {
                        "one of 0-9, a-f"
                    };
                    return Err(format!(
                        "is not a UUID: its character {} must be {wanted}",
                        position + 1
                    ));
                }
            }
        }
        Ok(Self(text.into()))
    }

    /// Returns the identifier as the API takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One ID mapping table: a membership, and a table in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The membership.
    pub membership: Identifier,
    /// The ID mapping table.
    pub table: Identifier,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { membership, table } = self;
        write!(f, "membership/{membership}/idmappingtable/{table}")
    }
}

/// The ARN of an ID mapping table
/// (`arn:PARTITION:cleanrooms:REGION:ACCOUNT:membership/M/idmappingtable/T`, Service
/// Authorization Reference of AWS Clean Rooms).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableArn {
    partition: String,
    region: String,
    account: String,
    /// The table that it names.
    pub target: Target,
}

const ARN_FORM: &str = "arn:PARTITION:cleanrooms:REGION:ACCOUNT:membership/M/idmappingtable/T";

impl TableArn {
    /// Parses an ARN. The error is the predicate of a sentence, such as "is not the ARN of …".
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong_form = || format!("is not the ARN of an ID mapping table ({ARN_FORM})");
        let [partition, service, region, account, resource] =
            arn_parts(text).ok_or_else(wrong_form)?;
        if service != "cleanrooms" || partition.is_empty() || region.is_empty() {
            return Err(wrong_form());
        }
        if !is_account(account) {
            return Err("has an account that is not a number of 12 digits".to_owned());
        }
        let (membership, table) = resource
            .strip_prefix("membership/")
            .and_then(|identifiers| identifiers.split_once("/idmappingtable/"))
            .ok_or_else(wrong_form)?;
        let part = |name: &str, text: &str| {
            Identifier::parse(text).map_err(|reason| format!("has a {name} that {reason}"))
        };
        Ok(Self {
            partition: partition.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            target: Target {
                membership: part("membership", membership)?,
                table: part("table", table)?,
            },
        })
    }

    /// Returns whether a text is meant to be the ARN of an ID mapping table, even if it is malformed. An event's
    /// `resources` may also hold ARNs of other kinds.
    pub fn is_meant_by(text: &str) -> bool {
        arn_parts(text).is_some_and(|[_, service, _, _, resource]| {
            service == "cleanrooms" && resource.to_ascii_lowercase().contains("/idmappingtable")
        })
    }
}

/// Splits an ARN into the five parts after `arn:`. Returns `None` if the text is not an ARN.
pub(crate) fn arn_parts(text: &str) -> Option<[&str; 5]> {
    let mut parts = text.strip_prefix("arn:")?.splitn(5, ':');
    Some([
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
    ])
}

pub(crate) fn is_region(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The partition, Region and account in which the function runs. ARNs in outcome events are built from it, and ARNs
/// in payloads are checked against it (docs/payloads.md#refused-payloads).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsLocation {
    partition: String,
    region: String,
    /// `None` if the function was invoked by something that is not an ARN (local emulators). Accounts are then not
    /// checked.
    account: Option<String>,
}

impl AwsLocation {
    /// Reads the location from the ARN with which the function was invoked. If the text is not an ARN, the location is
    /// the partition `aws`, the given Region (`AWS_REGION`), and an account that is not checked.
    pub fn of(invoked_function_arn: &str, region: &str) -> Self {
        match arn_parts(invoked_function_arn) {
            Some([partition, "lambda", region, account, _])
                if !partition.is_empty() && !region.is_empty() && !account.is_empty() =>
            {
                Self {
                    partition: partition.to_owned(),
                    region: region.to_owned(),
                    account: Some(account.to_owned()),
                }
            }
            _ => Self {
                partition: "aws".to_owned(),
                region: region.to_owned(),
                account: None,
            },
        }
    }

    /// The function's account. `None` if it is not known.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// Checks that an ARN is of the function's partition, Region and account. The error is the predicate of a sentence.
    pub fn check(&self, arn: &TableArn) -> Result<(), String> {
        let differs = |what: &str, theirs: &str, ours: &str| {
            Err(format!(
                "is in {what} {} and the function runs in {ours}: name a table of {ours}, or deploy the function there",
                excerpt(theirs)
            ))
        };
        if arn.partition != self.partition {
            return differs("partition", &arn.partition, &self.partition);
        }
        if arn.region != self.region {
            return differs("Region", &arn.region, &self.region);
        }
        match &self.account {
            Some(account) if *account != arn.account => differs("account", &arn.account, account),
            _ => Ok(()),
        }
    }

    /// Builds the ARN of a resource of another service, by its name with the prefix of its kind. An ARN stays as it is.
    pub fn arn(&self, service: &str, name: &str, prefix: &str) -> String {
        if name.starts_with("arn:") {
            return name.to_owned();
        }
        let account = self.account.as_deref().unwrap_or("000000000000");
        let Self {
            partition, region, ..
        } = self;
        format!("arn:{partition}:{service}:{region}:{account}:{prefix}{name}")
    }

    /// Builds the ARN of a membership.
    pub fn membership_arn(&self, target: &Target) -> String {
        self.arn("cleanrooms", target.membership.as_str(), "membership/")
    }

    /// Builds the ARN of an ID mapping table.
    pub fn table_arn(&self, target: &Target) -> String {
        let membership = self.membership_arn(target);
        format!("{membership}/idmappingtable/{}", target.table)
    }
}

/// Returns a part of an ARN as a message may repeat it. Text from a payload is repeated only if it has the form of a
/// Region; otherwise a message could carry a payload into the log.
fn excerpt(part: &str) -> &str {
    if is_region(part) { part } else { "(malformed)" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: &str = "11111111-2222-4333-8444-555555555555";
    const T: &str = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";

    fn arn(partition: &str, region: &str, account: &str) -> TableArn {
        TableArn::parse(&format!(
            "arn:{partition}:cleanrooms:{region}:{account}:membership/{M}/idmappingtable/{T}"
        ))
        .unwrap()
    }

    #[test]
    fn an_identifier_is_a_lower_case_uuid_and_the_error_says_what_is_wrong() {
        assert_eq!(Identifier::parse(M).unwrap().as_str(), M);
        for (text, expected) in [
            ("", "has 0 characters"),
            (&M[1..], "has 35 characters"),
            (&M.to_owned().replace('4', "F"), "has upper-case letters"),
            (&M.replace("-2222", "02222"), "character 9 must be a hyphen"),
            (&M.replace("1111-", "111g-"), "character 8 must be one of"),
            (&M.replace("1111-", "111é-"), "character 8 must be one of"),
        ] {
            let reason = Identifier::parse(text).unwrap_err();
            assert!(reason.contains(expected), "{text}: {reason}");
        }
    }

    #[test]
    fn an_arn_names_partition_region_account_and_target() {
        let read = arn("aws-cn", "cn-north-1", "123456789012");
        assert_eq!(read.partition, "aws-cn");
        assert_eq!(read.region, "cn-north-1");
        assert_eq!(read.account, "123456789012");
        assert_eq!(read.target.membership.as_str(), M);
        assert_eq!(read.target.table.as_str(), T);
    }

    #[test]
    fn an_arn_of_another_kind_is_refused() {
        for text in [
            "",
            "arn:aws:s3:::bucket",
            &format!("arn:aws:cleanrooms:eu-west-1:123456789012:membership/{M}"),
            &format!(
                "arn:aws:cleanrooms:eu-west-1:123456789012:membership/{M}/configuredtableassociation/{T}"
            ),
            &format!("arn:aws:cleanrooms::123456789012:membership/{M}/idmappingtable/{T}"),
            &format!("arn:aws:cleanrooms:eu-west-1:12345:membership/{M}/idmappingtable/{T}"),
            &format!(
                "arn:aws:cleanrooms:eu-west-1:123456789012:membership/{M}/idmappingtable/{T}/x"
            ),
            &format!("arn:aws:cleanrooms:eu-west-1:123456789012:membership/x/idmappingtable/{T}"),
        ] {
            assert!(TableArn::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn resources_tell_table_arns_from_others_even_when_they_are_wrong() {
        assert!(TableArn::is_meant_by(
            "arn:aws:cleanrooms:x:1:membership/m/idmappingtable/t"
        ));
        assert!(TableArn::is_meant_by(
            "arn:aws:cleanrooms:x:1:membership/m/idMappingTables/t"
        ));
        assert!(!TableArn::is_meant_by(
            "arn:aws:cleanrooms:x:1:membership/m"
        ));
        assert!(!TableArn::is_meant_by(
            "arn:aws:s3:::membership/m/idmappingtable/t"
        ));
        assert!(!TableArn::is_meant_by("membership/m/idmappingtable/t"));
    }

    #[test]
    fn location_comes_from_the_function_arn_and_checks_every_part() {
        let location = AwsLocation::of(
            "arn:aws:lambda:eu-west-1:123456789012:function:populator:live",
            "us-east-1",
        );
        assert_eq!(
            location.check(&arn("aws", "eu-west-1", "123456789012")),
            Ok(())
        );
        for other in [
            arn("aws-cn", "eu-west-1", "123456789012"),
            arn("aws", "us-east-1", "123456789012"),
            arn("aws", "eu-west-1", "210987654321"),
        ] {
            assert!(location.check(&other).is_err(), "{other:?}");
        }
        let target = arn("aws", "eu-west-1", "123456789012").target;
        assert_eq!(
            location.table_arn(&target),
            format!("arn:aws:cleanrooms:eu-west-1:123456789012:membership/{M}/idmappingtable/{T}")
        );
    }

    #[test]
    fn without_a_function_arn_the_region_is_checked_and_the_account_is_not() {
        let location = AwsLocation::of("function-arn", "eu-west-1");
        assert_eq!(
            location.check(&arn("aws", "eu-west-1", "999999999999")),
            Ok(())
        );
        assert!(
            location
                .check(&arn("aws", "us-east-1", "999999999999"))
                .is_err()
        );
        assert!(
            location
                .check(&arn("aws-us-gov", "eu-west-1", "999999999999"))
                .is_err()
        );
        let target = arn("aws", "eu-west-1", "999999999999").target;
        assert!(location.membership_arn(&target).contains(":000000000000:"));
    }
}
