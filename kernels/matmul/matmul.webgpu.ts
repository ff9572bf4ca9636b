/**
 * How a matrix product runs on WebGPU. A few rows (decoding) read the weight as it is stored. More rows go through one
 * f32 tile per family of adapters (tile_software.wgsl, tile_hardware.wgsl); what that tile cannot read as it lies —
 * compact weights, and on software adapters transposed or unaligned ones — is first widened into a panel of bounded
 * size, a band of the output's columns at a time.
 */
import { type PlanContext, type WebGpuPass, grid } from "../kernel.ts";

export type Layout = "nt" | "nn" | "tn";
interface Dims {
  readonly M: number;
  readonly N: number;
  readonly K: number;
}
type Numbers = Readonly<Record<string, number>>;

/** Up to this many rows of a, `nt` reads the stored weight directly. */
const MATVEC_ROWS = 4;
/** The widened panel's most elements (64 MiB), and a band's granularity in columns. */
const PANEL = 2 ** 24;
const BAND = 128;

/** c[row, col] (+)= alpha · Σ_i a[row, i] · b[i, col], the layouts' common form, with strides in elements. */
interface Product {
  readonly rows: number;
  readonly cols: number;
  readonly depth: number;
  readonly aRow: number;
  readonly aDepth: number;
  readonly bCol: number;
  readonly bDepth: number;
}

function productOf(layout: Layout, { M, N, K }: Dims): Product {
  switch (layout) {
    case "nt":
      return { rows: M, cols: N, depth: K, aRow: K, aDepth: 1, bCol: K, bDepth: 1 };
    case "nn":
      return { rows: M, cols: K, depth: N, aRow: N, aDepth: 1, bCol: 1, bDepth: K };
    case "tn":
      return { rows: N, cols: K, depth: M, aRow: 1, aDepth: N, bCol: 1, bDepth: K };
  }
}

const pad4 = (n: number): number => Math.ceil(n / 4) * 4;

/** Does the tile read the second operand through a panel? */
function needsPanel(layout: Layout, { K }: Dims, { weight, software }: PlanContext): boolean {
  if (layout !== "tn" && weight !== "f32") return true;
  return software && (layout === "nt" || K % 4 !== 0);
}

/** Columns of the output whose panel fits the bound. */
function bandOf(product: Product): number {
  const most = Math.floor(PANEL / pad4(product.depth) / BAND) * BAND;
  return Math.min(product.cols, Math.max(most, BAND));
}

/** On GPUs: into how many parts the depth is split, so that few output tiles still occupy the machine. */
function splitsOf({ rows, cols, depth }: Product): number {
  const tiles = Math.ceil(rows / 64) * Math.ceil(cols / 64);
  return Math.max(1, Math.min(Math.floor(depth / 128), Math.floor(96 / tiles)));
}

/** The WebGPU half of a product's declaration. */
export function plan(layout: Layout, accumulate: boolean) {
  const ACCUMULATE = accumulate ? 1 : 0;
  const second = layout === "tn" ? "b" : "w";

  function matvec({ M, N, K }: Dims, { software, subgroupSize }: PlanContext): WebGpuPass {
    const ROWS = M === 1 ? 1 : 4;
    if (software && subgroupSize === 8 && K % 32 === 0) {
      return {
        source: "matvec_subgroup8.wgsl",
        overrides: { ACCUMULATE, ROWS },
        groups: grid(Math.ceil(N / 8)),
      };
    }
    const overrides = { ACCUMULATE, ROWS, ALIGNED: K % 4 === 0 ? 1 : 0 };
    if (software) return { source: "matvec_software.wgsl", overrides, groups: grid(Math.ceil(N / 64)) };
    return { source: "matvec_hardware.wgsl", overrides, groups: grid(Math.ceil(N / 4)) };
  }

  /** Widens what the band [from, from + cols) of the output's columns needs; answers the panel's strides, too. */
  function widen(dims: Dims, band: Product, from: number, { software }: PlanContext) {
    const overrides = { ALIGNED: dims.K % 4 === 0 ? 1 : 0 };
    const bindings = [second, "panel"];
    if (layout !== "nt") {
      const extra = { row0: 0, col0: from, rows: band.depth, cols: band.cols, pitch: dims.K };
      const groups = grid(Math.ceil((band.depth * pad4(band.cols)) / 256));
      return {
        pass: { source: "widen.wgsl", bindings, overrides, extra, groups },
        strides: { bCol: 1, bDepth: pad4(band.cols) },
      };
    }
    const extra = { row0: from, col0: 0, rows: band.cols, cols: dims.K, pitch: dims.K };
    const quads = (band.cols * pad4(dims.K)) / 4;
    if (!software) {
      return {
        pass: { source: "widen.wgsl", bindings, overrides, extra, groups: grid(Math.ceil(quads / 64)) },
        strides: { bCol: pad4(dims.K), bDepth: 1 },
      };
    }
    const squares = (pad4(band.cols) * pad4(dims.K)) / 16;
    return {
      pass: {
        source: "widen_transposed.wgsl",
        bindings,
        overrides,
        extra,
        groups: grid(Math.ceil(squares / 64)),
      },
      strides: { bCol: 1, bDepth: pad4(band.cols) },
    };
  }

  function tile(
    product: Product,
    pitch: number,
    from: number,
    operand: string,
    context: PlanContext,
  ): WebGpuPass[] {
    const { software } = context;
    const { rows, cols, depth, aRow, aDepth, bCol, bDepth } = product;
    const splits = software ? 1 : splitsOf(product);
    const step = Math.ceil(depth / splits / 16) * 16;
    const slices = Math.max(1, Math.ceil(depth / step));
    const strides = { aRow, aDepth, bCol, bDepth, cRow: pitch, cFrom: from };
    const extra = { rows, cols, depth, ...strides, depthStep: software ? depth : step };
    if (software) {
      const bindings = ["a", operand, "c"];
      if (context.subgroupSize === 8) {
        const groups = [Math.ceil(cols / 64), Math.ceil(rows / 16), 1] as const;
        return [{ source: "tile_subgroup8.wgsl", bindings, overrides: { ACCUMULATE }, extra, groups }];
      }
      const groups = [Math.ceil(cols / 128), Math.ceil(rows / 8), 1] as const;
      return [{ source: "tile_software.wgsl", bindings, overrides: { ACCUMULATE }, extra, groups }];
    }
    const split = slices > 1;
    const pass: WebGpuPass = {
      source: "tile_hardware.wgsl",
      bindings: ["a", operand, split ? "partial" : "c"],
      overrides: {
        ACCUMULATE: split ? 0 : ACCUMULATE,
        PARTIAL: split ? 1 : 0,
        A_BY_ROW: layout === "tn" ? 1 : 0,
        B_BY_COL: layout === "nt" ? 0 : 1,
      },
      extra,
      groups: [Math.ceil(cols / 64), Math.ceil(rows / 64), slices],
    };
    if (!split) return [pass];
    const reduce = {
      source: "reduce_splits.wgsl",
      bindings: ["partial", "c"],
      overrides: { ACCUMULATE },
      extra,
    };
    return [pass, { ...reduce, groups: grid(Math.ceil((rows * cols) / 64)) }];
  }

  return {
    webgpu(dims: Dims, _params: unknown, context: PlanContext): WebGpuPass[] {
      if (layout === "nt" && dims.M <= MATVEC_ROWS) return [matvec(dims, context)];
      const product = productOf(layout, dims);
      if (!needsPanel(layout, dims, context)) return tile(product, product.cols, 0, second, context);
      const passes: WebGpuPass[] = [];
      const step = bandOf(product);
      for (let from = 0; from < product.cols; from += step) {
        const band = { ...product, cols: Math.min(step, product.cols - from) };
        const { pass, strides } = widen(dims, band, from, context);
        passes.push(pass, ...tile({ ...band, ...strides }, product.cols, from, "panel", context));
      }
      return passes;
    },

    webgpuScratch(dims: Dims, _params: unknown, context: PlanContext): Numbers {
      if (layout === "nt" && dims.M <= MATVEC_ROWS) return {};
      const product = productOf(layout, dims);
      const scratch: Record<string, number> = {};
      let cols = product.cols;
      if (needsPanel(layout, dims, context)) {
        cols = bandOf(product);
        scratch["panel"] =
          layout === "nt" && !context.software ? cols * pad4(dims.K) : pad4(cols) * product.depth;
      }
      if (!context.software) {
        // The last band may be narrower and so be split more often: take the most that any width can need.
        const most = Math.max(
          splitsOf({ ...product, cols }),
          splitsOf({ ...product, cols: product.cols % cols || cols }),
        );
        if (most > 1) scratch["partial"] = most * product.rows * cols;
      }
      return scratch;
    },
  };
}
