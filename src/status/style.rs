//! The look of the page.

use crate::job::JobState;
use crate::view::Theme;

/// The colours of a theme, and what both have in common.
pub(super) fn style(theme: Theme) -> String {
    let colours = match theme {
        Theme::Light => {
            "--bg:#fff;--fg:#16191f;--mu:#545b64;--li:#d5dbdb;--la:#f3f5f6;--pb:#fff6e0;--pl:#8a6100;--su:#1d66a8;--in:#fff;--fa:#b3261e;--ru:#0b6e47;--ot:#b9c6d3;--sl:#7d8998"
        }
        Theme::Dark => {
            "--bg:#16191f;--fg:#eaeded;--mu:#aab7b8;--li:#414d5c;--la:#1f252d;--pb:#332a10;--pl:#f2c94c;--su:#6fb1ee;--in:#0b1a2a;--fa:#ff8a80;--ru:#4bd394;--ot:#4a5a6b;--sl:#8d99a8"
        }
    };
    format!(".idm{{{colours}}}{STYLE}")
}

/// Bars differ by colour, and by fill, outline or mark.
const STYLE: &str = "\
.idm{background:var(--bg);color:var(--fg);font:13px/1.4 'Amazon Ember',Helvetica,Arial,sans-serif;box-sizing:border-box;\
overflow-wrap:break-word;padding:0 2px 6px}\
.idm p{margin:6px 0}\
.idm small,.idm .foot,.idm .l,.idm .m{color:var(--mu);font-size:12px}\
.idm small{display:block}\
.idm p.h{margin:0;padding:8px 12px 0}.idm .p{list-style:none;margin:0 0 10px;padding:2px 12px 8px}.idm p.h,.idm .p{background:var(--pb);border-left:4px solid var(--pl)}\
.idm .p li{margin:2px 0}\
.idm code{font:12px monospace;color:inherit;background:none}\
.idm .t{width:100%;border-collapse:collapse}\
.idm .t th,.idm .t td{text-align:left;vertical-align:top;padding:5px 10px 5px 0;border-bottom:1px solid var(--li);\
color:inherit;background:none}\
.idm .t th{color:var(--mu)}.idm .t td:nth-child(1){min-width:110px;overflow-wrap:anywhere}.idm code{overflow-wrap:anywhere}.idm .t td:nth-child(2){min-width:96px}\
.idm .w{color:var(--fa)}\
.idm a.btn{display:inline-block;border:1px solid var(--mu);border-radius:3px;padding:1px 8px;color:var(--fg);\
background:var(--bg);cursor:pointer;white-space:nowrap;text-decoration:none}\
.idm cwdb-action{display:none}\
.idm svg{display:block;margin-top:10px}\
.idm svg text{font-size:12px;fill:var(--fg)}\
.idm svg .d{fill:var(--mu)}\
.idm svg .k{fill:var(--in);font-size:11px;font-weight:bold}\
.idm .g{stroke:var(--li)}\
.idm .y{stroke:var(--ru)}\
.idm .v{fill:var(--la)}\
.idm .b{fill:var(--sl)}\
.idm .s{fill:var(--su)}\
.idm .f{fill:url(#idm-hatch);stroke:var(--fa)}\
.idm .h{stroke:var(--fa);stroke-width:2}\
.idm .r{fill:var(--bg);stroke:var(--ru);stroke-width:2}\
.idm .q{fill:var(--bg);stroke:var(--ru);stroke-dasharray:2 2}\
.idm .u{fill:var(--bg);stroke:var(--mu);stroke-dasharray:4 2}\
.idm .o{fill:var(--ot);stroke:var(--mu);stroke-dasharray:3 2}\
.idm .o.f{fill:url(#idm-hatch)}\
.idm .o.r,.idm .o.q,.idm .o.u{fill:var(--bg)}\
.idm .x{fill:none;stroke:var(--fa);stroke-width:2}\
.idm .l span{margin-right:14px;white-space:nowrap}\
.idm .l svg{display:inline-block;vertical-align:middle;margin:0 4px 0 0}";

/// The class of a bar by how its job ended.
pub(super) fn class(state: JobState) -> &'static str {
    match state {
        JobState::Succeeded => "s",
        JobState::Failed => "f",
        JobState::Running => "r",
        JobState::Queued => "q",
        JobState::Started => "u",
    }
}
