//! What is called.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header::HOST};
use http_body_util::Full;
use std::net::SocketAddr;

/// A request to be sent again and again.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) url: String,
    method: Method,
    host: String,
    port: u16,
    path: Uri,
    headers: HeaderMap,
    body: Bytes,
    /// Where it goes, once resolved.
    pub(crate) address: SocketAddr,
}

impl Target {
    pub(crate) fn new(
        url: &str,
        method: &str,
        headers: &[String],
        data: Option<&str>,
    ) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url:?} is not a URL: {error}"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("{url:?} must start with http://"));
        }
        let authority = uri.authority().ok_or_else(|| format!("{url:?} names no host"))?;
        let mut map = HeaderMap::new();
        map.insert(HOST, HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?);
        for header in headers {
            let (name, value) = parse_header(header)?;
            map.insert(name, value);
        }
        let body = match data {
            None => Bytes::new(),
            Some(data) => match data.strip_prefix('@') {
                None => Bytes::copy_from_slice(data.as_bytes()),
                Some(file) => {
                    std::fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))?.into()
                }
            },
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            url: url.to_owned(),
            method: method.parse().map_err(|_| format!("{method:?} is not a method"))?,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            path: path.parse().map_err(|error| format!("{path:?} is not a path: {error}"))?,
            headers: map,
            body,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        })
    }

    /// Finds its address. Load is for machines that one may load: this one, unless `remote` says otherwise.
    pub(crate) async fn resolve(mut self, remote: bool) -> Result<Self, String> {
        let host = self.host.as_str();
        let first = tokio::net::lookup_host((host, self.port))
            .await
            .map_err(|error| format!("cannot find {host:?}: {error}"))?
            .next();
        self.address = first.ok_or_else(|| format!("{host:?} has no address"))?;
        if !remote && !self.address.ip().is_loopback() {
            return Err(format!("{host:?} is not on this machine; if you may put load on it, say --remote"));
        }
        Ok(self)
    }

    pub(crate) fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

fn parse_header(header: &str) -> Result<(HeaderName, HeaderValue), String> {
    let fault = || format!("{header:?} is not a header: write name: value");
    let (name, value) = header.split_once(':').ok_or_else(fault)?;
    Ok((name.trim().parse().map_err(|_| fault())?, HeaderValue::from_str(value.trim()).map_err(|_| fault())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent() {
        let headers = ["x-a:  b ".to_owned(), "host: other".to_owned()];
        let target = Target::new("http://127.0.0.1:81/p?q", "POST", &headers, Some("body")).unwrap();
        let target = target.resolve(false).await.unwrap();
        assert_eq!(target.address, "127.0.0.1:81".parse().unwrap());
        let request = target.request();
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::POST, "/p?q"));
        assert_eq!(
            (&request.headers()["x-a"], &request.headers()[HOST]),
            (&"b".parse().unwrap(), &"other".parse().unwrap())
        );
    }

    #[tokio::test]
    async fn what_is_refused() {
        for (url, headers) in
            [("ftp://x/", vec![]), ("127.0.0.1", vec![]), ("http://127.0.0.1/", vec!["nonsense".to_owned()])]
        {
            assert!(Target::new(url, "GET", &headers, None).is_err(), "{url}");
        }
        let far = Target::new("http://192.0.2.1/", "GET", &[], None).unwrap();
        assert!(far.clone().resolve(false).await.err().unwrap().contains("--remote"));
        assert!(far.resolve(true).await.is_ok());
    }
}
