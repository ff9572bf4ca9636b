// Reads at 16-bit granularity: blocks of an odd number of halves, such as q4_0's nine.

/// The f16 at half `h`.
fn half(h: u32) -> f32 {
  let pair = unpack2x16float(w[h >> 1u]);
  return select(pair.x, pair.y, (h & 1u) == 1u);
}

/// The 32 bits that begin at half `h`.
fn word(h: u32) -> u32 {
  let low = w[h >> 1u];
  let high = w[(h + 1u) >> 1u]; // the same word when h is even
  return select((low >> 16u) | (high << 16u), low, (h & 1u) == 0u);
}
