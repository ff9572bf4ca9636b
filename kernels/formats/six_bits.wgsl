// The eight pairs of 6-bit numbers, scale and minimum of each group of 32, that q4_K and q5_K pack into three words from `at` on.
fn scale_and_minimum(at: u32, g: u32) -> vec2f {
  let shift = 8u * (g & 3u);
  let a = w[at] >> shift;
  let b = w[at + 1u] >> shift;
  let c = w[at + 2u] >> shift;
  let low = vec2u(a & 63u, b & 63u);
  let high = vec2u((c & 15u) | ((a >> 2u) & 48u), ((c >> 4u) & 15u) | ((b >> 2u) & 48u));
  return vec2f(select(high, low, g < 4u));
}
