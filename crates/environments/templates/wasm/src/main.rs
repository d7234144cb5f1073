use wstd::http::{Body, Error, Request, Response};

/// Called for every request, in a fresh instance of the component.
#[wstd::http_server]
async fn main(mut request: Request<Body>) -> Result<Response<Body>, Error> {
    let body = request.body_mut().contents().await?;
    let input: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let name = input["name"].as_str().unwrap_or("World");
    Ok(Response::new(format!("Hello, {name}!\n").into()))
}
