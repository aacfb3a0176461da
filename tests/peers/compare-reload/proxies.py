"""The proxies of compare.py: how each is configured for streams, started, and told to reload.

A configuration is written for an edition: `endpoints`, and `timeout` in hours, which is one longer
in the last edition. A broken one says `colour red` somewhere, which none of them knows.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

LONGWIRE = """
[server]
workers = 2
[listeners.web]
bind = ["127.0.0.1:{port}"]
[upstreams.chat]
endpoints = [{endpoints}]
[routes.all]
upstream = "chat"
timeouts.idle = "{timeout}h"
[admin]
bind = "127.0.0.1:{admin}"
[log]
level = "warn"
{broken}
"""

NGINX = """
{user}
daemon off;
worker_processes 2;
{limit}
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream chat {{
        {endpoints}
        keepalive 64;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://chat;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
            proxy_read_timeout {timeout}h;
        }}
    }}
    {broken}
}}
"""

HAPROXY = """
global
    nbthread 2
    maxconn 4096
    stats socket {directory}/haproxy.sock mode 600 level admin expose-fd listeners
    {limit}
defaults
    mode http
    timeout connect 5s
    timeout http-request 10s
    timeout http-keep-alive 75s
    timeout client {timeout}h
    timeout server {timeout}h
    timeout tunnel {timeout}h
frontend web
    bind 127.0.0.1:{port}
    option idle-close-on-response
    default_backend chat
backend chat
    http-reuse safe
    {endpoints}
    {broken}
"""

CADDY = """
{{
    admin 127.0.0.1:{admin}
    auto_https off
    persist_config off
    log {{
        level ERROR
    }}
    {grace}
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy {endpoints} {{
        flush_interval -1
        {delay}
        transport http {{
            read_timeout {timeout}h
        }}
    }}
    {broken}
}}
"""


class Proxy:
    """One of them. `limit` is how long what is open may go on after a reload, if it is bounded."""

    def __init__(self, name, title, binary, limit=None):
        self.name, self.title, self.binary, self.limit = name, title, binary, limit

    def version(self):
        """What it calls itself, a number alone."""
        command = {"nginx": "-v", "haproxy": "-v", "caddy": "version"}.get(self.name, "--version")
        said = subprocess.run([self.binary, command], capture_output=True, text=True)
        return re.search(r"\d+\.\d+[.\d]*", said.stdout + said.stderr).group()

    def text(self, directory, port, admin, endpoints, timeout, broken=False):
        """Its configuration."""
        if self.name == "longwire":
            listed = ", ".join(f'"http://127.0.0.1:{endpoint}"' for endpoint in endpoints)
            broken = "colour = 'red'" if broken else ""
            return LONGWIRE.format(
                port=port, admin=admin, endpoints=listed, timeout=timeout, broken=broken)
        if self.name == "nginx":
            listed = " ".join(f"server 127.0.0.1:{endpoint};" for endpoint in endpoints)
            limit = f"worker_shutdown_timeout {self.limit};" if self.limit else ""
            # The workers must reach their temporary files.
            user = "user root;" if os.geteuid() == 0 else ""
            broken = "colour red;" if broken else ""
            return NGINX.format(port=port, endpoints=listed, timeout=timeout, limit=limit,
                                user=user, broken=broken)
        if self.name == "haproxy":
            listed = "\n    ".join(
                f"server s{endpoint} 127.0.0.1:{endpoint}" for endpoint in endpoints)
            limit = f"hard-stop-after {self.limit}" if self.limit else ""
            broken = "colour red" if broken else ""
            return HAPROXY.format(port=port, directory=directory, endpoints=listed, limit=limit,
                                  timeout=timeout, broken=broken)
        listed = " ".join(f"127.0.0.1:{endpoint}" for endpoint in endpoints)
        delay = f"stream_close_delay {self.limit}" if self.limit else ""
        grace = "grace_period 5s" if self.limit == "5s" else ""
        broken = "colour red" if broken else ""
        return CADDY.format(port=port, admin=admin, endpoints=listed, timeout=timeout,
                            delay=delay, grace=grace, broken=broken)

    def command(self, file):
        """What runs it in the foreground."""
        if self.name == "longwire":
            return [self.binary, "run", "-c", str(file)]
        if self.name == "nginx":
            return [self.binary, "-p", str(file.parent), "-e", "stderr", "-c", str(file)]
        if self.name == "haproxy":
            return [self.binary, "-W", "-f", str(file)]
        return [self.binary, "run", "--adapter", "caddyfile", "--config", str(file)]

    def reload(self, process, file, log):
        """Has it read its file anew: whether it says that it did, and its words if not."""
        command = {
            "longwire": ["reload", "-c", str(file)],
            "nginx": ["-p", str(file.parent), "-e", "stderr", "-c", str(file), "-s", "reload"],
            "caddy": ["reload", "--adapter", "caddyfile", "--config", str(file)],
        }.get(self.name)
        if command:
            done = subprocess.run([self.binary, *command], capture_output=True, text=True)
            return done.returncode == 0, done.stdout + done.stderr
        # A signal has no answer; what came of it is in the log.
        before = len(log.read_text())
        process.send_signal(signal.SIGUSR2)
        return None, lambda: log.read_text()[before:]


def installed(longwire):
    """The proxies to compare, and the names of those that are not there."""
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    venv = Path(__file__).resolve().parent.parent / ".venv/bin"
    found = {"longwire": longwire, "nginx": shutil.which("nginx", path=path),
             "haproxy": shutil.which("haproxy", path=path),
             "caddy": shutil.which("caddy", path=f"{venv}:{path}")}
    wanted = [
        ("longwire", "", None),
        ("nginx", "", None),
        ("nginx", "`worker_shutdown_timeout 5s`", "5s"),
        ("haproxy", "", None),
        ("haproxy", "`hard-stop-after 5s`", "5s"),
        ("caddy", "", None),
        ("caddy", "`stream_close_delay 24h`", "24h"),
        ("caddy", "`stream_close_delay 5s`, `grace_period 5s`", "5s"),
    ]
    proxies = [Proxy(name, title, found[name], limit) for name, title, limit in wanted
               if found[name]]
    return proxies, [name for name, binary in found.items() if not binary]
