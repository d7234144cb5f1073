//! Where the server is, and what the queue may use of it.

use std::{path::PathBuf, time::Duration};

/// Where the NATS server is, and what the queue may use of it.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// Servers of one cluster, e.g. `nats://127.0.0.1:4222`.
    pub urls: Vec<String>,
    /// Begins the names of all subjects, and of the stream; installations that share a server have
    /// different ones. Letters, digits, `-`, `_` and `.`.
    pub prefix: String,
    /// Copies of the stream in a cluster: 1, 3 or 5.
    pub replicas: usize,
    /// How to log in.
    pub login: Login,
    /// How to be private.
    pub tls: NatsTls,
    /// Monitoring endpoints of all servers, e.g. `http://127.0.0.1:8222`; empty: port 8222 of each of `urls`.
    pub monitoring: Vec<String>,
    /// Use a server that does not sync what it acknowledged, or whose monitoring endpoint cannot be asked:
    /// power loss may then lose accepted messages.
    pub accept_unsynced: bool,
    /// Records in the stream at most: messages, and for a while what is remembered of those that are over
    /// and of idempotency keys. Past it, messages are refused with `XB4020`.
    pub max_records: u64,
    /// Memory for payloads of messages that wait, in bytes; others are read again when their turn comes.
    pub cache_bytes: usize,
    /// How long [`crate::NatsQueue::connect`] waits for the server before it starts without it.
    pub patience: Duration,
    /// How long the server may take to acknowledge a write.
    pub answer: Duration,
}

impl NatsOptions {
    /// One server, and what suits most.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            prefix: "xebec".to_owned(),
            replicas: 1,
            login: Login::None,
            tls: NatsTls::default(),
            monitoring: Vec::new(),
            accept_unsynced: false,
            max_records: 2_000_000,
            cache_bytes: 64 << 20,
            patience: Duration::from_secs(5),
            answer: Duration::from_secs(5),
        }
    }

    /// The stream's name.
    pub(crate) fn stream(&self) -> String {
        format!("{}_Q", self.prefix.to_uppercase().replace('.', "_"))
    }
}

/// How to log in.
#[derive(Clone, Default)]
pub enum Login {
    /// Not at all, or as the URL says.
    #[default]
    None,
    /// By name and password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: String,
    },
    /// By token.
    Token(String),
    /// By the seed of an nkey.
    Nkey(String),
    /// By the text of a `.creds` file.
    Credentials(String),
}

impl std::fmt::Debug for Login {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password { .. } => "Password",
            Self::Token(_) => "Token",
            Self::Nkey(_) => "Nkey",
            Self::Credentials(_) => "Credentials",
        })
    }
}

/// How to be private.
#[derive(Clone, Debug, Default)]
pub struct NatsTls {
    /// Refuse connections without TLS; `tls://` URLs ask for it, too.
    pub required: bool,
    /// Certificates to trust beside the machine's own (PEM).
    pub authorities: Option<PathBuf>,
    /// A certificate of our own and its key (PEM).
    pub certificate: Option<(PathBuf, PathBuf)>,
}
