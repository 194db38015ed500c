#!/usr/bin/env python3
"""A second, independent reader of orlop repositories, written from format.md alone. References such as
[Record] name the section (heading) of that document. It never writes to a repository.

usage: orlop_reader.py REPO (--key-file F | --password-file F)
           list | restore SNAPSHOT VOLUME OUT | manifest SNAPSHOT PATH | manifests SNAPSHOT OUTDIR
SNAPSHOT is a sid in hex, an unambiguous prefix of one, or `latest`."""
import argparse, base64, functools, hmac, os, re, struct, sys, unicodedata
from collections import defaultdict
from datetime import datetime, timezone
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

FMT, MiB, ZERO = 1, 1 << 20, bytes(32)
u16, u32 = struct.Struct("<H").pack, struct.Struct("<I").pack                     # [Notation]: little-endian
class Bad(Exception): "any reason not to go on; its text is the one line that the user sees"
class Damage(Bad): pass
class OtherKey(Bad): "a commitment differs: sealed under another key"
class Newer(Bad): pass
class NotFound(Bad): pass

def need(ok, why, kind=Damage):
    if not ok: raise kind(why)
def warn(text): print(f"warning: {text}", file=sys.stderr)

# ---- [Notation] hashes, keys -----------------------------------------------------------------------------
def kdf(context, *material, n=32):
    return blake3(b"".join(material), derive_key_context="orlop 2026-11 v1 " + context).digest(length=n)
def keyed(key, data): return blake3(data, key=key).digest()
def committed(okm, commit, what):               # commitments are compared before anything is decrypted
    need(hmac.compare_digest(okm[32:64], commit), f"{what}: sealed under another key", OtherKey)
    return okm[:32]
def gcm(key, nonce, aad, box, what):
    try: return AESGCM(key).decrypt(nonce, box, aad)
    except (InvalidTag, ValueError): raise Damage(f"{what}: does not decrypt (damaged)") from None
def padme(n):                                                                  # [Sealed object]
    if n < 2: return n
    e = n.bit_length() - 1
    m = (1 << max(e - e.bit_length(), 0)) - 1
    return (n + m) & ~m
HPKE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)    # [Session keys] alg 1; base mode, one message
SMALL_ORDER = {0, 1, 2**255 - 20} | {int.from_bytes(bytes.fromhex(h), "little") for h in (      # y of the points of order 1, 2, 4, 8
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")}
def ed25519_strict(pub, sig, msg):              # the library checks s < L and the bytes of R; the rest of "strictly" is here
    for point in (pub, sig[:32]):
        y = int.from_bytes(point, "little") & (2**255 - 1)
        if y >= 2**255 - 19 or y in SMALL_ORDER: return False
    try: Ed25519PublicKey.from_public_bytes(pub).verify(sig, msg)
    except (InvalidSignature, ValueError): return False
    return True

# ---- [CBOR] decode, then demand that encoding gives the same bytes: that is the whole deterministic rule --
def enc(v):
    def head(major, n):
        if n < 24: return bytes([major << 5 | n])
        size = next(i for i in range(4) if n < 1 << (8 << i))
        return bytes([major << 5 | 24 + size]) + n.to_bytes(1 << size, "big")
    if v is True or v is False: return b"\xf5" if v else b"\xf4"
    if type(v) is int: return head(0, v)
    if type(v) is bytes: return head(2, len(v)) + v
    if type(v) is str: return head(3, len(v.encode())) + v.encode()
    if type(v) is list: return head(4, len(v)) + b"".join(map(enc, v))
    return head(5, len(v)) + b"".join(enc(k) + enc(v[k]) for k in sorted(v, key=lambda k: (len(k.encode()), k.encode())))
def cbor(data, what):
    pos, items = 0, 0
    def take(n):
        nonlocal pos
        need(n <= len(data) - pos, f"{what}: CBOR ends too early")
        pos += n
        return data[pos - n:pos]
    def value(depth):
        nonlocal items
        need(depth <= 16, f"{what}: CBOR too deep")
        major, n = divmod(take(1)[0], 32)
        if major == 7: need(n in (20, 21), f"{what}: CBOR value not allowed"); return n == 21
        need(major in (0, 2, 3, 4, 5) and n < 28, f"{what}: CBOR value not allowed")
        if n >= 24: n = int.from_bytes(take(1 << n - 24), "big")
        if major == 0: return n
        if major == 2: return take(n)
        if major == 3: return take(n).decode("utf-8")
        items += n * (major - 3)
        need(items <= 1 << 22, f"{what}: too many CBOR items")
        if major == 4: return [value(depth + 1) for _ in range(n)]
        out = {}
        for _ in range(n):
            k = value(depth + 1)
            need(type(k) is str, f"{what}: CBOR key is not text")
            out[k] = value(depth + 1)
        return out
    try: v = value(0)
    except UnicodeDecodeError: raise Damage(f"{what}: text is not UTF-8") from None
    need(enc(v) == data, f"{what}: CBOR is not canonical")     # shortest forms, order of keys, no key twice, nothing after
    return v

# Shapes: int, str, bytes; a number n = exactly n bytes; a set = the words allowed; [shape, limit]; a dict of fields, `?` = optional
def shape(v, kind, what, strict=False):
    if isinstance(kind, dict):
        need(type(v) is dict, f"{what}: not a map")
        for key, sub in kind.items():
            name = key.rstrip("?")
            need(name in v or key != name, f"{what}: field {name} is missing")
            if name in v: shape(v[name], sub, f"{what}: {name}", strict)
        need(not strict or {k.rstrip("?") for k in kind} >= set(v), f"{what}: unknown field")
    elif isinstance(kind, list):
        need(type(v) is list and len(v) <= kind[1], f"{what}: not a list, or too long")
        for x in v: shape(x, kind[0], what, strict)
    elif isinstance(kind, set): need(type(v) is str, f"{what}: not text"); need(v in kind, f"{what}: unknown word (written by a newer version)", Newer)
    elif kind is str: need(type(v) is str and len(v.encode()) <= 1024, f"{what}: not text, or too long")
    elif isinstance(kind, type): need(type(v) is kind, f"{what}: wrong type")
    elif callable(kind): need(kind(v), f"{what}: bad value")
    else: need(type(v) is bytes and len(v) == kind, f"{what}: not {kind} bytes")
    return v
text_map = lambda v: type(v) is dict and all(type(x) is str and len(x.encode()) <= 1024 for kv in v.items() for x in kv)
plain = lambda v: type(v) is str and len(v.encode()) <= 1024 and not any(unicodedata.category(c) == "Cc" for c in v)
label = lambda v: plain(v) and 1 <= len(v.encode()) <= 64

def unzstd(data, n, what):                                                     # [zstd frames]
    need(len(data) >= 6 and data[:4] == b"\x28\xb5\x2f\xfd", f"{what}: not a zstd frame")
    d = data[4]                                                                # frame header descriptor, RFC 8878 3.1.1.1.1
    need(d & 0b11111 == 0, f"{what}: zstd flags (dictionary, checksum, reserved)")
    need(d & 0b100000 or d >> 6, f"{what}: zstd frame without content size")
    try:
        p = zstandard.get_frame_parameters(data)
        need(p.content_size == n and (n if d & 32 else p.window_size) <= 8 * MiB, f"{what}: zstd content size or window")
        out = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError: raise Damage(f"{what}: zstd frame is damaged") from None
    need(len(out) == n, f"{what}: zstd content has another length")
    return out

ROW = [[int, 4], 64]
CHUNKER = {"kind": {"blocks", "fastcdc"}, "min?": int, "avg?": int, "max?": int}
CONFIG = {"repo_id": 16, "n": int, "prev?": 32, "C_pub": 32, "G_pub": 32, "domains": [label, 1024], "chunking": ROW, "created": int,
          "store": {"mode": {"many", "one"}, "delta_ms": int}, "features": {"compat": int, "ro_compat": int, "incompat": int, "gc_compat?": int}}
PLAN = {"cand": bytes, "F": [{"g": int, "sids": bytes}, MiB], "floor": int, "prev?": 32}
SWEEP = {"D": bytes, "dead": [{"g": int, "at": int, "packs": bytes}, 2 * MiB], "floor": int, "prev": 32}
MARK = {"sid": 16, "created": int}
MANY = 65536
SNAPSHOT = {"kind": {"backup"}, "sid": 16, "domain": label, "time": int, "name?": str, "group": str, "labels?": text_map,
    "cluster?": {"uid": str, "name": str}, "application?": {"namespaces?": [str, MANY], "selector?": str, "hooks?": [str, MANY], "consistency?": str},
    "volumes?": [{"name": str, "uid?": str, "size": int, "mode": {"block", "file", "stream"}, "storage_class?": str, "chunker": CHUNKER, "root": 32,
                  "changed?": {"driver": str, "handle": str, "id": lambda v: type(v) is bytes and len(v) <= 1024},
                  "stats": {**{k: int for k in ("bytes_read", "bytes_new", "bytes_stored", "chunks_new", "chunks_reused")}, "scan?": str, "reason?": str}}, MANY],
    "catalogue?": {"size": int, "root": 32}, "parent?": 16, "errors?": [{"item": str, "message": str}, MANY], "status": {"success", "partial", "failed"}, "tool": str}
def valid_cut(lo, avg, hi): return 1 <= lo <= avg <= hi <= 1024 and 2 <= avg <= 16 * lo
def items16(b, what):                                                          # [Deletion records]: 16 bytes an item, strictly rising
    out = [b[i:i + 16] for i in range(0, len(b), 16)]
    need(len(b) % 16 == 0 and all(x < y for x, y in zip(out, out[1:])), f"{what}: list not rising")
    return out
def generations(rows, field, limit, what):
    out = [x for r in rows for x in items16(r[field], what)]
    need(all(a["g"] < b["g"] for a, b in zip(rows, rows[1:])) and len(set(out)) == len(out) <= limit, f"{what}: generations")
    return set(out)

class Repo:
    def __init__(self, root, secret_kind, secret):
        self.root, self.index, self.trailers, self.reread = root, {}, {}, False
        need(os.path.isdir(root), f"{root}: no such repository", NotFound)
        self.open_slot(secret_kind, secret)
        self.read_gc()
        self.pack = functools.lru_cache(maxsize=4)(self.load_pack)

    def listing(self, folder, pattern):         # names not of these forms are ignored [Names]
        try: return sorted(n for n in os.listdir(os.path.join(self.root, folder)) if re.fullmatch(pattern, n))
        except FileNotFoundError: return []
    def read(self, name, limit=64 * MiB):
        try:
            with open(os.path.join(self.root, name), "rb") as f: data = f.read(limit + 1)
        except FileNotFoundError: raise NotFound(f"{name}: no such object") from None
        need(len(data) <= limit, f"{name}: larger than its limit")
        return data

    # ---- [Key slot], [Bundle], [Config] ------------------------------------------------------------------
    def open_slot(self, kind, secret):
        slots, said = [], []
        for n in self.listing("keys", "[0-9a-f]{32}")[:256]:
            try:
                name = "keys/" + n
                s = cbor(self.read(name, 16384), name)
                need(type(s) is dict, f"{name}: not a map")
                need(blake3(enc({k: v for k, v in s.items() if k != "sum"})).digest()[:16] == s.get("sum"), f"{name}: sum differs (damaged)")
                need(s.get("fmt") == FMT, f"{name}: unknown fmt", Newer)
                shape(s, {"fmt": int, "repo_id": 16, "slot_id": 16, "kind": {"password", "keyfile"}, "role": {"backup", "read", "prune", "owner"}, "label": plain,
                          "created": int, "params?": {"m": int, "t": int, "p": int}, "salt": 32, "commit": 32, "box": bytes, "sum": 16}, name, True)
                need(s["slot_id"].hex() == n and ("params" in s) == (s["kind"] == "password"), f"{name}: slot_id or params")
                m, t, p = (s["params"][k] for k in "mtp") if "params" in s else (8, 1, 1)
                need(m <= MiB and t <= 16 and p <= 16, f"{name}: cost of Argon2id of a newer version", Newer)
                need(m >= 8 * p > 0 and t > 0, f"{name}: Argon2id parameters refused")
                if s["kind"] == kind: slots.append((name, s))
            except Bad as e: warn(e); said.append(str(e))
        slots.sort(key=lambda x: (-x[1]["created"], x[0]))
        for name, s in slots[:8] if kind == "password" else slots:
            try:
                if kind == "password":
                    m, t, p = (s["params"][k] for k in "mtp")
                    need(m <= MiB and t <= 16 and p <= 16, f"{name}: Argon2id parameters above the limits (of a newer version)", Newer)
                    need(8 * p <= m and t and p, f"{name}: Argon2id parameters refused")
                kek = Argon2id(salt=s["salt"], length=32, iterations=t, lanes=p, memory_cost=m).derive(secret) if kind == "password" else secret
                key = committed(kdf("key slot", kek, s["repo_id"], s["slot_id"], s["salt"], n=64), s["commit"], name)
                b = cbor(gcm(key, bytes(12), enc({k: v for k, v in s.items() if k not in ("box", "sum")}), s["box"], name), name)
                self.take_bundle(s, b, name)
            except OtherKey: continue
            except Bad as e: warn(e); said.append(str(e)); continue
            try: return self.read_config()
            except OtherKey as e: said.append(str(e))          # planted, or of another repository
        raise Bad(f"no {kind} slot opens with this secret" + (f" ({said[-1]})" if said else ""))

    def take_bundle(self, s, b, name):
        role, one = s["role"], s["role"] in ("backup", "read")
        want = {"repo_id": 16, "role": str, "epochs": [list, 1], "G_pub": 32, **({"domain": label} if one else {"G_sec": 32}),
                **({} if role == "prune" else {"identity": 32}), **({"C_pub": 32} if role == "backup" else {}), **({"C_sec": 32} if role in ("read", "owner") else {})}
        shape(b, want, name + ": bundle", True)
        need(b["repo_id"] == s["repo_id"] and b["role"] == role, f"{name}: bundle is not the slot's")
        need(len(b["epochs"]) == 1 and len(b["epochs"][0]) == 2 + one and b["epochs"][0][0] == 0, f"{name}: epochs")
        secrets = [shape(x, 32, name + ": secret") for x in b["epochs"][0][1:]]
        need("G_sec" not in b or Ed25519PrivateKey.from_private_bytes(b["G_sec"]).public_key().public_bytes_raw() == b["G_pub"], f"{name}: G_pub is not that of G_sec")
        self.repo_id, self.role, self.G_pub, self.own = b["repo_id"], role, b["G_pub"], b.get("domain")
        self.C_sec = X25519PrivateKey.from_private_bytes(b["C_sec"]) if "C_sec" in b else None
        self.C_pub = self.C_sec.public_key().public_bytes_raw() if self.C_sec else b.get("C_pub")
        self.S_c = secrets[0] if one else kdf("common", secrets[0])
        self.S_d = lambda d: secrets[1] if one else kdf("domain structure", secrets[0], d.encode())
        self.I_d = lambda d: None if role == "prune" else b["identity"] if one else kdf("domain identity", b["identity"], d.encode())

    def read_config(self):                      # the highest that opens and verifies counts; one that is newer ends the search
        names = self.listing("config", "[0-9a-f]{16}")
        need(names, "no config: not a repository", NotFound)
        first = None
        for n in reversed(names):
            try: c = self.parse_config("config/" + n, int(n, 16)); break
            except Newer: raise                 # no lower one counts in its place
            except Bad as e: warn(e); first = first or e
        else: raise (OtherKey if isinstance(first, OtherKey) else Bad)(f"no config opens and verifies: {first}")
        self.mode = c["store"]["mode"]
        self.domains = [self.own] if self.own else c["domains"]
    def parse_config(self, name, n):
        c = self.sealed(name, 1)
        shape(c, {"features": CONFIG["features"]}, name)       # before the rest, whose shape they may announce
        need(not c["features"]["incompat"], f"{name}: features of a newer version", Newer)
        shape(c, CONFIG, name)
        need(c["repo_id"] == self.repo_id and c["n"] == n and ("prev" in c) == (n > 0), f"{name}: repo_id, n or prev")
        need(c["G_pub"] == self.G_pub and self.C_pub in (None, c["C_pub"]), f"{name}: public keys are not those of the slot")
        enced, ch = [d.encode() for d in c["domains"]], c["chunking"]
        need(enced and all(a < b for a, b in zip(enced, enced[1:])), f"{name}: domains")
        need(self.own is None or self.own in c["domains"], f"{name}: does not list the domain of this key")
        need(ch and all(len(r) == 4 and valid_cut(*r[1:]) for r in ch) and ch[-1][0] == 2**64 - 1 and all(a[0] < b[0] for a, b in zip(ch, ch[1:])), f"{name}: chunking")
        need(c["store"]["delta_ms"] <= 86_400_000, f"{name}: delta_ms")
        return c

    # ---- [Sealed object] ---------------------------------------------------------------------------------
    def sealed(self, name, cls, key=None):
        d = self.read(name)
        need(len(d) >= 64 + 16 + 16 and d[:4] == b"ORO1", f"{name}: header is damaged")
        need(blake3(d[:-16]).digest()[:16] == d[-16:], f"{name}: sum differs (damaged)")     # before fmt: a flipped bit is not a newer version
        fmt, epoch = struct.unpack_from("<HH", d, 6)
        need(fmt == FMT and epoch == 0 and d[5] == 0 and 1 <= d[4] <= 9, f"{name}: unknown fmt, class, epoch or reserved byte (of a newer version)", Newer)
        d = d[:-16]
        need(d[4] == cls, f"{name}: class is not that of the name")
        k = committed(kdf("sealed object", key or self.S_c, u16(epoch), d[4:5], self.repo_id, d[10:32], name.encode(), n=64), d[32:64], name)
        p = gcm(k, bytes(12), d[:64] + self.repo_id + name.encode(), d[64:], name)
        need(len(p) >= 8, f"{name}: too short")
        raw, z = struct.unpack_from("<II", p)
        need(raw <= 256 * MiB and 8 + z <= len(p) == padme(8 + z) and not any(p[8 + z:]), f"{name}: lengths or padding")
        body = cbor(unzstd(p[8:8 + z], raw, name), name)
        if cls in (2, 3): return body
        shape(body, {"payload": bytes, "sig": 64}, name, True)
        msg = b"orlop 2026-11 v1 signed" + self.repo_id + u16(len(name)) + name.encode() + body["payload"]
        need(ed25519_strict(self.G_pub, body["sig"], msg), f"{name}: signature is not valid")
        return cbor(body["payload"], name)

    def read_gc(self):                          # [Deletion records]; only the highest plan and the highest sweep count
        self.floor, self.dead, self.forgotten = 0, set(), set()
        proc = r"\.[0-9a-f]{32}" if self.mode == "one" else ""
        for _ in range(8):                      # whole: the highest of both are of one generation, or the plan is one ahead
            top = [[n for n in names if n[:16] == names[-1][:16]] for names in (self.listing("gc", "[0-9a-f]{16}" + proc + r"\." + w) for w in ("plan", "sweep"))]
            g, h = (int(t[0][:16], 16) if t else -1 for t in top)
            if g - h in (0, 1): break
        else: warn("gc/: the highest plan and sweep do not belong together")
        plans, s = ["gc/" + n for n in top[0]], None
        try:
            if name := top[1] and "gc/" + top[1][0]:           # the lowest name of the highest generation
                s = shape(self.sealed(name, 6), SWEEP, name)
                dead, D = s["dead"], s["D"]
                need(not D or dead and dead[-1]["packs"] == D, f"{name}: D is not the last of dead")
                self.floor, self.dead = s["floor"], generations(dead, "packs", 2 * MiB, name)
            if s and g == h: plans = [n for n in plans if blake3(self.read(n)).digest() == s["prev"]]
            for name in plans:                  # one, or without a sweep all that there are
                p = shape(self.sealed(name, 5), PLAN, name)
                need(len(items16(p["cand"], name)) <= MiB, f"{name}: cand")
                self.forgotten |= generations(p["F"], "sids", MiB, name)
        except Bad as e: warn(e)                # all that is read is verified by itself

    def marked(self, name, cls, domain):        # is there a valid mark of this name?
        try: return shape(self.sealed(name, cls, self.S_d(domain)), MARK, name)["sid"].hex() == re.split("[/.]", name)[1]
        except NotFound: return False
        except Bad as e: warn(e); return False

    # ---- [Snapshot and pending] --------------------------------------------------------------------------
    def snapshot(self, sid):                    # None for a tombstone
        name = "snapshots/" + sid
        for d in self.domains:
            try:
                if self.read(name)[4:5] == b"\x09":         # a hint only: sealed() compares the sum first
                    need(shape(self.sealed(name, 9, self.S_d(d)), MARK, name)["sid"].hex() == sid, f"{name}: sid of the tombstone")
                    return None
                s = shape(self.sealed(name, 3, self.S_d(d)), SNAPSHOT, name)
            except OtherKey: continue
            need(s["sid"].hex() == sid and s["domain"] == d, f"{name}: sid or domain is not that of name and key")
            need("catalogue" not in s or s["catalogue"]["size"] >= 12 and s["catalogue"]["root"] != ZERO, f"{name}: catalogue")
            vols = s.setdefault("volumes", [])
            need(len({v["name"] for v in vols}) == len(vols), f"{name}: two volumes of one name")
            for v in vols:
                c = v["chunker"]
                if c["kind"] == "blocks": need(valid_cut(c.get("min", 0), c.get("avg", 0), c.get("max", 0)), f"{name}: chunker")
                need((v["root"] == ZERO or v["size"] > 0) and (v["root"] != ZERO or c["kind"] == "blocks" or not v["size"]), f"{name}: size and root")
            return s
        raise OtherKey(f"{name}: sealed under another key: of another domain")
    def find_snapshot(self, want):
        sids = [s for s in self.listing("snapshots", "[0-9a-f]{32}") if want == "latest" or s.startswith(want.lower())]
        if want == "latest": sids = sids[-1:]
        need(len(sids) == 1, f"snapshot {want}: {'not found' if not sids else 'ambiguous'}", NotFound)
        s = self.snapshot(sids[0])
        need(s, f"snapshot {sids[0]} is a tombstone: it is no more", NotFound)
        if s["sid"] in self.forgotten: warn(f"snapshot {sids[0]} is forgotten; its content may be gone")
        return s

    # ---- [Pack] ------------------------------------------------------------------------------------------
    def load_pack(self, name):                  # the whole pack, its end checked; the header need not be read
        d, cls = self.read(name), 3 if name.startswith("index") else 1 if name.startswith("packs/data") else 2
        need(len(d) >= 32 + 97 + 56, f"{name}: too short")
        foot, tlen = d[-56:], int.from_bytes(d[-24:-20], "little")
        need(foot[48:] == b"ORLEND1\0", f"{name}: magic")
        need(97 <= tlen < 1 << 24 and 32 + tlen + 56 <= len(d), f"{name}: trailer_len")
        need(crc32c(d[-56 - tlen:-12]) == int.from_bytes(foot[44:48], "little"), f"{name}: crc of trailer and footer (damaged)")
        need(foot[36:38] == u16(FMT) and foot[38] in (1, 2, 3) and not any(foot[39:44]), f"{name}: unknown fmt, class, flags, epoch or reserved bytes (of a newer version)", Newer)
        need(foot[38] == cls, f"{name}: class is not that of the path")
        if blake3(d[:-56 - tlen]).digest() != foot[:32]: warn(f"{name}: body_hash differs: the pack is damaged; what still opens and verifies is used")
        return d, tlen
    def trailer(self, name, domain):            # returns sid, key rows, {id: rows}; rows are (type, comp, key, id, clen, rlen, offset)
        if (name, domain) in self.trailers: return self.trailers[name, domain]
        d, tlen = self.pack(name)
        t, foot, pid = d[-56 - tlen:-56], d[-56:], bytes.fromhex(name[-32:])
        key = committed(kdf("pack trailer", self.S_d(domain), foot[40:42], foot[38:39], self.repo_id, t[:24], pid, n=64), t[24:56], name)
        p = gcm(key, bytes(12), b"ORT1" + self.repo_id + pid + foot[:44], t[56:], name + ": trailer")
        pos, cls = 16, foot[38]
        def take(fmt):
            nonlocal pos
            pos += struct.calcsize("<" + fmt)
            need(pos <= len(p), f"{name}: trailer too short")
            return struct.unpack_from("<" + fmt, p, pos - struct.calcsize("<" + fmt))
        keys, rows, at, last = [], [], 32, 0
        for _ in range(take("B")[0]):
            key_id, alg, epoch, commit, n = take("16sBH32sH")
            keys.append((key_id, alg, epoch, commit, take(f"{n}s")[0]))
            need(alg not in (1, 2) or (n, cls == 1) == ((80, True), (0, False))[alg - 1], f"{name}: key row")
        need(len({k[0] for k in keys}) == len(keys), f"{name}: key_id twice")
        n, = take("I")
        need(1 <= n <= 65536, f"{name}: number of rows")
        for _ in range(n):
            typ, comp, k, oid, clen, rlen = take("BBB32sII")
            need(typ in (1, 2, 3, 4, 5, 6) and comp in (0, 1), f"{name}: type or comp of a newer version", Newer)
            need(k < len(keys) and typ in {1: (1,), 2: (2,), 3: (3, 4, 5, 6)}[cls], f"{name}: row")
            need(1 <= rlen <= 4 * MiB and (clen == rlen + 28 if comp == 0 else 28 < clen < rlen + 28), f"{name}: lengths of a row")
            rows.append((typ, comp, k, oid, clen, rlen, at))
            at += clen
        need(at + tlen + 56 == len(d), f"{name}: records do not fill the pack")
        n, = take("I")
        need(n <= 65536, f"{name}: extensions")
        for _ in range(n):
            row, kind, size = take("IBH")
            take(f"{size}s")
            need(kind < 128, f"{name}: extension of a newer version", Newer)
            need(last <= row < len(rows) and (kind != 1 or size == 32), f"{name}: extension")
            last = row
        need(len(p) == padme(pos) and not any(p[pos:]), f"{name}: padding of the trailer")
        self.trailers[name, domain] = out = p[:16], keys, rows
        return out

    # ---- [Session keys], [Record] ------------------------------------------------------------------------
    def record(self, name, domain, row):
        typ, comp, k, oid, clen, rlen, at = row
        what = f"{name}: record at {at}"
        key_id, alg, epoch, commit, wrap = self.trailer(name, domain)[1][k]
        need(alg in (1, 2) and epoch == 0, f"{what}: alg or epoch of a newer version", Newer)
        if alg == 1:
            need(self.C_sec, f"a key of role {self.role} cannot read content", Bad)
            session = self.unwrap(wrap, b"orlop 2026-11 v1 session key" + self.repo_id + key_id + u16(epoch))
        else: session = kdf("structure key", self.S_d(domain), u16(epoch), key_id)
        key = committed(kdf("record key", session, self.repo_id, key_id, n=64), commit, what)
        box = self.pack(name)[0][at:at + clen]
        p = gcm(key, box[:12], b"ORR1" + self.repo_id + key_id + bytes([typ, comp]) + oid + u32(rlen), box[12:], what)
        p = unzstd(p, rlen, what) if comp else p
        need(len(p) == rlen, f"{what}: length")
        return p
    @functools.lru_cache(maxsize=256)
    def unwrap(self, wrap, info):
        try: return HPKE.decrypt(wrap, self.C_sec, info)
        except (InvalidTag, ValueError): raise OtherKey(f"session key is wrapped to another key") from None

    # ---- [Index run] -------------------------------------------------------------------------------------
    def run(self, name, domain):
        sid, _, rows = self.trailer(name, domain)
        kinds = "".join(str(r[0]) for r in rows)
        need(re.fullmatch("5+6*4+3", kinds) and len(self.pack(name)[0]) <= 60 * MiB, f"{name}: order of records, or size")
        part = lambda t: [(r[3], self.record(name, domain, r)) for r in rows if r[0] == t]
        entries, packs, blocks, tables, (head_id, head) = [], [], part(5), part(4), part(3)[0]
        need(len(head) == 52 and head_id == ZERO, f"{name}: head")
        built, n, n_packs, lowest, highest = struct.unpack("<QQI16s16s", head)
        for i, (oid, b) in enumerate(blocks):
            rest = len(b) % 23 or len(b) > 4094 or (i < len(blocks) - 1 and len(b) != 4094)
            need(not rest and oid == b[:16] + b[-23:-7], f"{name}: entries block {i}")
            entries += [(b[o:o + 16], int.from_bytes(b[o + 16:o + 20], "little"), int.from_bytes(b[o + 20:o + 23], "little")) for o in range(0, len(b), 23)]
        for i, (oid, b) in enumerate(tables):
            need(len(b) % 40 == 0 and len(b) <= 40960 and (i == len(tables) - 1 or len(b) == 40960) and oid == u32(i) + bytes(28), f"{name}: pack table part {i}")
            packs += [(b[o:o + 16], *struct.unpack_from("<I", b, o + 16), int.from_bytes(b[o + 20:o + 23], "little"), b[o + 23], b[o + 24:o + 40]) for o in range(0, len(b), 40)]
        need(n == len(entries) <= MiB and n_packs == len(packs) == len({p[0] for p in packs}), f"{name}: counts or pack table")
        need(n_packs and lowest <= highest and 23 * n + 40 * n_packs + 52 <= 60 * MiB, f"{name}: head")
        for _, size, tlen, cls, _ in packs:
            need(cls in (1, 2, 3), f"{name}: class of a newer version in the pack table", Newer)
            need(cls != 3 and size <= 64 * MiB and 97 <= tlen and tlen + 88 <= size, f"{name}: row of the pack table")
        need((lowest, highest) == (entries[0][0], entries[-1][0]) and all(a[:2] < b[:2] for a, b in zip(entries, entries[1:])), f"{name}: order of entries")
        need(all(e[1] < n_packs and 29 <= e[2] <= 4 * MiB + 28 for e in entries), f"{name}: entry")
        return built, entries, packs
    def load_index(self, domain):               # {short id: [(row of the pack table, clen)]}
        index = defaultdict(list)
        for n in self.listing("index", "[0-9a-f]{16}-[0-9a-f]{32}"):
            try: built, entries, packs = self.run("index/" + n, domain)
            except OtherKey: continue           # of another domain
            except Bad as e: warn(f"index run passed over: {e}"); continue      # damaged or newer
            if built < self.floor: continue
            for short, p, clen in entries:
                if packs[p][0] not in self.dead and (packs[p], clen) not in index[short]: index[short].append((packs[p], clen))
        return index
    def find(self, oid, typ, domain, check):    # [The reader's rule] 6 and 7: every location is tried, then the index is read again, once
        why, newer = "not in the index", False
        for again in (False, True):
            if domain not in self.index or (again and not self.reread):
                self.index[domain], self.reread = self.load_index(domain), again
            for (pid, size, tlen, cls, sid), clen in self.index[domain].get(oid[:16], ()):
                if cls != typ: continue
                name = f"packs/{('data', 'map')[cls - 1]}/{pid.hex()[:2]}/{pid.hex()}"
                try:
                    d, t = self.pack(name)
                    rows = self.trailer(name, domain)[2]
                    need((len(d), t) == (size, tlen), f"{name}: size or trailer_len is not that of the index")
                    hits = [r for r in rows if r[3] == oid and r[0] == typ]
                    need(hits, f"{name}: id is not in the trailer")
                    for r in hits:
                        try:
                            p = self.record(name, domain, r)
                            need(check(p) == oid, f"{name}: record at {r[6]}: the content has another id")
                            return p
                        except Damage as e:
                            if r is hits[-1]: raise
                            warn(e)
                except (Damage, Newer, OtherKey, NotFound) as e: why, newer = str(e), newer or isinstance(e, Newer); warn(e)
        raise (Newer if newer else Damage)(f"{('chunk', 'page')[typ - 1]} {oid.hex()} is {'not readable by this version' if newer else 'lost'}: {why}")
    def page(self, oid, domain):                # [Map]: (level, [(len or span, id; None for a hole)])
        k = kdf("page", self.S_d(domain))
        p, what = self.find(oid, 2, domain, lambda x: keyed(k, x)), f"page {oid.hex()}"
        need(3 <= len(p) <= 128 * 1024, f"{what}: size")
        need(p[0] < 16, f"{what}: kind of a newer version", Newer)
        level, pos, out = p[0], 3, []
        for _ in range(p[1] | p[2] << 8):
            n, = struct.unpack_from("<Q" if level else "<I", p.ljust(pos + 8, b"\0"), pos)
            pos += 8 if level else 4
            if not level and n >> 31: out.append((n & 2**31 - 1, None)); need(out[-1][0], f"{what}: empty hole"); continue
            oid2, pos = p[pos:pos + 32], pos + 32
            need(len(oid2) == 32 and n and (level or n <= 4 * MiB and oid2 != ZERO), f"{what}: entry")
            out.append((n, oid2 if oid2 != ZERO else None))
        need(pos == len(p) and out, f"{what}: length")
        need(any(x for _, x in out), f"{what}: a stored page of holes only")
        return level, out
    def volume_map(self, root, size, avg, domain):             # yields (offset, len, chunk id) without holes
        seg = 128 * avg * 4096
        need(size <= seg << 32, "volume has too many segments")
        top = next(l for l in range(16) if seg * 64**l >= size)
        def walk(oid, level, off, span):
            if oid == ZERO or oid is None: return
            got, entries = self.page(oid, domain)
            need(got == level, f"page {oid.hex()}: level")
            if level:
                full = seg * 64**(level - 1)
                need([n for n, _ in entries] == [min(full, span - o) for o in range(0, span, full)], f"page {oid.hex()}: spans")
            else: need(sum(n for n, _ in entries) == span and not any(n % 4096 for n, _ in entries[:-1]), f"page {oid.hex()}: lengths")
            for n, x in entries:
                if x and level: yield from walk(x, level - 1, off, n)
                elif x: yield off, n, x
                off += n
        yield from walk(root, top, 0, size)
    def stream_map(self, root, size, domain):
        def walk(oid, level, off, span, last):                 # last: this page is the last of its level
            got, entries = self.page(oid, domain)
            need(level in (None, got) and (level is not None or got == 0 or len(entries) > 1), f"page {oid.hex()}: level")
            need(sum(n for n, _ in entries) == span and all(x for _, x in entries), f"page {oid.hex()}: sum, or a hole in a stream")
            closes = [i == 256 or (i >= 16 and x[31] < 4) for i, (_, x) in enumerate(entries, 1)]
            need(not any(closes[:-1]) and (closes[-1] or last), f"page {oid.hex()}: wrongly closed")
            for i, (n, x) in enumerate(entries, 1):
                if got: yield from walk(x, got - 1, off, n, last and i == len(entries))
                else: yield off, n, x
                off += n
        if root != ZERO: yield from walk(root, None, 0, size, True)
    def chunk(self, oid, n, domain):                           # [Chunks and ids]
        I_d = self.I_d(domain)
        need(I_d and self.C_sec, f"a key of role {self.role} cannot read content", Bad)
        kb, kc = kdf("block", I_d), kdf("chunk", I_d)
        p = self.find(oid, 1, domain, lambda x: keyed(kc, b"".join(keyed(kb, x[i:i + 4096]) for i in range(0, len(x), 4096)) + u32(len(x))))
        need(len(p) == n, f"chunk {oid.hex()}: length is not that of the map")
        return p

    def restore(self, snap, volume, out):
        v = next((v for v in snap["volumes"] if v["name"] == volume), None)
        need(v, f"snapshot {snap['sid'].hex()} has no volume {volume}", NotFound)
        c, d = v["chunker"], snap["domain"]
        entries = self.stream_map(v["root"], v["size"], d) if c["kind"] == "fastcdc" else self.volume_map(v["root"], v["size"], c["avg"], d)
        write_whole(out, v["size"], ((off, self.chunk(oid, n, d)) for off, n, oid in entries))
    # ---- [Catalogue] -------------------------------------------------------------------------------------
    def manifests(self, snap, wanted=None):                    # yields (path, JSON)
        need("catalogue" in snap, f"snapshot {snap['sid'].hex()} has no manifests", NotFound)
        size, d = snap["catalogue"]["size"], snap["domain"]
        entries, cached = list(self.stream_map(snap["catalogue"]["root"], size, d)), functools.lru_cache(maxsize=8)(self.chunk)
        def get(at, n):
            need(0 <= at and at + n <= size, "catalogue: ends too early")
            return b"".join(cached(x, l, d)[max(at - o, 0):at + n - o] for o, l, x in entries if o < at + n and o + l > at)
        start = int.from_bytes(get(size - 8, 8), "little")
        need(start <= size - 12 and size - 8 - start <= 256 * MiB, "catalogue: contents")
        c, frames, pos, at, prev = get(start, size - 8 - start), [], 4, 0, b""
        for _ in range(int.from_bytes(c[:4], "little")):
            n = int.from_bytes(c[pos:pos + 2], "little")
            path, flen, pos = c[pos + 2:pos + 2 + n], int.from_bytes(c[pos + 2 + n:pos + 6 + n], "little"), pos + 6 + n
            need(pos <= len(c) and n <= 1024 and prev < path and 6 + n <= flen <= 6 + n + 16 * MiB, "catalogue: entry of the contents")
            seg = path.split(b"/")
            need(len(seg) == 4 and seg[1] and seg[3], "catalogue: path")
            frames.append((path, at, flen))
            at, prev = at + flen, path
        need(pos == len(c) and at == start, "catalogue: contents do not match the frames")
        for path, at, n in frames:
            try: text = path.decode()
            except UnicodeDecodeError: raise Damage("catalogue: path is not UTF-8") from None
            if wanted not in (None, text): continue
            f = get(at, n)
            need(f[:2 + len(path)] == u16(len(path)) + path and f[2 + len(path):6 + len(path)] == u32(n - 6 - len(path)), f"catalogue: frame of {text}")
            yield text, f[6 + len(path):]

CRC = []
for i in range(256):
    for _ in range(8): i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
    CRC.append(i)
def crc32c(data):
    c = 0xFFFFFFFF
    for b in data: c = c >> 8 ^ CRC[(c ^ b) & 255]
    return c ^ 0xFFFFFFFF
def write_whole(out, size, pieces):             # sparse, under another name until all of it has been verified
    part = out + ".part"
    try:
        with open(part, "wb") as f:
            f.truncate(size)
            for off, data in pieces: f.seek(off); f.write(data)
        os.replace(part, out)
    finally:
        if os.path.exists(part): os.remove(part)
def key_file(text):                                                            # [Text of a key]
    t = text.decode("ascii", "replace").strip().lower()
    need(re.fullmatch("orlop-key-1-[a-z2-7]{58}", t), "not the text of a key", Bad)
    raw = base64.b32decode(t[12:].upper() + "======")
    need(base64.b32encode(raw).decode().lower()[:58] == t[12:] and kdf("key file checksum", raw[:32], n=4) == raw[32:], "checksum of the key is wrong", Bad)
    return raw[:32]
def password(text):                                                            # [Key slot]
    try: t = unicodedata.normalize("NFC", re.sub(rb"\r?\n\Z", b"", text).decode())
    except UnicodeDecodeError: raise Bad("the password is not UTF-8") from None
    need(t, "the password is empty", Bad)
    return t.encode()

def list_snapshots(r):
    bad = None
    for sid in r.listing("snapshots", "[0-9a-f]{32}"):
        try: s = r.snapshot(sid)
        except Bad as e: warn(e); bad = e; continue
        if not s: continue
        state = " forgotten" if s["sid"] in r.forgotten else " forget-marked" if any(r.marked(f"forget/{sid}{x}", 4, s["domain"]) for x in ("", ".last")) else ""
        when = datetime.fromtimestamp(s["time"] / 1000, timezone.utc).isoformat(timespec="milliseconds")
        print(f"{sid} {when} {s['domain']} {s['group']} {s['status']}{' manifests' if 'catalogue' in s else ''}{state}")
        for v in s["volumes"]: print(f"    {v['name']} {v['size']} bytes, {v['mode']}, {v['chunker']['kind']}")
    need(bad is None or isinstance(bad, OtherKey) and r.own, f"not all snapshots can be listed: {bad}")

def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("repo")
    g = a.add_mutually_exclusive_group(required=True)
    g.add_argument("--key-file"); g.add_argument("--password-file")
    a.add_argument("verb", choices=["list", "restore", "manifest", "manifests"]); a.add_argument("args", nargs="*")
    o = a.parse_args()
    if len(o.args) != {"list": 0, "restore": 3, "manifest": 2, "manifests": 2}[o.verb]: a.error("wrong number of arguments")
    try:
        with open(o.key_file or o.password_file, "rb") as f: text = f.read(65536)
        r = Repo(o.repo, "keyfile" if o.key_file else "password", key_file(text) if o.key_file else password(text))
        if o.verb == "list": return list_snapshots(r)
        snap = r.find_snapshot(o.args[0])
        if o.verb == "restore": r.restore(snap, *o.args[1:])
        elif o.verb == "manifest":
            hit = list(r.manifests(snap, o.args[1]))
            need(hit, f"no manifest {o.args[1]}", NotFound)
            sys.stdout.buffer.write(hit[0][1] + b"\n")
        else:
            for path, data in r.manifests(snap):               # an empty part of a path becomes `_`
                parts = [p or "_" for p in path.split("/")]
                need(not {".", ".."} & set(parts) and "\0" not in path, f"manifest {path!r}: not a name for a file")
                file = os.path.join(o.args[1], *parts) + ".json"
                os.makedirs(os.path.dirname(file), exist_ok=True)
                write_whole(file, 0, [(0, data)])
                print(path)
    except (Bad, OSError) as e: sys.exit(f"error: {e}")
    except Exception as e: sys.exit(f"error: not understood, damaged or hostile: {type(e).__name__}: {e}")
if __name__ == "__main__": main()
