#!/usr/bin/env bash
# The workbench in a real terminal: tmux answers, keys go in, the screen is read. Every wait is a poll with a limit.
#   tests/terminal.sh [PROGRAM]
set -euo pipefail
program=$(realpath "${1:-target/release/medserl}")
work=$(mktemp -d)
export MEDSERL_HOME="$work" HF_HUB_OFFLINE=1 USER="${USER:-tester}"
unset NO_COLOR COLORTERM TMUX || true
window=main

tm() { tmux -S "$work/tmux" "$@"; }
screen() { tm capture-pane -p -t "$window"; }
keys() { tm send-keys -t "$window" "$@"; }
type_in() { tm send-keys -t "$window" -l "$1"; }

fail() {
  echo "tests/terminal.sh: $*" >&2
  screen >&2 || true
  exit 1
}

# Until the screen shows a pattern; 90 seconds, which only a machine that does other things as well needs.
see() {
  for _ in $(seq 900); do
    if screen | grep -qE -- "$1"; then return; fi
    sleep 0.1
  done
  fail "'$1' does not come up"
}

# Until it does not any more. A key after Escape must wait for this: together they would be another key.
away() {
  for _ in $(seq 300); do
    if ! screen | grep -qE -- "$1"; then return; fi
    sleep 0.1
  done
  fail "'$1' stays"
}

# Until a command succeeds; 30 seconds.
until_true() {
  for _ in $(seq 300); do
    if "$@"; then return; fi
    sleep 0.1
  done
  fail "in vain: $*"
}

gone() { ! kill -0 "$1" 2>/dev/null; }
pane_pid() { tm display -p -t "$window" '#{pane_pid}'; }

# The terminal as a shell expects it: main screen, cursor shown, no mouse mode, the same line discipline.
restored() {
  see "$1"
  # Typed in two pieces, so that the line that is typed is not taken for its answer.
  type_in "stty -g >'$work/stty'; echo to''ld"
  keys Enter
  see '^told$'
  cmp -s "$work/stty" "$work/stty.before" || fail "the line discipline is another one"
  [ "$(tm display -p -t "$window" '#{alternate_on}#{mouse_any_flag}#{cursor_flag}')" = 001 ] || fail "the terminal is not as it was"
  type_in "clear"
  keys Enter
}

command_line() {
  keys ':'
  see '^ *┃ > ▏'
  type_in "$1"
  keys Enter
}

end() {
  code=$?
  tm kill-server 2>/dev/null || true
  if [ -s "$work/runs/demo-s1/lock" ]; then
    kill -9 "$(grep -oE '"pid":[0-9]+' "$work/runs/demo-s1/lock" | grep -oE '[0-9]+')" 2>/dev/null || true
  fi
  rm -rf "$work"
  [ "$code" -ne 0 ] || echo "terminal: all well"
  exit "$code"
}
trap end EXIT
trainer() { grep -oE '"pid":[0-9]+' "$work/runs/demo-s1/lock" | grep -oE '[0-9]+'; }

small=(doctor.samples=4 doctor.completions=2 doctor.max_tokens=64 scribe.max_tokens=48 scribe.max_attempts=1 eval.notes=4
  data.clinic_groups=40 lora.rank=2 checkpoint.every=1 sft.notes=16)
sets=$(printf -- ' --set %s' "${small[@]}")

tm -f /dev/null new-session -d -s t -n main -x 80 -y 24 "exec env PS1='\$ ' sh"
see '^\$'
type_in "stty -g >'$work/stty.before'; clear"
keys Enter

# Start and stream.
type_in "'$program' demo --steps 500 --break 'step = 400' $sets"
keys Enter
see '● RUN'
see 'completion [0-9]/2'

# Pause, one phase, and every layer of help at 80x24.
keys Space
see '‖ PAUSED'
before=$(screen | tail -2 | head -1)
keys .
changed() { screen | tail -2 | head -1 | grep -q '‖ PAUSED' && [ "$(screen | tail -2 | head -1)" != "$before" ]; }
until_true changed
keys '?'
see 'Help  Live'
keys Escape
away 'Help  Live'
keys B
see '▸ step = 400'
keys Escape
away '▸ step = 400'

# A label: the gate waits for one, a rejected sample leaves the batch.
command_line 'set label_gate=ask'
see 'label_gate=ask'
keys Space
see 'wait for hand labels'
keys 3
see 'Is the claim right'
keys x
see 'Why is the claim rejected'
keys u
see '1 decided'
keys q
see '‖ PAUSED'
command_line 'set label_gate=off'
see 'label_gate=off asked for'
keys Space
see '● RUN'
keys 6
see 'hand labels left 1 sample out'

# Rollouts by a filter.
keys 2
see 'Rollouts  [0-9]+'
keys /
see 'Enter apply'
type_in 'quad:SD'
keys Enter
see 'Rollouts  [0-9]+ of [0-9]+'
see '/ quad:SD'
keys Escape
see 'filter cleared'

# Detach and come back, at another size.
keys q
see 'detach: the run goes on without you'
keys Enter
restored 'detached; demo-s1 goes on'
tm resize-window -t main -x 120 -y 40
type_in "'$program' attach"
keys Enter
see '(● RUN|‖ PAUSED).*step'
see 'a step takes'

# A second client watches, takes over, and gives way when its terminal goes.
tm new-window -n second "exec '$program' attach"
window=second
see 'watching'
keys W
see 'you steer this run now'
second=$(pane_pid)
window=main
see 'steers this run; you watch'
tm kill-window -t second
until_true gone "$second"
see 'you steer this run now'

# A terminal that is lost without a hang-up: a client in a session of its own hears of it by a read that fails.
tm new-window -n lost "exec setsid --wait '$program' attach"
window=lost
see 'watching'
lost=$(pgrep -P "$(pane_pid)" -x "$(basename "$program")")
window=main
tm kill-window -t lost
until_true gone "$lost"
see 'you steer this run now|● RUN|‖ PAUSED'

# Label and Runs come back to the screen one was on; the line that is coming shows at 80x24.
tm resize-window -t main -x 80 -y 24
keys 4
see 'crosshair'
keys 5
see '5·Runs'
see 'Esc back'
keys Escape
see 'crosshair'
keys 5
see '5·Runs'
keys 6
see '6·Log'
command_line 'set temperature=0.9'
see '(● RUN|‖ PAUSED).*temperature=0.9'
keys 1
see 'following'
tm resize-window -t main -x 120 -y 40

# A client that is told to end gives the terminal back.
kill -TERM "$(pgrep -P "$(pane_pid)" -x "$(basename "$program")")"
restored 'detached; demo-s1 goes on'
type_in "'$program' attach"
keys Enter
see '(● RUN|‖ PAUSED).*step'

# The trainer is killed: the screen says so and how to go on, and does.
kill -9 "$(trainer)"
see '✗ FAILED'
see 'Ctrl-R resume from the last checkpoint'
keys C-r
see '● RUN'

# Stop.
keys q
see 'save a checkpoint, then stop'
keys c
restored 'demo-s1 is saved and stopped'

# A run that nobody trains is looked at, read-only and from a copy.
cp -r "$work/runs/demo-s1" "$work/copy"
chmod -R a-w "$work/copy"
type_in "'$program' attach --read-only '$work/copy'"
keys Enter
see 'read-only'
see '■ STOPPED'
keys q
restored 'is not being trained|has ended'
chmod -R u+w "$work/copy"
