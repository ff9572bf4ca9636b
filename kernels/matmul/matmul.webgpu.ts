/**
 * How a matrix product runs on WebGPU. A few rows (decoding) read the weight as it is stored. More rows go through one
 * f32 tile per family of adapters (tile_software.wgsl, tile_hardware.wgsl). Weights that the tile cannot read where they are —
 * compact ones, and on software adapters transposed or unaligned ones — are first widened into a panel of bounded size, for
 * a band of the output's columns at a time. variants.ts says which tile a product gets.
 */
import { type PlanContext, type WebGpuPass, grid } from "../kernel.ts";
import { choice, depthStep, tileOf } from "./variants.ts";

export type Layout = "nt" | "nn" | "tn";
interface Dims {
  readonly M: number;
  readonly N: number;
  readonly K: number;
}
type Numbers = Readonly<Record<string, number>>;

/** Up to this many rows of a, `nt` reads the stored weight directly. */
const MATVEC_ROWS = 4;
/** Most elements of a widened panel (64 MiB); a band's columns are a multiple of BAND. */
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

/** How many columns of the output a panel of at most PANEL elements serves. */
function bandOf(product: Product): number {
  const most = Math.floor(PANEL / pad4(product.depth) / BAND) * BAND;
  return Math.min(product.cols, Math.max(most, BAND));
}

/** Can the tile read a and b, and write c, in vec4s? */
function isAligned(layout: Layout, product: Product, pitch: number): boolean {
  const { cols, depth, aRow, aDepth, bCol, bDepth } = product;
  const strides = { nt: [aRow, bCol, depth], nn: [aRow, bDepth, depth], tn: [aDepth, bDepth] }[layout];
  return [cols, pitch, ...strides].every((n) => n % 4 === 0);
}

/** The WebGPU half of a product's declaration. */
export function plan(layout: Layout, accumulate: boolean) {
  const ACCUMULATE = accumulate ? 1 : 0;
  const second = layout === "tn" ? "b" : "w";

  function matvec({ M, N, K }: Dims, context: PlanContext): WebGpuPass {
    const ROWS = M === 1 ? 1 : 4;
    const name = choice("matvec", context);
    if (name === "subgroup8" && K % 32 === 0) {
      return {
        source: "matmul/matvec_subgroup8.wgsl",
        overrides: { ACCUMULATE, ROWS },
        groups: grid(Math.ceil(N / 8)),
      };
    }
    const overrides = { ACCUMULATE, ROWS, ALIGNED: K % 4 === 0 ? 1 : 0 };
    if (context.software)
      return { source: "matmul/matvec_software.wgsl", overrides, groups: grid(Math.ceil(N / 64)) };
    const LANES = Number(name);
    return {
      source: "matmul/matvec_hardware.wgsl",
      overrides: { ...overrides, LANES },
      groups: grid(Math.ceil(N / (64 / LANES))),
    };
  }

  /** Widens what the band of the output's columns that begins at `from` needs. */
  function widen(dims: Dims, { depth, cols }: Product, from: number, { software }: PlanContext): WebGpuPass {
    const aligned = { ALIGNED: dims.K % 4 === 0 ? 1 : 0 };
    const bindings = [second, "panel"];
    const place =
      layout === "nt"
        ? { row0: from, col0: 0, rows: cols, cols: dims.K }
        : { row0: 0, col0: from, rows: depth, cols };
    const extra = { ...place, pitch: dims.K };
    if (software && layout === "nt") {
      const squares = (pad4(place.rows) * pad4(place.cols)) / 16;
      const groups = grid(Math.ceil(squares / 64));
      return { source: "matmul/widen_transposed.wgsl", bindings, overrides: aligned, extra, groups };
    }
    // On a GPU neighbouring threads should read neighbouring vec4s; elsewhere each block should be read once.
    const byBlock = software && dims.K % 32 === 0;
    return {
      source: "matmul/widen.wgsl",
      bindings,
      overrides: { ...aligned, BLOCKS: byBlock ? 1 : 0 },
      extra,
      groups: grid(Math.ceil((place.rows * pad4(place.cols)) / (byBlock ? 2048 : 256))),
    };
  }

  function tile(
    product: Product,
    pitch: number,
    from: number,
    operand: string,
    context: PlanContext,
  ): WebGpuPass[] {
    const { rows, cols, depth, aRow, aDepth, bCol, bDepth } = product;
    const chosen = tileOf(product, isAligned(layout, product, pitch), context);
    const step = depthStep(product, chosen);
    const slices = Math.max(1, Math.ceil(depth / step));
    const extra = {
      ...{ rows, cols, depth, aRow, aDepth, bCol, bDepth },
      ...{ cRow: pitch, cFrom: from, depthStep: step },
    };
    const split = slices > 1;
    const pass: WebGpuPass = {
      source: chosen.source,
      bindings: ["a", operand, split ? "partial" : "c"],
      overrides: {
        ...chosen.overrides,
        ACCUMULATE: split ? 0 : ACCUMULATE,
        PARTIAL: split ? 1 : 0,
        ...(!context.software && { A_BY_ROW: layout === "tn" ? 1 : 0, B_BY_COL: layout === "nt" ? 0 : 1 }),
      },
      extra,
      groups: [Math.ceil(cols / chosen.cols), Math.ceil(rows / chosen.rows), slices],
    };
    if (!split) return [pass];
    const reduce = {
      source: "matmul/reduce_splits.wgsl",
      bindings: ["partial", "c"],
      overrides: { ACCUMULATE },
      extra,
    };
    return [pass, { ...reduce, groups: grid(Math.ceil((rows * cols) / 64)) }];
  }

  /** The product's bands, each as its tile sees it. */
  function bandsOf(dims: Dims, context: PlanContext): { band: Product; from: number; panel: number }[] {
    const product = productOf(layout, dims);
    if (!needsPanel(layout, dims, context)) return [{ band: product, from: 0, panel: 0 }];
    const bands = [];
    const step = bandOf(product);
    for (let from = 0; from < product.cols; from += step) {
      const cols = Math.min(step, product.cols - from);
      const byColumn = layout === "nt" && !context.software;
      const strides = byColumn ? { bCol: pad4(dims.K), bDepth: 1 } : { bCol: 1, bDepth: pad4(cols) };
      const panel = byColumn ? cols * pad4(dims.K) : pad4(cols) * product.depth;
      bands.push({ band: { ...product, cols, ...strides }, from, panel });
    }
    return bands;
  }

  return {
    webgpu(dims: Dims, _params: unknown, context: PlanContext): WebGpuPass[] {
      if (layout === "nt" && dims.M <= MATVEC_ROWS) return [matvec(dims, context)];
      const pitch = productOf(layout, dims).cols;
      return bandsOf(dims, context).flatMap(({ band, from, panel }) =>
        panel === 0
          ? tile(band, pitch, from, second, context)
          : [widen(dims, band, from, context), ...tile(band, pitch, from, "panel", context)],
      );
    },

    webgpuScratch(dims: Dims, _params: unknown, context: PlanContext): Numbers {
      if (layout === "nt" && dims.M <= MATVEC_ROWS) return {};
      const pitch = productOf(layout, dims).cols;
      let [panels, partials] = [0, 0];
      for (const { band, panel } of bandsOf(dims, context)) {
        const slices = Math.ceil(
          band.depth / depthStep(band, tileOf(band, isAligned(layout, band, pitch), context)),
        );
        panels = Math.max(panels, panel);
        if (slices > 1) partials = Math.max(partials, slices * band.rows * band.cols);
      }
      return { ...(panels > 0 && { panel: panels }), ...(partials > 0 && { partial: partials }) };
    },
  };
}
