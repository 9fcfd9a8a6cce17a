//! Lambda's Runtime API: it hands invocations to a function's process and takes its answers
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::http::{self, Answer, Reply, Request, refusal};
use crate::{CREDENTIALS, FUNCTION_ARN, REGION};

/// What a function answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answered {
    /// Its return value.
    Response(Value),
    /// A function error: `errorType` and `errorMessage`.
    Error {
        /// The name of the error.
        error_type: String,
        /// What it says.
        message: String,
    },
}

/// The Runtime API, listening on loopback.
#[derive(Clone, Debug)]
pub struct LambdaRuntimeApi {
    address: SocketAddr,
    queue: mpsc::UnboundedSender<Invocation>,
    waiting: Waiting,
    polled: Arc<Notify>,
    /// The ARN with which the function is invoked.
    pub function_arn: String,
    /// The function's timeout.
    pub timeout: Duration,
}

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Answered>>>>;

#[derive(Debug)]
struct Invocation {
    request_id: String,
    function_arn: String,
    deadline: SystemTime,
    payload: Bytes,
}

impl LambdaRuntimeApi {
    /// Starts it on a free port, on the present tokio runtime.
    pub async fn start() -> io::Result<Self> {
        let (queue, invocations) = mpsc::unbounded_channel();
        let invocations = Arc::new(tokio::sync::Mutex::new(invocations));
        let waiting = Waiting::default();
        let polled = Arc::new(Notify::new());
        let (answers, poll) = (Arc::clone(&waiting), Arc::clone(&polled));
        let address = http::serve(0, http::Connections::default(), move |request| {
            let (invocations, answers) = (Arc::clone(&invocations), Arc::clone(&answers));
            if request.path.ends_with("/next") {
                poll.notify_one();
            }
            async move { answer(request, &invocations, &answers).await }
        })
        .await?;
        Ok(Self {
            address,
            queue,
            waiting,
            polled,
            function_arn: FUNCTION_ARN.to_owned(),
            timeout: Duration::from_secs(60),
        })
    }

    /// The value for `AWS_LAMBDA_RUNTIME_API`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The variables that Lambda sets for the function's process.
    pub fn variables(&self) -> [(&'static str, String); 10] {
        let [key_id, secret, token] = CREDENTIALS;
        [
            ("AWS_LAMBDA_RUNTIME_API", self.host()),
            ("AWS_LAMBDA_FUNCTION_NAME", "populator".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", key_id.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
            ("AWS_SESSION_TOKEN", token.to_owned()),
        ]
    }

    /// Waits until the function asks for its next invocation.
    pub async fn polled(&self) {
        self.polled.notified().await;
    }

    /// Invokes the function and waits for its answer. Returns `None` if the timeout passed or the function's
    /// process ended.
    pub async fn invoke(&self, request_id: &str, payload: impl Into<Bytes>) -> Option<Answered> {
        let (sender, receiver) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(request_id.to_owned(), sender);
        let invocation = Invocation {
            request_id: request_id.to_owned(),
            function_arn: self.function_arn.clone(),
            deadline: SystemTime::now() + self.timeout,
            payload: payload.into(),
        };
        self.queue.send(invocation).ok()?;
        tokio::time::timeout(self.timeout, receiver)
            .await
            .ok()?
            .ok()
    }
}

async fn answer(
    request: Request,
    invocations: &tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    waiting: &Waiting,
) -> Answer {
    const PREFIX: &str = "/2018-06-01/runtime/invocation/";
    let unknown = || Answer::Reply(refusal(404, "NotFound", "the Runtime API has no such path"));
    let Some(rest) = request.path.strip_prefix(PREFIX) else {
        return unknown();
    };
    if rest == "next" {
        return match invocations.lock().await.recv().await {
            Some(invocation) => Answer::Reply(next(invocation)),
            None => Answer::Drop,
        };
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let (request_id, answered) = match rest.split_once('/') {
        Some((request_id, "response")) => (request_id, Answered::Response(body)),
        Some((request_id, "error")) => (
            request_id,
            Answered::Error {
                error_type: text("errorType"),
                message: text("errorMessage"),
            },
        ),
        _ => return unknown(),
    };
    match waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(request_id)
    {
        Some(sender) => {
            // The invoker may no longer wait.
            let _ = sender.send(answered);
            Answer::Reply(Reply {
                status: 202,
                headers: Vec::new(),
                body: Bytes::new(),
            })
        }
        None => Answer::Reply(refusal(
            400,
            "InvalidRequestID",
            "no such invocation waits for an answer",
        )),
    }
}

fn next(invocation: Invocation) -> Reply {
    let milliseconds = invocation
        .deadline
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    Reply {
        status: 200,
        headers: vec![
            ("lambda-runtime-aws-request-id", invocation.request_id),
            ("lambda-runtime-deadline-ms", milliseconds.to_string()),
            (
                "lambda-runtime-invoked-function-arn",
                invocation.function_arn,
            ),
            ("content-type", "application/json".to_owned()),
        ],
        body: invocation.payload,
    }
}
