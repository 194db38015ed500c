#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_fuzz::secret;
use repo_format::SlotId;
use repo_format::cbor::{Map, Value};
use repo_format::keys::slot::{Credential, SealedSlot};

// Slots are not signed, so their checksum is made right first. Only key files: Argon2id would be all that is measured.
fuzz_target!(|data: &[u8]| {
    let _ = SealedSlot::parse(SlotId([4; 16]), data);
    let Ok(Value::Map(mut map)) = Value::parse(data) else { return };
    map.remove("sum");
    let sum = blake3::hash(&Value::Map(map.clone()).encode());
    map.set("sum", &sum.as_bytes()[..16]);
    try_open(map);
});

fn try_open(map: Map) {
    if let Ok(slot) = SealedSlot::parse(SlotId([4; 16]), &Value::Map(map).encode()) {
        let _ = slot.open(Credential::KeyFile(&secret(6)));
    }
}
