//! Keeps web pages from managing: who asks is judged by what browsers say of it.
//!
//! A page that a developer has open can send requests to the developer's own loopback, and where no key was
//! issued those would be obeyed. Browsers tell on such pages: by `Origin` and `Sec-Fetch-Site`, and, where a
//! page's own name was made to point here (DNS rebinding), by a foreign `Host`.

use http::{HeaderMap, HeaderName, header, request::Parts};
use std::net::{IpAddr, SocketAddr};
use xebec_core::{Error, error::ErrorKind};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names under which a gateway may be reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    hosts: Vec<String>,
    any: bool,
}

impl Guard {
    pub(crate) fn new(hosts: &[String]) -> Self {
        Self {
            hosts: hosts.iter().map(|h| h.to_ascii_lowercase()).collect(),
            any: hosts.iter().any(|h| h == "*"),
        }
    }

    /// Checks that no page of another origin asks.
    ///
    /// # Errors
    /// `XB5005`.
    pub(crate) fn check_origin(&self, request: &Parts, local: SocketAddr) -> Result<(), Error> {
        let Some(origin) = request.headers.get(header::ORIGIN) else {
            // Browsers leave `Origin` away from plain reads, but say whose page reads.
            let site = request.headers.get(SEC_FETCH_SITE);
            return match site {
                Some(site) if !self.any && (site == "cross-site" || site == "same-site") => {
                    Err(foreign("a page of another site may not manage this server".to_owned()))
                }
                _ => Ok(()),
            };
        };
        let origin = origin.to_str().unwrap_or("null");
        if self.is_own(origin, request, local) {
            return Ok(());
        }
        Err(foreign(format!("a page of the origin {origin:?} may not manage this server")))
    }

    /// Checks that the name the client knows us by is one of ours.
    ///
    /// # Errors
    /// `XB5006`.
    pub(crate) fn check_host(&self, request: &Parts) -> Result<(), Error> {
        if self.any {
            return Ok(());
        }
        // Browsers always send exactly one.
        let mut given = request.headers.get_all(header::HOST).iter().map(|v| v.to_str().unwrap_or("?"));
        let first = given.next();
        if given.next().is_some() {
            return Err(Error::new(ErrorKind::Forbidden, "XB5006", "the request names several hosts"));
        }
        for authority in first.into_iter().chain(request.uri.authority().map(|a| a.as_str())) {
            let (host, _) = split(authority);
            if !self.names_us(host) {
                return Err(Error::new(
                    ErrorKind::Forbidden,
                    "XB5006",
                    format!("the host name {host:?} is not one of this server's"),
                )
                .with_hint("reach it as localhost, add the name to the server's hosts, or issue a key"));
            }
        }
        Ok(())
    }

    /// Whether a request comes from no page, or from one of our own, and by a name of ours.
    pub(crate) fn allows(&self, request: &Parts, local: SocketAddr) -> bool {
        self.check_origin(request, local).is_ok() && self.check_host(request).is_ok()
    }

    /// Whether a page's origin is us: the very host and port that the request went to, loopback at our own
    /// port, or a configured name.
    fn is_own(&self, origin: &str, request: &Parts, local: SocketAddr) -> bool {
        if self.any {
            return true;
        }
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return false,
        };
        let (host, port) = split(authority);
        let port = port.map_or(Some(default), |text| text.parse().ok());
        if self.hosts.iter().any(|own| host.eq_ignore_ascii_case(own)) {
            return true;
        }
        if is_loopback(host) && port == Some(local.port()) {
            return true;
        }
        let target = asked_host(&request.headers, request);
        target.is_some_and(|target| {
            let (target_host, target_port) = split(target);
            let target_port = target_port.map_or(Some(default), |text| text.parse().ok());
            host.eq_ignore_ascii_case(target_host) && port.is_some() && port == target_port
        })
    }

    /// A loopback name, a literal address or a configured name: what no foreign page's name can be.
    fn names_us(&self, host: &str) -> bool {
        is_loopback(host)
            || literal(host).is_some()
            || self.hosts.iter().any(|own| host.eq_ignore_ascii_case(own))
    }
}

fn asked_host<'a>(headers: &'a HeaderMap, request: &'a Parts) -> Option<&'a str> {
    match request.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(header::HOST).and_then(|host| host.to_str().ok()),
    }
}

/// Host and port of an authority; IPv6 addresses stay in their brackets.
fn split(authority: &str) -> (&str, Option<&str>) {
    let after_brackets = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[after_brackets..].rfind(':') {
        Some(colon) => (&authority[..after_brackets + colon], Some(&authority[after_brackets + colon + 1..])),
        None => (authority, None),
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

fn is_loopback(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let below = name.len().checked_sub(".localhost".len()).and_then(|at| name.get(at..));
    name.eq_ignore_ascii_case("localhost")
        || below.is_some_and(|end| end.eq_ignore_ascii_case(".localhost"))
        || literal(host).is_some_and(|address| address.to_canonical().is_loopback())
}

fn foreign(message: String) -> Error {
    Error::new(ErrorKind::Forbidden, "XB5005", message)
        .with_hint("use the command line, or add the page's host to the server's hosts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use proptest::prelude::*;

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut builder = Request::post("/xebec/v1/functions");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn local() -> SocketAddr {
        "127.0.0.1:8080".parse().unwrap()
    }

    #[test]
    fn hosts() {
        let guard = Guard::new(&["Xebec.Example".to_owned()]);
        for good in [
            "localhost",
            "localhost:8080",
            "LOCALHOST.:1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "192.168.1.2:80",
            "app.localhost",
            "xebec.example:9",
        ] {
            assert!(guard.check_host(&request(&[("host", good)])).is_ok(), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "::1:x",
        ] {
            let error = guard.check_host(&request(&[("host", bad)])).unwrap_err();
            assert_eq!(error.code, "XB5006", "{bad}");
        }
        assert!(guard.check_host(&request(&[("host", "localhost"), ("host", "evil.example")])).is_err());
        assert!(guard.check_host(&request(&[])).is_ok());
        assert!(Guard::new(&["*".to_owned()]).check_host(&request(&[("host", "any.example")])).is_ok());
        let absolute = Request::get("http://evil.example/x").header("host", "localhost").body(()).unwrap();
        assert!(guard.check_host(&absolute.into_parts().0).is_err());
    }

    #[test]
    fn origins() {
        let guard = Guard::new(&["console.example".to_owned()]);
        let host = ("host", "10.0.0.7:8080");
        for good in [
            "http://10.0.0.7:8080",
            "http://localhost:8080",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "https://console.example",
        ] {
            assert!(guard.check_origin(&request(&[host, ("origin", good)]), local()).is_ok(), "{good}");
        }
        for bad in [
            "null",
            "http://evil.example",
            "http://10.0.0.7",
            "http://10.0.0.7:8081",
            "http://localhost:3000",
            "http://localhost",
            "http://localhost.evil.example:8080",
            "file://",
            "chrome-extension://abc",
            "",
        ] {
            let error = guard.check_origin(&request(&[host, ("origin", bad)]), local()).unwrap_err();
            assert_eq!(error.code, "XB5005", "{bad}");
        }
        assert!(guard.check_origin(&request(&[host]), local()).is_ok());
    }

    #[test]
    fn default_ports_are_the_same_origin() {
        let guard = Guard::default();
        let same = request(&[("host", "xebec.example"), ("origin", "https://xebec.example")]);
        assert!(guard.check_origin(&same, local()).is_ok());
        let other = request(&[("host", "xebec.example:8443"), ("origin", "https://xebec.example")]);
        assert!(guard.check_origin(&other, local()).is_err());
    }

    #[test]
    fn what_the_browser_says_of_the_site() {
        let guard = Guard::default();
        for (site, allowed) in
            [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)]
        {
            let parts = request(&[("host", "localhost:8080"), ("sec-fetch-site", site)]);
            assert_eq!(guard.allows(&parts, local()), allowed, "{site}");
        }
        // `localhost` and `127.0.0.1` are two sites to a browser, and both are us.
        let ours = [
            ("host", "127.0.0.1:8080"),
            ("origin", "http://localhost:8080"),
            ("sec-fetch-site", "cross-site"),
        ];
        assert!(guard.allows(&request(&ours), local()));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_no_public_name_is_ours(host in "[ -~]{0,40}") {
            let parts = request(&[("host", &host), ("origin", &host)]);
            let _ = Guard::default().allows(&parts, local());
        }

        #[test]
        fn a_public_name_is_never_ours(name in "[a-z]{1,9}(\\.[a-z]{1,9}){1,3}\\.(com|net|example)", port in any::<u16>()) {
            let host = format!("{name}:{port}");
            prop_assert!(Guard::default().check_host(&request(&[("host", &host)])).is_err());
        }
    }
}
