//! What the store answered, and what the screens that live from its answers do with an action.

use super::{
    action::Action,
    app::{App, Effect},
    overlay::{self, Overlay},
    query::{Loaded, Query},
    screen::{self, Screen},
    widget::cut,
};

impl App {
    pub(super) fn loaded(&mut self, answer: Loaded) -> Option<Effect> {
        match answer {
            Loaded::Away(away) => {
                self.away = Some(away);
                if self.overlay.is_none() {
                    overlay::open(self, Overlay::Away);
                }
            }
            Loaded::History { run, history } => self.charts.loaded(run, *history),
            Loaded::Peers(runs) => self.charts.peers(runs),
            Loaded::Log { from, to, lines } => self.logs.loaded(from, to, lines),
            Loaded::Failed { query: Query::Log { .. }, why } => {
                self.logs.not_loaded();
                self.say(&cut::clean(&why));
            }
            Loaded::Failed { query: Query::History { run }, why } => {
                self.charts.not_loaded(run.as_ref(), &why);
                self.say(&cut::clean(&why));
            }
            answer => {
                let reply = self.inspect.loaded(answer);
                return self.reply(reply);
            }
        }
        None
    }

    pub(super) fn charts(&mut self, action: Action) -> Option<Effect> {
        self.dirty = true;
        match action {
            Action::Zoom => self.zoomed = !self.zoomed,
            Action::Close if self.zoomed => self.zoomed = false,
            Action::Open => return self.open_step(),
            action => {
                let reply = self.charts.act(action, screen::charts::grid(self), self.zoomed);
                return self.reply(reply);
            }
        }
        None
    }

    /// From a place in the charts to the rollouts that made it.
    fn open_step(&mut self) -> Option<Effect> {
        let Some(step) = self.charts.cursor.or(self.charts.range().map(|(_, end)| end.floor())) else {
            self.say("no step is committed yet");
            return None;
        };
        (self.screen, self.zoomed) = (Screen::Inspect, false);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(self.inspect.open_step(step as u32))
    }

    pub(super) fn log(&mut self, action: Action) -> Option<Effect> {
        self.dirty = true;
        if action == Action::Close && self.flash.take().is_some() {
            return None;
        }
        let page = screen::log::visible(self);
        let reply = self.logs.act(action, &self.live, page);
        self.reply(reply)
    }
}
