//!use formats/halves.wgsl
// GGUF q6_K: 256 weights in 210 bytes, {u8 low[128]; u8 high[64]; i8 scales[16]; f16 d}: four bits of each weight in `low`, two in
// `high`; each 16 weights have a scale; weight = d · scale · (q − 32). A `block` is 32 of them.

fn block4(block: u32, offset: u32) -> vec4f {
  let start = 105u * (block >> 3u);
  let g = block & 7u;
  let low = word(start + 32u * (g >> 2u) + 16u * (g & 1u) + (offset >> 1u)) >> (2u * (g & 2u));
  let high = word(start + 64u + 16u * (g >> 2u) + (offset >> 1u)) >> (2u * (g & 3u));
  let bytes = vec4u(0u, 8u, 16u, 24u);
  let q = ((vec4u(low) >> bytes) & vec4u(15u)) | (((vec4u(high) >> bytes) & vec4u(3u)) << vec4u(4u));
  let scale = bitcast<i32>(word(start + 96u + g) << (24u - ((offset & 16u) >> 1u))) >> 24u;
  return half(start + 104u) * f32(scale) * (vec4f(q) - 32.0);
}

fn w4(element: u32) -> vec4f { return block4(element >> 5u, element & 31u); }

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
