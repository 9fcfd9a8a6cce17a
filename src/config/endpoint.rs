//! The endpoints of AWS's services, and the way to them. The AWS SDK reads these variables itself, and reports a wrong one
//! only at the first call.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::variable::invalid;
use crate::error::{Error, ErrorType};

const ENDPOINTS: [&str; 7] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_CLEANROOMS",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_ENTITYRESOLUTION",
    "AWS_ENDPOINT_URL_EVENTBRIDGE",
    "AWS_ENDPOINT_URL_SQS",
    "AWS_ENDPOINT_URL_SSM",
];

/// The proxies of `http://` endpoints.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Checks the endpoints of the environment.
pub(super) fn check(get: &impl Fn(&str) -> Option<String>) -> Result<(), Error> {
    for name in ENDPOINTS {
        if let Some(value) = get(name) {
            check_one(&format!("environment variable {name}"), &value, get)?;
        }
    }
    Ok(())
}

/// Checks the endpoints of a loaded configuration of the SDK, which may come from a file.
pub fn check_loaded(urls: &[String], get: impl Fn(&str) -> Option<String>) -> Result<(), Error> {
    let mut urls = urls.iter();
    urls.try_for_each(|url| check_one("endpoint_url of the AWS configuration", url, &get))
}

/// Returns a URL without its scheme. Returns `None` if the scheme is not HTTP or HTTPS.
pub(super) fn without_scheme(url: &str) -> Option<&str> {
    url.strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
}

/// Checks an endpoint. The SDK reads these variables itself, and reports a wrong one only at the first call.
fn check_one(
    subject: &str,
    value: &str,
    get: &impl Fn(&str) -> Option<String>,
) -> Result<(), Error> {
    let invalid = |reason: &str| {
        Error::new(
            ErrorType::InvalidConfiguration,
            format!("{subject} {reason}"),
        )
    };
    let host = without_scheme(value).ok_or_else(|| {
        invalid("is not a URL: write one that begins with http:// or https://, or unset it")
    })?;
    let whitespace = |character: char| character.is_whitespace() || character.is_control();
    if host.is_empty() || host.starts_with(['/', ':']) || host.contains(whitespace) {
        return Err(invalid(
            "is a URL without a host, or contains whitespace: write one such as https://vpce-0123.example.com, or unset it",
        ));
    }
    if value.starts_with("http://") && !is_loopback(host) {
        return Err(invalid(
            "would send signed requests, with the session token, without encryption: write https://, or use a loopback host",
        ));
    }
    check_proxies(subject, value, get)
}

/// Returns the host of a URL without its scheme.
fn host_of(host_and_path: &str) -> &str {
    let authority = host_and_path.split(['/', '?', '#']).next();
    let authority = authority.unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Returns whether a URL without its scheme is of this machine.
fn is_loopback(host_and_path: &str) -> bool {
    let host = host_of(host_and_path);
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    host == "localhost"
        || match bracketed {
            Some(address) => address
                .parse()
                .is_ok_and(|address: Ipv6Addr| address.is_loopback()),
            None => host
                .parse()
                .is_ok_and(|address: Ipv4Addr| address.is_loopback()),
        }
}

/// Checks that no proxy takes the requests for an endpoint without TLS off this machine.
fn check_proxies(
    subject: &str,
    url: &str,
    get: &impl Fn(&str) -> Option<String>,
) -> Result<(), Error> {
    let Some(host) = url.strip_prefix("http://").map(host_of) else {
        return Ok(());
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let excepted = ["NO_PROXY", "no_proxy"].into_iter().find_map(get);
    let excepted = excepted.unwrap_or_default();
    if excepted
        .split(',')
        .map(str::trim)
        .any(|item| item == "*" || item == host)
    {
        return Ok(());
    }
    for name in PROXIES {
        let proxy = get(name);
        let proxy = proxy
            .as_deref()
            .map(|proxy| without_scheme(proxy).unwrap_or(proxy));
        if proxy.is_some_and(|proxy| !is_loopback(proxy)) {
            let reason = format!(
                "would send the signed requests of {subject} to another host without encryption: add {host} to NO_PROXY"
            );
            return Err(invalid(name, &reason));
        }
    }
    Ok(())
}
