//! `longwire demo`.

use anyhow::Context as _;

use super::{DemoArgs, Failure, print};
use crate::config::{self, SystemEnv};
use crate::demo::{self, model};
use crate::server::{descriptors, run};
use crate::telemetry::log;

pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    if args.print_config {
        print(&demo::config(args.listen, args.admin, args.model));
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    descriptors::raise_limit();
    let served = runtime.block_on(async {
        let model = tokio::net::TcpListener::bind(args.model)
            .await
            .with_context(|| format!("cannot listen on {} (try --model)", args.model))?;
        let admin = args.admin;
        let text = demo::config(args.listen, admin, model.local_addr()?);
        // The ordinary way from text to a running proxy.
        let config = config::parse(&text, "demo.toml", &SystemEnv)?;
        let _log = log::init(&config.log)?;
        let bound = run::bind(config).context("try --listen or --admin")?;
        let address = bound.addresses().first().cloned().context("no address")?;
        print(&demo::welcome(&address, admin));
        tokio::spawn(model::serve(model));
        Ok::<_, anyhow::Error>(bound.serve(None).await?)
    });
    runtime.shutdown_background();
    Ok(served?)
}
