//! The machine the trainer runs on. What it cannot tell is said to be unknown, and a machine without a GPU is not given one.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    attach::{Machine, protocol::Gpu},
    tui::{
        app::App,
        panel::{self, Frame, Panel},
        theme::Token,
        widget::{cut, gauge, number, wrap},
    },
};

const LABEL_COLUMNS: usize = 8;

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let machine = &app.live.machine;
    let (left, right) = match &machine.gpu {
        Some(gpu) => ("GPU".to_owned(), cut::clean(&gpu.name)),
        None if app.ended() => ("Machine".to_owned(), String::new()),
        None => ("Machine".to_owned(), "CPU only".to_owned()),
    };
    let room = panel::frame(app, Panel::Machine, Frame { left, right, ..Frame::default() }, area, buf);
    let columns = usize::from(room.width);
    if app.ended() || *machine == Machine::default() {
        let text =
            if app.ended() { "Nobody trains this run, so no machine is at it." } else { "The trainer has not looked yet." };
        return panel::put(&wrap::plain(text, app.theme.style(Token::Dim), columns), room, buf);
    }
    let mut lines = Vec::new();
    if let Some(gpu) = &machine.gpu {
        lines.extend(gpu_lines(app, gpu, columns));
    }
    lines.extend(host_lines(app, machine, columns));
    panel::put(&lines, room, buf);
}

/// Whether two readings are shown alike: percents, tenths of gigabytes, whole watts.
pub fn alike(a: &Machine, b: &Machine) -> bool {
    let bytes = |n: Option<u64>| n.map(number::bytes);
    let share = |s: Option<f32>| s.map(|s| number::percent(Some(f64::from(s))));
    let host = |m: &Machine| {
        let memory = [m.memory_used, m.memory_total, m.trainer_memory].map(bytes);
        (m.cpu_name.clone(), m.n_cpus, share(m.cpu_used), memory)
    };
    let gpu = |m: &Machine| {
        m.gpu.as_ref().map(|g| {
            let memory = [g.memory_used, g.memory_total, g.memory_ours].map(bytes);
            (
                g.name.clone(),
                share(g.used),
                memory,
                g.watts.map(|w| format!("{w:.0}")),
                g.celsius,
                g.megahertz,
                g.n_other_processes,
            )
        })
    };
    host(a) == host(b) && gpu(a) == gpu(b)
}

fn gpu_lines(app: &App, gpu: &Gpu, columns: usize) -> Vec<Line<'static>> {
    let watts = gpu.watts.map(|w| format!("{w:.0} W"));
    let celsius = gpu.celsius.map(|c| format!("{c} °C"));
    let others =
        gpu.n_other_processes.map(|n| if n == 1 { "1 other process".to_owned() } else { format!("{n} other processes") });
    let clock = gpu.megahertz.map(|mhz| format!("{mhz} MHz"));
    // Whose the memory is, as far as the driver tells.
    let rest = gpu.memory_used.zip(gpu.memory_ours).map(|(used, ours)| used.saturating_sub(ours));
    let owners = [("trainer", gpu.memory_ours), ("others", rest)];
    let owners = owners.into_iter().filter_map(|(who, bytes)| Some(format!("{who} {}", number::bytes(bytes?))));
    let part = |text: String| cut::part(text, app.theme.style(Token::Text));
    let facts: Vec<Vec<Span>> = [watts, celsius, clock].into_iter().flatten().map(part).collect();
    let owners: Vec<Vec<Span>> = owners.chain(others).map(part).collect();
    let mut lines =
        vec![share_line(app, "busy", gpu.used, columns), memory_line(app, "memory", gpu.memory_used, gpu.memory_total, columns)];
    let whole = [facts, owners].into_iter().filter(|parts| !parts.is_empty());
    lines.extend(whole.map(|parts| cut::segments(parts, "   ", columns)));
    lines
}

fn host_lines(app: &App, machine: &Machine, columns: usize) -> Vec<Line<'static>> {
    let dim = app.theme.style(Token::Dim);
    let mut lines = vec![
        share_line(app, "cores", machine.cpu_used, columns),
        memory_line(app, "RAM", machine.memory_used, machine.memory_total, columns),
    ];
    let trainer =
        machine.trainer_memory.map_or_else(|| "trainer's memory unknown".to_owned(), |b| format!("trainer {}", number::bytes(b)));
    let cores = if machine.n_cpus == 0 { String::new() } else { format!("{} cores", machine.n_cpus) };
    let facts = [trainer, cores].into_iter().filter(|t| !t.is_empty()).map(|t| cut::part(t, dim)).collect();
    lines.push(cut::segments(facts, "   ", columns));
    if !machine.cpu_name.is_empty() {
        lines.push(Line::styled(cut::fit(&cut::clean(&machine.cpu_name), columns), dim));
    }
    lines
}

fn share_line(app: &App, label: &str, share: Option<f32>, columns: usize) -> Line<'static> {
    let share = share.map(f64::from);
    let text = share.map_or_else(|| "unknown".to_owned(), |s| number::percent(Some(s)));
    bar_line(app, label, share, &text, columns)
}

fn memory_line(app: &App, label: &str, used: Option<u64>, total: Option<u64>, columns: usize) -> Line<'static> {
    #[expect(clippy::cast_precision_loss)]
    let share = used.zip(total).filter(|(_, total)| *total > 0).map(|(used, total)| used as f64 / total as f64);
    let text = match (used, total) {
        (Some(used), Some(total)) => number::bytes_of(used, total),
        (Some(used), None) => number::bytes(used),
        _ => "unknown".to_owned(),
    };
    bar_line(app, label, share, &text, columns)
}

fn bar_line(app: &App, label: &str, share: Option<f64>, text: &str, columns: usize) -> Line<'static> {
    let bar_columns = columns.saturating_sub(LABEL_COLUMNS + 1 + 15);
    let bar = match share {
        Some(share) if bar_columns >= 4 => gauge::bar(share, bar_columns) + " ",
        _ => String::new(),
    };
    Line::from(vec![
        Span::styled(cut::pad(label, LABEL_COLUMNS), app.theme.style(Token::Dim)),
        Span::styled(bar, app.theme.style(Token::Bar)),
        Span::raw(cut::fit(text, columns.saturating_sub(LABEL_COLUMNS))),
    ])
}
