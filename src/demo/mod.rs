//! `longwire demo`: a model that needs no GPU, the proxy in front of it, and a page to watch both.

pub mod frames;
pub mod model;
pub mod room;
pub mod script;

use std::fmt;
use std::net::SocketAddr;

/// The proxy's configuration in the demo, as a file would have it.
pub fn config(listen: SocketAddr, admin: SocketAddr, model: SocketAddr) -> String {
    format!(
        r#"# What `longwire demo` runs: a chat page, a model and a chat room behind one address.

[listeners.web]
bind = ["{listen}"]

[upstreams.model]
endpoints = [{{ url = "http://{model}", name = "mock" }}]

[upstreams.page]                          # the same server; counted apart from the chat
endpoints = [{{ url = "http://{model}", name = "mock" }}]

[upstreams.room]                          # the same server again; its sockets reuse no connection
endpoints = [{{ url = "http://{model}", name = "mock" }}]

[upstreams.admin]                         # so that the page can show what the proxy counts
endpoints = [{{ url = "http://{admin}", name = "longwire" }}]

[routes.page]
paths = ["=/"]
upstream = "page"

[routes.metrics]
paths = ["=/metrics"]
upstream = "admin"

[routes.chat]
paths = ["/v1/"]
upstream = "model"

[routes.chat.sse]
heartbeat = "1s"                          # short, so that there is something to see

[routes.chat.timeouts]
idle = "75s"                              # a stalled model is given up after this

[routes.room]
paths = ["=/room"]
upstream = "room"

[routes.room.websocket]
ping = "2s"                               # short, so that there is something to see
drain_close = {{ code = 1001, reason = "the proxy is restarting" }}

[admin]
bind = "{admin}"

[server.drain]
grace = "2s"
spread = "0s"                             # the few pages may come back all at once

[log]
format = "text"
"#
    )
}

/// What a person sees first.
pub fn welcome(listen: impl fmt::Display, admin: SocketAddr) -> String {
    format!(
        r#"
  longwire demo: you -> longwire -> a model that thinks for three seconds

    chat page   http://{listen}/
    chat room   ws://{listen}/room  (on the page: open it twice)
    metrics     http://{admin}/metrics

  Without a browser (heartbeats are the lines that begin with a colon):

    curl -N http://{listen}/v1/chat/completions -d '{{"stream":true,"longwire_demo":{{"think":"3s"}}}}'

  Ctrl-C ends it. What follows is the access log.

"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SystemEnv, parse};

    #[test]
    fn the_configuration_is_a_good_one() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let text = config(address(1), address(2), address(3));
        let parsed = parse(&text, "demo.toml", &SystemEnv);
        assert_eq!(parsed.map(|config| config.routes.len()).map_err(|e| e.to_string()), Ok(4));
        assert!(welcome(address(1), address(2)).contains("http://127.0.0.1:1/"));
    }
}
