//! Which route takes a request: the one that is looked at first, and the one that takes what no
//! other does.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use longwire::config::{self, SystemEnv};
use longwire::route::{Query, Router};

/// So many routes with a host each, and one for the rest.
fn router(routes: usize) -> Router {
    let mut text = "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n".to_owned();
    for at in 1..routes {
        let _ = write!(
            text,
            "[routes.tenant{at}]\nhosts = [\"tenant{at:04}.example.com\"]\n\
             paths = [\"/v1/\"]\nupstream = \"http://127.0.0.1:8000\"\n"
        );
    }
    text += "[routes.rest]\nupstream = \"http://127.0.0.1:8000\"\n";
    Router::new(&config::parse(&text, "", &SystemEnv).expect("it is legal").routes)
}

pub fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route find");
    for routes in [10, 100, 1000] {
        let router = router(routes);
        for (which, host) in [("first", "tenant0001.example.com"), ("last", "chat.example.com")] {
            let query = Query {
                host,
                path: "/v1/chat/completions",
                method: "POST",
                preflight: None,
                listener: "web",
            };
            group.bench_function(BenchmarkId::new(which, routes), |bencher| {
                bencher.iter(|| router.find(black_box(query)).expect("there is one for the rest"));
            });
        }
    }
    group.finish();
}
