//! Makes a text fit to be recorded and shown: plain words, not too many, and no secret of the instance,
//! whatever a plugin or a server's log put into it.

use crate::model::InstanceId;
use crate::model::plugin::Secrets;
use crate::store::repo::Repo;

const LONGEST: usize = 2_000;
/// Shorter lines of a key or certificate say nothing of it, and may stand in any text.
const SHORTEST_SECRET: usize = 12;

pub async fn plain(repo: &Repo, instance: InstanceId, text: &str) -> String {
    match repo.secrets(instance).await {
        Ok(secrets) => tidy(&redact(text, &secrets)),
        Err(error) => {
            tracing::warn!(?error, "cannot read the secrets that a text must not show");
            "it went wrong; the details are withheld because the store cannot be read".to_owned()
        }
    }
}

fn redact(text: &str, secrets: &Secrets) -> String {
    let mut text = text.to_owned();
    for secret in secrets.values() {
        for line in secret.expose().lines() {
            let line = line.trim();
            if line.len() >= SHORTEST_SECRET && text.contains(line) {
                text = text.replace(line, "[secret]");
            }
        }
    }
    text
}

/// No control characters but line breaks; the end kept when it is long, for it says what happened last.
fn tidy(text: &str) -> String {
    let clean: String = text
        .chars()
        .filter(|c| *c == '\n' || !c.is_control())
        .collect();
    let clean = clean.trim();
    let Some(excess) = clean.len().checked_sub(LONGEST).filter(|n| *n > 0) else {
        return clean.to_owned();
    };
    let start = (excess..=clean.len()).find(|at| clean.is_char_boundary(*at));
    format!(
        "…{}",
        clean
            .get(start.unwrap_or(clean.len())..)
            .unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    #[test]
    fn secrets_and_control_characters_are_taken_out() {
        let secrets = Secrets::from([
            ("app".to_owned(), Secret::new("s3cretpassw0rd")),
            (
                "tls.key".to_owned(),
                Secret::new("-----BEGIN KEY-----\nMIGHAgEAMBMGByqG\n-----END KEY-----\n"),
            ),
        ]);
        let text = "login with s3cretpassw0rd\u{7} failed\nMIGHAgEAMBMGByqG";
        assert_eq!(
            tidy(&redact(text, &secrets)),
            "login with [secret] failed\n[secret]"
        );
    }

    #[test]
    fn long_texts_keep_their_end() {
        let text = format!("{}é the end", "é".repeat(3_000));
        let short = tidy(&text);
        assert!(short.len() <= LONGEST + '…'.len_utf8() + 1);
        assert!(short.starts_with('…') && short.ends_with("the end"));
    }
}
