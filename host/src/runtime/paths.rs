//! What a text that a component wrote says of paths: whether it climbs, and whether it names a place of the host's
//! own. For texts that programs will read; no file is looked at.

/// Whether the text begins with this very path, not with another that only begins alike.
pub(super) fn begins_with(text: &str, path: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.strip_prefix(path)
        .is_some_and(|rest| !rest.starts_with(goes_on))
}

/// Whether the path, or one below it, is named anywhere in the text, however it is spelled without `..`: a text that
/// climbs may name anything.
pub(super) fn names(text: &str, path: &str) -> bool {
    // Most texts name no path at all, and this is asked of each.
    if path.contains('/') && !text.contains('/') {
        return false;
    }
    let plain = plain(text);
    plain
        .match_indices(path)
        .any(|(at, _)| begins_with(&plain[at..], path))
}

/// Whether `..` stands in it as a part of a path.
pub(super) fn climbs(text: &str) -> bool {
    let two = |at: usize| text[at + 1..].starts_with('.');
    let possible = text.match_indices('.').any(|(at, _)| two(at));
    possible && has_part_up(text)
}

fn has_part_up(text: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_')))
        .any(|part| part == "..")
}

/// The text with each of its paths spelled in the usual way: no `//`, no `/./`.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        plain.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        loop {
            if let Some(next) = rest.strip_prefix('/') {
                rest = next;
            } else if let Some(next) = rest.strip_prefix("./") {
                rest = next;
            } else {
                break;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_however_it_is_spelled() {
        for text in [
            "/srv/berth",
            "/srv/berth/instances/x",
            "--dir=/srv/berth/x",
            "//srv//berth/x",
            "/srv/./berth/x",
            "/srv/.//./berth",
            "/proc/self/root/srv/berth/x",
        ] {
            assert!(names(text, "/srv/berth"), "{text}");
        }
        for text in ["/srv/berth2", "/srv/berth-x", "srv/berth", "/srv", ""] {
            assert!(!names(text, "/srv/berth"), "{text}");
        }
    }

    #[test]
    fn a_text_climbs_when_a_part_of_a_path_does() {
        for text in ["..", "a/../b", "--x=../y", "${run}/.."] {
            assert!(climbs(text), "{text}");
        }
        for text in ["a..b", "...", "1...2", "x.y"] {
            assert!(!climbs(text), "{text}");
        }
    }
}
