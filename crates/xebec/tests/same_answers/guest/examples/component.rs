//! The function as a component that answers HTTP (`wasi:http/incoming-handler`).
#![cfg(target_os = "wasi")]

use same_answers_guest::{Exchange, answer};
use std::io::Write as _;
use wasip2::{
    exports::http::incoming_handler::Guest,
    http::types::{
        Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
    },
    io::streams::{InputStream, OutputStream},
};

wasip2::http::proxy::export!(Component);

struct Component;

impl Guest for Component {
    fn handle(request: IncomingRequest, answered: ResponseOutparam) {
        let body = request.consume().expect("nobody took it before");
        let input = body.stream().expect("nobody took it before");
        let exchange =
            &mut WasiHttp { request, input: Some((input, body)), answered: Some(answered), output: None };
        answer(exchange);
    }
}

struct WasiHttp {
    request: IncomingRequest,
    /// The stream goes before the body that it is of.
    input: Option<(InputStream, IncomingBody)>,
    answered: Option<ResponseOutparam>,
    output: Option<(OutputStream, OutgoingBody)>,
}

impl Exchange for WasiHttp {
    fn method(&self) -> String {
        match self.request.method() {
            Method::Get => "GET".to_owned(),
            Method::Head => "HEAD".to_owned(),
            Method::Post => "POST".to_owned(),
            Method::Put => "PUT".to_owned(),
            Method::Delete => "DELETE".to_owned(),
            Method::Connect => "CONNECT".to_owned(),
            Method::Options => "OPTIONS".to_owned(),
            Method::Trace => "TRACE".to_owned(),
            Method::Patch => "PATCH".to_owned(),
            Method::Other(name) => name,
        }
    }

    fn target(&self) -> String {
        self.request.path_with_query().unwrap_or_default()
    }

    fn host(&self) -> String {
        self.request.authority().unwrap_or_default()
    }

    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        let mut headers = self.request.headers().entries();
        headers.sort_by(|a, b| a.0.cmp(&b.0));
        headers
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        let (input, _) = self.input.as_ref()?;
        input.blocking_read(64 << 10).ok()
    }

    fn begin(&mut self, status: u16, headers: &[(&str, &[u8])]) {
        let fields = Fields::new();
        for (name, value) in headers {
            // Those that concern one connection are not for components to set.
            let _ = fields.append(name, value);
        }
        let response = OutgoingResponse::new(fields);
        response.set_status_code(status).expect("a status");
        let body = response.body().expect("nobody took it before");
        ResponseOutparam::set(self.answered.take().expect("an answer begins once"), Ok(response));
        let output = body.write().expect("nobody took it before");
        self.output = Some((output, body));
    }

    fn write(&mut self, piece: &[u8]) {
        if let Some((output, _)) = &mut self.output {
            // Where nobody is there any more, there is nobody to tell either.
            let _ = output.write_all(piece).and_then(|()| output.flush());
        }
    }

    fn end(&mut self, trailers: &[(&str, &str)]) {
        let Some((output, body)) = self.output.take() else { return };
        drop(output);
        let trailers: Vec<_> =
            trailers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let trailers = (!trailers.is_empty()).then(|| Fields::from_list(&trailers).expect("fit to be sent"));
        let _ = OutgoingBody::finish(body, trailers);
    }
}
