//! nats-server's configuration file: addresses, storage and users with their rights.
//!
//! Format: NATS documentation, "Configuration" and "Authorization"; `$NAME` outside of quotes is read from the
//! environment, so that no secret and no key stands in the file.

use std::fmt::{self, Write};
use std::time::Duration;

use crate::plan::Plan;
use crate::rights;
use crate::units::render_time;

/// A whole configuration. `to_string` renders it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsConfiguration {
    /// Unique among the servers of a cluster.
    pub server_name: Text,
    /// Address and port of clients, `0.0.0.0:4222`.
    pub listen: String,
    /// Address and port of /healthz and /varz, `0.0.0.0:8222`.
    pub monitor: Option<String>,
    /// Folder of the streams.
    pub store_dir: String,
    /// Bytes that all streams may take together; more than the sum of their bounds.
    pub max_file_store: u64,
    /// Bytes for streams in memory; there are none, but the server's default is a share of the machine's memory.
    pub max_memory_store: u64,
    /// An event counts as stored when it is written; the disk is flushed this often (docs/decisions/0003).
    pub sync_interval: Duration,
    /// The largest event in bytes.
    pub max_payload: u64,
    /// Who may connect; nobody else can.
    pub users: Vec<User>,
    /// The other servers, where there are any.
    pub cluster: Option<Cluster>,
}

/// A value that stands in the file, or in the server's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// As it is.
    Literal(String),
    /// The name of an environment variable.
    Variable(String),
}

/// The servers of a cluster among themselves. They do not tell clients of each other: a client stays with the address it was given,
/// behind which only servers are that are ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The same on all of them.
    pub name: String,
    /// Address and port, `0.0.0.0:6222`.
    pub listen: String,
    /// The user as which they log on to each other.
    pub user: String,
    /// Its password.
    pub password: Text,
    /// `nats://USER:PASSWORD@broker-0.broker-peers:6222`, one of each server.
    pub routes: Vec<Text>,
}

/// A user and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// How it proves who it is.
    pub login: Login,
    /// Subjects it may publish to.
    pub publish: Vec<String>,
    /// Subjects it may subscribe to.
    pub subscribe: Vec<String>,
}

/// How a user proves who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// By its private key; the public one stands in this environment variable.
    NkeyVariable(String),
    /// By a password: in demonstrations.
    Password {
        /// The user's name.
        user: String,
        /// Not shown by Debug.
        password: String,
    },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NkeyVariable(name) => f.debug_tuple("NkeyVariable").field(name).finish(),
            Self::Password { user, .. } => f
                .debug_struct("Password")
                .field("user", user)
                .finish_non_exhaustive(),
        }
    }
}

impl NatsConfiguration {
    /// The usual bounds: 4 MiB per event, 16 MiB in memory, one flush a second, and a fifth more file space than the plan
    /// needs, because a stream rounds up to whole blocks.
    pub fn new(plan: &Plan, listen: impl Into<String>, store_dir: impl Into<String>) -> Self {
        Self {
            server_name: Text::Literal("fieldgate".to_owned()),
            listen: listen.into(),
            monitor: None,
            store_dir: store_dir.into(),
            max_file_store: plan.max_bytes().saturating_add(plan.max_bytes() / 5),
            max_memory_store: 16 << 20,
            sync_interval: Duration::from_secs(1),
            max_payload: 4 << 20,
            users: Vec::new(),
            cluster: None,
        }
    }
}

impl User {
    /// The user of a module's sidecar.
    pub fn module(
        login: Login,
        plan: &Plan,
        module: &str,
        publishes: &[&str],
        subscribes: &[&str],
    ) -> Self {
        Self {
            login,
            publish: plan.publish_rights(module, publishes, subscribes),
            subscribe: plan.subscribe_rights(module, publishes, subscribes),
        }
    }

    /// The user that sets up streams and consumers; it can neither publish an event nor read one.
    pub fn setup(login: Login) -> Self {
        Self {
            login,
            publish: rights::setup_publish_rights(),
            subscribe: rights::setup_subscribe_rights(),
        }
    }
}

impl Login {
    /// By the public key in [`nkey_variable`] of a module, or of `setup`.
    pub fn nkey_of(module: &str) -> Self {
        Self::NkeyVariable(nkey_variable(module))
    }
}

/// The environment variable with the public key of a module: `NKEY_MODBUS_READER` of `modbus-reader`.
pub fn nkey_variable(module: &str) -> String {
    let name: String = module
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    format!("NKEY_{name}")
}

impl fmt::Display for NatsConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "server_name: {}", self.server_name)?;
        writeln!(f, "listen: {}", Quoted(&self.listen))?;
        if let Some(monitor) = &self.monitor {
            writeln!(f, "http: {}", Quoted(monitor))?;
        }
        writeln!(f, "max_payload: {}", self.max_payload)?;
        writeln!(f, "jetstream {{")?;
        writeln!(f, "  store_dir: {}", Quoted(&self.store_dir))?;
        writeln!(f, "  max_memory_store: {}", self.max_memory_store)?;
        writeln!(f, "  max_file_store: {}", self.max_file_store)?;
        writeln!(
            f,
            "  # An event counts as stored when it is written; the disk is flushed this often."
        )?;
        writeln!(
            f,
            "  sync_interval: {}",
            Quoted(&go_time(self.sync_interval))
        )?;
        writeln!(f, "}}")?;
        if let Some(cluster) = &self.cluster {
            writeln!(f, "cluster {{")?;
            writeln!(f, "  name: {}", Quoted(&cluster.name))?;
            writeln!(f, "  listen: {}", Quoted(&cluster.listen))?;
            writeln!(f, "  no_advertise: true")?;
            writeln!(f, "  authorization {{")?;
            writeln!(f, "    user: {}", Quoted(&cluster.user))?;
            writeln!(f, "    password: {}", cluster.password)?;
            writeln!(f, "  }}")?;
            let routes: Vec<String> = cluster.routes.iter().map(Text::to_string).collect();
            writeln!(f, "  routes: [{}]", routes.join(", "))?;
            writeln!(f, "}}")?;
        }
        writeln!(f, "authorization {{")?;
        writeln!(f, "  users: [")?;
        for user in &self.users {
            writeln!(f, "    {{")?;
            match &user.login {
                Login::NkeyVariable(name) => writeln!(f, "      nkey: ${name}")?,
                Login::Password { user, password } => {
                    writeln!(f, "      user: {}", Quoted(user))?;
                    writeln!(f, "      password: {}", Quoted(password))?;
                }
            }
            writeln!(f, "      permissions: {{")?;
            writeln!(f, "        publish: {}", List(&user.publish))?;
            writeln!(f, "        subscribe: {}", List(&user.subscribe))?;
            writeln!(f, "      }}")?;
            writeln!(f, "    }}")?;
        }
        writeln!(f, "  ]")?;
        writeln!(f, "}}")
    }
}

/// Go's durations have no days; a day is 24 hours there as well.
fn go_time(time: Duration) -> String {
    let text = render_time(time);
    text.strip_suffix('d')
        .and_then(|days| days.parse::<u64>().ok())
        .map_or(text.clone(), |days| format!("{}h", days * 24))
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => Quoted(text).fmt(f),
            Self::Variable(name) => write!(f, "${name}"),
        }
    }
}

/// Text in quotes: a variable's sign in it means nothing.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for letter in self.0.chars() {
            match letter {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                other => f.write_char(other)?,
            }
        }
        f.write_char('"')
    }
}

struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('[')?;
        for (number, text) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(", ")?;
            }
            Quoted(text).fmt(f)?;
        }
        f.write_char(']')
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::StreamLimits;

    use super::*;

    #[test]
    fn the_file_of_the_appliance() {
        let plan = Plan::standard(
            &StreamLimits::default(),
            &[("iothub-module", "telemetry")],
            1,
        );
        let mut configuration = NatsConfiguration::new(&plan, "0.0.0.0:4222", "/data/jetstream");
        configuration.server_name = Text::Variable("POD_NAME".to_owned());
        configuration.monitor = Some("0.0.0.0:8222".to_owned());
        configuration.users = vec![
            User::setup(Login::nkey_of("setup")),
            User::module(
                Login::nkey_of("iothub-module"),
                &plan,
                "iothub-module",
                &["status"],
                &["telemetry"],
            ),
        ];
        let text = configuration.to_string();
        assert_eq!(
            text,
            r#"server_name: $POD_NAME
listen: "0.0.0.0:4222"
http: "0.0.0.0:8222"
max_payload: 4194304
jetstream {
  store_dir: "/data/jetstream"
  max_memory_store: 16777216
  max_file_store: 402653184
  # An event counts as stored when it is written; the disk is flushed this often.
  sync_interval: "1s"
}
authorization {
  users: [
    {
      nkey: $NKEY_SETUP
      permissions: {
        publish: ["$JS.API.>", "$JS.SNAPSHOT.>"]
        subscribe: ["_INBOX.setup.>"]
      }
    }
    {
      nkey: $NKEY_IOTHUB_MODULE
      permissions: {
        publish: ["status", "$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.CONSUMER.INFO.fieldgate.iothub-module-telemetry", "$JS.API.CONSUMER.CREATE.fieldgate.iothub-module-telemetry.telemetry", "$JS.API.CONSUMER.MSG.NEXT.fieldgate.iothub-module-telemetry", "$JS.ACK.fieldgate.iothub-module-telemetry.>"]
        subscribe: ["_INBOX.iothub-module.>"]
      }
    }
  ]
}
"#
        );
    }

    #[test]
    fn a_cluster_names_its_routes() {
        let plan = Plan::standard(&StreamLimits::default(), &[], 3);
        let mut configuration = NatsConfiguration::new(&plan, "0.0.0.0:4222", "/data");
        configuration.cluster = Some(Cluster {
            name: "fieldgate".to_owned(),
            listen: "0.0.0.0:6222".to_owned(),
            user: "broker".to_owned(),
            password: Text::Variable("ROUTES".to_owned()),
            routes: vec![
                Text::Variable("ROUTE_0".to_owned()),
                Text::Literal("nats://broker-1:6222".to_owned()),
            ],
        });
        let text = configuration.to_string();
        for part in [
            "routes: [$ROUTE_0, \"nats://broker-1:6222\"]",
            "authorization {\n    user: \"broker\"\n    password: $ROUTES\n  }",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.contains("server_name: \"fieldgate\""), "{text}");
    }

    #[test]
    fn text_stays_within_its_quotes_and_passwords_out_of_logs() {
        let quoted = Quoted("a\"b\\c\n$X").to_string();
        assert_eq!(quoted, "\"a\\\"b\\\\c\\n$X\"");
        let login = Login::Password {
            user: "u".to_owned(),
            password: "hunter2".to_owned(),
        };
        assert!(!format!("{login:?}").contains("hunter2"));
        assert_eq!(nkey_variable("modbus-reader"), "NKEY_MODBUS_READER");
    }
}
