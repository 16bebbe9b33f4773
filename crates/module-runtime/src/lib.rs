//! What every module needs: Dapr, configuration, health, metrics, logs and shutdown.
