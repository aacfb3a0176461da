//! What a person wants to see, and what their keys mean. Pure.

use std::cmp::Ordering;

use clap::ValueEnum;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::words::harmless;
use super::world::{Stream, World};

/// Columns to sort by, the most interesting rows first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Sort {
    /// The oldest first
    Age,
    /// The most bytes to the client first
    Out,
    /// The most events per second first
    Rate,
    /// The longest silence first
    Silent,
    /// By state
    State,
    /// By route
    Route,
    /// By upstream and endpoint
    Upstream,
    /// By principal or address
    Who,
}

impl Sort {
    /// The name of the column.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Out => "out",
            Self::Rate => "rate",
            Self::Silent => "silent",
            Self::State => "state",
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Who => "who",
        }
    }

    fn compare(self, a: &Stream, b: &Stream) -> Ordering {
        let silence = |stream: &Stream| stream.since_upstream.unwrap_or(-1.0);
        let rate = |stream: &Stream| stream.events_per_second.unwrap_or(-1.0);
        match self {
            Self::Age => a.started.total_cmp(&b.started),
            Self::Out => b.bytes_out.cmp(&a.bytes_out),
            Self::Rate => rate(b).total_cmp(&rate(a)),
            Self::Silent => silence(b).total_cmp(&silence(a)),
            Self::State => a.state.cmp(&b.state),
            Self::Route => a.route.cmp(&b.route),
            Self::Upstream => a.origin().cmp(&b.origin()),
            Self::Who => a.who().cmp(b.who()),
        }
    }
}

/// What is shown, and how.
pub(super) struct View {
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    /// Words that must all be in a row; see [`matches`].
    pub(super) filter: String,
    pub(super) is_paused: bool,
    pub(super) shows_upstreams: bool,
    pub(super) mode: Mode,
    /// The number of the row under the cursor.
    pub(super) selected: Option<u64>,
    /// Rows that were last drawn, by number, and how many of them a page has.
    pub(super) order: Vec<u64>,
    pub(super) page: usize,
    /// What came of the last wish.
    pub(super) said: Option<String>,
}

/// What keys mean at the moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each is a command.
    Watch,
    /// They are typed into the filter.
    Filter,
    /// One says yes to killing this stream.
    Confirm { number: u64, id: String },
}

/// What the view cannot do itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    None,
    Quit,
    /// The stream with that id and number.
    Kill(String, u64),
}

impl View {
    pub(super) fn new(sort: Sort, filter: String) -> Self {
        Self {
            sort,
            is_reversed: false,
            filter,
            is_paused: false,
            shows_upstreams: false,
            mode: Mode::Watch,
            selected: None,
            order: Vec::new(),
            page: 1,
            said: None,
        }
    }

    /// The streams that fit, in order.
    pub(super) fn rows(&self, world: &World) -> Vec<Stream> {
        let mut rows = world.streams();
        rows.retain(|stream| matches(&self.filter, stream));
        rows.sort_by(|a, b| {
            let order = self.sort.compare(a, b);
            if self.is_reversed { order.reverse() } else { order }
                .then_with(|| a.number.cmp(&b.number))
        });
        rows
    }

    /// Tells the person something until the next key.
    pub(super) fn say(&mut self, text: String) {
        self.said = Some(harmless(text.trim_end()));
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyEvent, world: &World) -> Wish {
        self.said = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Wish::Quit;
        }
        match std::mem::replace(&mut self.mode, Mode::Watch) {
            Mode::Watch => return self.command(key.code, world),
            Mode::Filter => {
                self.mode = Mode::Filter;
                match key.code {
                    KeyCode::Char(c) => self.filter.push(c),
                    KeyCode::Backspace => drop(self.filter.pop()),
                    KeyCode::Esc => {
                        self.filter.clear();
                        self.mode = Mode::Watch;
                    }
                    KeyCode::Enter | KeyCode::Down | KeyCode::Up => self.mode = Mode::Watch,
                    _ => {}
                }
            }
            Mode::Confirm { id, number } if key.code == KeyCode::Char('y') => {
                return Wish::Kill(id, number);
            }
            Mode::Confirm { .. } => {}
        }
        Wish::None
    }

    fn command(&mut self, key: KeyCode, world: &World) -> Wish {
        match key {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('f' | '/') => self.mode = Mode::Filter,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('d') => self.shows_upstreams = !self.shows_upstreams,
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('s') => {
                let all = Sort::value_variants();
                let at = all.iter().position(|sort| *sort == self.sort).unwrap_or_default();
                self.sort = all[(at + 1) % all.len()];
                self.is_reversed = false;
            }
            KeyCode::Up => self.step(|at, _| at.saturating_sub(1)),
            KeyCode::Down => self.step(|at, _| at + 1),
            KeyCode::PageUp => self.step(|at, page| at.saturating_sub(page)),
            KeyCode::PageDown => self.step(|at, page| at + page),
            KeyCode::Home => self.step(|_, _| 0),
            KeyCode::End => self.step(|_, _| usize::MAX),
            KeyCode::Char('k') if !self.shows_upstreams => match self.selected {
                None => self.say("choose a stream with the arrow keys first".to_owned()),
                Some(_) if !world.may_kill => self.say("admin.allow_kill is false".to_owned()),
                Some(number) => match world.stream(number) {
                    None => self.say("it has ended already".to_owned()),
                    Some(stream) => self.mode = Mode::Confirm { number, id: stream.id },
                },
            },
            _ => {}
        }
        Wish::None
    }

    /// Moves the cursor; the first step puts it on the first row.
    fn step(&mut self, to: impl Fn(usize, usize) -> usize) {
        let position = |number| self.order.iter().position(|other| *other == number);
        let at = self.selected.and_then(position);
        let at = at.map_or(0, |at| to(at, self.page));
        let last = self.order.len().saturating_sub(1);
        self.selected = self.order.get(at.min(last)).copied();
    }
}

/// Whether all words are in the row; `state:idle` looks at one field, `-word` means not.
pub(super) fn matches(filter: &str, stream: &Stream) -> bool {
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    let fields = [
        ("id", stream.id.clone()),
        ("route", stream.route.clone()),
        ("upstream", stream.upstream.clone()),
        ("endpoint", optional(&stream.endpoint)),
        // As it is, and as it is shown.
        ("kind", stream.kind.replace("websocket", "websocket ws")),
        ("principal", optional(&stream.principal)),
        ("client", optional(&stream.client)),
        ("state", stream.state.clone()),
    ];
    let has = |value: &str, word: &str| value.to_lowercase().contains(word);
    filter.to_lowercase().split_whitespace().all(|word| {
        let (word, is_wanted) = match word.strip_prefix('-') {
            Some(rest) if !rest.is_empty() => (rest, false),
            _ => (word, true),
        };
        let named = word.split_once(':').and_then(|(key, word)| {
            fields.iter().find(|(name, _)| *name == key).map(|(_, value)| has(value, word))
        });
        named.unwrap_or_else(|| fields.iter().any(|(_, value)| has(value, word))) == is_wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::feed::Said;
    use serde_json::json;

    fn world() -> World {
        let mut world = World::default();
        world.hear(&Said::Snapshot(json!({ "now": 100.0, "allow_kill": true, "streams": [
            {
                "number": 1, "id": "a", "route": "chat", "state": "idle", "started": 50.0,
                "bytes_out": 9,
            },
            {
                "number": 2, "id": "b", "route": "room", "state": "streaming", "started": 40.0,
                "bytes_out": 5, "kind": "websocket",
            },
        ]})));
        world
    }

    fn press(view: &mut View, world: &World, keys: &[KeyCode]) -> Wish {
        let mut wish = Wish::None;
        for key in keys {
            wish = view.press(KeyEvent::from(*key), world);
        }
        wish
    }

    fn ids(view: &View, world: &World) -> String {
        view.rows(world).into_iter().map(|row| row.id).collect()
    }

    #[test]
    fn rows_are_sorted_and_filtered() {
        let world = world();
        let mut view = View::new(Sort::Age, String::new());
        assert_eq!(ids(&view, &world), "ba", "the oldest first");
        press(&mut view, &world, &[KeyCode::Char('s')]);
        assert_eq!((view.sort, &*ids(&view, &world)), (Sort::Out, "ab"));
        press(&mut view, &world, &[KeyCode::Char('r')]);
        assert_eq!(ids(&view, &world), "ba");
        for (filter, expected) in [
            ("CHAT", "a"),
            ("state:idle", "a"),
            ("-state:idle", "b"),
            ("-chat -room", ""),
            ("state:chat", ""),
            ("-", ""),
            ("other:x", ""),
            ("kind:ws", "b"),
        ] {
            let view = View::new(Sort::Age, filter.to_owned());
            assert_eq!(ids(&view, &world), expected, "{filter}");
        }
    }

    #[test]
    fn a_stream_is_killed_by_two_keys_only() {
        let world = world();
        let mut view = View::new(Sort::Age, String::new());
        view.order = vec![2, 1];
        let kill = KeyCode::Char('k');
        press(&mut view, &world, &[kill]);
        assert!(view.mode == Mode::Watch && view.said.is_some(), "nothing is chosen");
        let asked = press(&mut view, &world, &[KeyCode::Down, KeyCode::Down, kill]);
        let expected = Mode::Confirm { number: 1, id: "a".into() };
        assert_eq!((asked, &view.mode), (Wish::None, &expected));
        assert_eq!(press(&mut view, &world, &[KeyCode::Char('n')]), Wish::None);
        assert_eq!(press(&mut view, &world, &[KeyCode::Char('y')]), Wish::None);
        let killed = press(&mut view, &world, &[kill, KeyCode::Char('y')]);
        assert_eq!(killed, Wish::Kill("a".into(), 1));
    }

    #[test]
    fn keys_go_into_the_filter_while_it_is_typed() {
        let world = world();
        let mut view = View::new(Sort::Age, String::new());
        let typed = ['f', 'q', 'k'].map(KeyCode::Char);
        assert_eq!(press(&mut view, &world, &typed), Wish::None);
        assert_eq!(view.filter, "qk");
        press(&mut view, &world, &[KeyCode::Backspace, KeyCode::Enter]);
        assert_eq!((&*view.filter, &view.mode), ("q", &Mode::Watch));
        assert_eq!(press(&mut view, &world, &[KeyCode::Char('q')]), Wish::Quit);
    }
}
