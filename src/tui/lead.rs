//! What this client may do and why not, who steers the run instead, what its reader has not seen yet.

use super::{
    action::{ACTIONS, Action},
    app::{App, Effect},
    notify::Channel,
    overlay::Overlay,
    screen::{Elsewhere, Screen},
    widget::cut,
};
use crate::{
    attach::{Control, Notice, RunState},
    task::Text,
};

/// Said where something is asked of a run that nobody trains.
pub(super) const NOBODY_TRAINS: &str = "there is no running trainer to steer";

impl App {
    /// Whether this client's word counts. Until the trainer has said who is attached, it is taken to.
    pub fn leads(&self) -> bool {
        let mine = self.live.clients.iter().find(|client| Some(&client.who) == self.me.as_ref());
        !self.read_only && mine.is_none_or(|client| client.steers)
    }

    /// Why nothing that steers is possible; `None` where it is.
    pub fn why_not_steer(&self) -> Option<String> {
        if self.replayed {
            return Some("this is a replay: nothing in it can be changed".to_owned());
        }
        if self.read_only {
            return Some("read-only: attach without --read-only to steer".to_owned());
        }
        if self.lost || self.ended() {
            return Some(NOBODY_TRAINS.to_owned());
        }
        let lead = self.live.lead().map_or_else(|| "another client".to_owned(), |who| cut::clean(who.as_str()));
        (!self.leads()).then(|| format!("{lead} steers this run; W takes over"))
    }

    /// Why an action is not possible now; `None` where it is, and for those that only look.
    pub fn why_not(&self, action: Action) -> Option<String> {
        let steers = ACTIONS.iter().any(|row| row.action == action && row.steers);
        match action {
            Action::Visit(_) if self.replayed => Some("this is a replay: it has the screens of one run; q leaves it".to_owned()),
            _ if !steers => None,
            Action::Take | Action::Restart | Action::Visit(Elsewhere::Label) => self.why_not_steer().filter(|_| self.read_only),
            _ => self.why_not_steer(),
        }
    }

    /// Carries an action out, or says why not.
    pub fn carry_out(&mut self, action: Action) -> Option<Effect> {
        match self.why_not(action) {
            None => self.act(action),
            Some(why) => {
                self.say(&why);
                None
            }
        }
    }

    pub(super) fn take_lead(&mut self) -> Option<Effect> {
        if self.lost || !self.connected || self.ended() {
            self.say(NOBODY_TRAINS);
            return None;
        }
        if self.leads() {
            self.say("you steer already");
            return None;
        }
        Some(Effect::Send(Control::Take))
    }

    /// Says it where the lead has come or gone.
    pub(super) fn tell_lead(&mut self, led: bool) {
        let leads = self.leads();
        if led == leads || self.read_only {
            return;
        }
        if leads {
            self.say("you steer this run now");
        } else if let Some(who) = self.live.lead().map(|who| cut::clean(who.as_str())) {
            self.say(&format!("{who} steers this run; you watch, and W takes over"));
        }
    }

    /// How many alerts the reader has not opened.
    pub fn unread_alerts(&self) -> usize {
        self.live.alerts.iter().filter(|alert| alert.unix_s > self.alerts_read).count()
    }

    pub fn read_alerts(&mut self) {
        self.alerts_read = self.live.alerts.iter().map(|alert| alert.unix_s).fold(self.alerts_read, i64::max);
    }

    /// Calls a reader who looks elsewhere. Names and numbers only: a notification may be read by anybody.
    pub(super) fn call_for(&mut self, notice: &Notice) {
        let what = match notice {
            Notice::Alert { alert } => format!("{} at step {}", alert.kind, alert.step),
            Notice::Ended { state: RunState::Finished, .. } => format!("finished at step {}", self.live.step),
            Notice::Ended { state: RunState::Failed, .. } => format!("FAILED at step {}", self.live.step),
            Notice::State { state: RunState::Paused } if self.live.state != RunState::Paused => {
                format!("paused at step {}", self.live.step)
            }
            _ => return,
        };
        if self.notify != Channel::Off && self.in_front != Some(true) {
            let text = Text::new(&format!("{}: {what}", self.live.run_id));
            self.asides.push(Effect::Call(self.notify, text));
        }
    }

    /// The rollouts of one step, on the Inspect screen.
    pub fn show_step(&mut self, step: u32) -> Option<Effect> {
        self.show_filtered(&format!("step:{step}"))
    }

    pub fn show_filtered(&mut self, filter: &str) -> Option<Effect> {
        let entered = self.go(Screen::Inspect);
        self.dirty = true;
        match self.inspect.filter_to(filter) {
            Ok(effect) => Some(effect),
            Err(error) => {
                self.say(&cut::clean(&error.to_string()));
                entered
            }
        }
    }

    /// Pasted text goes where text is written and nowhere else: it must not be taken for keys.
    pub(super) fn paste(&mut self, text: &str) -> Option<Effect> {
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let prompt = match self.overlay {
            Some(Overlay::Help | Overlay::Commands | Overlay::Breakpoints | Overlay::Knobs) => self.menu.prompt.as_mut(),
            Some(_) => None,
            None => match self.screen {
                Screen::Inspect => self.inspect.prompt.as_mut(),
                Screen::Charts => self.charts.prompt.as_mut(),
                Screen::Log => self.logs.prompt.as_mut(),
                Screen::Live => None,
            },
        };
        match prompt {
            Some(prompt) => prompt.insert(&line),
            None => self.say("nothing is being written here: pasted text is left alone"),
        }
        self.dirty = true;
        None
    }
}
