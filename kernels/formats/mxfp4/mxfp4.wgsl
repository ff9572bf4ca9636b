// MXFP4 as GGUF stores it: 32 weights in 17 bytes, {u8 e; u8 q[16]}, weight = 2^(e − 128) · value[q], where the values are twice
// those of the OCP's E2M1; low nibbles are weights 0–15.

/// The 32 bits that begin at byte `at`.
fn word_at(at: u32) -> u32 {
  let low = w[at >> 2u];
  let high = w[(at + 3u) >> 2u]; // the same word when `at` is a multiple of 4
  let shift = 8u * (at & 3u);
  return select((low >> shift) | (high << (32u - shift)), low, shift == 0u);
}

/// 0, 1, 2, 3, 4, 6, 8, 12 and their negatives.
fn e2m1(nibbles: vec4u) -> vec4f {
  let size = nibbles & vec4u(7u);
  let values = select((vec4u(2u) | (size & vec4u(1u))) << (max(size >> vec4u(1u), vec4u(1u)) - vec4u(1u)), size, size < vec4u(2u));
  return select(vec4f(values), -vec4f(values), nibbles >= vec4u(8u));
}

fn block4(block: u32, offset: u32) -> vec4f {
  let start = 17u * block;
  let e = word_at(start) & 255u;
  let scale = bitcast<f32>(select((e - 1u) << 23u, 0x00200000u << e, e < 2u));
  let quads = word_at(start + 1u + (offset & 15u)) >> ((offset & 16u) >> 2u);
  return scale * e2m1((vec4u(quads) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u));
}

fn w4(element: u32) -> vec4f { return block4(element >> 5u, element & 31u); }

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
