/**
 * How a matrix product runs on WebGPU. A few rows (decoding) read the weight as it is stored. More rows go through one
 * f32 tile per family of adapters (tile_software.wgsl, tile_hardware.wgsl). Weights that the tile cannot read where they are —
 * compact ones, and on software adapters transposed or unaligned ones — are first widened into a panel of bounded size, for
 * a band of the output's columns at a time. A weight larger than a binding is read by runs of its rows: in `nt` each gives
 * columns of the output, in `nn` the output is their sum. variants.ts says which tile a product gets.
 */
import { type PlanContext, type RowRun, type WebGpuPass, grid, rowRuns } from "../kernel.ts";
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

/** What a run of the weight's rows gives. */
function productOf(layout: Layout, { M, N, K }: Dims, { count }: RowRun): Product {
  switch (layout) {
    case "nt":
      return { rows: M, cols: count, depth: K, aRow: K, aDepth: 1, bCol: K, bDepth: 1 };
    case "nn":
      return { rows: M, cols: K, depth: count, aRow: N, aDepth: 1, bCol: 1, bDepth: K };
    case "tn":
      return { rows: N, cols: K, depth: M, aRow: 1, aDepth: N, bCol: 1, bDepth: K };
  }
}

/** What one tile pass computes. */
interface Piece {
  readonly product: Product;
  readonly run: RowRun;
  /** First column of the output. */
  readonly from: number;
  /** Elements of the panel that it reads; 0 = it reads the operand itself. */
  readonly panel: number;
}

const pad4 = (n: number): number => Math.ceil(n / 4) * 4;

/** Does the tile read the second operand through a panel? */
function needsPanel(layout: Layout, { K }: Dims, { weight, software }: PlanContext): boolean {
  if (layout !== "tn" && weight !== "f32") return true;
  return software && (layout === "nt" || K % 4 !== 0);
}

/** Most elements of a panel on this adapter. */
const panelSize = ({ maxBinding }: PlanContext): number => Math.min(PANEL, maxBinding / 4);

/** How many columns of the output such a panel serves. */
function bandOf(product: Product, context: PlanContext): number {
  const most = Math.floor(panelSize(context) / pad4(product.depth) / BAND) * BAND;
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
  const second = layout === "tn" ? "b" : "w";

  /** The weight's rows as passes bind them; in `nn` so few that a panel holds BAND columns of them. */
  function runsOf(dims: Dims, context: PlanContext): RowRun[] {
    if (layout === "tn") return [{ from: 0, count: dims.N }];
    const most = layout === "nn" && needsPanel(layout, dims, context) ? panelSize(context) / BAND : Infinity;
    return rowRuns(dims.N, dims.K, context, most);
  }

  /** What passes bind for a run; of the matrix [M, N] all from the run's first column on. */
  function partsOf({ M, N, K }: Dims, { from, count }: RowRun): Required<WebGpuPass>["parts"] {
    if (count === N) return {};
    return { w: [from * K, count * K], [layout === "nt" ? "c" : "a"]: [from, M * N - from] };
  }

  function matvec(dims: Dims, run: RowRun, context: PlanContext): WebGpuPass {
    const { M, K } = dims;
    const cols = run.count;
    const shared = { parts: partsOf(dims, run), extra: { cols } };
    const overrides = { ACCUMULATE: accumulate ? 1 : 0, ROWS: M === 1 ? 1 : 4 };
    const name = choice("matvec", context);
    if (name === "subgroup8" && K % 32 === 0) {
      const groups = grid(Math.ceil(cols / 8));
      return { source: "matmul/matvec_subgroup8.wgsl", ...shared, overrides, groups };
    }
    const aligned = { ...overrides, ALIGNED: K % 4 === 0 ? 1 : 0 };
    if (context.software) {
      const groups = grid(Math.ceil(cols / 64));
      return { source: "matmul/matvec_software.wgsl", ...shared, overrides: aligned, groups };
    }
    const LANES = Number(name);
    return {
      source: "matmul/matvec_hardware.wgsl",
      ...shared,
      overrides: { ...aligned, LANES },
      groups: grid(Math.ceil(cols / (64 / LANES))),
    };
  }

  /** Widens what a piece needs. */
  function widen(dims: Dims, { product, run, from }: Piece, { software }: PlanContext): WebGpuPass {
    const { depth, cols } = product;
    const aligned = { ALIGNED: dims.K % 4 === 0 ? 1 : 0 };
    const shared = { bindings: [second, "panel"], parts: partsOf(dims, run) };
    const place =
      layout === "nt"
        ? { row0: from, col0: 0, rows: cols, cols: dims.K }
        : { row0: 0, col0: from, rows: depth, cols };
    const extra = { ...place, pitch: dims.K };
    if (software && layout === "nt") {
      const squares = (pad4(place.rows) * pad4(place.cols)) / 16;
      const groups = grid(Math.ceil(squares / 64));
      return { source: "matmul/widen_transposed.wgsl", ...shared, overrides: aligned, extra, groups };
    }
    // On a GPU neighbouring threads should read neighbouring vec4s; elsewhere each block should be read once.
    const byBlock = software && dims.K % 32 === 0;
    return {
      source: "matmul/widen.wgsl",
      ...shared,
      overrides: { ...aligned, BLOCKS: byBlock ? 1 : 0 },
      extra,
      groups: grid(Math.ceil((place.rows * pad4(place.cols)) / (byBlock ? 2048 : 256))),
    };
  }

  function tile(dims: Dims, { product, run, from, panel }: Piece, context: PlanContext): WebGpuPass[] {
    const { rows, cols, depth, aRow, aDepth, bCol, bDepth } = product;
    const pitch = pitchOf(dims);
    const chosen = tileOf(product, isAligned(layout, product, pitch), context);
    const step = depthStep(product, chosen);
    const slices = Math.max(1, Math.ceil(depth / step));
    const extra = {
      ...{ rows, cols, depth, aRow, aDepth, bCol, bDepth },
      ...{ cRow: pitch, cFrom: from, depthStep: step },
    };
    const parts = partsOf(dims, run);
    const ACCUMULATE = accumulate || (layout === "nn" && run.from > 0) ? 1 : 0;
    const split = slices > 1;
    const pass: WebGpuPass = {
      source: chosen.source,
      bindings: ["a", panel > 0 ? "panel" : second, split ? "partial" : "c"],
      parts,
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
      parts,
      overrides: { ACCUMULATE },
      extra,
    };
    return [pass, { ...reduce, groups: grid(Math.ceil((rows * cols) / 64)) }];
  }

  /** Length of the output's rows. */
  const pitchOf = ({ N, K }: Dims): number => (layout === "nt" ? N : K);

  /** The product's pieces: each run's bands, as their tiles see them. */
  function piecesOf(dims: Dims, context: PlanContext): Piece[] {
    const pieces: Piece[] = [];
    for (const run of runsOf(dims, context)) {
      const product = productOf(layout, dims, run);
      if (!needsPanel(layout, dims, context)) {
        pieces.push({ product, run, from: 0, panel: 0 });
        continue;
      }
      const step = bandOf(product, context);
      for (let from = 0; from < product.cols; from += step) {
        const cols = Math.min(step, product.cols - from);
        const byColumn = layout === "nt" && !context.software;
        const strides = byColumn ? { bCol: pad4(dims.K), bDepth: 1 } : { bCol: 1, bDepth: pad4(cols) };
        const panel = byColumn ? cols * pad4(dims.K) : pad4(cols) * product.depth;
        pieces.push({ product: { ...product, cols, ...strides }, run, from, panel });
      }
    }
    return pieces;
  }

  return {
    webgpu(dims: Dims, _params: unknown, context: PlanContext): WebGpuPass[] {
      if (layout === "nt" && dims.M <= MATVEC_ROWS)
        return runsOf(dims, context).map((run) => matvec(dims, run, context));
      return piecesOf(dims, context).flatMap((piece) => [
        ...(piece.panel > 0 ? [widen(dims, piece, context)] : []),
        ...tile(dims, piece, context),
      ]);
    },

    webgpuScratch(dims: Dims, _params: unknown, context: PlanContext): Numbers {
      if (layout === "nt" && dims.M <= MATVEC_ROWS) return {};
      const pitch = pitchOf(dims);
      let [panels, partials] = [0, 0];
      for (const { product, panel } of piecesOf(dims, context)) {
        const chosen = tileOf(product, isAligned(layout, product, pitch), context);
        const slices = Math.ceil(product.depth / depthStep(product, chosen));
        panels = Math.max(panels, panel);
        if (slices > 1) partials = Math.max(partials, slices * product.rows * product.cols);
      }
      return { ...(panels > 0 && { panel: panels }), ...(partials > 0 && { partial: partials }) };
    },
  };
}
