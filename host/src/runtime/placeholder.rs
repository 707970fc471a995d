//! The placeholders of a workload's texts: `${kind:name}` and `${run}`; `$${` is a literal `${`.

use std::fmt;

/// One placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholder<'a> {
    Run,
    Volume(&'a str),
    File(&'a str),
    Port(&'a str),
    Listen(&'a str),
    Endpoint(&'a str, Part),
    Secret(&'a str),
}

/// What of an endpoint is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Host,
    Port,
}

/// The placeholders of a text, in order; an error where there is one that nobody would fill in.
pub(super) fn parse(text: &str) -> impl Iterator<Item = Result<Placeholder<'_>, String>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let at = opening(rest)?;
            let escaped = rest[..at].ends_with('$');
            rest = &rest[at + 2..];
            if escaped {
                continue;
            }
            let Some(end) = rest.find('}') else {
                rest = "";
                return Some(Err("a `${` has no end".to_owned()));
            };
            let inner = &rest[..end];
            rest = &rest[end + 1..];
            return Some(
                Placeholder::of(inner)
                    .ok_or_else(|| format!("`${{{inner:.64}}}` is not a placeholder")),
            );
        }
    })
}

/// Where the first `${` is. By one character, which is found many times faster than two.
fn opening(text: &str) -> Option<usize> {
    let mut found = text.match_indices('$').map(|(at, _)| at);
    found.find(|at| text[at + 1..].starts_with('{'))
}

impl<'a> Placeholder<'a> {
    fn of(inner: &'a str) -> Option<Self> {
        if inner == "run" {
            return Some(Self::Run);
        }
        let (kind, name) = inner.split_once(':')?;
        match kind {
            "volume" => Some(Self::Volume(name)),
            "file" => Some(Self::File(name)),
            "port" => Some(Self::Port(name)),
            "listen" => Some(Self::Listen(name)),
            "endpoint" => match name.split_once('.') {
                None => Some(Self::Endpoint(name, Part::Whole)),
                Some((name, "host")) => Some(Self::Endpoint(name, Part::Host)),
                Some((name, "port")) => Some(Self::Endpoint(name, Part::Port)),
                Some(_) => None,
            },
            "secret" => Some(Self::Secret(name)),
            _ => None,
        }
    }
}

impl fmt::Display for Placeholder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => f.write_str("${run}"),
            Self::Volume(name) => write!(f, "${{volume:{name:.64}}}"),
            Self::File(name) => write!(f, "${{file:{name:.64}}}"),
            Self::Port(name) => write!(f, "${{port:{name:.64}}}"),
            Self::Listen(name) => write!(f, "${{listen:{name:.64}}}"),
            Self::Endpoint(name, Part::Whole) => write!(f, "${{endpoint:{name:.64}}}"),
            Self::Endpoint(name, Part::Host) => write!(f, "${{endpoint:{name:.64}.host}}"),
            Self::Endpoint(name, Part::Port) => write!(f, "${{endpoint:{name:.64}.port}}"),
            Self::Secret(name) => write!(f, "${{secret:{name:.64}}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Placeholder<'_>>, String> {
        parse(text).collect()
    }

    #[test]
    fn placeholders_are_found_in_order() {
        assert_eq!(
            all("-D ${volume:data} -k ${run} $HOME $${run} $$${file:x}").unwrap(),
            [Placeholder::Volume("data"), Placeholder::Run]
        );
        assert_eq!(
            all("${secret:tls.key}").unwrap(),
            [Placeholder::Secret("tls.key")]
        );
        assert_eq!(
            all("${endpoint:a}${endpoint:a.host}${endpoint:a.port}").unwrap(),
            [Part::Whole, Part::Host, Part::Port].map(|part| Placeholder::Endpoint("a", part))
        );
        assert_eq!(all("plain }").unwrap(), []);
    }

    #[test]
    fn what_nobody_would_fill_in_is_an_error() {
        for bad in [
            "${",
            "${HOME}",
            "${volume}",
            "${Volume:data}",
            "a ${run} ${x:y}",
            "${endpoint:a.name}",
            "${endpoint:a.host.port}",
        ] {
            assert!(all(bad).is_err(), "{bad}");
        }
    }
}
