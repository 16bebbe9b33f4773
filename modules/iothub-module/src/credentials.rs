//! From the configuration to the options of the hub's client: the connection string out of a secret or a file, the CA, the limits.

use std::path::Path;

use iothub_client::{ClientOptions, Trust};
use iothub_protocol::{HubIdentity, SharedAccessKey};
use module_runtime::Sidecar;

use crate::configuration::{HubConfiguration, HubCredentials, SecretReference};

/// Why there are no options; what it is about may be mended while the module runs, so trying again makes sense.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The secret store did not give the secret.
    #[error("secret {name} of secret store {store}: {reason}")]
    Secret {
        /// The component.
        store: String,
        /// The secret.
        name: String,
        /// What went wrong.
        reason: String,
    },
    /// A file could not be read.
    #[error("{file} cannot be read: {reason}; check that it is mounted and readable")]
    File {
        /// Its path.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// What was read makes no identity.
    #[error("{origin}: {reason}")]
    Invalid {
        /// Where it came from.
        origin: String,
        /// What is wrong; never the secret itself.
        reason: String,
    },
}

/// Reads everything the client needs.
///
/// # Errors
/// See [`CredentialsError`].
pub async fn client_options(
    hub: &HubConfiguration,
    sidecar: &dyn Sidecar,
) -> Result<ClientOptions, CredentialsError> {
    let invalid = |origin: &str, reason: String| CredentialsError::Invalid {
        origin: origin.to_owned(),
        reason,
    };
    let mut options = match hub
        .credentials()
        .map_err(|reason| invalid("hub", reason.to_owned()))?
    {
        HubCredentials::Secret(reference) => {
            let text = secret(reference, sidecar).await?;
            let origin = format!(
                "secret {} of secret store {}",
                reference.name, reference.store
            );
            ClientOptions::from_connection_string(text.trim())
                .map_err(|error| invalid(&origin, error.to_string()))?
        }
        HubCredentials::ConnectionStringFile(file) => {
            let text = read(file)?;
            ClientOptions::from_connection_string(text.trim())
                .map_err(|error| invalid(&file.display().to_string(), error.to_string()))?
        }
        HubCredentials::KeyFile {
            name,
            device,
            module,
            key_file,
        } => {
            let identity = HubIdentity::new(device, module)
                .map_err(|error| invalid("hub.device", error.to_string()))?;
            let text = read(key_file)?;
            let key = SharedAccessKey::from_base64(text.trim())
                .map_err(|error| invalid(&key_file.display().to_string(), error.to_string()))?;
            ClientOptions::new(name, identity, key)
        }
    };
    if let Some(host) = &hub.host {
        options.host.clone_from(host);
    }
    if let Some(file) = &hub.ca_file {
        options.trust = Trust::Pem(read(file)?.into_bytes());
    }
    options.port = hub.port;
    options.keep_alive = hub.keep_alive.get();
    options.sas_lifetime = hub.sas_lifetime.get();
    options.window = hub.window;
    Ok(options)
}

async fn secret(
    reference: &SecretReference,
    sidecar: &dyn Sidecar,
) -> Result<String, CredentialsError> {
    let SecretReference { store, name, key } = reference;
    let failed = |reason: String| CredentialsError::Secret {
        store: store.clone(),
        name: name.clone(),
        reason,
    };
    let mut values = sidecar
        .secret(store, name)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let key = key.as_ref().unwrap_or(name);
    values.remove(key).ok_or_else(|| {
        let known: Vec<&str> = values.keys().map(String::as_str).collect();
        failed(format!(
            "has no key {key:?}, it has {known:?}; set hub.connection_string.key"
        ))
    })
}

fn read(file: &Path) -> Result<String, CredentialsError> {
    std::fs::read_to_string(file).map_err(|error| CredentialsError::File {
        file: file.display().to_string(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
