//!use formats/iq4.wgsl
// GGUF iq4_xs: 256 weights in 34 words, {f16 d; u16 high; u8 low[4]; u8 q[128]}: each 32 weights have a scale of six bits, four in
// `low` and two in `high`; weight = d · (scale − 32) · value[q]; low nibbles of 16 bytes are the first 16. A `block` is 32 of them.

fn block4(block: u32, offset: u32) -> vec4f {
  let start = 34u * (block >> 3u);
  let g = block & 7u;
  let head = w[start];
  let scale = ((w[start + 1u] >> (4u * g)) & 15u) | (((head >> (16u + 2u * g)) & 3u) << 4u);
  let quads = w[start + 2u + 4u * g + ((offset & 15u) >> 2u)] >> ((offset & 16u) >> 2u);
  let values = iq4_values((vec4u(quads) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u));
  return unpack2x16float(head).x * (f32(scale) - 32.0) * values;
}

fn w4(element: u32) -> vec4f { return block4(element >> 5u, element & 31u); }

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
