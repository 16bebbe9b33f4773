//! Answers to calls: one request in, one answer or a stream out.

use futures_util::Stream;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

/// Answers a call that has one answer.
pub async fn unary<In, Out, F, Answer>(
    request: http::Request<Body>,
    handler: F,
) -> http::Response<Body>
where
    In: Message + Default + Send + 'static,
    Out: Message + Send + 'static,
    F: FnMut(In) -> Answer,
    Answer: Future<Output = Result<Out, Status>>,
{
    let codec: ProstCodec<Out, In> = ProstCodec::default();
    Grpc::new(codec).unary(One(handler), request).await
}

/// Answers a call that has a stream of answers.
pub async fn server_stream<In, Out, F, S>(
    request: http::Request<Body>,
    handler: F,
) -> http::Response<Body>
where
    In: Message + Default + Send + 'static,
    Out: Message + Send + 'static,
    F: FnMut(In) -> S,
    S: Stream<Item = Result<Out, Status>> + Send + 'static,
{
    let codec: ProstCodec<Out, In> = ProstCodec::default();
    Grpc::new(codec)
        .server_streaming(Many(handler), request)
        .await
}

/// The answer to a call that the service does not have.
pub fn no_such_method() -> http::Response<Body> {
    Status::new(Code::Unimplemented, "no such method here").into_http()
}

struct One<F>(F);

impl<F, In, Out, Answer> UnaryService<In> for One<F>
where
    F: FnMut(In) -> Answer,
    Answer: Future<Output = Result<Out, Status>>,
{
    type Response = Out;
    type Future = Answered<Answer>;

    fn call(&mut self, request: Request<In>) -> Self::Future {
        Answered(Box::pin((self.0)(request.into_inner())))
    }
}

/// Wraps the answer into what tonic wants.
struct Answered<Answer>(std::pin::Pin<Box<Answer>>);

impl<Out, Answer: Future<Output = Result<Out, Status>>> Future for Answered<Answer> {
    type Output = Result<Response<Out>, Status>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        self.0
            .as_mut()
            .poll(context)
            .map(|answer| answer.map(Response::new))
    }
}

struct Many<F>(F);

impl<F, In, Out, S> ServerStreamingService<In> for Many<F>
where
    F: FnMut(In) -> S,
    S: Stream<Item = Result<Out, Status>> + Send + 'static,
{
    type Response = Out;
    type ResponseStream = S;
    type Future = std::future::Ready<Result<Response<S>, Status>>;

    fn call(&mut self, request: Request<In>) -> Self::Future {
        std::future::ready(Ok(Response::new((self.0)(request.into_inner()))))
    }
}
