//! The way to AWS: proxies, and credentials that cannot be loaded. The built binary reads both from its environment.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use fake_aws::{Environment, FakeAws};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::function::{Function, error, response};
use crate::harness::{T1, request_for};

/// A proxy that refuses every tunnel, and the first lines of the requests that it saw.
async fn refusing_proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4_096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            let line = text.lines().next().unwrap_or_default().to_owned();
            lines.lock().unwrap().push(line);
            let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.write_all(refusal).await;
        }
    });
    (url, seen)
}

#[tokio::test]
async fn a_call_goes_through_the_proxy_of_https_and_one_that_refuses_is_unavailable() {
    let (proxy, seen) = refusing_proxy().await;
    let builder = Environment::builder()
        .endpoint_url("")
        .setting("HTTPS_PROXY", &proxy);
    let function = Function::built(builder).await;
    let (error_type, message) = error(function.invoke(request_for(T1).to_string()).await);
    // Nothing was sent to the service, so it is not unknown whether a job started.
    assert_eq!(error_type, "ServiceUnavailable", "{message}");
    let seen = seen.lock().unwrap();
    let tunnel = "CONNECT cleanrooms.eu-west-1.amazonaws.com:443 HTTP/1.1";
    assert_eq!(seen[..], [tunnel; 3], "{message}");
}

#[tokio::test]
async fn a_call_goes_through_the_proxy_of_http_unless_its_host_is_excepted() {
    let aws = FakeAws::start().await.unwrap();
    let (unused, seen) = refusing_proxy().await;
    // The stand-in is a proxy too: it reads only the path of a request.
    for [endpoint, proxy, excepted] in [
        ["http://127.0.0.1:1", &aws.url(), ""],
        [&aws.url(), &unused, "example.com,127.0.0.1"],
    ] {
        let environment = Environment::builder()
            .endpoint_url(endpoint)
            .settings(&[("HTTP_PROXY", proxy), ("NO_PROXY", excepted)])
            .on(&aws);
        let function = Function::within(&environment, std::time::Duration::from_secs(30)).await;
        let answer = response(function.invoke(request_for(T1).to_string()).await);
        assert_eq!(answer["outcomes"][0]["outcome"], "STARTED");
    }
    assert_eq!(aws.jobs().len(), 2);
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn credentials_that_cannot_be_loaded_are_reported_with_the_sdks_reason_each_time() {
    let name = format!("aws-config-{}", std::process::id());
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let profile = "[profile work]\nsso_start_url = https://example.com\nsso_region = eu-west-1\n\
                   sso_account_id = 123456789012\nsso_role_name = role\n";
    std::fs::write(&file, profile).unwrap();
    let function = Function::start(&[
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_SESSION_TOKEN", ""),
        ("AWS_CONFIG_FILE", file.to_str().unwrap()),
        ("AWS_PROFILE", "work"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ])
    .await;
    for number in 1..=2 {
        let (error_type, message) = error(function.invoke(request_for(T1).to_string()).await);
        assert_eq!(error_type, "ServiceUnavailable", "{message}");
        assert!(message.contains("sso"), "{message}");
        assert!(!message.contains("already taken"), "{message}");
        assert_eq!(function.lines().len(), number, "{}", function.log());
    }
    std::fs::remove_file(&file).unwrap();
}
