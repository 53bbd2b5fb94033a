//! What is drawn can be read: contrast by WCAG 2.1, https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio.

use medserl::tui::theme::{Depth, Theme, Token};
use ratatui::style::Color;

/// Relative luminance.
fn luminance([r, g, b]: [u8; 3]) -> f64 {
    let linear = |c: u8| match f64::from(c) / 255.0 {
        c if c <= 0.04045 => c / 12.92,
        c => ((c + 0.055) / 1.055).powf(2.4),
    };
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
}

fn contrast(a: [u8; 3], b: [u8; 3]) -> f64 {
    let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
    a.max(b) / a.min(b)
}

#[test]
fn every_colour_stands_out_from_the_background_it_is_for() {
    // Grounds as terminals ship them, not pure black and white alone.
    for (name, grounds) in [("dark", [[0, 0, 0], [30, 30, 30]]), ("light", [[255, 255, 255], [250, 250, 245]])] {
        let theme = Theme::built_in(name, Depth::True).unwrap();
        for token in Token::ALL {
            let Some(Color::Rgb(r, g, b)) = theme.style(*token).fg else { continue };
            // Lines and frames may be fainter than words.
            let least = if *token == Token::Border { 3.0 } else { 4.5 };
            for ground in grounds {
                let found = contrast([r, g, b], ground);
                assert!(found >= least, "{name} {}: {found:.2} on {ground:?}, expected {least}", token.name());
            }
        }
    }
}
