//! Made-up but reproducible volume contents.

/// `len` pseudo-random bytes of a seed (BLAKE3 in counter mode).
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut out = vec![0; len];
    hasher.finalize_xof().fill(&mut out);
    out
}

/// `len` bytes in which random stretches are random, zero, or text that compresses.
pub fn mixed(seed: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    let mut n = 0;
    while out.len() < len {
        let dice = bytes(seed ^ 0x5eed << 32 | n, 8);
        let stretch = 1 + usize::from(u16::from_le_bytes([dice[0], dice[1]])) * usize::from(1 + dice[2] % 4);
        let stretch = stretch.min(len - out.len());
        match dice[3] % 3 {
            0 => out.resize(out.len() + stretch, 0),
            1 => out.extend(bytes(seed ^ n << 17, stretch)),
            _ => out.extend(
                format!("line {} of a log that says little\n", dice[4]).bytes().cycle().take(stretch),
            ),
        }
        n += 1;
    }
    out
}
