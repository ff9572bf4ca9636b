/**
 * Memory of a shader that runs lane by lane (program.ts): says who else touches a word that a lane writes with no barrier between, and
 * what is read or written outside of it. Its words are little-endian 32-bit numbers.
 */

/** What the bits of a word are. */
export type Kind = "f32" | "u32" | "i32" | "bool";

/** Who computes: a lane of a workgroup. */
export interface Lane {
  readonly index: number;
  readonly group: number;
}

/** More than one lane, or group. */
const SEVERAL = -2;
const NONE = -1;

export class CheckedMemory {
  readonly #name: string;
  readonly #u32: Uint32Array;
  readonly #f32: Float32Array;
  readonly #i32: Int32Array;
  readonly #report: (finding: string) => void;
  readonly #writers: Trace;
  readonly #readers: Trace;
  /** Of what is the same for all groups of a dispatch. */
  readonly #groupWriters: Int32Array;
  readonly #groupReaders: Int32Array;
  /** Atomic accesses may meet each other. */
  readonly #plain: Uint8Array;
  /** Counts barriers. */
  #phase = 0;

  constructor(name: string, words: Uint32Array, report: (finding: string) => void) {
    this.#name = name;
    this.#u32 = words;
    this.#f32 = new Float32Array(words.buffer, words.byteOffset, words.length);
    this.#i32 = new Int32Array(words.buffer, words.byteOffset, words.length);
    this.#report = report;
    this.#writers = new Trace(words.length);
    this.#readers = new Trace(words.length);
    this.#groupWriters = new Int32Array(words.length).fill(NONE);
    this.#groupReaders = new Int32Array(words.length).fill(NONE);
    this.#plain = new Uint8Array(words.length);
  }

  /** What came before is over for every lane of the group. */
  barrier(): void {
    this.#phase++;
  }

  read(at: number, kind: Kind, lane: Lane, atomic = false): number | boolean {
    if (!this.#holds(at, "read")) return kind === "bool" ? false : 0;
    this.#touch(at, lane, false, atomic);
    if (kind === "f32") return this.#f32[at] ?? NaN;
    const bits = (kind === "i32" ? this.#i32 : this.#u32)[at] ?? 0;
    return kind === "bool" ? bits !== 0 : bits;
  }

  write(at: number, kind: Kind, value: number | boolean, lane: Lane, atomic = false): void {
    if (!this.#holds(at, "written")) return;
    this.#touch(at, lane, true, atomic);
    if (kind === "f32") this.#f32[at] = Number(value);
    else this.#u32[at] = Number(value);
  }

  #holds(at: number, how: string): boolean {
    if (at >= 0 && at < this.#u32.length) return true;
    this.#report(`${this.#name} is ${how} at word ${at} of ${this.#u32.length}`);
    return false;
  }

  #touch(at: number, lane: Lane, writes: boolean, atomic: boolean): void {
    const phase = this.#phase;
    const writer = this.#writers.of(at, phase);
    const reader = this.#readers.of(at, phase);
    if (!this.#writers.at(at, phase) && !this.#readers.at(at, phase)) this.#plain[at] = 0;
    if (!atomic) this.#plain[at] = 1;
    if (this.#plain[at] === 1) {
      if (writer !== NONE && writer !== lane.index) this.#clash(at, lane.index, writes, writer, "wrote");
      if (writes && reader !== NONE && reader !== lane.index)
        this.#clash(at, lane.index, writes, reader, "read");
      this.#acrossGroups(at, lane.group, writes);
    }
    (writes ? this.#writers : this.#readers).add(at, phase, lane.index);
  }

  /** No barrier orders the groups of a dispatch. */
  #acrossGroups(at: number, group: number, writes: boolean): void {
    const [writer, reader] = [this.#groupWriters[at] ?? NONE, this.#groupReaders[at] ?? NONE];
    if (writer !== NONE && writer !== group)
      this.#report(`${this.#name}: workgroups ${writer} and ${group} both touch word ${at}, and one writes`);
    else if (writes && reader !== NONE && reader !== group)
      this.#report(`${this.#name}: workgroup ${group} writes word ${at}, which another one has read`);
    const mine = writes ? this.#groupWriters : this.#groupReaders;
    mine[at] = mine[at] === NONE || mine[at] === group ? group : SEVERAL;
  }

  #clash(at: number, lane: number, writes: boolean, other: number, did: string): void {
    const who = other === SEVERAL ? "other lanes" : `lane ${other}`;
    this.#report(
      `${this.#name}: lane ${lane} ${writes ? "writes" : "reads"} word ${at}, which ${who} ${did} with no barrier between`,
    );
  }
}

/** Which lane touched each word since the last barrier. */
class Trace {
  readonly #lanes: Int32Array;
  readonly #phases: Int32Array;

  constructor(words: number) {
    this.#lanes = new Int32Array(words);
    this.#phases = new Int32Array(words).fill(NONE);
  }

  at(word: number, phase: number): boolean {
    return this.#phases[word] === phase;
  }

  of(word: number, phase: number): number {
    return this.at(word, phase) ? (this.#lanes[word] ?? NONE) : NONE;
  }

  add(word: number, phase: number, lane: number): void {
    const before = this.of(word, phase);
    this.#lanes[word] = before === NONE || before === lane ? lane : SEVERAL;
    this.#phases[word] = phase;
  }
}
