//! Accepts connections: every one is served or turned away at once, whatever there are too many of.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use nix::libc::{ECONNABORTED, EINTR, EMFILE, ENFILE};
use tokio::sync::{Semaphore, watch};

use super::descriptors::Reserve;
use super::listener::{BACKLOG, Listening};
use crate::client::Accepted;
use crate::clock;
use crate::telemetry::connections::Refused;

/// Between two lines about the same trouble.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// After an error that will be there again at once. Short: whoever waits in the backlog hears
/// nothing meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// What is done with connections.
pub trait Serve: Send + Sync + 'static {
    /// Serves one; called in a task of its own.
    fn serve(self: Arc<Self>, accepted: Accepted) -> impl Future<Output = ()> + Send;

    /// There is no place for one; must not wait.
    fn turn_away(self: &Arc<Self>, accepted: Accepted);

    /// One was refused.
    fn count(&self, refused: Refused);
}

/// The places of client connections.
#[derive(Clone)]
pub struct Places {
    free: Arc<Semaphore>,
    limit: usize,
}

impl Places {
    /// Waits until all of them are free.
    pub async fn all_free(&self) {
        let all = u32::try_from(self.limit).unwrap_or(u32::MAX);
        // Fails only when the semaphore is closed, which nobody does.
        let _ = self.free.acquire_many(all).await;
    }

    /// So many at once.
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(limit)), limit }
    }
}

/// Accepts until `shutdown` turns true, then closes the socket.
pub async fn run(
    listening: Arc<Listening>,
    app: Arc<impl Serve>,
    places: Places,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut acceptor = Acceptor {
        address: listening.address().map(|address| address.to_string()).unwrap_or_default(),
        reserve: Reserve::take(),
        full: Complaint::default(),
        failed: Complaint::default(),
    };
    loop {
        let accepted = tokio::select! {
            accepted = listening.accept() => accepted,
            _ = shutdown.wait_for(|&ends| ends) => break,
        };
        match accepted {
            Ok(accepted) => acceptor.admit(accepted, &app, &places),
            Err(error) => acceptor.fail(&error, &listening, &app).await,
        }
    }
    // Those that the kernel has accepted for us would be cut off by the socket's end. It is asked
    // directly: the runtime may not have heard of them yet. A socket that another process accepts
    // on, too, is never empty for long, so this has an end.
    for _ in 0..BACKLOG {
        match listening.accept_waiting() {
            Ok(accepted) => acceptor.admit(accepted, &app, &places),
            Err(error) if matches!(error.raw_os_error(), Some(ECONNABORTED | EINTR)) => {}
            Err(_) => return,
        }
    }
}

struct Acceptor {
    address: String,
    reserve: Reserve,
    full: Complaint,
    failed: Complaint,
}

impl Acceptor {
    fn admit(&mut self, accepted: Accepted, app: &Arc<impl Serve>, places: &Places) {
        let Ok(place) = Arc::clone(&places.free).try_acquire_owned() else {
            app.count(Refused::MaxConnections);
            if let Some(refused) = self.full.count(clock::now()) {
                let (address, limit) = (&self.address, places.limit);
                let message = "max_connections is reached: connections are turned away";
                tracing::warn!(address, limit, refused, "{message}");
            }
            return app.turn_away(accepted);
        };
        // An async block that waited for it would hold room for it twice.
        let served = Arc::clone(app).serve(accepted);
        tokio::spawn(served.map(|()| drop(place)));
    }

    async fn fail(&mut self, error: &io::Error, listening: &Listening, app: &Arc<impl Serve>) {
        // The client left before we came, or a signal came first (accept(2)).
        if matches!(error.raw_os_error(), Some(ECONNABORTED | EINTR)) {
            return;
        }
        let out_of_descriptors = matches!(error.raw_os_error(), Some(EMFILE | ENFILE));
        if let Some(times) = self.failed.count(clock::now()) {
            tracing::error!(address = self.address, %error, times, "cannot accept connections");
        }
        // The one that waits is closed rather than left to wait for nobody knows how long: a
        // balancer in front can go elsewhere at once.
        if out_of_descriptors && self.reserve.release() {
            let refused = tokio::time::timeout(PAUSE, listening.accept()).await;
            if matches!(refused, Ok(Ok(_))) {
                app.count(Refused::Descriptors);
            }
            drop(refused);
            self.reserve.restore();
            return;
        }
        self.reserve.restore();
        tokio::time::sleep(PAUSE).await;
    }
}

/// Something that may happen a thousand times a second, and is to be told once.
#[derive(Default)]
struct Complaint {
    told: Option<Instant>,
    since: u64,
}

impl Complaint {
    /// It happened; gives how often since it was told last, if it is to be told now.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if self.told.is_some_and(|told| now < told + COMPLAIN_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::config::model::{Bind, TcpKeepalive};

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Serve for Counting {
        async fn serve(self: Arc<Self>, _: Accepted) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }

        fn turn_away(self: &Arc<Self>, _: Accepted) {}

        fn count(&self, _: Refused) {}
    }

    #[tokio::test]
    async fn all_that_the_kernel_has_accepted_is_served_at_the_end() {
        const MANY: usize = 300;
        let keepalive = TcpKeepalive {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(10),
            count: 6,
            user_timeout: Duration::ZERO,
        };
        let bind = Bind::Tcp("127.0.0.1:0".parse().unwrap());
        let listening = Arc::new(Listening::bind(&bind, &keepalive).unwrap());
        let Some(Bind::Tcp(address)) = listening.address() else { panic!("an address") };
        let connect = |_| std::net::TcpStream::connect(address).unwrap();
        let _clients: Vec<_> = (0..MANY).map(connect).collect();
        let (app, places) = (Arc::new(Counting::default()), Places::new(MANY));
        let (_ends, shutdown) = watch::channel(true);
        run(listening, Arc::clone(&app), places.clone(), shutdown).await;
        places.all_free().await;
        assert_eq!(app.0.load(Ordering::SeqCst), MANY);
    }

    #[test]
    fn trouble_is_told_once_a_second_with_its_count() {
        let (mut complaint, start) = (Complaint::default(), clock::now());
        assert_eq!(complaint.count(start), Some(1));
        for _ in 0..1000 {
            assert_eq!(complaint.count(start + COMPLAIN_EVERY / 2), None);
        }
        assert_eq!(complaint.count(start + COMPLAIN_EVERY), Some(1001));
    }
}
