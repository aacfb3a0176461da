//! Envoy: one worker, HTTP/1.1, no access log, no idle or route timeouts, circuit breakers that let
//! all streams through, WebSockets allowed, buffers as its documentation wants them at an edge.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use super::{Peer, STREAMS, Site};
use crate::machine::version;

pub(super) struct Envoy(pub(super) PathBuf);

impl Peer for Envoy {
    fn name(&self) -> &'static str {
        "envoy"
    }

    fn version(&self) -> Option<String> {
        version(&self.0, "--version")
    }

    fn command(&self, site: &Site) -> io::Result<Option<Command>> {
        let socket = |address: std::net::SocketAddr| {
            format!(
                "{{ socket_address: {{ address: {}, port_value: {} }} }}",
                address.ip(),
                address.port()
            )
        };
        let (listen, origin) = (socket(site.listen), socket(site.origin));
        let config = format!(
            r#"
static_resources:
  listeners:
  - name: web
    address: {listen}
    per_connection_buffer_limit_bytes: 32768
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          codec_type: HTTP1
          stream_idle_timeout: 0s
          common_http_protocol_options: {{ idle_timeout: 0s }}
          upgrade_configs: [{{ upgrade_type: websocket }}]
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: origin, timeout: 0s }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 5s
    per_connection_buffer_limit_bytes: 32768
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        common_http_protocol_options: {{ idle_timeout: 60s }}
        explicit_http_config: {{ http_protocol_options: {{}} }}
    circuit_breakers:
      thresholds:
      - max_connections: {STREAMS}
        max_pending_requests: {STREAMS}
        max_requests: {STREAMS}
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {origin} }}
"#
        );
        let mut command = Command::new(&self.0);
        command.arg("-c").arg(site.write("envoy.yaml", &config)?);
        // No hot restart, for which several would need numbers of their own.
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
        Ok(Some(command))
    }
}
