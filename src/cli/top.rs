//! `longwire top`: the open streams of a running process, in a terminal.

mod feed;
mod screen;
mod view;
mod words;
mod world;

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use anyhow::{Context as _, bail};
use crossterm::event::{self, Event, KeyEventKind};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{cursor, execute, queue};
use nix::poll::{PollFd, PollFlags, poll};

use self::feed::{Feed, News};
use self::view::{View, Wish};
use self::world::World;
use super::ask::{self, Admin};
use super::{Failure, TopArgs, print};

pub(super) use self::view::Sort;

/// How soon news and signals are seen while no key is pressed.
const GLANCE: Duration = Duration::from_millis(100);

pub(super) fn run(args: TopArgs) -> Result<(), Failure> {
    let admin = Arc::new(ask::admin(&args.ask)?);
    let view = View::new(args.sort, args.filter);
    if args.once {
        let mut world = World::default();
        world.hear(&feed::first(&admin)?);
        print(&screen::plain(&world, &view));
        return Ok(());
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(anyhow::anyhow!("this is no terminal: try --once").into());
    }
    // What is wrong from the beginning is said where it stays readable.
    let first = feed::first(&admin)?;
    Ok(watch(&admin, view, &first)?)
}

fn watch(admin: &Arc<Admin>, mut view: View, first: &feed::Said) -> anyhow::Result<()> {
    let ends = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ends))?;
    }
    let mut world = World::default();
    world.hear(first);
    let feed = Feed::start(Arc::clone(admin));
    let screen = Screen::enter()?;
    end_with_terminal();
    let mut is_stale = true;
    while !ends.load(Ordering::Acquire) {
        loop {
            match feed.news.try_recv() {
                Ok(News::Said(said)) => world.hear(&said),
                Ok(News::Lost(why)) => world.lost = Some(why),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => bail!("nobody reads any more"),
            }
            is_stale |= !view.is_paused;
        }
        if is_stale {
            screen.draw(&mut world, &mut view)?;
            is_stale = false;
        }
        if !event::poll(GLANCE)? {
            continue;
        }
        is_stale = true;
        let Event::Key(key) = event::read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match view.press(key, &world) {
            Wish::None => {}
            Wish::Quit => break,
            Wish::Kill(id, number) => view.say(kill(admin, &id, number)),
        }
    }
    Ok(())
}

/// Ends the process when its terminal is closed, or rather its other end; nobody tells a process of
/// it whose terminal it is not. From a thread of its own, since what waits for keys waits for ever
/// then, and spins; there is nothing left to give back.
fn end_with_terminal() {
    std::thread::spawn(|| {
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        loop {
            let mut input = [PollFd::new(io::stdin().as_raw_fd(), PollFlags::empty())];
            let polled = poll(&mut input, -1);
            if polled.is_ok() && input[0].revents().is_some_and(|seen| seen.intersects(gone)) {
                std::process::exit(0);
            }
        }
    });
}

/// What came of it, for the person.
fn kill(admin: &Admin, id: &str, number: u64) -> String {
    let id = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
    match admin.ask("DELETE", &format!("/api/streams/{id}?number={number}")) {
        Ok((202, _)) => format!("killed {id}"),
        Ok((404, _)) => "it has ended already".to_owned(),
        Ok((403, _)) => "admin.allow_kill is false".to_owned(),
        Ok((status, body)) => format!("not killed: the process answered {status}: {body}"),
        Err(error) => format!("not killed: {error:#}"),
    }
}

/// The terminal while it is ours; it is given back by dropping, and before a panic is told.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            told(panic);
        }));
        enable_raw_mode()?;
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Everything anew, in one write, which terminals show at once.
    fn draw(&self, world: &mut World, view: &mut View) -> anyhow::Result<()> {
        let (columns, rows) = match size().context("the terminal does not say how large it is")? {
            // One that nobody has given a size.
            (0, _) | (_, 0) => (80, 24),
            known => known,
        };
        let lines = screen::lines(world, view, columns.into(), rows.into());
        let mut out = Vec::new();
        queue!(out, BeginSynchronizedUpdate)?;
        for (row, line) in (0_u16..).zip(&lines) {
            queue!(out, cursor::MoveTo(0, row))?;
            line.write(&mut out)?;
            queue!(out, Clear(ClearType::UntilNewLine))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate)?;
        let mut stdout = io::stdout().lock();
        stdout.write_all(&out)?;
        Ok(stdout.flush()?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// A terminal that is gone needs nothing any more.
fn leave() {
    let _ = execute!(io::stdout(), cursor::Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const PANIC: &str = "for the test of the terminal";

    #[test]
    #[ignore = "it is the process that the other test looks at"]
    fn it_panics() {
        // Whoever runs all tests that are ignored has no terminal of its own for this.
        if std::env::var_os("LONGWIRE_TEST_PANICS").is_none() {
            return;
        }
        let _screen = Screen::enter().unwrap();
        panic!("{PANIC}");
    }

    /// `script` (of util-linux) gives it a terminal, and what it writes.
    #[test]
    fn a_panic_gives_the_terminal_back_and_can_be_read_there() {
        let program = std::env::current_exe().unwrap();
        let test = format!("{}::it_panics", module_path!().split_once("::").unwrap().1);
        let command = format!(
            "stty -g; {} {test} --exact --ignored --nocapture; stty -g",
            program.to_str().unwrap()
        );
        let script = ["-qec", &command, "/dev/null"];
        let mut program = Command::new("timeout");
        program.args(["20", "script"]).args(script).env("LONGWIRE_TEST_PANICS", "1");
        let output = program.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part:?} in {text:?}"));
        assert!(at("\x1b[?1049h") < at("\x1b[?1049l"), "{text:?}");
        assert!(at("\x1b[?1049l") < at(PANIC), "it is told on the other screen: {text:?}");
        assert!(text.contains("\x1b[?25h"), "the cursor is hidden: {text:?}");
        let modes = |line: Option<&str>| line.map(str::trim).map(str::to_owned);
        let (before, after) = (modes(text.lines().next()), modes(text.trim_end().lines().last()));
        assert_eq!(before, after, "what is typed is not shown: {text:?}");
    }
}
