//! What `sessile top` shows, and what its keys do.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Paragraph, Row, Table};

use crate::cli::args::TopArgs;
use crate::cli::print::visible;
use crate::cli::top::text::{Top, findings, summary};

/// Names that can be filtered by, besides those of the command line.
const FILTERS: [&str; 6] = ["route", "upstream", "backend", "principal", "client", "key"];
const HELP: &str = "q quit   b by bytes   m by messages   / filter (route=chat)   c no filter";

/// What to ask the gateway for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// `bytes` or `messages`.
    pub(super) by: &'static str,
    /// A filter that was typed in.
    pub(super) filter: Option<(String, String)>,
}

impl Wish {
    pub(super) fn of(args: &TopArgs) -> Self {
        Self {
            by: if args.by == "messages" {
                "messages"
            } else {
                "bytes"
            },
            filter: None,
        }
    }
}

/// What a key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    None,
    Ask(Wish),
    Quit,
}

/// The screen.
#[derive(Debug)]
pub(super) struct Screen {
    wish: Wish,
    top: Option<Top>,
    /// Why the last answer did not come.
    error: Option<String>,
    /// A filter that is being typed in.
    typing: Option<String>,
}

impl Screen {
    pub(super) fn new(wish: Wish) -> Self {
        Self {
            wish,
            top: None,
            error: None,
            typing: None,
        }
    }

    /// An answer of the gateway has come.
    pub(super) fn answer(&mut self, answer: Result<Top, String>) {
        match answer {
            Ok(top) => (self.top, self.error) = (Some(top), None),
            Err(error) => self.error = Some(error),
        }
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent) -> Action {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Action::Quit;
        }
        if let Some(text) = self.typing.take() {
            return self.typed(text, key.code);
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
            KeyCode::Char('b') => self.wish.by = "bytes",
            KeyCode::Char('m') => self.wish.by = "messages",
            KeyCode::Char('c') => self.wish.filter = None,
            KeyCode::Char('/') => {
                self.typing = Some(String::new());
                return Action::None;
            }
            _ => return Action::None,
        }
        Action::Ask(self.wish.clone())
    }

    fn typed(&mut self, mut text: String, key: KeyCode) -> Action {
        match key {
            KeyCode::Esc => return Action::None,
            KeyCode::Enter => {
                let filter = text.split_once('=');
                match filter.filter(|(name, _)| FILTERS.contains(name)) {
                    Some((name, value)) => {
                        self.wish.filter = Some((name.to_owned(), value.to_owned()));
                        return Action::Ask(self.wish.clone());
                    }
                    None => self.error = Some(format!("write NAME=VALUE: {}", FILTERS.join(", "))),
                }
                return Action::None;
            }
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(letter) => text.push(letter),
            _ => {}
        }
        self.typing = Some(text);
        Action::None
    }

    /// Draws everything.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let found = self.top.as_ref().map(findings).unwrap_or_default();
        let lines = u16::try_from(found.len()).unwrap_or(u16::MAX).min(6);
        let areas = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(lines),
            Constraint::Min(1),
            Constraint::Length(1),
        ]);
        let [head, notes, table, foot] = areas.areas(frame.area());
        let bold = Style::new().add_modifier(Modifier::BOLD);
        frame.render_widget(Paragraph::new(visible(&self.head())).style(bold), head);
        let found: Vec<_> = found.iter().map(|line| visible(line)).collect();
        let warning = Style::new().fg(Color::Yellow);
        frame.render_widget(Paragraph::new(found.join("\n")).style(warning), notes);
        let rows = self.top.iter().flat_map(Top::rows);
        let rows = rows.map(|row| Row::new(row.into_iter().map(|cell| visible(&cell))));
        let (gateway, head) = match &self.top {
            Some(top) => (top.is_of_fleet(), top.head()),
            None => (false, Vec::new()),
        };
        let widths = gateway.then_some(Constraint::Fill(1)).into_iter().chain([
            Constraint::Length(9),
            Constraint::Length(11),
            Constraint::Fill(2),
            Constraint::Fill(1),
            Constraint::Fill(2),
            Constraint::Fill(1),
            Constraint::Length(26),
        ]);
        let rows = Table::new(rows, widths);
        frame.render_widget(rows.header(Row::new(head).style(bold)), table);
        let typing = self.typing.as_ref().map(|text| format!("filter: {text}_"));
        let foot_line = typing.or_else(|| self.error.clone());
        let foot_line = foot_line.map_or_else(|| HELP.to_owned(), |line| visible(&line));
        frame.render_widget(Paragraph::new(foot_line), foot);
    }

    fn head(&self) -> String {
        let filter = self.wish.filter.as_ref();
        let filter = filter.map_or(String::new(), |(name, value)| format!(", {name}={value}"));
        let summary = self.top.as_ref().map(summary);
        let summary = summary.unwrap_or_else(|| "measuring …".to_owned());
        format!("{summary}   by {}{filter}", self.wish.by)
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn screen() -> Screen {
        Screen::new(Wish {
            by: "bytes",
            filter: None,
        })
    }

    fn press(screen: &mut Screen, code: KeyCode) -> Action {
        screen.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn drawn(screen: &Screen, width: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, 12)).expect("memory");
        terminal.draw(|frame| screen.draw(frame)).expect("memory");
        let buffer = terminal.backend().buffer();
        let lines = buffer.content.chunks(usize::from(width));
        let lines = lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>());
        lines.collect::<Vec<_>>().join("\n")
    }

    fn top() -> Top {
        serde_json::from_value(json!({
            "sessions": 90,
            "rate": { "messages_per_second": 20.0, "bytes_per_second": 2048.0 },
            "items": [], "next": null,
            "keys": [{
                "key": { "key": "hot\u{1b}[2J", "source": "query:k", "hidden": false },
                "upstream": "open", "sessions": 60, "backend": "b3", "share": 0.67,
            }],
            "upstreams": [{
                "name": "open", "sessions": 90, "skew": 2.9, "skewed": true,
                "backends": [{ "id": "b3", "sessions": 90, "share": 1.0 }],
            }],
        }))
        .expect("an answer")
    }

    #[test]
    fn a_hot_key_and_a_skew_are_said_first_and_nothing_steers_the_terminal() {
        let mut screen = screen();
        screen.answer(Ok(top()));
        let shown = drawn(&screen, 100);
        assert!(
            shown.contains("SKEW open: b3 has 90 of 90 sessions"),
            "{shown}"
        );
        assert!(shown.contains("60 sessions, 67 % of open/b3"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
        // Any width will do.
        for width in [1, 20, 60, 200] {
            drawn(&screen, width);
        }
    }

    #[test]
    fn keys_sort_filter_and_quit() {
        let mut screen = screen();
        let by = |by, filter| Action::Ask(Wish { by, filter });
        assert_eq!(press(&mut screen, KeyCode::Char('m')), by("messages", None));
        assert_eq!(press(&mut screen, KeyCode::Char('/')), Action::None);
        for letter in "route=quiet".chars() {
            // Letters with a meaning have none while a filter is typed.
            assert_eq!(press(&mut screen, KeyCode::Char(letter)), Action::None);
        }
        assert!(drawn(&screen, 80).contains("filter: route=quiet_"));
        let filter = Some(("route".to_owned(), "quiet".to_owned()));
        assert_eq!(press(&mut screen, KeyCode::Enter), by("messages", filter));
        assert_eq!(press(&mut screen, KeyCode::Char('c')), by("messages", None));
        press(&mut screen, KeyCode::Char('/'));
        press(&mut screen, KeyCode::Char('x'));
        assert_eq!(press(&mut screen, KeyCode::Enter), Action::None);
        assert!(drawn(&screen, 80).contains("write NAME=VALUE"));
        assert_eq!(press(&mut screen, KeyCode::Char('q')), Action::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(screen.key(interrupt), Action::Quit);
    }

    #[test]
    fn an_error_is_shown_until_an_answer_comes() {
        let mut screen = screen();
        screen.answer(Err("no answer".to_owned()));
        assert!(drawn(&screen, 80).contains("no answer"));
        screen.answer(Ok(top()));
        assert!(!drawn(&screen, 80).contains("no answer"));
    }
}
