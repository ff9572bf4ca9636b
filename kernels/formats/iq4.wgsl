// What the nibbles of iq4_nl and iq4_xs stand for: 16 signed bytes in four words.
fn iq4_values(nibbles: vec4u) -> vec4f {
  let words = vec4u(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
  let chosen = select(
    select(vec4u(words.x), vec4u(words.y), (nibbles & vec4u(4u)) != vec4u()),
    select(vec4u(words.z), vec4u(words.w), (nibbles & vec4u(4u)) != vec4u()),
    (nibbles & vec4u(8u)) != vec4u(),
  );
  return vec4f(bitcast<vec4i>(chosen << (vec4u(24u) - vec4u(8u) * (nibbles & vec4u(3u)))) >> vec4u(24u));
}
