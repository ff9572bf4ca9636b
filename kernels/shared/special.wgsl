// NaN and the infinities, by their bits. A WGSL compiler may take it that no number is one of them, so comparing numbers
// does not find them; what was read from storage has its bits still.
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn is_top(x: f32) -> bool { return bitcast<u32>(x) == 0x7f800000u; } // +∞
fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

/// `size` is any length, below 2³¹: of a constant NaN a compiler would know that it is one, and refuse it.
fn nan(size: u32) -> f32 { return bitcast<f32>(0x7fc00000u | (size >> 31u)); }
