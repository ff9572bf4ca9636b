// Widens and transposes: panel[i, r] = w[row0 + r, i] for all columns i, rows of the panel padded to whole
// vec4s with zeros. One thread per 4 × 4 square.
struct Params {
  dim0: u32, dim1: u32, dim2: u32, alpha: f32,
  row0: u32, col0: u32, rows: u32, cols: u32,
  pitch: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> panel: array<vec4f>;

/// Rows of w are whole vec4s.
override ALIGNED: bool = true;

fn four(row: u32, col: u32) -> vec4f {
  if (row >= p.rows) { return vec4f(); }
  let start = (p.row0 + row) * p.pitch + p.col0 + col;
  if (ALIGNED) { return w4(start); }
  var values = vec4f(w1(start), 0.0, 0.0, 0.0);
  if (col + 1u < p.cols) { values.y = w1(start + 1u); }
  if (col + 2u < p.cols) { values.z = w1(start + 2u); }
  if (col + 3u < p.cols) { values.w = w1(start + 3u); }
  return values;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let across = (p.cols + 3u) / 4u;
  let down = (p.rows + 3u) / 4u;
  let square = (wid.y * nwg.x + wid.x) * 64u + lane;
  if (square >= across * down) { return; }
  let r = square / across;
  let col = square % across * 4u;
  let v0 = four(4u * r, col);
  let v1 = four(4u * r + 1u, col);
  let v2 = four(4u * r + 2u, col);
  let v3 = four(4u * r + 3u, col);
  panel[col * down + r] = vec4f(v0.x, v1.x, v2.x, v3.x);
  if (col + 1u < p.cols) { panel[(col + 1u) * down + r] = vec4f(v0.y, v1.y, v2.y, v3.y); }
  if (col + 2u < p.cols) { panel[(col + 2u) * down + r] = vec4f(v0.z, v1.z, v2.z, v3.z); }
  if (col + 3u < p.cols) { panel[(col + 3u) * down + r] = vec4f(v0.w, v1.w, v2.w, v3.w); }
}
