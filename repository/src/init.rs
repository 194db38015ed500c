//! A new repository. Slots are written first, config 0 last: it is the commit.

use crate::error::Named;
use crate::open::config_numbers;
use crate::store::{Driver, Put, probe};
use crate::{Credential, Env, Error, Exec, Result, Store};
use repo_format::config::{Chunking, Config, Features, StoreMode, StoreSettings};
use repo_format::kdf::Secret;
use repo_format::keys::slot::NewSlot;
use repo_format::keys::{Bundle, MAIN_DOMAIN, RepositorySecrets, Role, keyfile};
use repo_format::layout::ObjectName;
use repo_format::sealed::{self, Binding, Class};
use repo_format::{RepoId, SlotId};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What a repository is made with.
pub struct InitOptions {
    /// Opens the first owner slot; without one only the recovery key opens the repository.
    pub credential: Option<Credential>,
    /// Label of that slot.
    pub label: String,
    /// How volumes are cut, for the repository's life.
    pub chunking: Chunking,
}

/// A repository that was just made.
pub struct Initialised {
    /// Its id.
    pub repo_id: RepoId,
    /// The line of text that opens it as owner; shown once, stored nowhere.
    pub recovery_key: Zeroizing<String>,
}

/// Makes a repository on `driver`.
///
/// # Errors
/// [`Error::Exists`] where there is one; [`Error::StoreUnfit`] with the name of the failed probe.
/// A crash before the last put leaves slots that nobody looks at, and `init` can be run again.
pub async fn init(
    driver: Arc<dyn Driver>,
    exec: &Exec,
    env: &Env,
    options: InitOptions,
) -> Result<Initialised> {
    let store = Store::new(driver.clone(), exec.clone(), env.clone());
    let exists = || Error::Exists { url: store.url().to_owned() };
    if !config_numbers(&store).await?.is_empty() {
        return Err(exists());
    }
    require_fit(&*driver, exec, env).await?;
    let repo_id = RepoId(env.random()?);
    let secrets = generate(env)?;
    let owner = secrets.bundle_for(Role::Owner, MAIN_DOMAIN, repo_id).named("new key slot")?;
    if let Some(credential) = &options.credential {
        put_slot(&store, exec, env, credential, &options.label, owner.clone()).await?;
    }
    let recovery = Secret::new(env.random()?);
    let recovery_key = keyfile::encode(&recovery);
    put_slot(&store, exec, env, &Credential::KeyFile(recovery), "recovery key", owner.clone()).await?;
    let config = Config {
        repo_id,
        n: 0,
        prev: None,
        content_public: secrets.content_public().named("new config")?,
        deletion_public: secrets.deletion_public(),
        domains: vec![MAIN_DOMAIN.to_owned()],
        chunking: options.chunking,
        created_ms: env.clock.now_ms(),
        store: StoreSettings { mode: StoreMode::Many, delta_ms: driver.lag_ms() },
        features: Features::default(),
    };
    let object = seal_config(env, &secrets, &owner, &config)?;
    match store.put(&ObjectName::Config(0), object.into()).await? {
        Put::Created => Ok(Initialised { repo_id, recovery_key }),
        Put::Taken => Err(exists()),
    }
}

async fn require_fit(driver: &dyn Driver, exec: &Exec, env: &Env) -> Result<()> {
    let seen = probe(driver, exec, env).await?;
    let reason = if !seen.put_if_absent {
        "probe put-if-absent failed: of 8 racing writers more than one was told that it won, so two \
         backups could destroy each other"
    } else if !seen.read_after_write {
        "probe read-after-write failed: an object just written was not read back or not listed"
    } else {
        return Ok(());
    };
    Err(Error::StoreUnfit { url: driver.url().to_owned(), reason: reason.into() })
}

/// All secrets of a new repository.
fn generate(env: &Env) -> Result<RepositorySecrets> {
    let mut failure = None;
    let secrets = RepositorySecrets::generate(&mut |out| {
        if let Err(error) = env.fill(out) {
            failure = Some(error);
        }
    });
    failure.map_or(Ok(secrets), Err)
}

fn seal_config(env: &Env, secrets: &RepositorySecrets, owner: &Bundle, config: &Config) -> Result<Vec<u8>> {
    let name = ObjectName::Config(config.n).to_string();
    let binding = Binding { repo_id: config.repo_id, class: Class::Config, name: &name };
    let payload = config.encode().named(&name)?;
    let signer = owner.deletion_secret().ok_or_else(|| Error::internal("the owner bundle cannot sign"))?;
    debug_assert_eq!(secrets.deletion_public(), config.deletion_public);
    sealed::seal_signed(&owner.common(), signer, &binding, 0, env.random()?, 3, &payload).named(&name)
}

/// Writes a key slot and says its id.
pub(crate) async fn put_slot(
    store: &Store,
    exec: &Exec,
    env: &Env,
    credential: &Credential,
    label: &str,
    bundle: Bundle,
) -> Result<SlotId> {
    let slot_id = SlotId(env.random()?);
    let name = ObjectName::Slot(slot_id);
    let salt = env.random()?;
    let (created_ms, params) = (env.clock.now_ms(), env.kdf_cost);
    let (credential, label) = (credential.clone(), label.to_owned());
    let sealed = exec.cpu(move || {
        NewSlot { slot_id, salt, label: &label, created_ms, params }.seal(credential.borrow(), &bundle)
    });
    let object = sealed.await?.named(name)?;
    store.put_unique(&name, object.into()).await?;
    Ok(slot_id)
}
