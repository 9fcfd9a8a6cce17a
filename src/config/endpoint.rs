//! The endpoints of AWS's services, and the way to them. The AWS SDK reads these variables itself, and reports a wrong one
//! only at the first call.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::variable::invalid;
use crate::error::Error;

const ENDPOINTS: [&str; 6] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_CLEANROOMS",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_ENTITYRESOLUTION",
    "AWS_ENDPOINT_URL_EVENTBRIDGE",
    "AWS_ENDPOINT_URL_SQS",
];

/// The proxies of `http://` endpoints.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Checks the endpoints.
pub(super) fn check(get: &impl Fn(&str) -> Option<String>) -> Result<(), Error> {
    for name in ENDPOINTS {
        if let Some(value) = get(name) {
            check_one(name, &value)?;
            check_proxies(name, &value, get)?;
        }
    }
    Ok(())
}

/// Checks the endpoints of a loaded configuration of the SDK, which may come from a file.
pub fn check_loaded(urls: &[String]) -> Result<(), Error> {
    let mut urls = urls.iter();
    urls.try_for_each(|url| check_one("AWS_CONFIG_FILE (endpoint_url)", url))
}

/// Returns a URL without its scheme. Returns `None` if the scheme is not HTTP or HTTPS.
pub(super) fn without_scheme(url: &str) -> Option<&str> {
    url.strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
}

/// Checks an endpoint. The SDK reads these variables itself, and reports a wrong one only at the first call.
fn check_one(name: &str, value: &str) -> Result<(), Error> {
    let host = without_scheme(value).ok_or_else(|| {
        invalid(
            name,
            "is not a URL: write one that begins with http:// or https://, or unset it",
        )
    })?;
    let whitespace = |character: char| character.is_whitespace() || character.is_control();
    if host.is_empty() || host.starts_with(['/', ':']) || host.contains(whitespace) {
        return Err(invalid(
            name,
            "is a URL without a host, or contains whitespace: write one such as https://vpce-0123.example.com, or unset it",
        ));
    }
    if value.starts_with("http://") && !is_loopback(host) {
        return Err(invalid(
            name,
            "would send signed requests, with the session token, in the clear: write https://, or a host of loopback",
        ));
    }
    Ok(())
}

/// Returns whether a URL without its scheme is of this machine.
fn is_loopback(host_and_path: &str) -> bool {
    let authority = host_and_path.split(['/', '?', '#']).next();
    let authority = authority.unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if is_port(port) => host,
        _ => authority,
    };
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
    endpoint: &str,
    url: &str,
    get: &impl Fn(&str) -> Option<String>,
) -> Result<(), Error> {
    let Some(host) = url.strip_prefix("http://") else {
        return Ok(());
    };
    let excepted = ["NO_PROXY", "no_proxy"].into_iter().find_map(get);
    let excepted = excepted.unwrap_or_default();
    let is_excepted = |item: &str| item == "*" || is_loopback(item) && host.starts_with(item);
    if excepted.split(',').map(str::trim).any(is_excepted) {
        return Ok(());
    }
    for name in PROXIES {
        let proxy = get(name);
        let host = proxy
            .as_deref()
            .map(|proxy| without_scheme(proxy).unwrap_or(proxy));
        if host.is_some_and(|host| !is_loopback(host)) {
            let reason = format!(
                "would send the signed requests for {endpoint} in the clear to another host: add 127.0.0.1 to NO_PROXY"
            );
            return Err(invalid(name, &reason));
        }
    }
    Ok(())
}
