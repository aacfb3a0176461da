//! A bare pingora app: `ProxyHttp` with nothing but an upstream. What Longwire would be if its
//! relay were pingora's.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;

struct Bare {
    origin: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _: &mut Session,
        (): &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }
}

/// Serves at the first address, before the second, until it is ended.
fn main() {
    let mut addresses = std::env::args().skip(1).map(|address| address.parse::<SocketAddr>());
    let (Some(Ok(listen)), Some(Ok(origin))) = (addresses.next(), addresses.next()) else {
        eprintln!("bare: expected LISTEN ORIGIN");
        std::process::exit(2);
    };
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 256, ..Default::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&Arc::clone(&server.configuration), Bare { origin });
    service.add_tcp(&listen.to_string());
    server.add_service(service);
    server.run_forever();
}
