//! Drawing with ASCII alone: every glyph of the screens has a stand-in that keeps its meaning apart from the others'. Letters of a
//! note stay as they are; they are its text.

use ratatui::buffer::Buffer;

/// Replaces the glyphs of a finished frame. All of them are one column wide, and so are their stand-ins.
pub fn to_ascii(buf: &mut Buffer) {
    for cell in &mut buf.content {
        let mut letters = cell.symbol().chars();
        if let (Some(glyph), None) = (letters.next(), letters.next())
            && let Some(plain) = ascii(glyph)
        {
            cell.set_char(plain);
        }
    }
}

fn ascii(glyph: char) -> Option<char> {
    Some(match glyph {
        '─' | '━' | '╌' | '┄' | '╍' | '═' => '-',
        '│' | '┃' | '┊' | '┆' | '║' | '▏' | '▎' | '▍' | '▌' | '▐' => '|',
        '╭' | '╮' | '╰' | '╯' | '┌' | '┐' | '└' | '┘' | '┏' | '┓' | '┗' | '┛' | '├' | '┤' | '┬' | '┴' | '┼' => {
            '+'
        }
        '\u{2800}' => ' ',
        '\u{2801}'..='\u{28FF}' => '*',
        '▁' => '1',
        '▂' => '2',
        '▃' => '3',
        '▄' => '4',
        '▅' => '5',
        '▆' => '6',
        '▇' => '7',
        '█' => '8',
        '▉' | '▊' | '▋' => '7',
        '░' => '.',
        '▒' => ':',
        '▓' => '%',
        '●' => '@',
        '○' => 'o',
        '▲' | '↑' => '^',
        '▼' | '↓' => 'v',
        '✓' => '+',
        '✗' | '×' => 'x',
        '▶' | '▸' | '→' => '>',
        '←' => '<',
        '‖' => '=',
        '■' => '#',
        '◆' => '&',
        '•' => '*',
        '⏎' => '$',
        '·' => '.',
        // Something is left out, or still to come.
        '…' => '~',
        '⟦' | '‹' => '[',
        '⟧' | '›' => ']',
        '≥' => '>',
        '≤' => '<',
        '±' => '~',
        '≈' => '~',
        '“' | '”' => '"',
        '‘' | '’' => '\'',
        '–' | '—' | '−' => '-',
        '°' => '\'',
        // The row of sums; in a note it is a letter, which ASCII has not either.
        'Σ' => 'S',
        '\u{fffd}' => '?',
        _ => return None,
    })
}
