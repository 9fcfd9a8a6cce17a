//! HTTP/1.1 on loopback.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// A request, read to its end.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which of the server's connections it came on, counted from 1; 0: in process.
    pub connection: u64,
    /// The execution environment from which it comes, in process.
    pub environment: usize,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query string.
    pub query: String,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Bytes,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The value in the query string, as it is encoded there.
    pub(crate) fn query_value(&self, name: &str) -> Option<&str> {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// What comes back on a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// An answer.
    Reply(Reply),
    /// The connection is closed.
    Drop,
    /// Nothing, ever.
    Never,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: Bytes::from(body.to_string()),
        }
    }
}

/// An error as AWS's JSON protocols write it, without particulars.
pub(crate) fn refusal(status: u16, exception: &str, message: &str) -> Reply {
    let mut reply = Reply::json(status, &json!({ "message": message }));
    reply
        .headers
        .push(("x-amzn-errortype", exception.to_owned()));
    reply.headers.push((
        "x-amzn-requestid",
        "00000000-0000-4000-8000-00000000f00d".to_owned(),
    ));
    reply
}

/// The open connections, each with the number of its requests under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<Mutex<Vec<Connection>>>);

type Connection = (AbortHandle, Arc<AtomicUsize>);

impl Connections {
    fn add(&self, task: AbortHandle, under_way: Arc<AtomicUsize>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(task, _)| !task.is_finished());
        all.push((task, under_way));
    }

    /// How many were closed.
    pub(crate) fn close_idle(&self) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = all.iter().filter(|(task, under_way)| {
            !task.is_finished() && under_way.load(Ordering::SeqCst) == 0
        });
        idle.map(|(task, _)| task.abort()).count()
    }
}

/// Listens on this port (0: a free one) of loopback and answers each request with `handler`.
pub(crate) async fn serve<H, F>(
    port: u16,
    connections: Connections,
    handler: H,
) -> io::Result<SocketAddr>
where
    H: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let mut connection = 0;
        while let Ok((stream, _)) = listener.accept().await {
            connection += 1;
            let handler = handler.clone();
            let under_way = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&under_way);
            let service = service_fn(move |request| {
                let (handler, counter) = (handler.clone(), Arc::clone(&counter));
                async move {
                    counter.fetch_add(1, Ordering::SeqCst);
                    let answer = answer(connection, request, handler).await;
                    counter.fetch_sub(1, Ordering::SeqCst);
                    answer
                }
            });
            let task = tokio::spawn(async move {
                // The client handles a broken connection.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
            connections.add(task.abort_handle(), under_way);
        }
    });
    Ok(address)
}

async fn answer<H, F>(
    connection: u64,
    request: hyper::Request<Incoming>,
    handler: H,
) -> Result<hyper::Response<Full<Bytes>>, io::Error>
where
    H: Fn(Request) -> F,
    F: Future<Output = Answer>,
{
    let (parts, body) = request.into_parts();
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    };
    let request = Request {
        connection,
        environment: 0,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.iter().map(header).collect(),
        body: body.collect().await.map_err(io::Error::other)?.to_bytes(),
    };
    match handler(request).await {
        Answer::Reply(reply) => {
            let mut response = hyper::Response::builder().status(reply.status);
            for (name, value) in reply.headers {
                response = response.header(name, value);
            }
            response
                .body(Full::new(reply.body))
                .map_err(io::Error::other)
        }
        // An error of the service makes hyper close the connection without an answer.
        Answer::Drop => Err(io::Error::other("dropped on order")),
        Answer::Never => match never().await {},
    }
}

/// Waits for ever.
pub(crate) async fn never() -> Infallible {
    std::future::pending().await
}
