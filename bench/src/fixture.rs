//! Programs to be measured: this binary, run as a function or beside one.

use bytes::Bytes;
use clap::Subcommand;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, net::Ipv4Addr};
use tokio::net::TcpListener;

mod delays;
mod forks;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// A web server that says hello, measures forks at /forks, and notes at /began how late calls are
    #[command(hide = true)]
    Serve {
        /// The port; 0 is a free one, which is printed
        #[arg(long, env = "PORT", default_value_t = 0)]
        port: u16,
    },
}

pub(crate) fn command(command: Command) -> Result<(), String> {
    let Command::Serve { port } = command;
    crate::load::runtime(1)?.block_on(serve(port)).map_err(|error| error.to_string())
}

async fn serve(port: u16) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(async |request| answer(&request))),
        );
    }
}

fn answer(request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let answered = match request.uri().path() {
        "/began" => delays::began(request.headers()),
        "/delays" => Ok(delays::all()),
        "/forks" => forks::measure(request.uri().query().unwrap_or_default()),
        _ => Ok("hello\n".to_owned()),
    };
    let (status, text) = match answered {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    Ok(response)
}
