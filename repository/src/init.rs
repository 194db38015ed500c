//! A new repository. Slots are written first, config 0 last: it is the commit.

use crate::error::Named;
use crate::open::config_numbers;
use crate::store::{Driver, Put, probe};
use crate::{Credential, Env, Error, Exec, Result, Store};
use repo_format::config::{Chunking, Config, Features, StoreMode, StoreSettings};
use repo_format::kdf::Secret;
use repo_format::keys::slot::NewSlot;
use repo_format::keys::{Bundle, MAIN_DOMAIN, RepositorySecrets, Role, keyfile};
use repo_format::layout::{ObjectName, PROBE_PREFIX};
use repo_format::limits::EPOCH;
use repo_format::sealed::{self, Binding, Class};
use repo_format::{RepoId, SlotId};
use std::sync::Arc;
use std::time::Duration;
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
    /// What the probe has seen of the store: how many prunes it can have at once.
    pub mode: StoreMode,
}

/// Makes a repository on `driver`.
///
/// # Errors
/// [`Error::Exists`] where there is one; [`Error::StoreUnfit`] with the name of the failed probe;
/// [`Error::Conflict`] on a store without put-if-absent if another init may be at work.
/// A crash before the last put leaves slots that nobody looks at, and `init` can be run again.
pub async fn init(
    driver: Arc<dyn Driver>,
    exec: &Exec,
    env: &Env,
    options: InitOptions,
) -> Result<Initialised> {
    let store = Store::new(driver.clone(), exec.clone(), env.clone());
    if !config_numbers(&store).await?.is_empty() {
        return Err(Error::Exists { url: store.url().to_owned() });
    }
    let mode = fit(&*driver, exec, env).await?;
    let (store, announced) = match mode {
        StoreMode::Many => (store, None),
        StoreMode::One => {
            let store = store.without_conditions();
            let announced = Announced::put(&store, driver.lag_ms(), exec, env).await?;
            (store, Some(announced))
        }
    };
    let made = make(&store, exec, env, options, (mode, driver.lag_ms()), announced.as_ref()).await;
    if let Some(announced) = announced {
        // only where the config can be seen; what stays is nobody's after 15 minutes
        exec.sleep(Duration::from_millis(driver.lag_ms())).await;
        let _ = store.delete(&announced.name).await;
    }
    made
}

async fn make(
    store: &Store,
    exec: &Exec,
    env: &Env,
    options: InitOptions,
    (mode, delta_ms): (StoreMode, u64),
    announced: Option<&Announced>,
) -> Result<Initialised> {
    if let Some(announced) = announced {
        announced.is_alone(store).await?;
    }
    let repo_id = RepoId(env.random()?);
    let secrets = generate(env)?;
    let owner = secrets.bundle_for(Role::Owner, MAIN_DOMAIN, repo_id).named("new key slot")?;
    if let Some(credential) = &options.credential {
        put_slot(store, exec, env, credential, &options.label, owner.clone()).await?;
    }
    let recovery = Secret::new(env.random()?);
    let recovery_key = keyfile::encode(&recovery);
    put_slot(store, exec, env, &Credential::KeyFile(recovery), "recovery key", owner.clone()).await?;
    let config = Config {
        repo_id,
        n: 0,
        prev: None,
        content_public: secrets.content_public().named("new config")?,
        deletion_public: secrets.deletion_public(),
        domains: vec![MAIN_DOMAIN.to_owned()],
        chunking: options.chunking,
        created_ms: env.clock.now_ms(),
        store: StoreSettings { mode, delta_ms },
        features: Features::default(),
    };
    let object = seal_config(env, &secrets, &owner, &config)?;
    if let Some(announced) = announced {
        announced.is_recent(store, env)?;
    }
    match store.put(&ObjectName::Config(0), object.into()).await? {
        Put::Created => Ok(Initialised { repo_id, recovery_key, mode }),
        Put::Taken => Err(Error::Exists { url: store.url().to_owned() }),
    }
}

/// How many prunes the store can have at once. Refused only where nothing can be built upon.
async fn fit(driver: &dyn Driver, exec: &Exec, env: &Env) -> Result<StoreMode> {
    let seen = probe(driver, exec, env).await?;
    if !seen.read_after_write {
        let reason = "probe read-after-write failed: an object just written was not read back or not listed";
        return Err(Error::StoreUnfit { url: driver.url().to_owned(), reason: reason.into() });
    }
    Ok(if seen.put_if_absent { StoreMode::Many } else { StoreMode::One })
}

/// Where put-if-absent cannot tell two inits apart, each says that it is there, waits, and looks: of two
/// at once at least one sees the other, and steps back before it writes a config.
struct Announced {
    name: ObjectName,
    /// By the clock of this machine, Unix milliseconds.
    at_ms: u64,
}

/// An older announcement is of an init that has ended: signed requests of its do not land any more.
const ANNOUNCED_MS: u64 = 15 * 60 * 1000;
/// An init that takes longer than this might be taken for one that has ended.
const PATIENCE_MS: u64 = 10 * 60 * 1000;

impl Announced {
    async fn put(store: &Store, delta_ms: u64, exec: &Exec, env: &Env) -> Result<Self> {
        let (name, at_ms) = (ObjectName::Probe(env.random()?), env.clock.now_ms());
        store.put_unique(&name, bytes::Bytes::from_static(b"init\n").into()).await?;
        exec.sleep(Duration::from_millis(delta_ms)).await;
        Ok(Announced { name, at_ms })
    }

    /// An error if there is another init, or has been one.
    async fn is_alone(&self, store: &Store) -> Result<()> {
        let listed = store.list(PROBE_PREFIX).await?;
        let own = listed.iter().find(|(name, _)| *name == self.name).map(|(_, meta)| meta.modified_ms);
        let since_ms = own.unwrap_or(self.at_ms).saturating_sub(ANNOUNCED_MS);
        let other = listed.iter().find(|(name, meta)| *name != self.name && meta.modified_ms >= since_ms);
        if let Some((name, _)) = other {
            let what = format!(
                "{}: {name}: another `orlop init` is at work, or one was ended in the last 15 minutes; nothing \
                 was made",
                store.url()
            );
            return Err(Error::Conflict { what });
        }
        // after the announcement: whoever was faster has a config by now
        if config_numbers(store).await?.is_empty() {
            return Ok(());
        }
        Err(Error::Exists { url: store.url().to_owned() })
    }

    /// An error if the announcement may count for nothing any more.
    fn is_recent(&self, store: &Store, env: &Env) -> Result<()> {
        if env.clock.now_ms().saturating_sub(self.at_ms) <= PATIENCE_MS {
            return Ok(());
        }
        let what =
            format!("{}: init took longer than 10 minutes; nothing was made, run it again", store.url());
        Err(Error::Conflict { what })
    }
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
    sealed::seal_signed(&owner.common(), signer, &binding, EPOCH, env.random()?, 3, &payload).named(&name)
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
