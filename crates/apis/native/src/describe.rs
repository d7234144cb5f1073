//! The API's description in OpenAPI 3.1, made of the handlers and their types.
//!
//! What a route takes and answers stands with its handler. Here is what all of them share.

use crate::{
    errors,
    routes::{self, PREFIX},
    wire::ErrorBody,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, Content, HeaderBuilder, Info, KnownFormat, License, ObjectBuilder, OpenApi,
        OpenApiBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Schema, SchemaFormat, Server, Tag,
        Type,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        schema::SchemaType,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use xebec_core::error::ErrorKind;

/// What there is, in the order in which readers meet it.
const SUBJECTS: [(&str, &str); 10] = [
    ("functions", "Deploy, list, read, remove; revisions and traffic"),
    ("calls", "Call a function, and wait for its answer or not"),
    ("invocations", "Calls that have ended"),
    ("messages", "Calls that outlive their caller and have not ended; dead letters"),
    ("queues", "What waits; pauses"),
    ("schedules", "When functions are called by themselves"),
    ("secrets", "Written, listed by name, never read back"),
    ("keys", "Who may do what"),
    ("observe", "Logs and events, as they come"),
    ("operate", "The installation"),
];

/// The description of this API.
pub fn description(version: &str) -> OpenApi {
    let mut described = OpenApiBuilder::new()
        .info(
            Info::builder()
                .title("Xebec's native API")
                .version(version)
                .description(Some(
                    "JSON both ways. `?tenant=` names a tenant; a bearer token, or the password of basic \
                     authentication, proves who asks. On a loopback listener without keys nothing need be proved.",
                ))
                .license(Some(License::builder().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
                .build(),
        )
        .servers(Some([Server::new("/")]))
        .tags(Some(SUBJECTS.map(|(name, what)| Tag::builder().name(name).description(Some(what)).build())))
        .components(Some(components()))
        .build();
    described.merge(routes::documented().into_openapi());
    for (path, item) in &mut described.paths.paths {
        for (method, operation) in operations(item) {
            complete(path, method, operation);
        }
    }
    described
}

/// The same as a file.
pub fn json(version: &str) -> bytes::Bytes {
    // An infallible conversion: the description holds no map with keys that are no text.
    serde_json::to_vec_pretty(&description(version)).unwrap_or_default().into()
}

/// Whether a path is that of the description, which everyone may read: it tells of no installation in particular.
pub(crate) fn is_here(path: &str) -> bool {
    path.strip_prefix(PREFIX) == Some("openapi.json")
}

fn components() -> Components {
    let mut components = Components::new();
    components.schemas.insert("ErrorBody".to_owned(), ErrorBody::schema());
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A key's token")).build();
    let basic = HttpBuilder::new()
        .scheme(HttpAuthScheme::Basic)
        .description(Some("Any user; the password is a key's token"))
        .build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    components.add_security_scheme("basic", SecurityScheme::Http(basic));
    components
}

/// The operations of a path, by method.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, put, post, delete, options, head, patch, .. } = item;
    let all = [
        ("get", get),
        ("put", put),
        ("post", post),
        ("delete", delete),
        ("options", options),
        ("head", head),
        ("patch", patch),
    ];
    all.into_iter().filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// Bytes of any kind.
pub(crate) enum Octets {}

impl PartialSchema for Octets {
    fn schema() -> RefOr<Schema> {
        let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(binary)).into()
    }
}

impl ToSchema for Octets {}

/// What may be left out in a header is left out, not null.
fn without_null(parameter: &mut Parameter) {
    match &mut parameter.schema {
        Some(RefOr::T(Schema::Object(object))) => {
            if let SchemaType::Array(types) = &object.schema_type
                && let [only, Type::Null] = &types[..]
            {
                object.schema_type = SchemaType::Type(only.clone());
            }
        }
        Some(RefOr::T(Schema::OneOf(either))) if either.items.len() == 2 => {
            parameter.schema = either.items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned();
        }
        _ => {}
    }
}

/// Adds what all operations share.
fn complete(path: &str, method: &str, operation: &mut Operation) {
    operation.operation_id = Some(id(path, method));
    if is_here(path) {
        operation.security = Some(Vec::new());
        return;
    }
    let none: [&str; 0] = [];
    operation.security = Some(vec![
        SecurityRequirement::new("bearer", none),
        SecurityRequirement::new("basic", none),
        SecurityRequirement::default(),
    ]);
    let parameters = operation.parameters.get_or_insert_default();
    for parameter in parameters.iter_mut() {
        if let RefOr::T(parameter) = parameter {
            without_null(parameter);
        }
    }
    parameters.push(RefOr::T(tenant()));
    if path.starts_with("/xebec/v1/records") {
        operation.deprecated = Some(utoipa::openapi::Deprecated::True);
    }
    let calls = routes::is_call(path);
    let responses = &mut operation.responses.responses;
    for (kind, what) in [
        (ErrorKind::Invalid, "The request can never succeed as it is"),
        (ErrorKind::Forbidden, "The credential is not good enough"),
        (ErrorKind::NotFound, "Something named in it does not exist"),
        (ErrorKind::TooLarge, "A limit on size was passed"),
        (ErrorKind::Unavailable, "It may succeed later"),
        (ErrorKind::Internal, "A defect, or the machine failed"),
    ] {
        let applies = match kind {
            ErrorKind::NotFound => path.contains('{') || operation.parameters.is_some(),
            ErrorKind::TooLarge => operation.request_body.is_some() || calls,
            _ => true,
        };
        if applies {
            let status = errors::status(kind).as_str().to_owned();
            responses
                .entry(status)
                .or_insert_with(|| RefOr::T(failure(what, kind == ErrorKind::Unavailable)));
        }
    }
    responses
        .entry("401".to_owned())
        .or_insert_with(|| RefOr::T(failure("A credential is needed, or this one is of no use", false)));
}

/// Unique, and good as a function's name in generated clients: `put_functions_name_traffic`.
fn id(path: &str, method: &str) -> String {
    let path = path.strip_prefix(PREFIX).unwrap_or(path);
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

fn tenant() -> Parameter {
    ParameterBuilder::new()
        .name("tenant")
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some("The tenant; left out: `default`"))
        .schema(Some(String::schema()))
        .build()
}

/// An answer that says that something went wrong.
fn failure(what: &str, later: bool) -> Response {
    let body = Content::new(Some(Ref::from_schema_name("ErrorBody")));
    let response = ResponseBuilder::new().description(what).content("application/json", body);
    if !later {
        return response.build();
    }
    let seconds = HeaderBuilder::new().schema(Some(u32::schema())).description(Some("Seconds")).build();
    response.header("retry-after", seconds).build()
}
