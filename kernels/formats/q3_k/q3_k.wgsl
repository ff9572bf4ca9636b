//!use formats/halves.wgsl
// GGUF q3_K: 256 weights in 110 bytes, {u8 high[32]; u8 q[64]; u8 scales[12]; f16 d}: two bits of each weight in q, a third in
// `high`; each 16 weights have a scale of six bits; weight = d · (scale − 32) · (q − 4). A `block` is 32 of them.

fn block4(block: u32, offset: u32) -> vec4f {
  let start = 55u * (block >> 3u);
  let g = block & 7u;
  let j = 2u * g + (offset >> 4u);
  let low = (word(start + 48u + 2u * ((j & 7u) >> 2u)) >> (8u * (j & 3u) + 4u * (j >> 3u))) & 15u;
  let high = (word(start + 52u) >> (8u * (j & 3u) + 2u * (j >> 2u))) & 3u;
  let third = (vec4u(word(start + (offset >> 1u)) >> g) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(1u);
  let two = (vec4u(word(start + 16u + 16u * (g >> 2u) + (offset >> 1u)) >> (2u * (g & 3u))) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(3u);
  return half(start + 54u) * (f32(low | (high << 4u)) - 32.0) * (vec4f(two | (third << vec4u(2u))) - 4.0);
}

fn w4(element: u32) -> vec4f { return block4(element >> 5u, element & 31u); }

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
