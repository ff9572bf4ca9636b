/**
 * A GPUDevice that runs shaders in spirv/program.ts, strictly and slowly: the webgpu device on it computes what it would on an adapter, and
 * what adapters may or may not forgive is a finding.
 */
import { WebGpuDevice } from "../../engine/backends/webgpu/backend.ts";
import { Faults } from "../../engine/backends/webgpu/faults.ts";
import { FakeGpu } from "./fake_gpu.ts";
import { translate, withOverrides } from "./shader_text.ts";
import { Program } from "./spirv/program.ts";

interface Bytes {
  readonly bytes: Uint8Array;
}
interface Pipeline {
  readonly label: string;
  readonly program: Program;
}
interface Entry {
  readonly binding: number;
  readonly resource: { readonly buffer: Bytes; readonly offset?: number; readonly size: number };
}
type Groups = [number, number, number];

export class CheckedGpu {
  /** What was found, with the pipeline's name before it; each once. */
  readonly findings = new Set<string>();
  readonly device: WebGpuDevice;
  /** Of each dispatch the first and the last workgroup run, no others: results are not whole. */
  ends = false;
  readonly #gpu = new FakeGpu();
  readonly #programs = new Map<string, Program>();

  constructor() {
    const { answers, device } = this.#gpu;
    answers["createBuffer"] = ({ size }: { size: number }) => {
      const bytes = new Uint8Array(size);
      const read = (from: number, count: number): ArrayBuffer => bytes.slice(from, from + count).buffer;
      return { bytes, mapAsync: () => Promise.resolve(), getMappedRange: read, unmap: none, destroy: none };
    };
    answers["createComputePipeline"] = (given: GPUComputePipelineDescriptor) => {
      const { code } = given.compute.module as unknown as { code: string };
      const text = withOverrides(code, given.compute.constants);
      let program = this.#programs.get(text);
      if (!program) this.#programs.set(text, (program = new Program(translate(text).spirv)));
      return { label: given.label, program };
    };
    answers["createCommandEncoder"] = () => this.#encoder();
    answers["writeBuffer"] = (
      to: Bytes,
      offset: number,
      from: ArrayBufferView,
      first = 0,
      count?: number,
    ) => {
      const each = (from as unknown as { BYTES_PER_ELEMENT: number }).BYTES_PER_ELEMENT;
      const all = new Uint8Array(from.buffer, from.byteOffset, from.byteLength);
      const begin = first * each;
      to.bytes.set(all.subarray(begin, count === undefined ? undefined : begin + count * each), offset);
    };
    answers["submit"] = (commands: readonly (readonly (() => void)[])[]) => {
      for (const command of commands.flat()) command();
    };
    answers["onSubmittedWorkDone"] = () => Promise.resolve();
    this.device = new WebGpuDevice(
      {
        device,
        adapter: {
          ...{ vendor: "", architecture: "", device: "checked", description: "", software: false },
          ...{ features: [], limits: {} },
        },
        faults: new Faults(device),
        destroy: none,
      },
      { tuned: {} },
    );
  }

  #encoder(): object {
    const commands: (() => void)[] = [];
    return {
      beginComputePass: () => {
        let pipeline: Pipeline | undefined;
        let entries: readonly Entry[] = [];
        let parameters = 0;
        return {
          setPipeline: (given: Pipeline) => (pipeline = given),
          setBindGroup: (_: number, group: { entries: readonly Entry[] }, offsets: Uint32Array) => {
            entries = group.entries;
            parameters = offsets[0] ?? 0;
          },
          dispatchWorkgroups: (...groups: Groups) => {
            const [its, bound, offset] = [pipeline, entries, parameters];
            if (its) commands.push(() => this.#run(its, bound, offset, groups));
          },
          end: none,
        };
      },
      copyBufferToBuffer: (from: Bytes, first: number, to: Bytes, offset: number, size: number) =>
        commands.push(() => to.bytes.set(from.bytes.subarray(first, first + size), offset)),
      finish: () => commands,
    };
  }

  #run({ label, program }: Pipeline, entries: readonly Entry[], parameters: number, groups: Groups): void {
    const bindings = new Map<number, Uint32Array>();
    for (const { binding, resource } of entries) {
      const { bytes } = resource.buffer;
      const offset = bytes.byteOffset + (binding === 0 ? parameters : (resource.offset ?? 0));
      bindings.set(binding, new Uint32Array(bytes.buffer, offset, resource.size / 4));
    }
    program.run(groups, bindings, (finding) => this.findings.add(`${label}: ${finding}`), this.ends);
  }
}

const none = (): undefined => undefined;
