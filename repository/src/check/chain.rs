//! The chain of configs: dense, signed, each naming the one before.

use super::Check;
use crate::Result;
use crate::open::{config_numbers, open_config};
use repo_format::layout::ObjectName;
use repo_format::sealed::object_hash;

const KIND: &str = "config-chain";
/// Missing records named of one gap: a planted name must not make a list of 2^64.
const GAP_COUNT_MAX: u64 = 16;

/// What is known of one config.
struct Link {
    n: u64,
    /// BLAKE3 of the object.
    hash: [u8; 32],
    /// What it says of the one before; none if it does not open.
    prev: Option<Option<[u8; 32]>>,
}

/// Every config there is, and those that should be.
pub(super) async fn check(check: &mut Check<'_>) -> Result<()> {
    let store = check.repository.store();
    let mut numbers = config_numbers(store).await?;
    // the config that counts was there when the repository was opened
    numbers.push(check.repository.config().n);
    numbers.sort_unstable();
    numbers.dedup();
    let mut links: Vec<Link> = Vec::new();
    for n in numbers {
        let name = ObjectName::Config(n);
        check.objects += 1;
        let object = match store.get(&name).await {
            Ok(Some(object)) => object,
            Ok(None) => continue,
            Err(error) if error.is_bad_copy() => {
                let finding = check.findings.add_error(name, KIND, error)?;
                check.hurt_all.push(finding);
                links.push(Link { n, hash: [0; 32], prev: None });
                continue;
            }
            Err(error) => return Err(error),
        };
        let prev = match open_config(check.repository.bundle(), n, &object) {
            Ok(config) => Some(config.prev),
            Err(error) => {
                let finding = check.findings.add_error(name, KIND, error)?;
                check.hurt_all.push(finding);
                None
            }
        };
        links.push(Link { n, hash: object_hash(&object), prev });
    }
    for (n, found, expected) in breaks(&links, check.repository.config().n) {
        let finding = check.findings.add(ObjectName::Config(n), KIND, found, expected);
        check.hurt_all.push(finding);
    }
    Ok(())
}

/// Records that are missing below the highest one, and links that do not hold.
fn breaks(links: &[Link], opened: u64) -> Vec<(u64, String, String)> {
    let mut found = Vec::new();
    let mut next = 0;
    let mut before: Option<&Link> = None;
    for link in links {
        for n in (next..link.n).take(GAP_COUNT_MAX as usize) {
            found.push((n, "no object".to_owned(), format!("every config up to {}", link.n)));
        }
        next = link.n.saturating_add(1);
        if let (Some(before), Some(Some(prev))) = (before, link.prev)
            && before.n.checked_add(1) == Some(link.n)
            && before.prev.is_some()
            && prev != before.hash
        {
            let text = "a hash of the config before that is not its hash".to_owned();
            found.push((link.n, text, format!("the hash of config {}", before.n)));
        }
        before = Some(link);
    }
    if links.last().is_none_or(|last| last.n < opened) {
        found.push((
            opened,
            "no object".to_owned(),
            "the config that the repository was opened with".to_owned(),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(n: u64, prev: Option<u8>) -> Link {
        Link {
            n,
            hash: [(n as u8).wrapping_add(1); 32],
            prev: prev.map(|prev| (n > 0).then_some([prev; 32])),
        }
    }

    const NONE: [u64; 0] = [];

    fn broken(links: &[Link], opened: u64) -> Vec<u64> {
        breaks(links, opened).into_iter().map(|(n, ..)| n).collect()
    }

    #[test]
    fn chains_are_dense_and_linked() {
        assert_eq!(broken(&[link(0, Some(0)), link(1, Some(1)), link(2, Some(2))], 2), NONE);
        assert_eq!(broken(&[link(1, Some(1)), link(2, Some(2))], 2), [0]);
        assert_eq!(broken(&[link(0, Some(0)), link(2, Some(2))], 2), [1]);
        assert_eq!(broken(&[link(0, Some(0)), link(1, Some(9))], 1), [1], "another hash");
        assert_eq!(broken(&[link(0, None), link(1, Some(9))], 1), NONE, "the damage was found there");
        assert_eq!(broken(&[link(0, Some(0))], 1), [1]);
        assert_eq!(broken(&[link(0, Some(0)), link(u64::MAX, Some(1))], 0).len(), 16);
    }
}
