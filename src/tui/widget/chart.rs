//! A line chart in Braille dots over min/max pyramids: every column shows the whole span of what lies in it, so that nothing is
//! thinned out. Values that are no numbers are `×` on a row of their own; a gap is a gap.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{cut, pyramid::Pyramid};

/// One series.
#[derive(Clone, Copy, Debug)]
pub struct Curve<'a> {
    pub points: &'a Pyramid,
    pub style: Style,
    /// Which dots of the line are drawn; later curves differ in it, so that colour is not needed to tell them apart.
    pub dash: Dash,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dash {
    #[default]
    Solid,
    Dotted,
    Dashed,
    Sparse,
}

impl Dash {
    pub fn of(index: usize) -> Dash {
        [Dash::Solid, Dash::Dotted, Dash::Dashed, Dash::Sparse][index % 4]
    }

    fn shows(self, column: usize) -> bool {
        match self {
            Dash::Solid => true,
            Dash::Dotted => column.is_multiple_of(2),
            Dash::Dashed => column % 6 < 4,
            Dash::Sparse => column.is_multiple_of(4),
        }
    }
}

/// A sign on the axis.
#[derive(Clone, Copy, Debug)]
pub struct Sign {
    pub x: f64,
    pub glyph: &'static str,
    pub style: Style,
}

/// What is drawn, and where it lies. Curves are drawn in order: the last one owns the cells it shares.
pub struct Chart<'a> {
    pub curves: &'a [Curve<'a>],
    /// First and last x on show.
    pub x: (f64, f64),
    pub scale: Scale,
    pub signs: &'a [Sign],
    /// Where the reader looks.
    pub cursor: Option<f64>,
    pub labels: &'a dyn Fn(f64) -> String,
    pub x_label: &'a dyn Fn(f64) -> String,
    pub axis: Style,
    pub odd: Style,
    pub cursor_style: Style,
}

/// The vertical scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub low: f64,
    pub high: f64,
    pub log: bool,
}

impl Scale {
    /// From the extremes of what is on show; a flat or missing series gets some room. A logarithm needs positive values: without
    /// them the scale stays linear.
    pub fn of(low: f64, high: f64, log: bool) -> Scale {
        if low > high {
            return Scale { low: 0.0, high: 1.0, log: false };
        }
        let log = log && low > 0.0;
        if low < high {
            return Scale { low, high, log };
        }
        let pad = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
        Scale { low: low - pad, high: high + pad, log: false }
    }

    /// 0 at the bottom, 1 at the top; may lie outside.
    fn share(&self, value: f64) -> f64 {
        if self.log {
            let (low, high) = (self.low.ln(), self.high.ln());
            return (value.max(f64::MIN_POSITIVE).ln() - low) / (high - low);
        }
        // Halved so that the widest range of f64 does not overflow.
        (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0)
    }

    /// The value at a share.
    fn value(&self, share: f64) -> f64 {
        if self.log {
            return (self.low.ln() + share * (self.high.ln() - self.low.ln())).exp();
        }
        self.low + share * (self.high / 2.0 - self.low / 2.0) * 2.0
    }
}

/// Rows under the plot: the axis with its signs, and the numbers.
const FOOT_ROWS: u16 = 2;

/// Draws into `area`; too small a one stays empty.
pub fn draw(chart: &Chart, area: Rect, buf: &mut Buffer) {
    let area = area.intersection(buf.area);
    if area.width < 6 || area.height < 3 || chart.x.1 <= chart.x.0 {
        return;
    }
    let foot = if area.height >= 5 { FOOT_ROWS } else { 1 };
    let rows = area.height - foot;
    let named = named_rows(rows);
    let label = |row: u16| (chart.labels)(chart.scale.value(1.0 - f64::from(row) / f64::from((rows - 1).max(1))));
    let widest = named.iter().map(|row| cut::width(&label(*row))).max().unwrap_or(0);
    let gutter = u16::try_from(widest).unwrap_or(u16::MAX).min(area.width / 3);
    for row in 0..rows {
        let text = if named.contains(&row) { label(row) } else { String::new() };
        let line = cut::pad_left(&text, gutter.into()) + "│";
        buf.set_stringn(area.x, area.y + row, &line, area.width.into(), chart.axis);
    }
    let plot = Rect { x: area.x + gutter + 1, y: area.y, width: area.width - gutter - 1, height: rows };
    if plot.width == 0 {
        return;
    }
    draw_axis(chart, plot, foot, buf);
    draw_plot(chart, plot, buf);
}

/// Rows that carry a number: the ends, and the middle where there is room.
fn named_rows(rows: u16) -> Vec<u16> {
    match rows {
        0..=2 => vec![0],
        3..=6 => vec![0, rows - 1],
        _ => vec![0, rows / 2, rows - 1],
    }
}

/// The column of cells an x lies in.
fn column(chart: &Chart, plot: Rect, x: f64) -> Option<u16> {
    let share = (x - chart.x.0) / (chart.x.1 - chart.x.0);
    if !(0.0..=1.0).contains(&share) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let column = (share * f64::from(plot.width)) as u16;
    Some(plot.x + column.min(plot.width - 1))
}

fn draw_axis(chart: &Chart, plot: Rect, foot: u16, buf: &mut Buffer) {
    let y = plot.bottom();
    buf.set_stringn(plot.x - 1, y, "└".to_owned() + &"─".repeat(plot.width.into()), usize::from(plot.width) + 1, chart.axis);
    for sign in chart.signs {
        if let Some(x) = column(chart, plot, sign.x) {
            buf.set_stringn(x, y, sign.glyph, 1, sign.style);
        }
    }
    if foot < FOOT_ROWS {
        return;
    }
    let (first, last) = ((chart.x_label)(chart.x.0), (chart.x_label)(chart.x.1));
    let middle = (chart.x_label)(f64::midpoint(chart.x.0, chart.x.1));
    let columns = usize::from(plot.width);
    let mut line = cut::fit(&first, columns);
    let rest = columns.saturating_sub(cut::width(&line));
    if cut::width(&last) < rest {
        let centre = columns.saturating_sub(cut::width(&middle)) / 2;
        let new = middle != first && middle != last;
        if new && centre > cut::width(&line) + 2 && centre + cut::width(&middle) + cut::width(&last) + 2 < columns {
            line = cut::pad(&line, centre) + &middle;
        }
        line = line.clone() + &cut::pad_left(&last, columns - cut::width(&line));
    }
    buf.set_stringn(plot.x, y + 1, &line, columns, chart.axis);
}

fn draw_plot(chart: &Chart, plot: Rect, buf: &mut Buffer) {
    if let Some(x) = chart.cursor.and_then(|cursor| column(chart, plot, cursor)) {
        (plot.top()..plot.bottom()).for_each(|y| _ = buf.set_stringn(x, y, "┊", 1, chart.cursor_style));
    }
    let mut dots = Dots::new(plot);
    for curve in chart.curves {
        trace(chart, curve, &mut dots);
    }
    dots.put(plot, buf);
    // The odd ones last: nothing may hide them.
    for curve in chart.curves {
        for x in 0..plot.width {
            let points = curve.points;
            let (from, to) = range(chart, points, plot.width.into(), x.into());
            if points.extremes(from, to).n_odd > 0 {
                buf.set_stringn(plot.x + x, plot.bottom() - 1, "×", 1, chart.odd);
            }
        }
    }
}

/// The points of slice `at` of `n` equal slices of the x range.
fn range(chart: &Chart, points: &Pyramid, n: usize, at: usize) -> (usize, usize) {
    #[expect(clippy::cast_precision_loss)]
    let edge = |at: usize| chart.x.0 + (chart.x.1 - chart.x.0) * (at as f64 / n as f64);
    let from = points.index(edge(at));
    // The last slice has both its ends.
    let to = if at + 1 == n { points.index(chart.x.1.next_up()) } else { points.index(edge(at + 1)) };
    (from, to)
}

/// Draws one curve: in every half column the span from its least to its greatest value, joined to the one before.
fn trace(chart: &Chart, curve: &Curve, dots: &mut Dots) {
    let (width, height) = (dots.columns * 2, dots.rows * 4);
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    let place = |value: f64| ((1.0 - chart.scale.share(value)).clamp(-1.0, 2.0) * (height - 1) as f64).round() as i64;
    let mut before: Option<(i64, i64)> = None;
    for at in 0..width {
        let (from, to) = range(chart, curve.points, width, at);
        if from >= to {
            continue;
        }
        let span = curve.points.extremes(from, to);
        let Some((first, last)) = curve.points.ends(from, to) else {
            // Nothing but values that are no numbers: the line breaks here.
            before = None;
            continue;
        };
        let x = at as i64;
        let (top, bottom) = (place(span.high), place(span.low));
        if let Some((x0, y0)) = before {
            join((x0, y0), (x, place(first)), |x, y| dots.set(x, y, curve));
        }
        (top..=bottom).for_each(|y| dots.set(x, y, curve));
        // A hole at the end of this slice or before the next one breaks the line too.
        before = Some((x, place(last)));
        if curve.points.point(to - 1).is_some_and(|(_, v)| !v.is_finite()) {
            before = None;
        }
    }
}

/// Dots between two places, the first excluded (Bresenham).
fn join((x0, y0): (i64, i64), (x1, y1): (i64, i64), mut dot: impl FnMut(i64, i64)) {
    let (dx, dy) = (x1 - x0, y1 - y0);
    let n = dx.abs().max(dy.abs()).max(1);
    for i in 1..=n {
        let along = |from: i64, by: i64| from + (2 * by * i + n * by.signum()) / (2 * n);
        dot(along(x0, dx), along(y0, dy));
    }
}

/// A field of Braille dots, two by four a cell.
struct Dots {
    columns: usize,
    rows: usize,
    cells: Vec<(u8, Style)>,
}

impl Dots {
    fn new(plot: Rect) -> Dots {
        let (columns, rows) = (usize::from(plot.width), usize::from(plot.height));
        Dots { columns, rows, cells: vec![(0, Style::default()); columns * rows] }
    }

    fn set(&mut self, x: i64, y: i64, curve: &Curve) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x >= self.columns * 2 || y >= self.rows * 4 || !curve.dash.shows(x) {
            return;
        }
        let bit = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]][x % 2][y % 4];
        let cell = &mut self.cells[y / 4 * self.columns + x / 2];
        *cell = (cell.0 | bit, curve.style);
    }

    fn put(&self, plot: Rect, buf: &mut Buffer) {
        for (row, y) in self.cells.chunks(self.columns).zip(plot.top()..plot.bottom()) {
            for ((bits, style), x) in row.iter().zip(plot.left()..plot.right()) {
                if *bits != 0 {
                    let glyph = char::from_u32(0x2800 + u32::from(*bits)).unwrap_or(' ');
                    buf.set_stringn(x, y, glyph.encode_utf8(&mut [0; 4]), 1, *style);
                }
            }
        }
    }
}
