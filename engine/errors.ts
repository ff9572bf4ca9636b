/**
 * The project's error classes, built from facts. A caller can tell by class what went wrong;
 * the message says what, where, and what to do.
 */

export { DTypeError, ParameterError, ShapeError } from "../kernels/base/errors.ts";

/** A tensor used after its scope (or its owner) disposed of it. */
export class DisposedError extends Error {
  override readonly name = "DisposedError";
  constructor(label: string) {
    super(
      `${label} was used after it was disposed of; keep it with scope.keep() if it must outlive its scope`,
    );
  }
}

/** A device that cannot be had, or that refused an allocation, a shader or a submit. */
export class DeviceError extends Error {
  override readonly name: string = "DeviceError";
}

/** The device is gone (driver reset, time-out of the operating system, unplugged). */
export class DeviceLostError extends DeviceError {
  override readonly name = "DeviceLostError";
}

/** A loss or logits that hold no finite number: of the model's weights, of activations that overflowed, or of an adapter's updates. */
export class NonFiniteError extends Error {
  override readonly name = "NonFiniteError";
}

/** Bad input from outside: files, flags, texts. One clear line; the command line exits with 2. */
export class BadInputError extends Error {
  override readonly name = "BadInputError";
}
