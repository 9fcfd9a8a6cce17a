//! How a status report is shown: as JSON, or as HTML in a widget of a CloudWatch dashboard.

use time::UtcOffset;

/// How a status report is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// As JSON.
    Json,
    /// As HTML for a custom widget.
    Widget(Widget),
}

/// What a CloudWatch dashboard says of its custom widget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widget {
    /// The dashboard's theme.
    pub theme: Theme,
    /// The widget's width in pixels.
    pub width: u16,
    /// The dashboard's time zone.
    pub offset: UtcOffset,
}

/// The theme of a dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Dark text on a light background.
    Light,
    /// Light text on a dark background.
    Dark,
}

impl Widget {
    /// The narrowest widget that the page is laid out for, in pixels. A narrower one scrolls.
    pub const MIN_WIDTH: u16 = 480;

    /// The widest widget that the page is laid out for, in pixels.
    pub const MAX_WIDTH: u16 = 2_400;
}

impl Default for Widget {
    fn default() -> Self {
        Self {
            theme: Theme::Light,
            width: 1_000,
            offset: UtcOffset::UTC,
        }
    }
}
