//!use formats/halves.wgsl
//!use formats/iq4.wgsl
// GGUF iq4_nl: 32 weights in 18 bytes, {f16 d; u8 q[16]}, weight = d · value[q]; low nibbles are weights 0–15.

fn block4(block: u32, offset: u32) -> vec4f {
  let quads = word(9u * block + 1u + ((offset & 15u) >> 1u)) >> ((offset & 16u) >> 2u);
  return half(9u * block) * iq4_values((vec4u(quads) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u));
}

fn w4(element: u32) -> vec4f { return block4(element >> 5u, element & 31u); }

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
