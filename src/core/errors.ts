/** An operation was given tensors whose shapes do not fit. The message names the operation, the shapes and the fix. */
export class ShapeError extends Error {
  override name = 'ShapeError';
}

/** A data or model file is not what it should be. The message starts with the file (and line or entry). */
export class DataError extends Error {
  override name = 'DataError';
}

/** An option or setting that cannot be. The message lists what is valid. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

/** Something was called where or when it cannot be: a read within a step, a second backward pass. The message says what to do instead. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/** The GPU, its driver or a shader failed. The message names the adapter and, for shaders, the WGSL lines. */
export class GpuError extends Error {
  override name = 'GpuError';
}

/** There is no memory on the GPU for what is asked for. */
export class MemoryError extends GpuError {}

/** The device is gone, and all that was on it. */
export class LossError extends GpuError {}

/** True for the errors a user can mend: the command line prints their one line and exits with 2. */
export const isUserError = (error: unknown): error is Error =>
  error instanceof ShapeError || error instanceof DataError || error instanceof ConfigError;
