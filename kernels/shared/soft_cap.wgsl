// Soft caps: cap · tanh(x / cap), and the derivative from the capped y. WGSL lets its own tanh be 1e-5 off, which a cap would
// multiply. Here, as on the CPU (tanh4 in simd.as.ts), tanh |u| = m / (m + 2) with m = e^2|u| − 1, where nothing cancels:
// 2|u| = n·ln 2 + r, e^r − 1 by Cephes expf's polynomial, m = 2^n · (e^r − 1) + (2^n − 1).
fn soft_cap4(x: vec4f, cap: f32) -> vec4f {
  // Beyond 10 it is ±1; clamped before the division, for WGSL may assume that nothing overflows
  let u = clamp(x, vec4f(-10.0 * cap), vec4f(10.0 * cap)) / cap;
  let y = 2.0 * abs(u);
  let n = round(1.4426950408889634 * y);
  var r = fma(n, vec4f(-0.693359375), y);
  r = fma(n, vec4f(2.12194440e-4), r);
  var e = fma(vec4f(1.9875691500e-4), r, vec4f(1.3981999507e-3));
  e = fma(e, r, vec4f(8.3334519073e-3));
  e = fma(e, r, vec4f(4.1665795894e-2));
  e = fma(e, r, vec4f(1.6666665459e-1));
  e = fma(e, r, vec4f(5.0000001201e-1));
  e = fma(e, r * r, r);
  let power = bitcast<vec4f>((vec4i(n) + 127) << vec4u(23u));
  let m = fma(power, e, power - 1.0);
  return cap * sign(u) * (m / (m + 2.0));
}

/// One number: compilers drop the other three.
fn soft_cap(x: f32, cap: f32) -> f32 { return soft_cap4(vec4f(x), cap).x; }

fn soft_cap_slope4(y: vec4f, cap: f32) -> vec4f {
  let u = y / cap;
  return 1.0 - u * u;
}

fn soft_cap_slope(y: f32, cap: f32) -> f32 { return soft_cap_slope4(vec4f(y), cap).x; }
