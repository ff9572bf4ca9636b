// Threefry-2x32, 20 rounds: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Random123).
// The same bits as threefry.ts.

fn threefry_four(x: vec2u, rotations: vec4u) -> vec2u {
  var v = x;
  for (var i = 0u; i < 4u; i++) {
    v.x += v.y;
    v.y = ((v.y << rotations[i]) | (v.y >> (32u - rotations[i]))) ^ v.x;
  }
  return v;
}

// Two random words of a key and a counter.
fn threefry2x32(key: vec2u, counter: vec2u) -> vec2u {
  let third = 0x1bd11bdau ^ key.x ^ key.y;
  let even = vec4u(13u, 15u, 26u, 6u);
  let odd = vec4u(17u, 29u, 16u, 24u);
  var v = counter + key;
  v = threefry_four(v, even) + vec2u(key.y, third + 1u);
  v = threefry_four(v, odd) + vec2u(third, key.x + 2u);
  v = threefry_four(v, even) + vec2u(key.x, key.y + 3u);
  v = threefry_four(v, odd) + vec2u(key.y, third + 4u);
  return threefry_four(v, even) + vec2u(third, key.x + 5u);
}
