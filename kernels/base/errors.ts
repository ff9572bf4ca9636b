/** What a declaration's checks throw. Built from facts; the message says what, where, and what does not fit. */

/** Shapes that do not fit a kernel's or an op's declaration. */
export class ShapeError extends Error {
  override readonly name = "ShapeError";
  constructor(where: string, detail: string) {
    super(`${where}: ${detail}`);
  }
}

/** A parameter of a kernel that is not in its declared range. */
export class ParameterError extends Error {
  override readonly name = "ParameterError";
  constructor(
    where: string,
    value: number,
    [low, high]: readonly [number, number],
    dims: Readonly<Record<string, number>>,
    whole: boolean,
  ) {
    const sizes = Object.entries(dims).map(([name, size]) => `${name}=${size}`);
    super(
      `${where} is ${value}; it must be a ${whole ? "whole number" : "number"} from ${low} to ${high} (${sizes.join(" ")})`,
    );
  }
}

/** A tensor of a dtype that the operation does not take. */
export class DTypeError extends Error {
  override readonly name = "DTypeError";
  constructor(where: string, expected: string, got: string) {
    super(`${where}: expected ${expected}, got ${got}`);
  }
}
