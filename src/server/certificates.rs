//! Certificates that are renewed while connections are open.

use std::sync::Arc;
use std::time::Duration;

use crate::client::tls::TlsServer;
use crate::clock;
use crate::telemetry::metrics::Metrics;

/// Looks every `interval` whether a listener's certificates have changed, for ever.
pub async fn watch(
    listener: String,
    tls: Arc<TlsServer>,
    metrics: Arc<Metrics>,
    interval: Duration,
) {
    loop {
        tokio::time::sleep(interval).await;
        let reader = Arc::clone(&tls);
        // The files may lie on a network.
        let read = tokio::task::spawn_blocking(move || reader.reload()).await;
        match read {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                tracing::info!(listener, "certificates were renewed");
                show(&listener, &tls, &metrics);
            }
            Ok(Err(error)) => {
                let error = error.to_string();
                tracing::error!(listener, error, "certificates stay as they are");
            }
            Err(error) => tracing::error!(listener, %error, "certificates were not looked at"),
        }
    }
}

/// Shows when the certificates end, and complains about those that have.
pub fn show(listener: &str, tls: &TlsServer, metrics: &Metrics) {
    let now = clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    for expiry in tls.expiries() {
        metrics.certificate_ends(listener, &expiry.file, expiry.not_after);
        if u64::try_from(expiry.not_after).is_ok_and(|end| end < now) {
            tracing::warn!(listener, file = expiry.file, "the certificate has expired");
        }
    }
}
