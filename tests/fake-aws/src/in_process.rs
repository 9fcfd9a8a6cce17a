//! The services without a socket: an HTTP client for the AWS SDK that hands its requests over.

use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use crate::FakeAws;
use crate::http::{Answer, Request, never};

impl FakeAws {
    /// A client for the AWS SDK whose requests come here, whatever address they are for.
    /// It stands for the execution environment with this number.
    pub fn http_client(&self, environment: usize) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(Connector {
            services: self.clone(),
            environment,
        });
        http_client_fn(move |_, _| connector.clone())
    }
}

#[derive(Clone, Debug)]
struct Connector {
    services: FakeAws,
    environment: usize,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self {
            services,
            environment,
        } = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|fault| ConnectorError::user(fault.into()))?;
            // There is always a connection.
            if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
                capture.set_connection_retriever(|| {
                    Some(
                        ConnectionMetadata::builder()
                            .proxied(false)
                            .poison_fn(|| {})
                            .build(),
                    )
                });
            }
            let header = |(name, value): (&_, &_)| {
                let (name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue) =
                    (name, value);
                (
                    name.as_str().to_owned(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            };
            let request = Request {
                connection: 0,
                environment,
                method: request.method().to_string(),
                path: request.uri().path().to_owned(),
                query: request.uri().query().unwrap_or_default().to_owned(),
                headers: request.headers().iter().map(header).collect(),
                body: Bytes::copy_from_slice(request.body().bytes().unwrap_or_default()),
            };
            match services.answer(request).await {
                Answer::Reply(reply) => {
                    let mut response = hyper::Response::builder().status(reply.status);
                    for (name, value) in reply.headers {
                        response = response.header(name, value);
                    }
                    let response = response
                        .body(SdkBody::from(reply.body))
                        .map_err(|fault| ConnectorError::other(fault.into(), None))?;
                    HttpResponse::try_from(response)
                        .map_err(|fault| ConnectorError::other(fault.into(), None))
                }
                Answer::Drop => Err(ConnectorError::io("dropped on order".into())),
                Answer::Never => match never().await {},
            }
        })
    }
}
