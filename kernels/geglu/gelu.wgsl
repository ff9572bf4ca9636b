// What GeGLU and its gradient share: ½·(1 + tanh u) = s = 1 / (1 + e^−z) with z = 2u = g·(SLOPE + CURVE·g²).
const SLOPE = 1.5957691216057308; // 2·√(2/π)
const CURVE = 0.07135481627260025; // 0.044715 times that
/// at −EDGE, s is f32's smallest normal number: below, it is taken for 0; at EDGE, s is 1 long since
const EDGE = 10.0;

/// e^−z of g within ±EDGE: at most e^87.4
fn exp_minus(g: f32) -> f32 { return exp(-g * (SLOPE + CURVE * g * g)); }

/// s of any g, given e^−z
fn sigmoid(g: f32, e: f32) -> f32 { return select(1.0 / (1.0 + e), 0.0, g < -EDGE); }
