//! nginx: HTTP/1.1 to the upstream over a pool that does not run dry, no buffering, WebSockets in a
//! location of their own, and no limit on the requests of a connection.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use super::{Peer, STREAMS, Site};
use crate::launch::Ending;
use crate::machine::version;

pub(super) struct Nginx(pub(super) PathBuf);

impl Peer for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn ending(&self) -> Ending {
        Ending::Term
    }

    fn version(&self) -> Option<String> {
        version(&self.0, "-v")
    }

    fn command(&self, site: &Site) -> io::Result<Option<Command>> {
        let Site { listen, origin, .. } = site;
        // The worker must reach its temporary files.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        // When a sixteenth is left, nginx closes what has not sent a request yet.
        let connections = 2 * STREAMS + 1_000;
        let config = format!(
            r#"
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 100000000;
    upstream origin {{
        server {origin};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen {listen} backlog=4096;
        proxy_http_version 1.1;
        proxy_buffering off;
        proxy_read_timeout 1h;
        proxy_send_timeout 1h;
        location / {{
            proxy_pass http://origin;
            proxy_set_header Host $host;
            proxy_set_header Connection "";
        }}
        location /ws/ {{
            proxy_pass http://origin;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
}}
"#
        );
        let mut command = Command::new(&self.0);
        command.arg("-p").arg(&site.directory).arg("-c").arg(site.write("nginx.conf", &config)?);
        // Before it has read where to.
        command.args(["-e", "stderr"]);
        Ok(Some(command))
    }
}
