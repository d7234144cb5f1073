//! Who owns which path: the reserved prefixes, and the table that a request's path is looked up in.

use std::sync::Arc;
use xebec_core::{Error, error::ErrorKind, ports::door::Door};

/// The paths that the gateway answers itself.
pub const OWN: [&str; 4] = ["/", "/healthz", "/readyz", "/metrics"];

/// Which door owns which prefix of the one port they share, whether it is mounted or not.
pub const RESERVED: &[(&str, &str)] = &[
    ("/function/", "openfaas"),
    ("/async-function/", "openfaas"),
    ("/system/", "openfaas"),
    ("/oauth/token", "openfaas"),
    ("/ui/", "openfaas"),
    ("/api/", "openwhisk"),
    ("/v2/", "fn"),
    ("/invoke/", "fn"),
    ("/t/", "fn"),
    ("/v1/", "iron"),
    ("/r/", "iron"),
    ("/tasks", "iron"),
    ("/fission-function/", "fission"),
    ("/2014-11-13/", "lambda"),
    ("/2015-03-31/", "lambda"),
    ("/2016-08-19/", "lambda"),
    ("/2017-03-31/", "lambda"),
    ("/2017-10-31/", "lambda"),
    ("/2018-10-31/", "lambda"),
    ("/2019-09-25/", "lambda"),
    ("/2019-09-30/", "lambda"),
    ("/2020-04-22/", "lambda"),
    ("/2020-06-30/", "lambda"),
    ("/2021-07-20/", "lambda"),
    ("/2021-10-31/", "lambda"),
    ("/2021-11-15/", "lambda"),
    ("/kubernetes/", "kubernetes"),
    ("/xebec/v1/", "native"),
    ("/console/", "console"),
];

/// The doors, and which of them a path leads to.
pub(crate) struct DoorTable {
    doors: Vec<Arc<dyn Door>>,
    /// By first segment, sorted, so that one binary search over a few names finds all that can match.
    segments: Vec<Segment>,
    /// The door that takes what nobody else claims: its claim is `/`.
    rest: Option<usize>,
}

/// Claims that share their first segment, longest first.
struct Segment {
    /// The segment, without slashes.
    name: &'static str,
    claims: Vec<(&'static str, usize)>,
}

impl DoorTable {
    /// Checks all claims and sorts them.
    ///
    /// # Errors
    /// `XB6013`, naming the doors that quarrel.
    pub(crate) fn new(doors: Vec<Arc<dyn Door>>) -> Result<Self, Error> {
        let mut claims: Vec<(&'static str, usize)> = Vec::new();
        for (index, door) in doors.iter().enumerate() {
            if doors[..index].iter().any(|other| other.name() == door.name()) {
                return Err(quarrel(format!("two doors are called {}", door.name())));
            }
            for &claim in door.claims() {
                check(claim, door.name())?;
                if let Some(&(_, other)) = claims.iter().find(|(taken, _)| *taken == claim) {
                    let message = format!("{} and {} both claim {claim}", doors[other].name(), door.name());
                    return Err(quarrel(message));
                }
                claims.push((claim, index));
            }
        }
        claims.sort_by(|(a, _), (b, _)| first(a).cmp(first(b)).then(b.len().cmp(&a.len())));
        let mut segments: Vec<Segment> = Vec::new();
        let mut rest = None;
        for (claim, door) in claims {
            match segments.last_mut() {
                _ if claim == "/" => rest = Some(door),
                Some(last) if last.name == first(claim) => last.claims.push((claim, door)),
                _ => segments.push(Segment { name: first(claim), claims: vec![(claim, door)] }),
            }
        }
        Ok(Self { doors, segments, rest })
    }

    /// The claim that a path falls under: the longest that matches.
    pub(crate) fn claim(&self, path: &str) -> Option<&'static str> {
        let segment = first(path);
        let found = self.segments.binary_search_by(|s| s.name.cmp(segment)).ok()?;
        let mut claims = self.segments[found].claims.iter().map(|(claim, _)| *claim);
        claims.find(|claim| path == *claim || (claim.ends_with('/') && path.starts_with(claim)))
    }

    /// The door of a path: the longest claim that matches.
    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        let segment = first(path);
        if let Ok(found) = self.segments.binary_search_by(|s| s.name.cmp(segment)) {
            for &(claim, door) in &self.segments[found].claims {
                if path == claim || (claim.ends_with('/') && path.starts_with(claim)) {
                    return Some(door);
                }
            }
        }
        self.rest
    }

    /// Whether the path lacks nothing but a slash at its end.
    pub(crate) fn lacks_slash(&self, path: &str) -> bool {
        let claims = self.segments.iter().flat_map(|s| &s.claims);
        claims.into_iter().any(|(claim, _)| claim.strip_suffix('/') == Some(path))
    }

    /// The doors, in the order in which they were given.
    pub(crate) fn doors(&self) -> &[Arc<dyn Door>] {
        &self.doors
    }
}

/// The first segment of a path.
fn first(path: &str) -> &str {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split_once('/').map_or(path, |(segment, _)| segment)
}

/// Checks one claim: its form, that the gateway does not answer it itself, and that it is not reserved for
/// another door.
fn check(claim: &'static str, door: &str) -> Result<(), Error> {
    if !claim.starts_with('/') || claim.contains("//") || claim.contains(['?', '#', ' ']) {
        return Err(quarrel(format!("{door} claims {claim:?}, which is not a path")));
    }
    if claim != "/" && OWN.contains(&claim.trim_end_matches('/')) {
        return Err(quarrel(format!("{door} claims {claim}, which the gateway answers itself")));
    }
    let foreign = RESERVED.iter().find(|(prefix, owner)| *owner != door && covers(prefix, claim));
    match foreign {
        Some((prefix, owner)) => {
            Err(quarrel(format!("{door} claims {claim}, but {prefix} is reserved for {owner}")))
        }
        None => Ok(()),
    }
}

/// Whether `claim` lies under `prefix`.
fn covers(prefix: &str, claim: &str) -> bool {
    claim == prefix || (prefix.ends_with('/') && claim.starts_with(prefix))
}

fn quarrel(message: String) -> Error {
    Error::new(ErrorKind::Conflict, "XB6013", message)
        .with_hint("every path prefix belongs to one door: mount only one of them, or change a claim")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response, request::Parts};
    use proptest::prelude::*;
    use xebec_core::{Body, auth::Access};

    struct Toy(&'static str, Vec<&'static str>);

    #[async_trait::async_trait]
    impl Door for Toy {
        fn name(&self) -> &'static str {
            self.0
        }
        fn claims(&self) -> &[&'static str] {
            &self.1
        }
        fn access(&self, _: &Parts) -> Access {
            Access::Open
        }
        fn refuse(&self, _: &Error) -> Response<Body> {
            Response::default()
        }
        async fn handle(&self, _: Request<Body>) -> Response<Body> {
            Response::default()
        }
    }

    fn table(doors: &[(&'static str, &[&'static str])]) -> Result<DoorTable, Error> {
        DoorTable::new(
            doors
                .iter()
                .map(|(name, claims)| Arc::new(Toy(name, claims.to_vec())) as Arc<dyn Door>)
                .collect(),
        )
    }

    fn owner<'a>(table: &'a DoorTable, path: &str) -> Option<&'a str> {
        table.find(path).map(|door| table.doors()[door].name())
    }

    #[test]
    fn the_longest_claim_wins() {
        let table = table(&[
            ("a", &["/x/", "/y"]),
            ("b", &["/x/deep/", "/x/deep/whole", "/z/z/"]),
            ("c", &["/x", "/xy/"]),
        ])
        .unwrap();
        for (path, expected) in [
            ("/x/", Some("a")),
            ("/x/1", Some("a")),
            ("/x/deep", Some("a")),
            ("/x/deep/", Some("b")),
            ("/x/deep/whole", Some("b")),
            ("/x/deeper", Some("a")),
            ("/x", Some("c")),
            ("/xy/1", Some("c")),
            ("/xyz/1", None),
            ("/y", Some("a")),
            ("/y/", None),
            ("/y/1", None),
            ("/z", None),
            ("/z/1", None),
            ("/z/z/1", Some("b")),
            ("/", None),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(owner(&table, path), expected, "{path}");
        }
    }

    #[test]
    fn a_claim_of_everything_takes_the_rest() {
        let table = table(&[("all", &["/"]), ("some", &["/x/"])]).unwrap();
        assert_eq!(owner(&table, "/x/1"), Some("some"));
        assert_eq!(owner(&table, "/x"), Some("all"));
        assert_eq!(owner(&table, "/anything/else"), Some("all"));
    }

    #[test]
    fn the_same_claim_twice_names_both_doors() {
        let error = table(&[("one", &["/x/"]), ("two", &["/w/", "/x/"])]).err().unwrap();
        assert_eq!(error.code, "XB6013");
        assert!(error.message.contains("one") && error.message.contains("two"), "{error}");
        assert!(error.message.contains("/x/"), "{error}");
        assert!(table(&[("one", &["/x/"]), ("one", &["/y/"])]).is_err());
    }

    #[test]
    fn claims_must_be_free_paths() {
        for bad in ["x/", "", "/a//b/", "/a?b", "/metrics", "/healthz/", "/readyz"] {
            let claims: &'static [&'static str] = Box::leak(Box::new([bad]));
            assert!(table(&[("toy", claims)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn reserved_prefixes_belong_to_their_doors() {
        for (prefix, door) in RESERVED {
            let claims: &'static [&'static str] = Box::leak(Box::new([*prefix]));
            assert!(table(&[(door, claims)]).is_ok(), "{prefix}");
            let error = table(&[("toy", claims)]).err().unwrap();
            assert!(error.message.contains(door), "{error}");
        }
    }

    #[test]
    fn no_two_doors_have_the_same_prefix_reserved() {
        for (index, (prefix, door)) in RESERVED.iter().enumerate() {
            for (other, owner) in &RESERVED[index + 1..] {
                assert_ne!(prefix, other);
                assert!(
                    door == owner || (!covers(prefix, other) && !covers(other, prefix)),
                    "{prefix} {other}"
                );
            }
            assert!(OWN.iter().all(|own| own != prefix && !covers(prefix, own)), "{prefix}");
        }
        // All doors at once, each with all that is reserved for it.
        let mut doors: std::collections::BTreeMap<&str, Vec<&'static str>> = Default::default();
        for (prefix, door) in RESERVED {
            doors.entry(door).or_default().push(prefix);
        }
        let doors = doors.into_iter().map(|(name, claims)| Arc::new(Toy(name, claims)) as Arc<dyn Door>);
        let table = DoorTable::new(doors.collect()).unwrap();
        for (prefix, door) in RESERVED {
            assert_eq!(owner(&table, prefix), Some(*door));
            if prefix.ends_with('/') {
                assert_eq!(owner(&table, &format!("{prefix}some/thing")), Some(*door));
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_looking_at_every_claim(path in "(/[abx]{0,2}){0,4}/?") {
            const CLAIMS: [(&str, &[&str]); 3] =
                [("one", &["/a/", "/ab/b/", "/x"]), ("two", &["/a/b/", "/b", "/b/"]), ("three", &["/a/b", "/x/a/b/"])];
            let table = table(&CLAIMS).unwrap();
            let mut best: Option<(&str, &str)> = None;
            for (door, claims) in CLAIMS {
                for claim in claims {
                    let longer = best.is_none_or(|(_, old)| claim.len() > old.len());
                    if covers(claim, &path) && longer {
                        best = Some((door, claim));
                    }
                }
            }
            prop_assert_eq!(owner(&table, &path), best.map(|(door, _)| door));
        }
    }
}
