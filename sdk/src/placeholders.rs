//! Placeholders of a workload, for whoever carries it out: `${kind:name}` and `${run}` are filled in, `$${` is a literal `${`.

use crate::{Error, Result};

/// Put a value for each placeholder, as `fill` gives it for kind and name.
pub fn substitute(
    text: &str,
    mut fill: impl FnMut(&str, &str) -> Result<String>,
) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, inside) = (&rest[..at], &rest[at + 2..]);
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = inside;
            continue;
        }
        let end = inside
            .find('}')
            .ok_or_else(|| Error::failed("a placeholder of the workload has no end"))?;
        let (kind, name) = match inside[..end].split_once(':') {
            Some(pair) => pair,
            None => (&inside[..end], ""),
        };
        out.push_str(before);
        // What a value holds is not looked at again: a secret may well contain a dollar sign.
        out.push_str(&fill(kind, name)?);
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Nobody knows this placeholder, or not in this place.
pub fn unknown(kind: &str, name: &str) -> Error {
    let text = match name {
        "" => kind.to_owned(),
        name => format!("{kind}:{name}"),
    };
    Error::failed(format!(
        "the workload has the placeholder ${{{text}}} where nothing fills it in"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String> {
        substitute(text, |kind, name| match (kind, name) {
            ("run", "") => Ok("/run/1".into()),
            ("volume", "data") => Ok("/d".into()),
            ("secret", "tls.key") => Ok("$${run} ${run}".into()),
            _ => Err(unknown(kind, name)),
        })
    }

    #[test]
    fn placeholders_are_filled_in() {
        assert_eq!(filled("").unwrap(), "");
        assert_eq!(
            filled("a ${run}/x ${volume:data}${run}").unwrap(),
            "a /run/1/x /d/run/1"
        );
        assert_eq!(filled("-D ${volume:data}}").unwrap(), "-D /d}");
    }

    #[test]
    fn a_doubled_dollar_is_a_literal() {
        assert_eq!(
            filled("$${run} $$${run} $HOME $").unwrap(),
            "${run} $${run} $HOME $"
        );
        assert_eq!(filled("$${ ${run}").unwrap(), "${ /run/1");
    }

    #[test]
    fn a_value_is_not_looked_at_again() {
        assert_eq!(filled("${secret:tls.key}").unwrap(), "$${run} ${run}");
    }

    #[test]
    fn what_nobody_fills_in_is_an_error() {
        for bad in ["${", "${run", "${}", "${volume}", "${volume:x}", "${home}"] {
            assert!(filled(bad).is_err(), "{bad}");
        }
    }
}
