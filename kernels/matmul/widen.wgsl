// Widens a rectangle of the weight [*, pitch] into an f32 panel: panel[r, i] = w[row0 + r, col0 + i], rows
// padded to whole vec4s. One thread per vec4, or per block of 32 weights.
struct Params {
  dim0: u32, dim1: u32, dim2: u32, alpha: f32,
  row0: u32, col0: u32, rows: u32, cols: u32,
  pitch: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> panel: array<vec4f>;

/// Rows are whole vec4s.
override ALIGNED: bool = true;

/// Rows are whole blocks of 32, and a thread widens one (it loads the block's scale and its words once).
override BLOCKS: bool = false;

fn one(row: u32, col: u32) -> f32 {
  if (col >= p.cols) { return 0.0; }
  return w1((p.row0 + row) * p.pitch + p.col0 + col);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  if (BLOCKS) {
    let across = p.cols / 32u;
    let block = (wid.y * nwg.x + wid.x) * 64u + lane;
    if (block >= p.rows * across) { return; }
    let from_ = ((p.row0 + block / across) * p.pitch + p.col0) / 32u + block % across;
    panel[8u * block] = block4(from_, 0u);
    panel[8u * block + 1u] = block4(from_, 4u);
    panel[8u * block + 2u] = block4(from_, 8u);
    panel[8u * block + 3u] = block4(from_, 12u);
    panel[8u * block + 4u] = block4(from_, 16u);
    panel[8u * block + 5u] = block4(from_, 20u);
    panel[8u * block + 6u] = block4(from_, 24u);
    panel[8u * block + 7u] = block4(from_, 28u);
    return;
  }
  let quads = (p.cols + 3u) / 4u;
  let at = (wid.y * nwg.x + wid.x) * 64u + lane;
  if (at >= p.rows * quads) { return; }
  let row = at / quads;
  let col = at % quads * 4u;
  if (ALIGNED) {
    panel[at] = w4((p.row0 + row) * p.pitch + p.col0 + col);
  } else {
    panel[at] = vec4f(one(row, col), one(row, col + 1u), one(row, col + 2u), one(row, col + 3u));
  }
}
