//! Bytes and hexadecimal names from the kernel's randomness.

/// `N` random bytes.
///
/// # Panics
/// Where the kernel has no `getrandom`, which no supported kernel lacks.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut buffer = [0_u8; N];
    let mut filled = 0;
    while filled < N {
        filled += rustix::rand::getrandom(&mut buffer[filled..], rustix::rand::GetRandomFlags::empty())
            .expect("getrandom answers on every supported kernel");
    }
    buffer
}

/// A random name of `2 * count` hexadecimal digits; `count` at most 32.
pub fn hex(count: usize) -> String {
    encode_hex(&bytes::<32>()[..count.min(32)])
}

/// Lower-case hexadecimal.
pub fn encode_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // A list of a thousand containers writes four thousand of these: whole bytes, then one look that they are text.
    let mut digits = vec![0; bytes.len() * 2];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    String::from_utf8(digits).unwrap_or_default()
}
