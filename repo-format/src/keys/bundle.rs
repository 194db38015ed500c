//! The bundle: the secrets of one role, as the box of a key slot holds them.

use super::{Role, check_domain, common_key, content_public_of, deletion_public_of};
use super::{domain_identity, domain_structure};
use crate::cbor::{Map, Value};
use crate::kdf::Secret;
use crate::{Error, RepoId, Result};
use zeroize::{Zeroize, Zeroizing};

const WHAT: &str = "key bundle";
/// Release 1 knows one epoch.
const EPOCH: u64 = 0;
/// More than any bundle takes, so that the buffer of secrets never moves.
const BUNDLE_CAPACITY: usize = 1024;

/// The structure secret of a role.
#[derive(Clone, PartialEq, Eq)]
enum Structure {
    /// S itself: all domains.
    Whole(Secret),
    /// S_c and the S_d of one domain.
    Domain { label: String, common: Secret, structure: Secret },
}

/// The secrets that one role holds. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    repo_id: RepoId,
    role: Role,
    structure: Structure,
    /// I for the owner, I_d for a role of one domain.
    identity: Option<Secret>,
    content_public: Option<[u8; 32]>,
    content_secret: Option<Secret>,
    deletion_public: [u8; 32],
    deletion_secret: Option<Secret>,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle")
            .field("repo_id", &self.repo_id)
            .field("role", &self.role)
            .field("domain", &self.domain())
            .finish_non_exhaustive()
    }
}

/// S, I, C and G of a repository, from which every role's bundle is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositorySecrets {
    structure: Secret,
    identity: Secret,
    content: Secret,
    deletion: Secret,
}

impl RepositorySecrets {
    /// Draws all four; `random` fills its argument with random bytes.
    pub fn generate(random: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut draw = || {
            let mut bytes = [0; 32];
            random(&mut bytes);
            let secret = Secret::new(bytes);
            bytes.zeroize();
            secret
        };
        RepositorySecrets { structure: draw(), identity: draw(), content: draw(), deletion: draw() }
    }

    /// The public content key, as config tells it.
    pub fn content_public(&self) -> Result<[u8; 32]> {
        content_public_of(&self.content)
    }

    /// The public deletion key, as config tells it.
    pub fn deletion_public(&self) -> [u8; 32] {
        deletion_public_of(&self.deletion)
    }

    /// The bundle of a role; `domain` matters to the roles of one domain only.
    ///
    /// # Errors
    /// A label that is none ([`check_domain`]).
    pub fn bundle_for(&self, role: Role, domain: &str, repo_id: RepoId) -> Result<Bundle> {
        check_domain(domain)?;
        let (structure, identity) = match role {
            Role::Backup | Role::Read => (
                Structure::Domain {
                    label: domain.to_owned(),
                    common: common_key(&self.structure),
                    structure: domain_structure(&self.structure, domain),
                },
                Some(domain_identity(&self.identity, domain)),
            ),
            Role::Prune => (Structure::Whole(self.structure.clone()), None),
            Role::Owner => (Structure::Whole(self.structure.clone()), Some(self.identity.clone())),
        };
        Ok(Bundle {
            repo_id,
            role,
            structure,
            identity,
            content_public: if role == Role::Prune { None } else { Some(self.content_public()?) },
            content_secret: role.can_read_content().then(|| self.content.clone()),
            deletion_public: self.deletion_public(),
            deletion_secret: role.can_delete().then(|| self.deletion.clone()),
        })
    }
}

impl Bundle {
    /// The repository that these keys open.
    pub fn repo_id(&self) -> RepoId {
        self.repo_id
    }

    /// Whose keys these are.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The one domain of a backup or read role.
    pub fn domain(&self) -> Option<&str> {
        match &self.structure {
            Structure::Whole(_) => None,
            Structure::Domain { label, .. } => Some(label),
        }
    }

    /// S_c, which seals config and gc records.
    pub fn common(&self) -> Secret {
        match &self.structure {
            Structure::Whole(structure) => common_key(structure),
            Structure::Domain { common, .. } => common.clone(),
        }
    }

    /// S_d, which seals all else of a domain.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a domain that this role has no keys of.
    pub fn structure(&self, domain: &str) -> Result<Secret> {
        check_domain(domain)?;
        match &self.structure {
            Structure::Whole(structure) => Ok(domain_structure(structure, domain)),
            Structure::Domain { label, structure, .. } if label == domain => Ok(structure.clone()),
            Structure::Domain { .. } => {
                Err(Error::Invalid { what: "domain", rule: "not the one of this key" })
            }
        }
    }

    /// I_d: hashes, ids and cuts of a domain; none for prune and for other domains.
    pub fn identity(&self, domain: &str) -> Option<Secret> {
        match (&self.structure, &self.identity) {
            (Structure::Whole(_), Some(whole)) => Some(domain_identity(whole, domain)),
            (Structure::Domain { label, .. }, Some(own)) if label == domain => Some(own.clone()),
            _ => None,
        }
    }

    /// C_pub, to which session keys are wrapped; none for prune.
    pub fn content_public(&self) -> Option<[u8; 32]> {
        self.content_public
    }

    /// C_sec, which unwraps session keys; of read and owner only.
    pub fn content_secret(&self) -> Option<&Secret> {
        self.content_secret.as_ref()
    }

    /// G_pub, which verifies signed bodies.
    pub fn deletion_public(&self) -> [u8; 32] {
        self.deletion_public
    }

    /// The seed of G, which signs; of prune and owner only.
    pub fn deletion_secret(&self) -> Option<&Secret> {
        self.deletion_secret.as_ref()
    }

    /// All secrets of the repository, if this is the owner's bundle: to make other roles.
    pub fn repository_secrets(&self) -> Option<RepositorySecrets> {
        match (&self.structure, &self.identity, &self.content_secret, &self.deletion_secret) {
            (Structure::Whole(structure), Some(identity), Some(content), Some(deletion)) => {
                Some(RepositorySecrets {
                    structure: structure.clone(),
                    identity: identity.clone(),
                    content: content.clone(),
                    deletion: deletion.clone(),
                })
            }
            _ => None,
        }
    }

    /// The CBOR that a slot's box encrypts.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut row = vec![Value::Uint(EPOCH)];
        match &self.structure {
            Structure::Whole(structure) => row.push(structure.expose().into()),
            Structure::Domain { common, structure, .. } => {
                row.extend([common.expose().into(), structure.expose().into()]);
            }
        }
        let mut map = Map::new();
        map.set("repo_id", self.repo_id.as_bytes())
            .set("role", self.role.to_string())
            .set_opt("domain", self.domain())
            .set("epochs", vec![Value::Array(row)])
            .set_opt("identity", self.identity.as_ref().map(Secret::expose))
            .set_opt("C_pub", self.content_public.as_ref().filter(|_| self.content_secret.is_none()))
            .set_opt("C_sec", self.content_secret.as_ref().map(Secret::expose))
            .set("G_pub", &self.deletion_public)
            .set_opt("G_sec", self.deletion_secret.as_ref().map(Secret::expose));
        let mut value = Value::Map(map);
        let mut out = Zeroizing::new(Vec::with_capacity(BUNDLE_CAPACITY));
        value.encode_into(&mut out);
        value.zeroize();
        out
    }

    /// Reads a bundle; a field that its role does not hold is refused, as is a missing one.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut map = Value::parse(bytes)?.into_map(WHAT)?;
        let parsed = Self::from_map(&mut map);
        map.zeroize();
        let bundle = parsed?;
        map.finish(WHAT)?;
        Ok(bundle)
    }

    fn from_map(map: &mut Map) -> Result<Self> {
        let repo_id = RepoId(map.array("repo_id")?);
        let role: Role = map.text("role")?.parse()?;
        let domain = map.opt("domain", Value::into_text)?;
        let structure = parse_epochs(map.list("epochs")?, domain)?;
        let identity = opt_secret(map, "identity")?;
        let stored_public = map.opt("C_pub", Value::into_byte_array)?;
        let content_secret = opt_secret(map, "C_sec")?;
        let deletion_public = map.array("G_pub")?;
        let deletion_secret = opt_secret(map, "G_sec")?;

        let of_one_domain = matches!(structure, Structure::Domain { .. });
        let fields = [
            (of_one_domain, role.is_of_one_domain()),
            (identity.is_some(), role.can_compute_ids()),
            (stored_public.is_some(), role == Role::Backup),
            (content_secret.is_some(), role.can_read_content()),
            (deletion_secret.is_some(), role.can_delete()),
        ];
        if fields.iter().any(|(found, expected)| found != expected) {
            return Err(Error::Rule { what: WHAT, rule: "its fields are not those of its role" });
        }
        let content_public = match &content_secret {
            Some(secret) => Some(content_public_of(secret)?),
            None => stored_public,
        };
        if deletion_secret.as_ref().is_some_and(|secret| deletion_public_of(secret) != deletion_public) {
            return Err(Error::Mismatch { what: "deletion key pair" });
        }
        Ok(Bundle {
            repo_id,
            role,
            structure,
            identity,
            content_public,
            content_secret,
            deletion_public,
            deletion_secret,
        })
    }
}

fn secret(value: Value, what: &'static str) -> Result<Secret> {
    let mut bytes = Zeroizing::new(value.into_bytes(what)?);
    let mut fixed = Zeroizing::new([0; 32]);
    if bytes.len() != fixed.len() {
        let found = format!("{} bytes", bytes.len());
        return Err(Error::Unexpected { what, found, expected: "32 bytes".into() });
    }
    fixed.copy_from_slice(&bytes);
    bytes.zeroize();
    Ok(Secret::new(*fixed))
}

fn opt_secret(map: &mut Map, key: &'static str) -> Result<Option<Secret>> {
    map.opt(key, secret)
}

/// `[[0, S]]`, or `[[0, S_c, S_d]]` with a domain.
fn parse_epochs(rows: Vec<Value>, domain: Option<String>) -> Result<Structure> {
    if rows.len() > 1 {
        return Err(Error::Unsupported { what: "count of epochs", found: rows.len() as u64 });
    }
    let broken = Error::Rule { what: WHAT, rule: "its epochs are not those of its role" };
    let row = rows.into_iter().next().ok_or_else(|| broken.clone())?.into_list("epochs")?;
    let mut cells = row.into_iter();
    let epoch = cells.next().ok_or_else(|| broken.clone())?.into_uint("epoch")?;
    if epoch != EPOCH {
        return Err(Error::Unsupported { what: "epoch", found: epoch });
    }
    let secrets = cells.map(|cell| secret(cell, "epoch secret")).collect::<Result<Vec<_>>>()?;
    match (<[Secret; 1]>::try_from(secrets), domain) {
        (Ok([structure]), None) => Ok(Structure::Whole(structure)),
        (Err(secrets), Some(label)) => {
            check_domain(&label)?;
            let [common, structure] = <[Secret; 2]>::try_from(secrets).map_err(|_| broken)?;
            Ok(Structure::Domain { label, common, structure })
        }
        _ => Err(broken),
    }
}

#[cfg(test)]
mod tests;
